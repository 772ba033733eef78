//! What the docs say is what the hub does: codes in docs/protocol.md, keys in the config, promises in README.

use std::{collections::HashSet, fs, path::Path};

use hubbub::protocol::{CloseCode, ErrorCode};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// All Rust below a folder, without its comments where `comments` is off.
fn sources(folder: &Path, comments: bool, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, comments, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let lines = text.lines().filter(|line| comments || !line.trim_start().starts_with("//"));
            lines.for_each(|line| into.extend([line, "\n"]));
        }
    }
}

/// The rows of a table whose first cell matches.
fn row<'a>(text: &'a str, first: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.starts_with(&format!("| {first} |")));
    line.unwrap_or_else(|| panic!("docs/protocol.md has no row for {first}")).split('|').map(str::trim).collect()
}

#[test]
fn every_error_and_close_code_is_documented_as_it_is_and_used() {
    let protocol = read("docs/protocol.md");
    let mut code = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), false, &mut code);
    for error in ErrorCode::ALL {
        let name = serde_json::to_string(&error).unwrap().replace('"', "`");
        assert_eq!(row(&protocol, &name)[2], error.http_status().to_string(), "{name}");
        let uses = code.matches(&format!("ErrorCode::{error:?}")).count();
        assert!(uses > 0, "{error:?} is used nowhere");
    }
    assert_eq!(ErrorCode::ALL.iter().collect::<HashSet<_>>().len(), ErrorCode::ALL.len());
    for close in CloseCode::ALL {
        let row = row(&protocol, &close.code().to_string());
        assert_eq!(row[2], format!("`{}`", close.reason()));
        assert_eq!(row[3].starts_with("yes"), close.reconnect(), "{close:?}");
        assert!(code.contains(&format!("CloseCode::{close:?}")), "{close:?} is used nowhere");
    }
    let documented =
        protocol.lines().filter(|line| line.starts_with("| `") || line.starts_with("| 1") || line.starts_with("| 4"));
    let http = protocol.split("## HTTP").nth(1).unwrap().lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(documented.count() - http, ErrorCode::ALL.len() + CloseCode::ALL.len(), "a row for no code");
}

#[test]
fn every_promise_has_a_test_that_bears_its_name_and_says_how_it_fails() {
    let readme = read("README.md");
    let mut tests = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), true, &mut tests);
    for promise in ["P1", "P2", "P3", "P4", "P7", "P9", "P10", "P11", "P12"] {
        let row = readme.lines().find(|line| line.starts_with(&format!("| {promise} |"))).expect("a row in README.md");
        for file in row.split("](").skip(1).map(|link| link.split(')').next().unwrap()) {
            let test = read(file);
            let name = promise.to_lowercase();
            let bears = test.lines().any(|line| line.contains("fn ") && line.contains(&format!("{name}_")));
            assert!(bears, "{file} has no test named for {promise}");
        }
        assert!(tests.contains(&format!("({promise}")), "{promise} was never seen to fail");
    }
}

/// The threat model's proofs are there.
#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let page = include_str!("../SECURITY.md");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut proofs = 0;
    for (module, function) in page.split('`').filter_map(|word| word.split_once("::")) {
        let files = [
            tests.join(format!("{module}.rs")),
            tests.join(format!("attacks/{module}.rs")),
            tests.join(format!("mirror/{module}.rs")),
        ];
        let text: String = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
        assert!(!text.is_empty(), "SECURITY.md names {module}, which is no file of tests");
        assert!(text.contains(&format!("fn {function}(")), "SECURITY.md names {module}::{function}, which is no test");
        proofs += 1;
    }
    let threats = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| **")).count() - 1;
    let without = page.lines().filter(|line| line.starts_with("| ") && !line.contains("::")).count();
    assert!(proofs > threats && threats > 20, "{proofs} proofs of {threats} threats");
    assert_eq!(without, 6 + 1, "a threat without a proof: only the headings have none");
}
