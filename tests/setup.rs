//! The set-up link: printed as long as there is no admin, good for a day and for one person, whatever they do at once; and in
//! no log. Fails where two become admins by it, where it works after an admin was made by another way or after its day, and
//! where anybody becomes the admin of an account that is not theirs.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Answer, Api, Client, Hub, HubOptions, unique};

const PASSWORD: &str = "correct horse";

fn nobody(hub: &Hub) -> Api {
    Api::new(hub.address, None)
}

fn set_up(hub: &Hub, token: &str, name: &str, password: &str) -> Answer {
    nobody(hub).post("/api/setup/", &json!({"token": token, "username": name, "password": password}))
}

/// Who it was done for is asked for by their new token.
fn admin_of(hub: &Hub, made: &Answer) -> Api {
    assert_eq!(made.status, 201, "{}", made.body);
    let api = Api::new(hub.address, made.body["access"].as_str().map(str::to_owned));
    assert_eq!(api.get("/api/me").body["admin"], true);
    api
}

fn refused(answer: &Answer) {
    assert_eq!((answer.status, &answer.body["code"]), (403, &json!("forbidden")), "{}", answer.body);
    assert!(answer.body["detail"].is_string() && answer.body.as_object().unwrap().len() == 2);
}

#[tokio::test]
async fn it_makes_the_first_admin_and_no_other() {
    let options = HubOptions::default().set("accounts.register", false).set("log.level", "trace");
    let mut hub = Hub::with(options);
    let token = hub.setup_token().unwrap();
    assert!(token.len() >= 32 && token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{}", token.len());
    // The same after a restart: who copied it can use it.
    hub.kill();
    hub.restart();
    assert_eq!(hub.setup_token().as_deref(), Some(&*token));
    for wrong in ["x", &token[1..], &format!("{token} "), &token.to_lowercase(), "%"] {
        refused(&set_up(&hub, wrong, "root", PASSWORD));
    }
    for (body, fields) in [
        (json!({}), vec!["password", "token", "username"]),
        (json!({"token": token, "username": "root", "password": "short"}), vec!["password"]),
        (json!({"token": token, "username": "a b", "password": PASSWORD}), vec!["username"]),
        (json!({"token": "", "username": "root", "password": PASSWORD}), vec!["token"]),
    ] {
        let answer = nobody(&hub).post("/api/setup", &body);
        let named: Vec<_> = answer.body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!((answer.status, named), (400, fields), "{}", answer.body);
    }
    let made = set_up(&hub, &token, "root", PASSWORD);
    assert_eq!((&made.body["user_id"], &made.body["username"]), (&json!("hub:root"), &json!("root")));
    assert!(made.body["refresh"].is_string());
    let admin = admin_of(&hub, &made);
    let record = admin.get("/api/admin/audit").body["acts"].clone();
    assert_eq!(record.as_array().unwrap().len(), 1, "{record}");
    let act = &record[0];
    let who = (&act["actor"], &act["action"], &act["user_id"]);
    assert_eq!(who, (&json!("hub:root"), &json!("make_admin"), &json!("hub:root")));
    assert_eq!(act["detail"]["by"], "set-up link");
    let signed_in = nobody(&hub).post("/api/token", &json!({"username": "root", "password": PASSWORD}));
    assert_eq!(signed_in.status, 200);
    // It was used.
    refused(&set_up(&hub, &token, "other", PASSWORD));
    refused(&set_up(&hub, &token, "root", PASSWORD));
    assert_eq!(admin.get("/api/admin/users").body["users"].as_array().unwrap().len(), 1, "others were made");
    assert_eq!(hub.database().await.number("SELECT count(*) FROM hub_setting WHERE key = 'setup'").await, 0);
    hub.kill();
    hub.restart();
    assert_eq!((hub.setup_token(), hub.said()), (None, ""));
    for secret in [&token, PASSWORD] {
        assert!(!hub.log().contains(secret), "it is in the log");
    }
    assert!(hub.log().len() > 10_000, "trace is not on");
    // Without an admin there is a link again, and another one.
    assert!(hub.beside(&["user", "admin", "hub:root", "--revoke"]).status.success());
    hub.kill();
    hub.restart();
    assert!(hub.setup_token().is_some_and(|another| another != token));
}

#[test]
fn of_many_at_once_one_wins() {
    let hub = Hub::with(HubOptions::default().set("limits.password_checks", 4));
    let token = hub.setup_token().unwrap();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let names = ["a1", "b2", "c3", "same", "same", "same"];
        let tries = names.map(|name| scope.spawn(|| set_up(&hub, &token, name, PASSWORD)));
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(made.len(), 1, "{answers:?}");
    answers.iter().filter(|answer| answer.status != 201).for_each(refused);
    let users = admin_of(&hub, made[0]).get("/api/admin/users").body["users"].clone();
    let all: Vec<(&Value, &Value)> =
        users.as_array().unwrap().iter().map(|user| (&user["user_id"], &user["role"])).collect();
    assert_eq!(all, [(&made[0].body["user_id"], &json!("admin"))], "both or neither");
}

#[tokio::test]
async fn an_account_that_is_there_needs_its_own_password() {
    let hub = Hub::start();
    let token = hub.setup_token().unwrap();
    let account = json!({"username": "alice", "password": PASSWORD});
    let registered = nobody(&hub).post("/api/register", &account);
    let before = Api::new(hub.address, registered.body["access"].as_str().map(str::to_owned));
    assert_eq!(before.get("/api/me").body["admin"], false);
    let taken = json!({"username": ["A user with that username already exists."]});
    let stolen = set_up(&hub, &token, "alice", "another horse");
    assert_eq!((stolen.status, &stolen.body), (400, &taken));
    // One that the operator gave a token to has no password.
    let operator = String::from_utf8(hub.beside(&["token", "--user", "operator"]).stdout).unwrap();
    assert_eq!(Api::new(hub.address, Some(operator.trim().to_owned())).get("/api/me").status, 200);
    let stolen = set_up(&hub, &token, "operator", PASSWORD);
    assert_eq!((stolen.status, &stolen.body), (400, &taken));
    // Signed in, with an open session: it comes back and is an admin's.
    let mut session = Client::native(&hub, registered.body["access"].as_str().unwrap()).await;
    let made = set_up(&hub, &token, "alice", PASSWORD);
    assert_eq!(made.body["user_id"], "hub:alice");
    admin_of(&hub, &made);
    assert_eq!(before.get("/api/me").body["admin"], true, "at once");
    assert_eq!(session.closed().await.map(|closed| closed.code), Some(4000));
}

#[tokio::test]
async fn it_is_closed_by_any_admin_and_by_time() {
    let mut hub = Hub::start();
    let token = hub.setup_token().unwrap();
    // By the command line, beside the running hub.
    assert!(hub.beside(&["user", "admin", "7"]).status.success());
    refused(&set_up(&hub, &token, "root", PASSWORD));
    assert!(hub.beside(&["user", "admin", "7", "--revoke"]).status.success());
    refused(&set_up(&hub, &token, "root", PASSWORD));
    hub.kill();
    hub.restart();
    let token = hub.setup_token().unwrap();
    // A day later, by the clock that stands in the row.
    let database = hub.database().await;
    let passed = format!("UPDATE hub_setting SET value = '1700000000 {token}' WHERE key = 'setup'");
    database.execute(&passed).await;
    refused(&set_up(&hub, &token, "root", PASSWORD));
    hub.kill();
    hub.restart();
    let another = hub.setup_token().unwrap();
    assert_ne!(another, token);
    refused(&set_up(&hub, &token, "root", PASSWORD));
    // A row that nobody can read is as good as none.
    database.execute("UPDATE hub_setting SET value = 'nonsense' WHERE key = 'setup'").await;
    refused(&set_up(&hub, "nonsense", "root", PASSWORD));
    hub.kill();
    hub.restart();
    admin_of(&hub, &set_up(&hub, &hub.setup_token().unwrap(), "root", PASSWORD));
}

#[test]
fn it_is_made_for_browsers_and_is_rated_as_registration() {
    let options = HubOptions::default().set("server.trusted_proxies", "127.0.0.1/32");
    let options = options.set("limits.registrations_per_hour", 2).set("server.profile", "production");
    let hub = Hub::with(options.set("auth.secret", unique() + &unique()));
    let token = hub.setup_token().unwrap();
    let body = |token: &str| json!({"token": token, "username": "root", "password": PASSWORD}).to_string();
    for _ in 0..2 {
        refused(&nobody(&hub).post_from("203.0.113.7", "/api/setup", &body("guess")));
    }
    let throttled = nobody(&hub).post_from("203.0.113.7", "/api/setup", &body(&token));
    assert_eq!(throttled.status, 429);
    assert!(throttled.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 60);
    // Never in an address: what stands in a query counts for nothing.
    let query = nobody(&hub).post_from("203.0.113.8", &format!("/api/setup?token={token}"), &body("guess"));
    refused(&query);
    let made = nobody(&hub).post_from("203.0.113.9", "/api/setup", &body(&token));
    admin_of(&hub, &made);
    assert!(!hub.log().contains(&token));
}

/// What a bind to all addresses prints can be opened.
#[test]
fn a_hub_that_listens_everywhere_prints_an_address_that_can_be_opened() {
    let hub = Hub::with(HubOptions::default().set("server.bind", "0.0.0.0:0"));
    let (start, port) = ("no admin yet: open http://127.0.0.1:", hub.address.port());
    assert!(hub.said().starts_with(&format!("{start}{port}/admin#setup=")), "{}", hub.said().len());
    assert!(fs::read_to_string(hub.folder().join("log")).unwrap().contains("listening"));
}
