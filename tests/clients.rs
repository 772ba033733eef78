//! Clients that are not ours: Python's `websockets` with a token of the real simplejwt, a whole Django project, Schemathesis.
//! scripts/test installs what they need. (Those in JavaScript and in a browser are tests/web.)

use std::process::{Command, Stdio};

use crate::support::{Hub, HubOptions, SECRET, token};

/// Runs one of tests/python with the interpreter that scripts/test has set up.
fn python(script: &str, arguments: &[&str]) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let python = format!("{folder}/.venv/bin/python");
    let output = Command::new(&python)
        .arg(format!("{folder}/python/{script}"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{python}: {error}: run scripts/test once, it installs what is missing"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn python_s_websockets_with_a_token_of_the_real_simplejwt() {
    let hub = Hub::start();
    assert_eq!(python("simplejwt_client.py", &[&hub.address.to_string(), SECRET]).trim(), "ok");
}

/// Django's own tokens, with and without the two lines for names; and the hub's accounts answer as Django's views do.
#[test]
fn a_django_project_with_the_real_simplejwt() {
    for names in ["names", "plain"] {
        let hub = Hub::start();
        assert_eq!(python("django_app.py", &[&hub.address.to_string(), SECRET, names]).trim(), "ok", "{names}");
    }
}

/// Schemathesis makes requests of the OpenAPI document and holds the answers against it, first as a user, then as an admin.
#[test]
fn schemathesis_finds_the_hub_as_its_document_says() {
    let hub = Hub::with(HubOptions::default().unlimited());
    let made = hub.beside(&["user", "admin", "root"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said =
        python("schemathesis_run.py", &[&hub.address.to_string(), &token("alice", "alice"), &token("root", "root")]);
    eprintln!("{said}");
    assert_eq!(said.lines().last(), Some("ok"));
}
