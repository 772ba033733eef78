//! `hubbub copy`: a hub moves from SQLite to PostgreSQL, and nobody notices but by the address of the database.
//!
//! P1 P2 P3 P4 P7 P8 P12: what was acked on SQLite is there with its number, a cursor of before gets what it missed and no
//! reset, a retry of before is no second message, and whoever had no right has none. A copy that was ended halfway, or whose
//! rows came out otherwise, leaves nothing. Seen to fail with the copy broken so (scripts/mutants): a table left out (P7: its
//! line is missing), the next row numbered from one (P3: a new user's is refused), rows not compared (P12: the altered ones
//! pass), each table committed by itself (P1: half of it stays), SQLite's lock not taken (P1: a command writes what is not
//! copied).

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{self, AssertSqlSafe};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Api, Client, Database, Hub, HubOptions, PATIENCE, Postgres, now, signed, unique};

const TABLES: [&str; 9] = [
    "hub_setting",
    "hub_user",
    "hub_room",
    "hub_member",
    "hub_ban",
    "hub_revocation",
    "hub_ticket",
    "hub_audit",
    "hub_message",
];

fn all_of(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap()
}

fn copy(folder: &Path, to: &str) -> Output {
    Hub::command(folder, &HubOptions::default().sqlite()).args(["copy", "--to", to]).output().unwrap()
}

fn refused(output: &Output, code: i32, expected: &str) {
    let said = all_of(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(expected), "{expected:?} is not in {said}");
    assert!(!said.contains("xyzzy"), "the password or a message's text is shown: {said}");
}

fn stop(hub: &mut Hub) {
    hub.signal("TERM");
    assert!(hub.ended(Duration::from_secs(15)).success());
}

/// A folder with the database of a hub that was stopped: `messages` in tea, all of alice, and a member.
async fn moved_out(messages: i64) -> TempDir {
    let folder = TempDir::new().unwrap();
    let migrated = Hub::command(folder.path(), &HubOptions::default().sqlite()).arg("migrate").output().unwrap();
    assert!(migrated.status.success(), "{}", all_of(&migrated));
    let database = source(folder.path()).await;
    let at = "2026-11-22T10:30:00.123456+00:00";
    for sql in [
        format!(
            "INSERT INTO hub_user (id, external_id, name, role, created_at) VALUES (7, 'alice', 'Alice', 'user', '{at}')"
        ),
        format!(
            "INSERT INTO hub_room (id, name, title, kind, last_seq, message_count, epoch, created_at, last_at) \
             VALUES (3, 'tea', 'Tea', 'public', {messages}, {messages}, 'k3Fq', '{at}', '{at}')"
        ),
        format!(
            "INSERT INTO hub_member (room_id, user_id, role, read_seq, joined_at) VALUES (3, 7, 'owner', 1, '{at}')"
        ),
        format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {messages}) INSERT INTO hub_message \
             (room_id, seq, kind, ordinal, user_id, name, client_id, content, created_at) \
             SELECT 3, i, 'message', i, 7, 'Alice', 'c' || i, 'xyzzy ' || i, '{at}' FROM n"
        ),
    ] {
        database.execute(&sql).await;
    }
    close(database).await;
    folder
}

async fn source(folder: &Path) -> Database {
    Database::open(&format!("sqlite://{}", folder.join("data/hubbub.db").display())).await
}

async fn close(database: Database) {
    match database {
        Database::Sqlite(pool) => pool.close().await,
        Database::Postgres(pool) => pool.close().await,
    }
}

/// A server's database with the schema, and nothing in it.
fn migrated(server: &Postgres) -> String {
    let url = server.database();
    let options = HubOptions::default().set("database.url", &url);
    let done = Hub::command(&std::env::temp_dir(), &options).arg("migrate").output().unwrap();
    assert!(done.status.success(), "{}", all_of(&done));
    url
}

async fn assert_empty(target: &Database, why: &str) {
    for table in TABLES {
        assert_eq!(target.number(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}: {why}");
    }
}

/// A trigger of the server's before each row of a table.
async fn trigger(target: &Database, table: &str, body: &str) {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$; \
         CREATE TRIGGER meddle BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION meddle()"
    );
    target.execute(&sql).await;
}

/// All moments of a table's column, in the order of its rows, past the hub and the copy.
async fn moments(database: &Database, sql: &str) -> Vec<DateTime<Utc>> {
    match database {
        Database::Sqlite(pool) => {
            let texts: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
            texts.iter().map(|text| DateTime::parse_from_rfc3339(text).unwrap().to_utc()).collect()
        }
        Database::Postgres(pool) => sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap(),
    }
}

async fn next_message(client: &mut Client, seq: i64) -> Value {
    let event = client.message().await;
    assert_eq!(event["seq"], seq, "P4: {event}");
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_p3_p4_p7_p8_p12_a_hub_that_moves_goes_on_where_it_was() {
    let mut old = Hub::with(HubOptions::default().sqlite());
    let admin = old.admin();
    let nobody = Api::new(old.address, None);
    let credentials = json!({"username": "민지", "password": "correct horse"});
    let registered = nobody.post("/api/register/", &credentials).body;
    let refresh = json!({"refresh": registered["refresh"]});
    let minji = Api::new(old.address, registered["access"].as_str().map(str::to_owned));
    assert_eq!(minji.post("/api/rooms", &json!({"name": "den", "title": "우리 방", "kind": "private"})).status, 201);
    for user in ["alice", "carol"] {
        old.api(user).get("/api/me");
        assert_eq!(minji.put(&format!("/api/rooms/den/members/{user}"), &json!({})).status, 201);
    }
    assert_eq!(minji.put("/api/rooms/den/bans/carol", &json!({"reason": "spam"})).status, 200);
    assert_eq!(old.api("alice").post("/api/rooms", &json!({"name": "tea"})).status, 201);
    let (mut alice, mut bob) = (old.member("alice", "tea").await, old.member("bob", "tea").await);
    let texts = [
        "안녕하세요, 오늘 저녁에 뭐 먹을까요?",
        "C:\\temp\\new \\N \\. \\\\",
        "one\ttwo\nthree\r\nfour\u{8}",
        "{\"a\",NULL,'b'} 👩‍👩‍👧 e\u{301}",
        "NULL",
    ];
    let data = ["null", r#"{"n":1.10,"u":"\u0000\ud83d\ude00","k":"한글"}"#, "[ ]", r#""\\N""#, "0"];
    for (n, (text, data)) in texts.iter().zip(data).enumerate() {
        let (id, data) = (format!("before-{n}"), serde_json::from_str::<Value>(data).unwrap());
        let said = alice.ask(json!({"type": "send", "room": "tea", "message": text, "data": data, "client_id": id}));
        assert_eq!(said.await["seq"], n + 1);
    }
    let raw = format!(r#"{{"message":"raw","data":{}}}"#, data[1]);
    assert_eq!(old.api("alice").post_text("/api/rooms/tea/messages", &raw).status, 201);
    // Bob saw four of ten, and marked two as read; then he lost his connection.
    for seq in 1..=4 {
        next_message(&mut bob, seq).await;
    }
    assert_eq!(bob.ask(json!({"type": "read", "room": "tea", "seq": 2})).await["type"], "ok");
    let epoch = bob.join("tea").await["epoch"].clone();
    bob.cut();
    for n in 7..=10 {
        alice.say("tea", &format!("message {n}")).await;
    }
    old.api("alice").post("/api/rooms/den/messages", &json!({"message": "비밀"}));
    let stolen = signed(&json!({"user_id": "bob", "username": "bob", "exp": now() + 3_600, "jti": "stolen"}));
    assert_eq!(admin.post("/api/admin/users/bob/revoke", &json!({"jti": "stolen"})).status, 200);
    assert_eq!(admin.post("/api/admin/users/dave/disable", &json!({"reason": "spam"})).status, 200);
    assert_eq!(
        admin.post("/api/admin/users/erin/revoke", &json!({"issued_before": "2026-01-01T00:00:00Z"})).status,
        200
    );
    assert_eq!(old.api("bob").post("/api/ws-ticket", &json!({})).status, 200);
    let seen = |hub: &Hub| {
        let (admin, bob) = (hub.api("root"), hub.api("bob"));
        let listed = |command: &str| all_of(&hub.beside(&[command, "list"]));
        let pages = [
            admin.get("/api/rooms/tea/messages?after=0&limit=100"),
            admin.get("/api/rooms/den/messages?after=0&limit=100"),
            admin.get("/api/rooms/den/members"),
            admin.get("/api/rooms/den/bans"),
            admin.get("/api/rooms"),
            admin.get("/api/admin/audit?limit=100"),
            bob.get("/api/me/rooms"),
        ];
        let pages: Vec<_> = pages.into_iter().map(|page| (page.status, page.body)).collect();
        assert!(pages.iter().all(|(status, _)| *status == 200), "{pages:?}");
        (pages, listed("user"), listed("room"))
    };
    let before = seen(&old);
    assert_eq!(before.0[6].1["rooms"][0]["unread"], 8, "{}", before.0[6].1);
    assert!(before.1.contains("hub:민지\t민지\tuser\tpassword") && before.2.contains("den\tprivate\t1\t우리 방"));
    stop(&mut old);
    let was = fs::read(old.database_file()).unwrap();

    // A hub that was only started there has made its keys, and nothing that stands in the way.
    let url = Postgres::shared().database();
    stop(&mut Hub::with(HubOptions::default().set("database.url", &url)));
    let file = old.folder().join("address");
    fs::write(&file, format!("{url}\n")).unwrap();
    let copied = old.beside(&["--profile", "production", "copy", "--to-file", "address"]);
    let said = all_of(&copied);
    assert!(copied.status.success(), "{said}");
    let said_rows = |table: &str| {
        let line = said.lines().find(|line| line.starts_with(&format!("{table} "))).expect("a line for each table");
        line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap()
    };
    let (here, there) = (source(old.folder()).await, Database::open(&url).await);
    for table in TABLES {
        let count = format!("SELECT count(*) FROM {table}");
        let rows = (here.number(&count).await, there.number(&count).await, said_rows(table));
        assert!(rows.0 > 0 && rows == (rows.0, rows.0, rows.0), "{table}: {rows:?}");
    }
    for sql in [
        "SELECT created_at FROM hub_message ORDER BY room_id, seq",
        "SELECT created_at FROM hub_user ORDER BY id",
        "SELECT last_at FROM hub_room WHERE last_at IS NOT NULL ORDER BY id",
        "SELECT joined_at FROM hub_member ORDER BY room_id, user_id",
        "SELECT revoked_before FROM hub_user WHERE revoked_before IS NOT NULL",
        "SELECT expires_at FROM hub_ticket",
    ] {
        let times = moments(&here, sql).await;
        assert_eq!(times, moments(&there, sql).await, "{sql}");
        assert!(!times.is_empty());
    }
    close(here).await;
    assert_eq!(fs::read(old.database_file()).unwrap(), was, "the source was changed");

    let mut new = Hub::with(HubOptions::default().set("database.url", &url));
    assert_eq!(seen(&new), before, "P1 P3 P12: not what it was");
    // P4: what was missed, and no reset.
    let mut bob = new.client("bob").await;
    let joined = bob.ask(json!({"type": "join", "room": "tea", "after": 4, "epoch": epoch})).await;
    assert_eq!((&joined["head"], &joined["replay"], &joined["reset"]), (&json!(10), &json!(6), &Value::Null), "P4");
    for seq in 5..=10 {
        let event = next_message(&mut bob, seq).await;
        let stored = &before.0[0].1["messages"][usize::try_from(seq - 1).unwrap()];
        assert_eq!((&event["message"], &event["data"]), (&stored["message"], &stored["data"]), "P12");
    }
    // P2: a retry of before; then the next number.
    let mut alice = new.member("alice", "tea").await;
    let again = json!({"type": "send", "room": "tea", "message": texts[0], "data": null, "client_id": "before-0"});
    let again = alice.ask(again).await;
    assert_eq!((&again["seq"], &again["repeat"]), (&json!(1), &json!(true)), "P2: {again}");
    assert_eq!(alice.say("tea", "on PostgreSQL").await["seq"], 11, "P3");
    next_message(&mut bob, 11).await;
    // P7, P8: who had no right has none.
    assert_eq!(new.api("carol").get("/api/rooms/den/messages").status, 403, "P7: a ban was lost");
    assert_eq!(new.api("dave").get("/api/me").status, 403, "P8: disabled");
    assert_eq!(Api::new(new.address, Some(stolen)).get("/api/me").status, 401, "P8: revoked");
    let old_token = signed(&json!({"user_id": "erin", "iat": 1_700_000_000, "exp": now() + 600, "jti": unique()}));
    assert_eq!(Api::new(new.address, Some(old_token)).get("/api/me").status, 401, "P8: revoked by time");
    // The account's token and password are good.
    let nobody = Api::new(new.address, None);
    let renewed = nobody.post("/api/token/refresh/", &refresh);
    let minji = Api::new(new.address, renewed.body["access"].as_str().map(str::to_owned));
    assert_eq!(minji.get("/api/me").body["user_id"], "hub:민지", "{renewed:?}");
    assert_eq!(nobody.post("/api/token/", &credentials).status, 200);
    // Who and what is new gets a row of its own.
    let highest = async |table: &str| there.number(&format!("SELECT max(id) FROM {table}")).await;
    let (users, rooms, acts) = (highest("hub_user").await, highest("hub_room").await, highest("hub_audit").await);
    assert_eq!(new.api("newcomer").post("/api/rooms", &json!({"name": "new"})).status, 201);
    assert_eq!(new.api("root").post("/api/admin/users/newcomer/revoke", &json!({})).status, 200);
    let after = (highest("hub_user").await, highest("hub_room").await, highest("hub_audit").await);
    assert_eq!(after, (users + 1, rooms + 1, acts + 1));
    // What has users now is no place to copy to.
    refused(&old.beside(&["copy", "--to", &url]), 1, "another hubbub uses this database; stop it first");
    stop(&mut new);
    refused(&old.beside(&["copy", "--to", &url]), 1, "hub_user has rows already");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_would_lose_something_is_refused() {
    let folder = moved_out(3).await;
    let here = folder.path();
    let run = |options: HubOptions, arguments: &[&str]| Hub::command(here, &options).args(arguments).output().unwrap();
    let sqlite = || HubOptions::default().sqlite();
    let (used, empty) = (Postgres::shared().database(), Postgres::shared().database());
    // The address.
    fs::write(here.join("address"), "postgres://app:xyzzy#/@127.0.0.1/hubbub").unwrap();
    for (arguments, code, expected) in [
        (&["copy"][..], 2, "--to"),
        (&["copy", "--to", "x", "--to-file", "y"], 2, "cannot be used with"),
        (&["copy", "--to", "sqlite://other.db"], 78, "--to: `database.url` must be postgres://"),
        (&["copy", "--to", "mysql://app:xyzzy@127.0.0.1/hubbub"], 78, "--to: `database.url` must be postgres://"),
        (&["copy", "--to-file", "none"], 78, "--to-file: none: No such file"),
        (&["copy", "--to-file", "address"], 78, "--to-file: `database.url` can't be read"),
        (
            &["copy", "--to", "postgres://app:xyzzy@127.0.0.1:1/hubbub"],
            1,
            "postgres://127.0.0.1:1/hubbub: the database",
        ),
    ] {
        refused(&run(sqlite(), arguments), code, expected);
    }
    let none = HubOptions::default().set("database.url", "sqlite://data/none.db");
    refused(&run(none, &["copy", "--to", &empty]), 1, "data/none.db: run this in the hub's folder");
    assert!(!here.join("data/none.db").exists());
    // What a start in the wrong folder makes: a schema, and nobody.
    let nobody = HubOptions::default().set("database.url", "sqlite://data/nobody.db");
    assert!(run(nobody.clone(), &["migrate"]).status.success());
    refused(&run(nobody, &["copy", "--to", &empty]), 1, "data/nobody.db: nobody was ever here");
    let moved = HubOptions::default().set("database.url", &used);
    refused(&run(moved.clone(), &["copy", "--to", &empty]), 1, "the hub is on PostgreSQL already");
    // Another program's file, and another version's.
    fs::write(here.join("data/foreign.db"), "").unwrap();
    let foreign = HubOptions::default().set("database.url", "sqlite://data/foreign.db");
    refused(&run(foreign, &["copy", "--to", &empty]), 1, "data/foreign.db: its schema is not this version's");
    let database = source(here).await;
    database.execute("CREATE TABLE kept AS SELECT * FROM hub_migration").await;
    for change in [
        "DELETE FROM hub_migration WHERE version = (SELECT max(version) FROM hub_migration)",
        "INSERT INTO hub_migration SELECT * FROM kept; INSERT INTO hub_migration VALUES ('m29991231_000001_later', 1)",
    ] {
        database.execute(change).await;
        refused(&copy(here, &empty), 1, "data/hubbub.db: its schema is not this version's");
        database.execute("DELETE FROM hub_migration").await;
    }
    database.execute("INSERT INTO hub_migration SELECT * FROM kept; DROP TABLE kept").await;
    close(database).await;
    assert_eq!(
        Database::open(&empty).await.number("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'hub%'").await,
        0
    );
    // A hub on the target, running and stopped; its rows stay as they are.
    let mut hub = Hub::with(moved);
    refused(&copy(here, &used), 1, "another hubbub uses this database; stop it first");
    hub.member("bob", "lobby").await.say("lobby", "hi").await;
    stop(&mut hub);
    refused(&copy(here, &used), 1, "hub_user has rows already: the copy needs a database without a hub's data");
    hub.restart();
    assert_eq!(hub.api("bob").get("/api/rooms/lobby/messages").body["messages"][0]["message"], "hi");
    // A hub on the source.
    let mut hub = Hub::command(here, &sqlite()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut listens = String::new();
    BufReader::new(hub.stdout.take().unwrap()).read_line(&mut listens).unwrap();
    assert!(listens.starts_with("hubbub listens on"), "{listens}");
    refused(&copy(here, &empty), 1, &format!("data/hubbub.db: another hubbub (process {}) uses", hub.id()));
    hub.kill().unwrap();
    hub.wait().unwrap();
    // One that was killed has left what it wrote in SQLite's log, its keys: they are copied too.
    assert!(fs::metadata(here.join("data/hubbub.db-wal")).unwrap().len() > 0);
    let copied = copy(here, &empty);
    assert!(copied.status.success(), "{}", all_of(&copied));
    let there = Database::open(&empty).await;
    let keys = "SELECT group_concat(key || value) FROM (SELECT * FROM hub_setting ORDER BY key)";
    let copied = "SELECT string_agg(key || value, ',' ORDER BY key) FROM hub_setting";
    assert_eq!(there.text(copied).await, source(here).await.text(keys).await);
    assert_eq!(there.messages("tea").await.len(), 3);
    assert_eq!(there.messages("tea").await, source(here).await.messages("tea").await, "P1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_ended_halfway_leaves_nothing_and_is_run_again() {
    let folder = moved_out(12_000).await;
    let file = folder.path().join("data/hubbub.db");
    let was = fs::read(&file).unwrap();
    let mut server = Postgres::start(&[]);
    let url = migrated(&server);
    // The last page never comes to an end by itself, or not soon.
    let slow = "IF NEW.seq = 12000 THEN PERFORM pg_sleep(3); END IF; RETURN NEW;";
    trigger(&Database::open(&url).await, "hub_message", slow).await;
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let halfway = |server: &Postgres| {
        let options = HubOptions::default().sqlite();
        let mut command = Hub::command(folder.path(), &options);
        let child = command.args(["copy", "--to", &url]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        while server.sql(sleeps) != "1" {
            assert!(start.elapsed() < PATIENCE, "it never comes to the last row");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    };
    // Ctrl-C, kill -9; a command beside it can't write what would not be copied.
    for signal in ["INT", "KILL"] {
        let mut child = halfway(&server);
        let options = HubOptions::default().sqlite();
        let beside = Hub::command(folder.path(), &options).args(["user", "admin", "alice"]).output().unwrap();
        refused(&beside, 1, "database is locked");
        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(sent.success() && !child.wait().unwrap().success());
        assert_empty(&Database::open(&url).await, signal).await;
    }
    // The server is killed.
    let child = halfway(&server);
    server.kill();
    let ended = child.wait_with_output().unwrap();
    refused(&ended, 1, "nothing was copied, and the same command can be run again");
    server.start_again();
    let there = Database::open(&url).await;
    assert_empty(&there, "after a crash of the server").await;
    assert_eq!(fs::read(&file).unwrap(), was, "the source was changed");
    // All of it passes with the same command, also where the server is set up for short transactions.
    let database = url.rsplit('/').next().unwrap();
    for setting in ["statement_timeout", "idle_in_transaction_session_timeout"] {
        server.sql(&format!("ALTER DATABASE {database} SET {setting} = '500ms'"));
    }
    let copied = copy(folder.path(), &url);
    assert!(copied.status.success(), "{}", all_of(&copied));
    assert!(all_of(&copied).contains("hub_message: 12000 of 12000 rows copied\n"), "{}", all_of(&copied));
    assert_eq!(there.number("SELECT count(*) FROM hub_message WHERE content = 'xyzzy ' || seq").await, 12_000);
    assert_eq!(fs::read(&file).unwrap(), was, "the source was changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_out_otherwise_or_is_not_taken_is_named_and_nothing_stays() {
    let folder = moved_out(6_000).await;
    let url = migrated(Postgres::shared());
    let there = Database::open(&url).await;
    let differs = "this row is not the same on both sides";
    for (table, meddling, expected) in [
        ("hub_message", "IF NEW.seq = 5500 THEN NEW.content := upper(NEW.content); END IF; RETURN NEW;", "seq 5500"),
        ("hub_message", "IF NEW.seq = 6000 THEN RETURN NULL; END IF; RETURN NEW;", "room_id 3, seq 6000"),
        ("hub_message", "IF NEW.seq = 17 THEN NEW.client_id := NULL; END IF; RETURN NEW;", "room_id 3, seq 17"),
        (
            "hub_message",
            "IF NEW.seq = 6000 THEN INSERT INTO hub_message SELECT 3, 6001, 'message', NULL, NULL, 7, '', NULL, '', NULL, now(); \
             END IF; RETURN NEW;",
            "seq 6001",
        ),
        ("hub_user", "NEW.created_at := NEW.created_at + interval '1 microsecond'; RETURN NEW;", "hub_user, id 7"),
        ("hub_room", "NEW.last_seq := NEW.last_seq - 1; RETURN NEW;", "hub_room, id 3"),
        ("hub_member", "RETURN NULL;", "hub_member, room_id 3, user_id 7"),
    ] {
        trigger(&there, table, meddling).await;
        let output = copy(folder.path(), &url);
        refused(&output, 1, differs);
        refused(&output, 1, expected);
        assert_empty(&there, meddling).await;
        there.execute(&format!("DROP TRIGGER meddle ON {table}")).await;
    }
    // What PostgreSQL does not take, and what nobody can read.
    let database = source(folder.path()).await;
    database.execute("UPDATE hub_message SET content = 'xyzzy' || char(0) WHERE seq = 5501").await;
    refused(
        &copy(folder.path(), &url),
        1,
        "hub_message, room_id 3, seq 5501: PostgreSQL refuses this row: a text has U+0000",
    );
    database.execute("UPDATE hub_message SET content = CAST(x'ff' AS TEXT) WHERE seq = 5501").await;
    refused(&copy(folder.path(), &url), 1, "hub_message, room_id 3, seq 5501: this row can't be read");
    database.execute("UPDATE hub_message SET content = '' WHERE seq = 5501").await;
    database.execute("UPDATE hub_room SET created_at = 'xyzzy'").await;
    refused(&copy(folder.path(), &url), 1, "hub_room, id 3: this row can't be read");
    database.execute("UPDATE hub_room SET created_at = '0000-01-01T00:00:00+00:00'").await;
    close(database).await;
    trigger(&there, "hub_message", "IF NEW.seq = 4711 THEN RAISE 'no %', NEW.content; END IF; RETURN NEW;").await;
    refused(
        &copy(folder.path(), &url),
        1,
        "hub_message, room_id 3, seq 4711: PostgreSQL refuses this row: error P0001",
    );
    assert_empty(&there, "refused").await;
    there.execute("DROP TRIGGER meddle ON hub_message").await;
    // With nothing in the way all of it passes, the year 0 too.
    let copied = copy(folder.path(), &url);
    assert!(copied.status.success(), "{}", all_of(&copied));
    assert_eq!(there.number("SELECT count(*) FROM hub_message").await, 6_000);
    assert_eq!(there.number("SELECT nextval(pg_get_serial_sequence('hub_user', 'id'))").await, 8);
    assert_eq!(there.number("SELECT nextval(pg_get_serial_sequence('hub_audit', 'id'))").await, 1);
}
