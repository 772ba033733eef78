//! Tickets for `?ticket=`: good once, for half a minute, for whom the token named and as long as the token; nothing else, and
//! kept only as a hash. And `auth.query_token`, which leaves tickets as the one thing in an address. Fails where two sockets
//! get in by one ticket, where a ticket outlives its time, its token or its user's right, where it opens more than a
//! socket, and where whoever reads the database could use it.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::{Api, Client, Hub, HubOptions, now, signed, token};

/// A ticket for this token.
fn ticket(hub: &Hub, token: &str) -> String {
    let answer = Api::new(hub.address, Some(token.to_owned())).call("POST", "/api/ws-ticket", None);
    assert_eq!((answer.status, &answer.body["expires_in_ms"]), (200, &json!(30_000)), "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let ticket = answer.body["ticket"].as_str().unwrap().to_owned();
    assert!(ticket.len() == 32 && ticket.chars().all(|c| c.is_ascii_hexdigit()), "{ticket}");
    ticket
}

async fn by_ticket(hub: &Hub, ticket: &str) -> Client {
    Client::open(&hub.url(&format!("/ws?ticket={ticket}")), None).await.unwrap()
}

/// 0 for a session, or the code that ended it.
async fn verdict(mut client: Client) -> u16 {
    match client.try_next().await {
        Some(frame) if frame["type"] == "hello" => 0,
        _ => client.closed().await.map_or(1, |closed| closed.code),
    }
}

async fn opens(hub: &Hub, path: &str) -> u16 {
    verdict(Client::open(&hub.url(path), None).await.unwrap()).await
}

/// A time as both databases read it.
fn at(seconds_from_now: i64) -> String {
    (Utc::now() + TimeDelta::seconds(seconds_from_now)).format("'%Y-%m-%d %H:%M:%S+00:00'").to_string()
}

#[tokio::test]
async fn of_two_sockets_with_one_ticket_exactly_one_opens() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let token = token("1", "alice");
    for round in 0..20 {
        let ticket = ticket(&hub, &token);
        let (first, second) = tokio::join!(by_ticket(&hub, &ticket), by_ticket(&hub, &ticket));
        let mut both = [verdict(first).await, verdict(second).await];
        both.sort_unstable();
        assert_eq!(both, [0, 4500], "round {round}");
        assert_eq!(verdict(by_ticket(&hub, &ticket).await).await, 4500, "a third time in round {round}");
    }
    let left = hub.database().await.number("SELECT COUNT(*) FROM hub_ticket").await;
    assert_eq!(left, 0, "used tickets are kept");
}

#[tokio::test]
async fn a_ticket_opens_either_dialect_for_whom_the_token_named() {
    let hub = Hub::start();
    let token = token("7", "Zoë");
    let mut native = by_ticket(&hub, &ticket(&hub, &token)).await;
    let hello = native.next().await;
    assert_eq!((&hello["user_id"], &hello["user"]), (&json!("7"), &json!("Zoë")));
    let left = hello["token_expires_in_ms"].as_u64().unwrap();
    assert!((3_500_000..=3_600_000).contains(&left), "the session is as long as the token, not {left} ms");
    let address = format!("/ws/chat/tea/?ticket={}", ticket(&hub, &token));
    let mut plain = Client::open(&hub.url(&address), None).await.unwrap();
    plain.send(&json!({"message": "in"})).await;
    assert_eq!(plain.next().await["user"], "Zoë");
    assert_eq!(opens(&hub, &address.replace("/chat/tea/", "")).await, 4500, "used up by the other dialect");
}

#[tokio::test]
async fn a_ticket_ends_after_half_a_minute_and_with_its_token() {
    let hub = Hub::start();
    let database = hub.database().await;
    for (column, seconds, code) in
        [("until", 10, 0), ("until", -1, 4500), ("expires_at", 10, 0), ("expires_at", -60, 4001)]
    {
        let ticket = ticket(&hub, &token("1", "alice"));
        database.execute(&format!("UPDATE hub_ticket SET {column} = {}", at(seconds))).await;
        assert_eq!(verdict(by_ticket(&hub, &ticket).await).await, code, "{column} in {seconds} s");
        assert_eq!(verdict(by_ticket(&hub, &ticket).await).await, 4500, "once it was tried it is gone");
    }
    // Those that nobody used go when the next one is made.
    ticket(&hub, &token("1", "alice"));
    database.execute(&format!("UPDATE hub_ticket SET until = {}", at(-1))).await;
    ticket(&hub, &token("1", "alice"));
    assert_eq!(database.number("SELECT COUNT(*) FROM hub_ticket").await, 1);
}

/// A ticket that is taken late does not make its token's life longer.
#[tokio::test]
async fn a_session_by_ticket_ends_with_the_token() {
    let hub = Hub::start();
    let ends = Instant::now() + Duration::from_secs(2);
    let ticket = ticket(&hub, &signed(&json!({"user_id": "1", "exp": now() + 2})));
    tokio::time::sleep(Duration::from_millis(900)).await;
    let mut client = by_ticket(&hub, &ticket).await;
    let hello = client.next().await;
    assert!(hello["token_expires_in_ms"].as_u64().unwrap() <= 1_200, "{hello}");
    assert_eq!(client.closed().await.unwrap().code, 4001);
    let late = Instant::now().saturating_duration_since(ends);
    // Five seconds of grace; `exp` is cut to whole seconds.
    assert!((Duration::from_secs(3)..Duration::from_secs(8)).contains(&late), "{late:?} after the token's end");
}

#[tokio::test]
async fn a_ticket_is_no_token_and_a_token_no_ticket() {
    let hub = Hub::start();
    let token = token("1", "alice");
    let ticket = ticket(&hub, &token);
    for path in ["/api/me", "/api/rooms", "/api/me/rooms"] {
        assert_eq!(Api::new(hub.address, Some(ticket.clone())).get(path).status, 401);
        assert_eq!(Api::new(hub.address, None).get(&format!("{path}?ticket={ticket}")).status, 401);
    }
    let another = Api::new(hub.address, Some(ticket.clone())).call("POST", "/api/ws-ticket", None);
    assert_eq!(another.refusal(), (401, "unauthenticated"), "a ticket for a ticket");
    let verified = Api::new(hub.address, None).post("/api/token/verify", &json!({"token": ticket}));
    assert_eq!(verified.status, 401);
    assert_eq!(opens(&hub, &format!("/ws?token={ticket}")).await, 4500);
    let header = Client::open(&hub.url("/ws"), Some(&ticket)).await.unwrap();
    assert_eq!(verdict(header).await, 4500);
    let mut frame = Client::open(&hub.url("/ws"), None).await.unwrap();
    frame.send(&json!({"type": "auth", "token": ticket})).await;
    assert_eq!(verdict(frame).await, 4500);
    let hash: String = Sha256::digest(&ticket).iter().map(|byte| format!("{byte:02x}")).collect();
    let no_tickets = [token.as_str(), &ticket.to_uppercase(), &ticket[1..], &hash, "", "%00", "'%20or%201=1--"];
    for no_ticket in no_tickets {
        assert_eq!(opens(&hub, &format!("/ws?ticket={no_ticket}")).await, 4500, "{no_ticket}");
    }
    // And what all of this left is the ticket, as good as before, of which the database has the hash.
    let database = hub.database().await;
    assert_eq!(database.text("SELECT hash FROM hub_ticket").await, hash);
    let row = "hash || user_id || name || COALESCE(jti, '')";
    assert!(!database.text(&format!("SELECT {row} FROM hub_ticket")).await.contains(&ticket));
    assert_eq!(opens(&hub, &format!("/ws?ticket={ticket}")).await, 0);
}

#[tokio::test]
async fn a_ticket_is_worth_nothing_once_its_user_or_token_is() {
    let hub = Hub::start();
    let admin = hub.admin();
    let issued = |user: &str| signed(&json!({"user_id": user, "exp": now() + 60, "iat": now(), "jti": "the-one"}));
    for (user, act, body, code) in [
        ("1", "disable", json!({}), 4501),
        ("2", "revoke", json!({}), 4501),
        ("3", "revoke", json!({"jti": "the-one"}), 4501),
        ("4", "revoke", json!({"jti": "another"}), 0),
    ] {
        let ticket = ticket(&hub, &issued(user));
        let acted = admin.post(&format!("/api/admin/users/{user}/{act}"), &body);
        assert_eq!(acted.status, 200, "{acted:?}");
        assert_eq!(verdict(by_ticket(&hub, &ticket).await).await, code, "{act} {body}");
    }
    let refused = Api::new(hub.address, Some(issued("1"))).call("POST", "/api/ws-ticket", None);
    assert_eq!(refused.refusal(), (403, "forbidden"), "a disabled user gets a ticket");
    assert_eq!(Api::new(hub.address, None).call("POST", "/api/ws-ticket", None).status, 401);
}

#[tokio::test]
async fn where_query_token_is_off_a_token_in_the_address_is_none() {
    let hub = Hub::with(HubOptions::default().set("auth.query_token", false));
    let token = token("1", "alice");
    // The native dialect waits for `auth`, as if nothing had come.
    let mut native = Client::open(&hub.url(&format!("/ws?token={token}")), None).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), native.try_next()).await.is_err(), "it does not wait");
    native.send(&json!({"type": "auth", "token": token})).await;
    assert_eq!(native.next().await["type"], "hello");
    let plain = |query: &str| hub.url(&format!("/ws/chat/?{query}"));
    let mut refused = Client::open(&plain(&format!("token={token}")), None).await.unwrap();
    assert_eq!(refused.closed().await.unwrap().code, 4500);
    // A bad one there does not get in the way of a good one elsewhere.
    for (query, bearer) in [
        (format!("ticket={}", ticket(&hub, &token)), None),
        (format!("token=x&ticket={}", ticket(&hub, &token)), None),
        ("token=x".to_owned(), Some(token.as_str())),
    ] {
        let mut client = Client::open(&plain(&query), bearer).await.unwrap();
        client.send(&json!({"message": "in"})).await;
        assert_eq!(client.next().await["user"], "alice", "{query}");
    }
}
