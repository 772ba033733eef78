//! The command line: what can be done without a hub, and how a start that can't be ends.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    process::Output,
};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Api, Hub, HubOptions, free_port};

fn run(folder: &TempDir, options: HubOptions, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Hub::command(folder.path(), &options).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn wrong_settings_are_named_with_their_place_and_end_with_78() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("my.toml"), "[server]\nbind = \"127.0.0.1:0\"\nbnd = 1\n").unwrap();
    for (options, arguments, expected) in [
        (HubOptions::default(), vec!["--config", "my.toml"], "my.toml line 3: unknown key `server.bnd`"),
        (HubOptions::default(), vec!["check-config", "--config", "none.toml"], "none.toml: No such file"),
        (HubOptions::default().set("limits.typo", 1), vec![], "HUBBUB__LIMITS__TYPO: unknown key `limits.typo`"),
        (HubOptions::default().set("server.workers", "two"), vec![], "`server.workers` must be a whole number"),
        (HubOptions::default(), vec!["--profile", "prod"], "--profile: `server.profile` unknown variant `prod`"),
        (HubOptions::default(), vec!["--bind", "nowhere"], "--bind: `server.bind`"),
        (HubOptions::default(), vec!["--profile", "production"], "auth.secret is a known example"),
        (HubOptions::default().set("auth.secret", "short"), vec!["--profile", "production"], "less than 32 bytes"),
        (HubOptions::default().set("auth.secret", ""), vec!["--profile", "production"], "`hubbub secret` makes a new"),
        (HubOptions::default().set("database.url", "mysql://x"), vec![], "`database.url` must be sqlite://PATH or"),
        (
            HubOptions::default().set("database.url", "postgres://hubbub:pa/ss#xyzzy@127.0.0.1/hubbub"),
            vec!["check-config"],
            "database.url: can't be read; it must be postgres://",
        ),
        (
            HubOptions::default().set("database.url", "postgres://hubbub@127.0.0.1/hubbub?pasword=xyzzy"),
            vec![],
            "has a parameter after `?` that is not known",
        ),
        (
            HubOptions::default().set("auth.secret", "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0D\n"),
            vec!["--profile", "production"],
            "auth.secret is a key file",
        ),
        (HubOptions::default().set("auth.secret", "a".repeat(40)), vec!["--profile", "production"], "a few characters"),
        (HubOptions::default().set("limits.heartbeat", "0s"), vec![], "`limits.heartbeat` must be a time from 100ms"),
        (HubOptions::default().set("limits.writer_queue", i64::MAX), vec![], "`limits.writer_queue` must be a number"),
        (HubOptions::default().set("server.workers", 1_000), vec![], "`server.workers` must be at most 512"),
        (HubOptions::default().set("server.stop_timeout", "9years"), vec![], "`server.stop_timeout` must be a time"),
        (HubOptions::default().set("log.level", "gar bage!!=="), vec![], "`log.level` must be a level"),
    ] {
        let (code, out, err) = run(&folder, options, &arguments);
        assert_eq!(code, Some(78), "{arguments:?}: {out}{err}");
        assert!(err.contains(expected), "{arguments:?}: {err}");
        assert!(!err.contains(crate::support::SECRET) && !err.contains("xyzzy"), "the secret is shown");
    }
    assert!(!folder.path().join("data").exists(), "something was made all the same");
}

#[test]
fn commands_that_need_a_database_make_none() {
    let folder = TempDir::new().unwrap();
    for arguments in
        [&["backup", "x.db"][..], &["new-epoch"], &["user", "list"], &["user", "admin", "7"], &["room", "list"]]
    {
        let (code, out, err) = run(&folder, HubOptions::default(), arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(err.contains("data/hubbub.db: no database here yet"), "{err}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was made all the same");
}

#[test]
fn a_variable_that_is_no_text_is_named_and_not_shown() {
    use std::os::unix::ffi::OsStrExt;
    let folder = TempDir::new().unwrap();
    let mut command = Hub::command(folder.path(), &HubOptions::default());
    command.arg("check-config").env("OTHER", std::ffi::OsStr::from_bytes(b"\xff"));
    assert!(command.output().unwrap().status.success(), "another program's variable");
    let mine = command.env("HUBBUB__AUTH__SECRET", std::ffi::OsStr::from_bytes(b"\xffxyzzy")).output().unwrap();
    let err = String::from_utf8(mine.stderr).unwrap();
    assert_eq!(mine.status.code(), Some(78));
    assert!(err.contains("HUBBUB__AUTH__SECRET: `auth.secret` must be UTF-8") && !err.contains("xyzzy"), "{err}");
}

#[test]
fn a_file_beside_and_a_strong_secret_are_taken() {
    let folder = TempDir::new().unwrap();
    let (_, secret, _) = run(&folder, HubOptions::default(), &["secret"]);
    assert!(secret.trim().len() >= 32);
    fs::write(folder.path().join("key"), &secret).unwrap();
    fs::create_dir(folder.path().join("config")).unwrap();
    fs::write(folder.path().join("config/production.toml"), "[auth]\nsecret_file = \"key\"\n").unwrap();
    let options = || HubOptions::default().set("auth.secret", "");
    let (code, out, err) = run(&folder, options(), &["check-config", "--profile", "production"]);
    assert_eq!((code, out.trim()), (Some(0), "the settings are good"), "{err}");
    fs::remove_file(folder.path().join("key")).unwrap();
    let (code, _, err) = run(&folder, options(), &["check-config", "--profile", "production"]);
    assert_eq!((code, err.contains("key: No such file")), (Some(78), true), "{err}");
}

#[test]
fn a_file_that_is_no_database_is_said_and_left_alone() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let file = folder.path().join("data/hubbub.db");
    let content = "this is not a database, it is a letter to my aunt\n".repeat(100);
    fs::write(&file, &content).unwrap();
    let (code, _, err) = run(&folder, HubOptions::default(), &[]);
    assert_eq!(code, Some(1));
    assert!(err.contains("data/hubbub.db: ") && err.contains("file is not a database"), "{err}");
    assert_eq!(fs::read_to_string(&file).unwrap(), content);
}

#[tokio::test]
async fn a_second_process_and_a_taken_port_refuse_to_start() {
    let hub = Hub::with(HubOptions::default().sqlite());
    let again = hub.beside(&[]);
    assert_eq!(again.status.code(), Some(1));
    let err = String::from_utf8(again.stderr).unwrap();
    let named = format!("data/hubbub.db: another hubbub (process {}) uses this database", hub.pid());
    assert!(err.contains(&named), "{err}");
    let other = TempDir::new().unwrap();
    let (code, _, err) = run(&other, HubOptions::default(), &["--bind", &hub.address.to_string()]);
    assert_eq!(code, Some(1));
    assert!(err.contains(&format!("{} is in use", hub.address)) && err.contains("--bind"), "{err}");
    // Neither a link nor a deleted note hides the file.
    std::os::unix::fs::symlink("hubbub.db", hub.folder().join("data/link.db")).unwrap();
    fs::remove_file(hub.folder().join("data/hubbub.db.pid")).unwrap();
    let link = HubOptions::default().set("database.url", "sqlite://data/link.db");
    let again = Hub::command(hub.folder(), &link).output().unwrap();
    assert!(String::from_utf8(again.stderr).unwrap().contains("another hubbub uses this database"));
    // The first one did not mind.
    hub.member("alice", "lobby").await.say("lobby", "hi").await;
}

#[test]
fn migrate_and_token_make_a_database_and_dev_keeps_its_secret_to_itself() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let (code, _, err) = run(&folder, HubOptions::default(), &["migrate"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, token, err) = run(&folder, HubOptions::default(), &["token", "--user", "a", "--lifetime", "5m"]);
    assert_eq!((code, token.trim().split('.').count()), (Some(0), 3), "{err}");
    let (code, _, err) = run(&folder, HubOptions::default(), &["token", "--user", &"x".repeat(200)]);
    assert_eq!((code, err.contains("the name must be")), (Some(1), true));
    let dev = Hub::with(HubOptions::default().sqlite().set("auth.secret", ""));
    let kept = fs::metadata(dev.folder().join("data/secret.key")).unwrap();
    assert_eq!((kept.permissions().mode() & 0o777, kept.len()), (0o600, 48));
    for file in ["hubbub.db", "hubbub.db-wal", "hubbub.db-shm"] {
        let mode = fs::metadata(dev.folder().join("data").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file} can be read by others");
    }
    let (code, _, _) = run(&folder, HubOptions::default(), &["fly"]);
    assert_eq!(code, Some(2));
}

/// What a container's health check runs: the settings say where the hub listens.
#[tokio::test]
async fn health_asks_the_hub_that_runs_and_no_other() {
    // All addresses can be listened on, not asked.
    let hub = Hub::with(HubOptions::default().set("server.bind", "0.0.0.0:0"));
    let (folder, port) = (TempDir::new().unwrap(), hub.address.port());
    // A proxy has nothing to do with it.
    let ask = |bind: String, arguments: &[&str]| {
        let mut command = Hub::command(folder.path(), &HubOptions::default().set("server.bind", bind));
        let output = command.env("http_proxy", "http://127.0.0.1:9").arg("health").args(arguments).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), said)
    };
    for (arguments, says) in [(&[][..], "is live"), (&["--ready"], "is ready")] {
        for bind in [format!("0.0.0.0:{port}"), format!("127.0.0.1:{port}")] {
            assert_eq!(ask(bind, arguments), (Some(0), format!("http://127.0.0.1:{port} {says}\n")));
        }
    }
    let free = free_port();
    let (code, said) = ask(format!("[::]:{free}"), &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("http://[::1]:{free}/health/live does not answer: ")), "{said}");
    let (code, said) = ask("127.0.0.1:0".to_owned(), &[]);
    assert_eq!((code, said.contains("nobody knows where")), (Some(1), true), "{said}");
    // One that takes connections and says nothing, and one that is no hub.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, said) = ask(silent.local_addr().unwrap().to_string(), &["--timeout", "200ms"]);
    assert_eq!((code, said.contains("does not answer: timeout")), (Some(1), true), "{said}");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = other.local_addr().unwrap().to_string();
    let answering = std::thread::spawn(move || {
        let (mut socket, _) = other.accept().unwrap();
        assert!(socket.read(&mut [0; 1_024]).unwrap() > 0);
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    });
    let (code, said) = ask(at, &[]);
    answering.join().unwrap();
    assert_eq!((code, said.contains("/health/live answers 200 OK: hi")), (Some(1), true), "{said}");
}

/// An orchestrator that took the second for the first would restart every hub when the database is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_whose_database_is_away_lives_and_is_not_ready() {
    let options = HubOptions::default().set("database.write_timeout", "500ms").set("server.metrics_token", "scraper");
    let hub = Hub::with(options);
    let database_up = || {
        let metrics = Api::new(hub.address, Some("scraper".into())).get("/metrics").body;
        let value = metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix("hubbub_database_up "));
        value.unwrap().to_owned()
    };
    assert_eq!(database_up(), "1");
    let say = || hub.api("alice").post("/api/rooms/lobby/messages", &json!({"message": "hi"}));
    assert_eq!(say().status, 201);
    let database = hub.database().await;
    database.lock().await;
    assert_eq!(say().refusal(), (503, "unavailable"));
    let bind = hub.address.to_string();
    let health = |arguments: &[&str]| {
        let output = hub.beside(&[&["health", "--bind", &bind], arguments].concat());
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    assert_eq!(health(&[]).0, Some(0));
    let (code, said) = health(&["--ready"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("/health/ready answers 503 Service Unavailable: {") && said.contains("unavailable"),
        "{said}"
    );
    assert_eq!(database_up(), "0");
    database.unlock().await;
    let start = std::time::Instant::now();
    while health(&["--ready"]).0 != Some(0) || database_up() != "1" {
        assert!(start.elapsed() < crate::support::PATIENCE, "it is never ready again");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
