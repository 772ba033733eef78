//! P7: who may do what in a room, for every role and operation, over WebSocket and HTTP; and that a right which ends is
//! gone at once, open sockets among it.
//!
//! Seen to fail with the hub broken so (scripts/mutants): rooms' listeners not held against new rights (P7: it goes on
//! receiving); a read marker that makes a member (P7); what the old rights allowed stored by another node is in `postgres`.

use serde_json::{Value, json};

use crate::support::{Api, Client, Hub, HubOptions, PATIENCE, token};

/// The columns of the tables. `former` was a member and was removed, `banned` was one and is banned; `admin` is no member.
const ROLES: [&str; 7] = ["owner", "moderator", "member", "former", "stranger", "banned", "admin"];

/// What each role's try of each operation must give: `ok`, or the error's code. `-` stands for the answer to whoever must
/// not know of the room.
const PRIVATE: &str = "
    operation        owner       moderator   member      former      stranger    banned      admin
    ws join          ok          ok          ok          -           -           -           ok
    ws resume        ok          ok          ok          -           -           -           ok
    ws history       ok          ok          ok          -           -           -           ok
    ws send          ok          ok          ok          not_joined  not_joined  not_joined  ok
    ws read          ok          ok          ok          -           -           -           ok
    ws typing        ok          ok          ok          not_joined  not_joined  not_joined  ok
    ws presence      ok          ok          ok          -           -           -           ok
    look             ok          ok          ok          -           -           -           ok
    messages         ok          ok          ok          -           -           -           ok
    send             ok          ok          ok          -           -           -           ok
    read             ok          ok          ok          -           -           -           ok
    presence         ok          ok          ok          -           -           -           ok
    members          ok          ok          ok          -           -           -           ok
    retitle          ok          ok          forbidden   -           -           -           ok
    add member       ok          ok          forbidden   -           -           -           ok
    add moderator    ok          forbidden   forbidden   -           -           -           ok
    add owner        ok          forbidden   forbidden   -           -           -           ok
    promote member   ok          forbidden   forbidden   -           -           -           ok
    demote moderator ok          forbidden   forbidden   -           -           -           ok
    remove member    ok          ok          forbidden   -           -           -           ok
    remove moderator ok          forbidden   forbidden   -           -           -           ok
    remove owner     ok          forbidden   forbidden   -           -           -           ok
    add oneself      ok          ok          ok          -           -           -           ok
    promote oneself  ok          forbidden   forbidden   -           -           -           ok
    leave            ok          ok          ok          -           -           -           ok
    speak as other   forbidden   forbidden   forbidden   forbidden   forbidden   forbidden   ok
    bans             ok          ok          forbidden   -           -           -           ok
    ban member       ok          ok          forbidden   -           -           -           ok
    ban moderator    ok          forbidden   forbidden   -           -           -           ok
    ban owner        ok          forbidden   forbidden   -           -           -           ok
    ban stranger     ok          ok          forbidden   -           -           -           ok
    ban oneself      forbidden   forbidden   forbidden   -           -           -           forbidden
    ban admin        forbidden   forbidden   forbidden   -           -           -           forbidden
    unban            ok          ok          forbidden   -           -           -           ok
    add banned       banned      banned      forbidden   -           -           -           banned
";

const PUBLIC: &str = "
    operation        owner       moderator   member      former      stranger    banned      admin
    ws join          ok          ok          ok          ok          ok          banned      ok
    ws send          ok          ok          ok          ok          ok          not_joined  ok
    ws read          ok          ok          ok          ok          ok          banned      ok
    messages         ok          ok          ok          ok          ok          banned      ok
    send             ok          ok          ok          ok          ok          banned      ok
    members          ok          ok          ok          ok          ok          banned      ok
    retitle          ok          ok          forbidden   forbidden   forbidden   banned      ok
    add member       ok          ok          forbidden   forbidden   forbidden   banned      ok
    add moderator    ok          forbidden   forbidden   forbidden   forbidden   banned      ok
    promote member   ok          forbidden   forbidden   forbidden   forbidden   banned      ok
    remove member    ok          ok          forbidden   forbidden   forbidden   banned      ok
    remove moderator ok          forbidden   forbidden   forbidden   forbidden   banned      ok
    add oneself      ok          ok          ok          ok          ok          banned      ok
    promote oneself  ok          forbidden   forbidden   forbidden   forbidden   banned      ok
    leave            ok          ok          ok          ok          ok          banned      ok
    speak as other   forbidden   forbidden   forbidden   forbidden   forbidden   forbidden   ok
    bans             ok          ok          forbidden   forbidden   forbidden   banned      ok
    ban member       ok          ok          forbidden   forbidden   forbidden   banned      ok
    ban moderator    ok          forbidden   forbidden   forbidden   forbidden   banned      ok
    ban owner        ok          forbidden   forbidden   forbidden   forbidden   banned      ok
    ban stranger     ok          ok          forbidden   forbidden   forbidden   banned      ok
    ban oneself      forbidden   forbidden   forbidden   forbidden   forbidden   banned      forbidden
    ban admin        forbidden   forbidden   forbidden   forbidden   forbidden   banned      forbidden
    unban            ok          ok          forbidden   forbidden   forbidden   banned      ok
    add banned       banned      banned      forbidden   forbidden   forbidden   banned      banned
";

/// A room with somebody in each role, and targets for whatever is done to members. Another one for each operation, so
/// that none sees what the one before has done.
fn room_for(hub: &Hub, name: &str, kind: &str) {
    let boss = hub.api("boss");
    assert_eq!(boss.post("/api/rooms", &json!({"name": name, "kind": kind})).status, 201);
    let put = |user: &str, role: &str| {
        let added = boss.put(&format!("/api/rooms/{name}/members/{user}"), &json!({"role": role}));
        assert_eq!(added.status, 201, "{:?}", added.body);
    };
    for role in ["owner", "moderator", "member"] {
        put(role, role);
        for (n, _) in ROLES.iter().enumerate() {
            put(&format!("target-{role}-{n}"), role);
        }
    }
    for member in ["former", "banned", "revoked", "disabled"] {
        put(member, "member");
    }
    for banned in std::iter::once("banned".to_owned()).chain((0..ROLES.len()).map(|n| format!("target-banned-{n}"))) {
        let ban = boss.put(&format!("/api/rooms/{name}/bans/{banned}"), &json!({"reason": "spam"}));
        assert_eq!(ban.status, 200, "{:?}", ban.body);
    }
    assert_eq!(boss.delete(&format!("/api/rooms/{name}/members/former")).status, 204);
    assert_eq!(boss.post(&format!("/api/rooms/{name}/messages"), &json!({"message": "first"})).status, 201);
}

fn code(body: &Value) -> String {
    let code = body["error"]["code"].as_str().or(body["code"].as_str());
    code.map_or_else(|| "ok".to_owned(), str::to_owned)
}

fn over_http(api: &Api, operation: &str, role: usize, room: &str) -> String {
    let path = format!("/api/rooms/{room}");
    let user = ROLES[role];
    let member = |id: &str| format!("{path}/members/{id}");
    let ban = |id: &str| format!("{path}/bans/{id}");
    let put = |id: String, role: &str| api.put(&member(&id), &json!({"role": role}));
    let answer = match operation {
        "look" => api.get(&path),
        "messages" => api.get(&format!("{path}/messages")),
        "send" => api.post(&format!("{path}/messages"), &json!({"message": "hi"})),
        "speak as other" => api.post(&format!("{path}/messages"), &json!({"message": "hi", "as_user": "owner"})),
        "read" => api.put(&format!("{path}/read"), &json!({"seq": 1})),
        "presence" => api.get(&format!("{path}/presence")),
        "members" => api.get(&format!("{path}/members")),
        "retitle" => api.patch(&path, &json!({"title": "another"})),
        "add member" => put(format!("new-{role}"), "member"),
        "add moderator" => put(format!("new-moderator-{role}"), "moderator"),
        "add owner" => put(format!("new-owner-{role}"), "owner"),
        "promote member" => put(format!("target-member-{role}"), "moderator"),
        "demote moderator" => put(format!("target-moderator-{role}"), "member"),
        "remove member" => api.delete(&member(&format!("target-member-{role}"))),
        "remove moderator" => api.delete(&member(&format!("target-moderator-{role}"))),
        "remove owner" => api.delete(&member(&format!("target-owner-{role}"))),
        "bans" => api.get(&format!("{path}/bans")),
        "ban member" => api.put(&ban(&format!("target-member-{role}")), &json!({})),
        "ban moderator" => api.put(&ban(&format!("target-moderator-{role}")), &json!({})),
        "ban owner" => api.put(&ban(&format!("target-owner-{role}")), &json!({})),
        "ban stranger" => api.put(&ban(&format!("new-{role}")), &json!({})),
        "ban oneself" => api.put(&ban(if user == "admin" { "root" } else { user }), &json!({})),
        "ban admin" => api.put(&ban("root"), &json!({})),
        "unban" => api.delete(&ban(&format!("target-banned-{role}"))),
        "add banned" => put(format!("target-banned-{role}"), "member"),
        "add oneself" => api.put(&member(user), &json!({})),
        "promote oneself" => put(user.to_owned(), "owner"),
        "leave" => api.delete(&member(user)),
        other => panic!("no such operation: {other}"),
    };
    assert!(answer.status < 500, "{operation}: {:?}", answer.body);
    code(&answer.body)
}

async fn over_websocket(client: &mut Client, operation: &str, room: &str) -> String {
    if ["ws send", "ws typing"].contains(&operation) {
        client.ask(json!({"type": "join", "room": room})).await;
    }
    let command = match operation {
        "ws join" => json!({"type": "join", "room": room}),
        "ws resume" => json!({"type": "resume", "rooms": {room: {"after": 0}}}),
        "ws history" => json!({"type": "history", "room": room}),
        "ws send" => json!({"type": "send", "room": room, "message": "hi"}),
        "ws read" => json!({"type": "read", "room": room, "seq": 1}),
        "ws typing" => json!({"type": "typing", "room": room}),
        "ws presence" => json!({"type": "presence", "room": room}),
        other => panic!("no such operation: {other}"),
    };
    let reply = client.ask(command).await;
    if operation == "ws resume" { code(&reply["rooms"][room]) } else { code(&reply) }
}

/// Tries every cell of a table; `hidden` is the answer to whoever must not know of the room.
async fn check(hub: &Hub, table: &str, kind: &str, hidden: &str) {
    let mut wrong = Vec::new();
    for (n, line) in table.lines().map(str::trim).filter(|line| !line.is_empty()).skip(1).enumerate() {
        let words: Vec<_> = line.split_whitespace().collect();
        let (operation, expected) = words.split_at(words.len() - ROLES.len());
        assert!(!operation.is_empty(), "{line}");
        let (operation, room) = (operation.join(" "), format!("{kind}-{n}"));
        room_for(hub, &room, kind);
        for (user, over_http_alone) in [("revoked", "unauthenticated"), ("disabled", "forbidden")] {
            let (got, expected) = if operation.starts_with("ws ") {
                let mut socket = Client::open(&hub.url("/ws"), Some(&token(user, user))).await.unwrap();
                (socket.closed().await.unwrap().code.to_string(), "4501")
            } else {
                (over_http(&hub.api(user), &operation, 2, &room), over_http_alone)
            };
            if got != expected {
                wrong.push(format!("{operation} as {user} in {room}: {got}, not {expected}"));
            }
        }
        for (role, expected) in expected.iter().enumerate() {
            let user = if ROLES[role] == "admin" { "root" } else { ROLES[role] };
            let got = if operation.starts_with("ws ") {
                over_websocket(&mut hub.client(user).await, &operation, &room).await
            } else {
                over_http(&hub.api(user), &operation, role, &room)
            };
            let expected = if *expected == "-" { hidden } else { expected };
            if got != expected {
                wrong.push(format!("{operation} as {user} in {room}: {got}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "P7:\n{}", wrong.join("\n"));
}

fn options() -> HubOptions {
    HubOptions::default().unlimited()
}

/// A hub with an admin, a user whose tokens are revoked, and one who is disabled.
fn hub_of_roles(options: HubOptions) -> Hub {
    let hub = Hub::with(options);
    let admin = hub.admin();
    for act in ["revoked/revoke", "disabled/disable"] {
        assert_eq!(admin.post(&format!("/api/admin/users/{act}"), &json!({})).status, 200);
    }
    hub
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_every_role_may_do_in_a_private_room_what_the_table_says_and_no_more() {
    let hub = hub_of_roles(options());
    check(&hub, PRIVATE, "private", "forbidden").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_a_private_room_looks_like_none_where_rooms_don_t_appear_by_themselves() {
    let hub = hub_of_roles(options().set("rooms.auto_create", false));
    check(&hub, PRIVATE, "private", "room_not_found").await;
    // The very same answer as for a room that is not there, in every byte.
    let stranger = hub.api("stranger");
    for path in ["", "/messages", "/members", "/presence", "/bans"] {
        let (there, not) = ("/api/rooms/private-0", "/api/rooms/nothing");
        let answers = [there, not].map(|room| stranger.get(&format!("{room}{path}")));
        assert_eq!((answers[0].status, &answers[0].body), (404, &answers[1].body), "P7: {path}");
    }
    let names = stranger.get("/api/rooms").body["rooms"].to_string();
    assert!(!names.contains("private"), "P7: listed to strangers: {names}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_every_role_may_do_in_a_public_room_what_the_table_says_and_no_more() {
    let hub = hub_of_roles(options());
    check(&hub, PUBLIC, "public", "forbidden").await;
}

fn club(hub: &Hub) -> Api {
    let owner = hub.api("owner");
    owner.post("/api/rooms", &json!({"name": "club", "kind": "private"}));
    owner.put("/api/rooms/club/members/alice", &json!({}));
    owner
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_a_removal_reaches_open_sockets_before_it_is_answered() {
    let hub = Hub::with(options().set("server.workers", 2));
    let owner = club(&hub);
    // Several, so that both workers have one.
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(hub.member("alice", "club").await);
    }
    let mut plain = Client::plain(&hub, "&room=club", &token("alice", "alice")).await;
    let mut watcher = hub.member("owner", "club").await;
    for n in 0..50 {
        owner.post("/api/rooms/club/messages", &json!({"message": format!("before {n}")}));
    }
    assert_eq!(owner.delete("/api/rooms/club/members/alice").status, 204);
    let head = owner.get("/api/rooms/club").body["head"].as_i64().unwrap();
    for n in 0..50 {
        owner.post("/api/rooms/club/messages", &json!({"message": format!("after {n}")}));
    }
    for session in &mut sessions {
        let told = session.until(|frame| frame["type"] == "member_removed").await;
        assert_eq!((&told["room"], &told["user_id"]), (&json!("club"), &json!("alice")));
        assert_eq!(session.say("club", "let me in").await["code"], "not_joined", "P7");
        // The answer to the last command came: whatever else was to come has come.
        let late = session.kept().filter(|frame| frame["seq"].as_i64().is_some_and(|seq| seq > head)).count();
        assert_eq!(late, 0, "P7: it goes on receiving after the removal was answered");
    }
    let closed = plain.closed().await.unwrap();
    assert_eq!(closed.code, 1008);
    let late = plain.kept().filter(|frame| frame["seq"].as_i64().is_some_and(|seq| seq > head)).count();
    assert_eq!(late, 0, "P7: it goes on receiving after the removal was answered");
    for n in 1..=100 {
        assert_eq!(watcher.message().await["seq"], n, "P3: the others notice nothing");
    }
    // Added again, it can come back.
    owner.put("/api/rooms/club/members/alice", &json!({}));
    assert_eq!(sessions[0].join("club").await["head"], 100);
}

/// Many times over: a member writes as fast as it can while it is removed. Nothing of it may be stored after the removal
/// was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_nothing_is_stored_after_a_removal_was_answered() {
    let hub = Hub::with(options().set("limits.server_queue", 100_000).set("limits.writer_queue", 100_000));
    let owner = club(&hub);
    let mut alice = hub.member("alice", "club").await;
    let mut stored_late = 0;
    for round in 0..20 {
        let address = hub.address;
        let removing = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(round % 5));
            let owner = Api::new(address, Some(token("owner", "owner")));
            assert_eq!(owner.delete("/api/rooms/club/members/alice").status, 204);
            owner.post("/api/rooms/club/messages", &json!({"message": "gone"})).body["seq"].as_i64().unwrap()
        });
        for n in 0..60 {
            alice.send(&json!({"type": "send", "id": format!("{round}-{n}"), "room": "club", "message": "x"})).await;
        }
        let gone = tokio::task::spawn_blocking(move || removing.join().unwrap()).await.unwrap();
        for n in 0..60 {
            let id = json!(format!("{round}-{n}"));
            let reply = alice.until(|frame| frame["id"] == id).await;
            stored_late += i32::from(reply["seq"].as_i64().is_some_and(|seq| seq > gone));
        }
        owner.put("/api/rooms/club/members/alice", &json!({}));
        assert_eq!(alice.ask(json!({"type": "join", "room": "club"})).await["type"], "ok");
    }
    assert_eq!(stored_late, 0, "P7: a message judged before is stored after");
}

/// A session that fell behind reads older events in the background: not of a room that it was taken out of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_who_catches_up_stops_when_removed() {
    let hub = Hub::with(options().set("limits.recent_events", 10).set("limits.page_events", 5));
    let owner = club(&hub);
    for n in 0..400 {
        owner.post("/api/rooms/club/messages", &json!({"message": format!("{n} {}", "x".repeat(3_000))}));
    }
    let mut alice = Client::cramped(&hub.url("/ws"), &token("alice", "alice")).await;
    alice.send(&json!({"type": "join", "id": 1, "room": "club", "after": 0})).await;
    // It reads nothing, so that its pages wait in the hub.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(owner.delete("/api/rooms/club/members/alice").status, 204);
    let mut seen = 0;
    let last = tokio::time::timeout(PATIENCE, async {
        loop {
            let frame = alice.next().await;
            match frame["type"].as_str() {
                Some("message") => seen += 1,
                Some("member_removed") => break,
                _ => {}
            }
        }
        alice.ask(json!({"type": "ping"})).await
    });
    assert_eq!(last.await.unwrap()["type"], "pong");
    seen += alice.kept().filter(|frame| frame["type"] == "message").count();
    assert!(seen < 200, "P7: it was sent {seen} of 400 events after its removal");
}

/// Whoever listens to a room that is not there yet has no right to one that is made private by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_a_private_room_made_beside_the_hub_takes_its_listeners_out() {
    let hub = Hub::start();
    let mut stranger = hub.member("stranger", "secret").await;
    let mut plain = Client::plain(&hub, "&room=secret", &token("stranger", "stranger")).await;
    let made = hub.beside(&["room", "create", "secret", "--owner", "owner", "--private"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let owner = hub.api("owner");
    for n in 0..5 {
        assert_eq!(owner.post("/api/rooms/secret/messages", &json!({"message": n.to_string()})).status, 201);
    }
    assert_eq!(stranger.say("secret", "?").await["code"], "not_joined");
    assert!(stranger.kept().all(|frame| frame["seq"].is_null()), "P7: it heard what is private");
    assert_eq!(plain.closed().await.unwrap().code, 1008);
    assert!(plain.kept().all(|frame| frame["seq"].is_null()), "P7: it heard what is private");
    // And the owner sees the room without saying anything first.
    hub.client("owner").await.join("another").await;
    hub.beside(&["room", "create", "another", "--owner", "owner"]);
    let start = std::time::Instant::now();
    while owner.get("/api/rooms/another").status != 200 {
        assert!(start.elapsed() < std::time::Duration::from_secs(2), "a room made by hand is not seen");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A removal whose answer was lost, and one that is asked for again: the sockets know, whichever came through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_a_removal_made_past_the_hub_is_felt_with_the_next_message_or_removal() {
    let hub = Hub::with(options());
    let owner = club(&hub);
    let mut alice = hub.member("alice", "club").await;
    let database = hub.database().await;
    let remove = "DELETE FROM hub_member WHERE user_id = (SELECT id FROM hub_user WHERE external_id = 'alice'); \
                  UPDATE hub_room SET rights = rights + 1";
    database.execute(remove).await;
    assert_eq!(owner.delete("/api/rooms/club/members/alice").status, 204);
    let sent = owner.post("/api/rooms/club/messages", &json!({"message": "without alice"}));
    assert_eq!((sent.status, &sent.body["seq"]), (201, &json!(1)));
    assert_eq!(alice.say("club", "?").await["code"], "not_joined");
    owner.put("/api/rooms/club/members/alice", &json!({}));
    alice.join("club").await;
    assert_eq!(owner.post("/api/rooms/club/messages", &json!({"message": "with alice"})).body["seq"], 2);
    assert_eq!(alice.message().await["seq"], 2);
    database.execute(remove).await;
    // The writer sees other rights, the room is read again, and only then is the message stored and delivered.
    assert_eq!(owner.post("/api/rooms/club/messages", &json!({"message": "again without"})).body["seq"], 3);
    assert_eq!(alice.say("club", "?").await["code"], "not_joined", "P7: it may write");
    assert!(alice.kept().all(|frame| frame["type"] != "message"), "P7: it heard what is private");
}

/// A marker of a member's that is stored while they are removed does not bring them back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_reading_does_not_bring_a_removed_member_back() {
    let hub = Hub::with(options());
    let owner = club(&hub);
    for n in 0..200 {
        owner.post("/api/rooms/club/messages", &json!({"message": n.to_string()}));
    }
    let mut alice = hub.member("alice", "club").await;
    for round in 0..10_i64 {
        for seq in 0..20 {
            alice.send(&json!({"type": "read", "id": seq, "room": "club", "seq": round * 20 + seq})).await;
        }
        assert_eq!(owner.delete("/api/rooms/club/members/alice").status, 204);
        for seq in 0..20 {
            alice.until(|frame| frame["id"] == seq).await;
        }
        let members = owner.get("/api/rooms/club/members").body;
        assert_eq!(members["members"].as_array().unwrap().len(), 1, "P7: {members}");
        owner.put("/api/rooms/club/members/alice", &json!({}));
        alice.join("club").await;
    }
}

#[tokio::test]
async fn p7_members_are_added_once_and_the_last_owner_stays() {
    let hub = Hub::start();
    let owner = club(&hub);
    let again = owner.put("/api/rooms/club/members/alice", &json!({}));
    assert_eq!((again.status, &again.body["role"]), (200, &json!("member")));
    assert_eq!(owner.put("/api/rooms/club/members/owner", &json!({})).body["role"], "owner", "a PUT without a role");
    assert_eq!(owner.delete("/api/rooms/club/members/owner").refusal(), (409, "last_owner"));
    let demoted = owner.put("/api/rooms/club/members/owner", &json!({"role": "member"}));
    assert_eq!(demoted.refusal(), (409, "last_owner"));
    assert_eq!(hub.admin().delete("/api/rooms/club/members/owner").refusal(), (409, "last_owner"));
    assert_eq!(owner.put("/api/rooms/club/members/alice", &json!({"role": "owner"})).status, 200);
    assert_eq!(owner.delete("/api/rooms/club/members/owner").status, 204);
    assert_eq!(owner.delete("/api/rooms/club/members/owner").refusal(), (403, "forbidden"));
    let members = hub.api("alice").get("/api/rooms/club/members").body["members"].clone();
    assert_eq!(members.as_array().unwrap().len(), 1, "{members}");
    let alice = hub.api("alice");
    for (answer, expected) in [
        (alice.put("/api/rooms/club/members/bob", &json!({"role": "king"})), (400, "bad_field")),
        (alice.put("/api/rooms/club/members/bob", &json!([])), (400, "bad_json")),
        (alice.put("/api/rooms/club/members/%07", &json!({})), (400, "bad_field")),
        (alice.put("/api/rooms/club/members/%FF", &json!({})), (400, "bad_field")),
        (alice.put("/api/rooms/club/members/bob", &json!({"role": 5})), (400, "bad_field")),
        (alice.put("/api/rooms/club/members/hub:nobody", &json!({})), (404, "user_not_found")),
        (alice.put("/api/rooms/nothing/members/bob", &json!({})), (404, "room_not_found")),
        (alice.put(&format!("/api/rooms/club/members/{}", "x".repeat(129)), &json!({})), (400, "bad_field")),
        (alice.get("/api/rooms/club/members?after=%07"), (400, "bad_field")),
        (alice.get("/api/rooms/club/members?limit=0"), (400, "bad_field")),
    ] {
        assert_eq!(answer.refusal(), expected, "{:?}", answer.body);
    }
    // Any id that an app may have, a slash in it too.
    let odd = "a%2Fb%20%C3%BC%3F%25";
    assert_eq!(alice.put(&format!("/api/rooms/club/members/{odd}"), &json!({})).body["user_id"], "a/b ü?%");
    assert_eq!(alice.delete(&format!("/api/rooms/club/members/{odd}")).status, 204);
    let known = Hub::with(HubOptions::default().set("auth.users", "known"));
    let root = known.admin();
    root.post("/api/rooms", &json!({"name": "club"}));
    assert_eq!(root.put("/api/rooms/club/members/new", &json!({})).refusal(), (404, "user_not_found"));
}

#[tokio::test]
async fn rooms_are_for_admins_to_make_where_the_config_says_so() {
    let hub = Hub::with(HubOptions::default().set("rooms.create", "admin").set("rooms.auto_create", false));
    assert_eq!(hub.api("alice").post("/api/rooms", &json!({"name": "tea"})).refusal(), (403, "forbidden"));
    let root = hub.admin();
    assert_eq!(root.post("/api/rooms", &json!({"name": "tea"})).status, 201);
    let sent = root.post("/api/rooms/tea/messages", &json!({"message": "welcome", "as_user": "bot 7"}));
    assert_eq!(sent.status, 201, "{:?}", sent.body);
    let page = hub.api("alice").get("/api/rooms/tea/messages").body;
    assert_eq!(
        (&page["messages"][0]["user_id"], &page["messages"][0]["user"]),
        (&json!("bot 7"), &json!("user bot 7"))
    );
}
