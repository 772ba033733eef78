//! A whole run of the hub at the most talkative log level, and then a search through everything that it wrote: log, answers,
//! frames, metrics, database. No token, ticket, password or key is anywhere in it, and no message's text in the log. Fails
//! where anyone, the hub or a crate it uses, logs a request's address or head, a frame, or a statement with its values;
//! where an error quotes what it was given; and where the database holds more than hashes.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest};

use crate::support::{
    Answer, Api, Client, Hub, HubOptions, PATIENCE, SECRET, client, now, on_postgres, signed, unique,
};

/// What must be nowhere.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn keep(&mut self, what: &'static str, text: &str) -> String {
        self.0.push((what, text.to_owned()));
        text.to_owned()
    }

    /// By its signature: the rest of a token says nothing that is secret, and starts like any other.
    fn token(&mut self, what: &'static str, token: String) -> String {
        self.keep(what, token.rsplit('.').next().unwrap());
        token
    }

    /// An app's token of a user of their own.
    fn app(&mut self, what: &'static str, exp: u64) -> String {
        self.token(what, signed(&json!({"user_id": "7", "username": "Zoë", "exp": exp, "jti": unique()})))
    }

    /// The same, damaged.
    fn bad(&mut self, what: &'static str) -> String {
        let good = signed(&json!({"user_id": "7", "exp": now() + 600, "jti": unique()}));
        let (said, signature) = good.rsplit_once('.').unwrap();
        self.token(what, format!("{said}.{}", signature.chars().rev().collect::<String>()))
    }
}

/// Everything that came back, but for the few answers that are there to hand a token or a ticket out.
#[derive(Default)]
struct Heard(String);

impl Heard {
    fn answer(&mut self, answer: &Answer) {
        self.0.push_str(&format!("{} {:?} {}\n", answer.status, answer.headers, answer.body));
    }

    fn frame(&mut self, frame: &Value) {
        self.0.push_str(&format!("{frame}\n"));
    }

    /// Waits for this frame.
    async fn until(&mut self, client: &mut Client, fits: impl Fn(&Value) -> bool) {
        let frame = client.until(fits).await;
        self.frame(&frame);
    }

    /// Sends a command and waits for what is said to it.
    async fn ask(&mut self, client: &mut Client, command: Value) -> Value {
        let answer = client.ask(command).await;
        self.frame(&answer);
        answer
    }

    /// All frames to the socket's end.
    async fn end(&mut self, mut client: Client) {
        while let Some(frame) = client.try_next().await {
            self.frame(&frame);
        }
    }

    /// An upgrade that is to fail, by its status, or to end at once.
    async fn upgrade(&mut self, hub: &Hub, path: &str, headers: &[(&'static str, &str)]) -> u16 {
        let mut request = hub.url(path).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match Client::upgrade(request, None).await {
            Ok((client, answer)) => {
                self.0.push_str(&format!("{:?}\n", answer.headers()));
                self.end(client).await;
                101
            }
            Err(Error::Http(answer)) => {
                let body = answer.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                self.0.push_str(&format!("{:?} {body}\n", answer.headers()));
                answer.status().as_u16()
            }
            Err(other) => panic!("{path}: {other}"),
        }
    }
}

/// Texts that must be nowhere in the log, and may be in frames and in the database.
const SAID: [&str; 4] = ["said-xyzzy-text", "said-xyzzy-data", "said-xyzzy-broken", "said-xyzzy-long"];

#[tokio::test]
async fn no_token_ticket_password_or_key_is_anywhere_and_no_message_in_the_log() {
    let (mut secrets, mut heard) = (Secrets::default(), Heard::default());
    let metrics_token = secrets.keep("metrics token", "the-metrics-token-0123456789-abcdefghi");
    secrets.keep("auth.secret", SECRET);
    let options = HubOptions::default().unlimited().set("log.level", "trace").set("log.format", "json");
    let options = options.set("server.metrics_token", &metrics_token).set("limits.registrations_per_hour", 1_000);
    let mut hub = Hub::with(options.set("server.origins", "https://app.example"));
    let key = hub.database().await.text("SELECT value FROM hub_setting WHERE key = 'own_token_key'").await;
    let nobody = Api::new(hub.address, None);
    let api = |token: &str| Api::new(hub.address, Some(token.to_owned()));

    // Signing in over all five ways, with what is good and what is not.
    let mut open = Vec::new();
    for (good, exp) in [(true, now() + 600), (false, now() - 60), (false, 0)] {
        let mut make = |what| if exp == 0 { secrets.bad(what) } else { secrets.app(what, exp) };
        let (header, protocol, frame, query, plain) =
            (make("header"), make("subprotocol"), make("auth frame"), make("query"), make("plain query"));
        let for_ticket = make("token for a ticket");
        let ticket_of = api(&for_ticket).call("POST", "/api/ws-ticket", None);
        let ticket = match ticket_of.body["ticket"].as_str() {
            Some(ticket) => secrets.keep("ticket", ticket),
            None => {
                heard.answer(&ticket_of);
                secrets.keep("made-up ticket", &unique())
            }
        };
        assert_eq!(ticket_of.status == 200, good);
        let mut request = hub.url("/ws").into_client_request().unwrap();
        let offers = format!("hubbub.v1, bearer.{protocol}").parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", offers);
        let mut clients = vec![
            Client::open(&hub.url("/ws"), Some(&header)).await.unwrap(),
            Client::upgrade(request, None).await.unwrap().0,
            Client::open(&hub.url("/ws"), None).await.unwrap(),
            Client::open(&hub.url(&format!("/ws?ticket={ticket}")), None).await.unwrap(),
            Client::open(&hub.url(&format!("/ws?token={query}")), None).await.unwrap(),
        ];
        clients[2].send(&json!({"type": "auth", "id": 1, "token": frame})).await;
        let mut plain = Client::open(&hub.url(&format!("/ws/chat/tea/?token={plain}")), None).await.unwrap();
        for client in &mut clients {
            heard.until(client, |frame| frame["type"] == if good { "hello" } else { "bye" }).await;
        }
        if good {
            plain.send(&json!({"message": SAID[0], "data": {"of": SAID[1]}})).await;
            heard.until(&mut plain, |frame| frame["message"] == SAID[0]).await;
        }
        clients.push(plain);
        if good {
            open = clients;
        } else {
            for client in clients {
                heard.end(client).await;
            }
        }
        for path in ["/api/me", "/metrics", "/api/admin/stats", "/api/nowhere"] {
            heard.answer(&api(&header).get(path));
        }
        // The ticket, used or not, and the tokens where they don't belong.
        for text in [&ticket, &query] {
            heard.upgrade(&hub, &format!("/ws?ticket={text}"), &[]).await;
            heard.upgrade(&hub, &format!("/ws/chat/no%20room/?token={query}&ticket={text}"), &[]).await;
            heard.upgrade(&hub, &format!("/ws/chat/?after=-1&token={text}"), &[]).await;
            heard.upgrade(&hub, &format!("/ws/chat/a/?room=b&token={text}"), &[]).await;
            assert_eq!(heard.upgrade(&hub, &format!("/ws?token={text}&token={text}"), &[]).await, 400);
            let evil = [("origin", "https://evil.example")];
            assert_eq!(heard.upgrade(&hub, &format!("/ws?token={text}"), &evil).await, 403);
            let draft = [("sec-websocket-version", "8")];
            assert_eq!(heard.upgrade(&hub, &format!("/ws?token={text}"), &draft).await, 426);
            for path in ["/ws", "/nowhere", "/api/nowhere", "/api/me/rooms", "/api/token", "/", "/ws/echo"] {
                heard.answer(&nobody.get(&format!("{path}?token={text}&ticket={text}&limit={text}")));
            }
            heard.answer(&nobody.get(&format!("/api/rooms/{text}")));
            heard.answer(&api(&header).get(&format!("/api/rooms/{text}/messages?after={text}")));
            heard.answer(&nobody.call("TRACE", &format!("/ws?token={text}"), None));
            heard.answer(&nobody.post("/api/token/verify", &json!({"token": format!("{text}x")})));
            heard.answer(&nobody.post("/api/token/refresh", &json!({"refresh": text})));
            heard.answer(&nobody.post("/api/token/refresh", &json!({"refresh": [text]})));
            heard.answer(&api(&header).post("/api/rooms", &json!({"name": "r", "kind": text})));
            heard.answer(&api(&header).post("/api/rooms", &json!({"name": [text]})));
            heard.answer(&api(&header).put("/api/rooms/lobby/read", &json!({"seq": text})));
        }
    }

    // Messages, and frames that are none.
    let native = &mut open[0];
    heard.ask(native, json!({"type": "join", "room": "lobby"})).await;
    heard.ask(native, json!({"type": "send", "room": "lobby", "message": SAID[0], "data": {"of": SAID[1]}})).await;
    heard.ask(native, json!({"type": "send", "room": "lobby", "message": SAID[3].repeat(400)})).await;
    heard.ask(native, json!({"type": "history", "room": "lobby"})).await;
    for broken in [format!("{{\"message\":\"{}", SAID[2]), json!([SAID[2]]).to_string()] {
        native.send_raw(Message::text(broken)).await;
        heard.until(native, |frame| frame["code"] == "bad_json").await;
    }
    native.send_raw(Message::binary(SAID[2])).await;
    heard.until(native, |frame| frame["code"] == "bad_json").await;
    for room in ["no room", "dm:a:b", "elsewhere"] {
        heard.ask(native, json!({"type": "send", "room": room, "message": SAID[0]})).await;
    }
    for field in ["id", "seq", "room", "type"] {
        let mut odd = json!({"type": "read", "room": "lobby", "seq": 1});
        odd[field] = json!([secrets.bad("a field of a frame")]);
        native.send(&odd).await;
        heard.until(native, |frame| frame["type"] == "error").await;
    }
    let room = api(&secrets.app("poster", now() + 600));
    heard.answer(&room.post("/api/rooms/lobby/messages", &json!({"message": SAID[0]})));
    heard.answer(&room.post_text("/api/rooms/lobby/messages", &format!("{{\"message\":\"{}", SAID[2])));
    heard.answer(&room.post("/api/rooms/lobby/messages", &json!({"message": SAID[3].repeat(10_000)})));

    // A session that goes on with new tokens, and tries bad ones.
    let renewed = secrets.app("refresh", now() + 900);
    assert_eq!(heard.ask(native, json!({"type": "refresh", "token": renewed})).await["type"], "ok");
    for token in [
        json!(secrets.app("expired refresh", now() - 60)),
        json!(secrets.bad("bad refresh")),
        json!([secrets.bad("refresh in a list")]),
        json!({"token": secrets.bad("refresh in an object")}),
    ] {
        assert_eq!(heard.ask(native, json!({"type": "refresh", "token": token})).await["type"], "error");
    }
    let mut twice = Client::open(&hub.url("/ws"), None).await.unwrap();
    let odd = secrets.bad("auth that is no text");
    twice.send(&json!({"type": "auth", "id": 1, "token": [odd]})).await;
    heard.end(twice).await;
    let mut long = Client::open(&hub.url("/ws"), None).await.unwrap();
    let odd = secrets.bad("auth that is too long");
    long.send(&json!({"type": "auth", "more": "x".repeat(9_000), "token": odd})).await;
    heard.end(long).await;

    // An account, its passwords right and wrong, its tokens.
    let password = secrets.keep("password", "correct-horse-battery-7");
    let wrong = secrets.keep("wrong password", "incorrect-horse-staple-8");
    let credentials = |password: &str| json!({"username": "hygienist", "password": password});
    let made = nobody.post("/api/register", &credentials(&password));
    let signed_in = nobody.post("/api/token", &credentials(&password));
    assert_eq!((made.status, signed_in.status), (201, 200));
    for (what, answer, field) in [
        ("registered access", &made, "access"),
        ("registered refresh", &made, "refresh"),
        ("account's access", &signed_in, "access"),
        ("account's refresh", &signed_in, "refresh"),
    ] {
        secrets.token(what, answer.body[field].as_str().unwrap().to_owned());
    }
    let refresh = signed_in.body["refresh"].as_str().unwrap();
    let access = nobody.post("/api/token/refresh", &json!({"refresh": refresh}));
    let access = secrets.token("refreshed access", access.body["access"].as_str().unwrap().to_owned());
    heard.answer(&nobody.post("/api/token/verify", &json!({"token": refresh})));
    heard.answer(&api(refresh).get("/api/me"));
    open.push(Client::open(&hub.url("/ws"), Some(&access)).await.unwrap());
    heard.answer(&nobody.post("/api/register", &credentials(&wrong)));
    heard.answer(&nobody.post("/api/token", &credentials(&wrong)));
    for text in [&password, &wrong] {
        heard.answer(&nobody.post("/api/register", &json!({"username": "no name", "password": text})));
        heard.answer(&nobody.post("/api/register", &json!({"username": "x", "password": [text]})));
        heard.answer(&nobody.post("/api/register", &json!({"username": text, "password": text})));
        heard.answer(&nobody.post_text("/api/token", &format!(r#"{{"username":"x","password":"{text}"#)));
        heard.answer(&nobody.post_text("/api/token", &format!(r#"{{"password":"{text}","password":"{text}"}}"#)));
        let form = format!("username=hygienist&password={text}&password={text}x");
        heard.answer(&nobody.call("POST", "/api/token", Some(("application/x-www-form-urlencoded", &form))));
        heard.answer(&nobody.get(&format!("/api/token?username=hygienist&password={text}")));
    }
    // One that the operator made, and that signs in.
    let made = hub.beside(&["token", "--user", "operator"]);
    let minted = secrets.token("minted", String::from_utf8(made.stdout).unwrap().trim().to_owned());
    assert_eq!(api(&minted).get("/api/me").status, 200);

    // What the operator sees.
    let admin = hub.admin();
    for path in ["/metrics", "/api/admin/stats", "/api/admin/audit", "/api/admin/users/7/sessions"] {
        let answer = admin.get(path);
        assert_eq!(answer.status, 200, "{path}");
        heard.answer(&answer);
    }
    assert_eq!(api(&metrics_token).get("/metrics").status, 200);
    heard.answer(&admin.post("/api/admin/users/7/disable", &json!({"reason": "for a while"})));
    heard.answer(&admin.post("/api/admin/users/hub:hygienist/revoke", &json!({})));

    // The end.
    hub.signal("TERM");
    for client in open {
        heard.end(client).await;
    }
    assert!(hub.ended(PATIENCE).success());
    tokio::time::sleep(Duration::from_millis(10)).await;
    let (log, database) = (hub.log(), database_bytes(&hub));
    let found = |place: &[u8], text: &str| place.windows(text.len()).any(|window| window == text.as_bytes());

    // The search finds what is there, and the log is as talkative as it can be.
    for talks in ["listening", "\"TRACE\"", "\"target\":\"actix_http", "\"target\":\"mio", "\"target\":\"hubbub"] {
        assert!(found(log.as_bytes(), talks), "{talks} is not in the log");
    }
    for known in [SAID[0], SAID[1], "hygienist", "for a while", &key, "$argon2id$"] {
        assert!(found(&database, known), "{known} is not in the database");
    }
    for known in [SAID[0], SAID[1], "hygienist", "hubbub_", "unauthenticated", "bad_json"] {
        assert!(found(heard.0.as_bytes(), known), "{known} was not heard");
    }
    assert!(secrets.0.len() > 35 && secrets.0.iter().all(|(_, text)| text.len() > 20));

    let mut leaks = Vec::new();
    let mut search = |place: &str, text: &str, what: &str, secret: &str| {
        let line = text.lines().find(|line| line.contains(secret));
        leaks.extend(line.map(|line| format!("{what} is in {place}: {}", around(line, secret))));
    };
    for (what, secret) in &secrets.0 {
        search("the log", &log, what, secret);
        search("an answer or a frame", &heard.0, what, secret);
        if found(&database, secret) {
            search("the database", secret, what, secret);
        }
    }
    for (what, secret) in [("the hub's key", key.as_str()), ("a password's hash", "$argon2id$")] {
        search("the log", &log, what, secret);
        search("an answer or a frame", &heard.0, what, secret);
    }
    for text in SAID {
        search("the log", &log, "a message's text", text);
    }
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}

/// The part of a line that shows what is wrong.
fn around<'a>(line: &'a str, secret: &str) -> &'a str {
    let at = line.find(secret).unwrap();
    let from = line.floor_char_boundary(at.saturating_sub(300));
    let to = line.floor_char_boundary((at + secret.len() + 100).min(line.len()));
    &line[from..to]
}

/// Everything that is kept: SQLite's files as they are, PostgreSQL's as a dump.
fn database_bytes(hub: &Hub) -> Vec<u8> {
    if on_postgres() {
        let dump = client("pg_dump").arg(hub.options().database_url()).output().unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        return dump.stdout;
    }
    let files = fs::read_dir(hub.folder().join("data")).unwrap();
    let read = |path: &Path| fs::read(path).unwrap();
    files.flat_map(|file| read(&file.unwrap().path())).collect()
}
