//! What is in deploy/ for those who watch over a hub, against a hub that runs: names of metrics and labels, the board, the
//! runbooks that alerts point to, and the unit's walls, which leave the hub what it needs. scripts/deploy-check has the rest.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::support::{Api, Client, Hub, HubOptions, Redis, on_postgres, token};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn board() -> Value {
    serde_json::from_str(&read("deploy/grafana/hubbub.json")).unwrap()
}

/// Each panel that is no heading of a row.
fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
}

fn queries(panel: &Value) -> Vec<&str> {
    panel["targets"].as_array().unwrap().iter().map(|target| target["expr"].as_str().unwrap()).collect()
}

/// What a hub serves: names of samples, and its labels with their values.
struct Served {
    names: BTreeSet<String>,
    labels: BTreeSet<(String, String)>,
}

impl Served {
    fn by_a_hub() -> Self {
        let hub = Hub::with(HubOptions::default().set("server.metrics_token", "scraper"));
        let metrics = Api::new(hub.address, Some("scraper".into())).get("/metrics").body;
        let samples = metrics.as_str().unwrap().lines().filter(|line| !line.starts_with('#'));
        let (mut names, mut labels) = (BTreeSet::new(), BTreeSet::new());
        for sample in samples {
            names.insert(sample.split(['{', ' ']).next().unwrap().to_owned());
            labels.extend(selectors(sample));
        }
        Self { names, labels }
    }

    fn has_label(&self, name: &str) -> bool {
        // Prometheus' own, and what HubbubQueueFilling makes.
        ["job", "instance", "queue"].contains(&name) || self.labels.iter().any(|(label, _)| label == name)
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Words of a text that begin so.
fn words(text: &str, start: &str) -> BTreeSet<String> {
    text.split(|c| !is_name(c)).filter(|word| word.starts_with(start)).map(str::to_owned).collect()
}

/// The labels that stand in braces after a metric's name, with their values; those of `=~` one by one.
fn selectors(text: &str) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for (at, _) in text.match_indices('{') {
        if !text[..at].ends_with(is_name) {
            continue;
        }
        for pair in text[at + 1..].split('}').next().unwrap().split(',') {
            let (name, value) = pair.split_once('=').unwrap_or_else(|| panic!("no label: {pair} in {text}"));
            let value = value.trim_start_matches('~').trim().trim_matches('"');
            all.extend(value.split('|').map(|value| (name.trim().trim_end_matches('!').to_owned(), value.to_owned())));
        }
    }
    all
}

/// Labels that a query groups by, or an annotation or a legend shows.
fn grouped(text: &str) -> BTreeSet<String> {
    let lists = ["by (", "on (", "ignoring ("].into_iter().flat_map(|word| text.split(word).skip(1));
    let lists = lists.flat_map(|rest| rest.split(')').next().unwrap().split(','));
    let shown = text.split("$labels.").skip(1).map(|rest| rest.split(|c| !is_name(c)).next().unwrap());
    lists.chain(shown).map(|name| name.trim().to_owned()).collect()
}

#[test]
fn alerts_their_tests_and_the_board_name_what_a_hub_serves() {
    let served = Served::by_a_hub();
    let board = board();
    let expressions: Vec<&str> = panels(&board).flat_map(queries).collect();
    let expressions = expressions.join("\n");
    let legends = panels(&board).flat_map(|panel| panel["targets"].as_array().unwrap());
    let legends = legends.flat_map(|target| target["legendFormat"].as_str().unwrap().split("{{").skip(1));
    let legends: Vec<&str> = legends.map(|rest| rest.split("}}").next().unwrap()).collect();
    let variables = board["templating"].to_string();
    let (alerts, tests) = (read("deploy/prometheus/alerts.yml"), read("deploy/prometheus/alerts.test.yml"));
    for (place, text) in [("alerts.yml", &alerts), ("alerts.test.yml", &tests), ("the board", &expressions)] {
        let names = words(text, "hubbub_");
        assert!(names.len() > 10, "{place} has only {names:?}");
        for name in names {
            assert!(served.names.contains(&name), "{place}: no hub serves {name}");
        }
        for (name, value) in selectors(text) {
            assert!(served.has_label(&name), "{place}: {name} is no label");
            let known = served.labels.contains(&(name.clone(), value.clone()));
            assert!(known || !["code", "name"].contains(&name.as_str()), "{place}: no {name} is {value}");
        }
        for name in grouped(text) {
            assert!(served.has_label(&name), "{place}: {name} is no label");
        }
    }
    for name in legends {
        assert!(served.has_label(name), "the board: {name} is no label");
    }
    assert!(words(&variables, "hubbub_").iter().all(|name| served.names.contains(name)), "{variables}");
}

#[test]
fn every_bounded_number_stands_on_the_board_beside_its_bound() {
    let (board, docs) = (board(), read("docs/operations.md"));
    let mut rows = 0;
    for row in docs.lines().filter(|line| line.starts_with("| `hubbub_") && line.contains("bound: `limits.")) {
        let name = row.split('`').nth(1).unwrap();
        let bounds: Vec<String> =
            row.split("`limits.").skip(1).map(|rest| rest.split('`').next().unwrap().into()).collect();
        let shown = panels(&board).map(|panel| queries(panel).join("\n")).any(|shown| {
            shown.contains(&format!("{name}{{"))
                && bounds.iter().all(|bound| selectors(&shown).contains(&("name".into(), bound.clone())))
        });
        assert!(shown, "the board has no panel with {name} and {bounds:?}");
        rows += 1;
    }
    assert!(rows >= 9, "{rows} numbers with a bound");
    // What has none is there too.
    let shown = panels(&board).flat_map(queries).flat_map(|query| words(query, "hubbub_")).collect::<BTreeSet<_>>();
    for name in docs.lines().filter(|line| line.starts_with("| `hubbub_")).map(|row| row.split('`').nth(1).unwrap()) {
        let there = ["", "_total", "_info", "_bucket", "_count"]
            .iter()
            .any(|ending| shown.contains(&format!("{name}{ending}")));
        assert!(there, "{name} is not on the board");
    }
}

#[test]
fn the_board_is_whole() {
    let board = board();
    let all = board["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "two panels have the same id");
    let place = |panel: &Value| ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
    for (n, panel) in all.iter().enumerate() {
        let title = &panel["title"];
        let [x, y, w, h] = place(panel);
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} does not fit");
        for other in &all[n + 1..] {
            let [left, top, width, height] = place(other);
            let apart = x + w <= left || left + width <= x || y + h <= top || top + height <= y;
            assert!(apart, "{title} and {} overlap", other["title"]);
        }
    }
    let variables: Vec<&str> =
        board["templating"]["list"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "node"]);
    for panel in panels(&board) {
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{} says nothing of itself", panel["title"]);
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            assert!(target["expr"].as_str().unwrap().contains("\"$node\""), "{}: of all nodes", panel["title"]);
        }
    }
}

/// As it is made of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().chars().filter(|c| is_name(*c) || " -".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

#[test]
fn every_alert_has_words_for_people_and_a_runbook_that_is_there() {
    let (alerts, docs) = (read("deploy/prometheus/alerts.yml"), read("docs/operations.md"));
    let headings: BTreeSet<String> = docs
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|rest| anchor(rest.trim_start_matches('#').trim()))
        .collect();
    let rules: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    assert!(rules.len() >= 15, "{} alerts", rules.len());
    for rule in &rules {
        let name = rule.lines().next().unwrap();
        for key in ["severity: ", "summary: ", "description: "] {
            assert!(rule.contains(key), "{name} has no {key}");
        }
        let runbook =
            rule.split("runbook_url: docs/operations.md#").nth(1).unwrap_or_else(|| panic!("{name}: no runbook"));
        let runbook = runbook.lines().next().unwrap();
        assert!(headings.contains(runbook), "{name}: docs/operations.md has no heading {runbook}");
        let row = docs.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/operations.md does not explain {name}"));
        assert!(row.contains(&format!("](#{runbook})")), "{name}: the table leads elsewhere than {runbook}");
    }
    let rows = docs.lines().filter(|line| line.starts_with("| `Hubbub")).count();
    assert_eq!(rows, rules.len(), "docs/operations.md explains an alert that is none");
}

/// The names of a set of systemd's, with those of the sets in it.
fn calls(set: &str) -> BTreeSet<String> {
    let output = Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", set]).output();
    let output = output.expect("systemd-analyze, which scripts/test installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).unwrap();
    let names = listed.lines().skip(1).map(str::trim).filter(|name| !name.starts_with('#') && !name.is_empty());
    names.flat_map(|name| if name.starts_with('@') { calls(name) } else { [name.to_owned()].into() }).collect()
}

/// The values of a key of the unit.
fn unit(key: &str) -> Vec<String> {
    let unit = read("deploy/systemd/hubbub.service");
    let values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

/// All that a hub does in its life, with every call to the system written down: none is among those that
/// deploy/systemd/hubbub.service forbids, which would fail there and nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_unit_s_walls_leave_the_hub_what_it_needs() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let path = trace.path().to_str().unwrap().to_owned();
    // -D: the hub is the test's own child, which gets the signal.
    let strace = ["strace", "-D", "-f", "-qq", "-s", "0", "-e", "signal=none", "-o", &path];
    let mut options = HubOptions::default().run_by(&strace).set("server.metrics_token", "scraper");
    if on_postgres() {
        options = options.set("redis.url", Redis::shared().url());
    }
    let mut hub = Hub::with(options);
    let account = json!({"username": "carol", "password": "correct horse battery"});
    let api = Api::new(hub.address, None);
    assert_eq!(api.post("/api/register/", &account).status, 201);
    assert_eq!(api.post("/api/token/", &account).status, 200);
    let mut alice = hub.member("alice", "tea").await;
    let mut plain = Client::plain(&hub, "&room=tea", &token("bob", "bob")).await;
    assert_eq!(alice.say("tea", "hi").await["seq"], 1);
    assert_eq!(plain.next().await["message"], "hi");
    assert_eq!(hub.api("alice").get("/api/rooms/tea/messages").body["head"], 1);
    assert_eq!(api.get("/health/ready").status, 200);
    assert_eq!(Api::new(hub.address, Some("scraper".into())).get("/metrics").status, 200);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    hub.signal("TERM");
    assert!(hub.ended(crate::support::PATIENCE).success());
    // strace may have some lines left to write.
    let end = std::time::Instant::now() + Duration::from_secs(5);
    let mut lines = String::new();
    while !lines.contains(" exit_group(0") {
        assert!(
            std::time::Instant::now() < end,
            "strace does not end: {}",
            &lines[lines.len().saturating_sub(2_000)..]
        );
        std::thread::sleep(Duration::from_millis(20));
        lines = fs::read_to_string(&path).unwrap();
    }

    let filters = unit("SystemCallFilter");
    let mut allowed = calls("@default");
    for filter in &filters {
        match filter.strip_prefix('~') {
            Some(sets) => allowed = &allowed - &sets.split(' ').flat_map(calls).collect(),
            None => allowed.extend(filter.split(' ').flat_map(calls)),
        }
    }
    assert!(filters.len() >= 2 && !allowed.contains("mount") && !allowed.contains("setpriority"), "{filters:?}");
    let families = unit("RestrictAddressFamilies").concat();
    let own =
        |path: &str| !path.starts_with('/') || path.starts_with(hub.folder().to_str().unwrap()) || path == "/dev/null";
    let mut seen = BTreeSet::new();
    for line in lines.lines() {
        let call = line.split_once(' ').unwrap().1.trim_start();
        let Some((name, arguments)) = call.split_once('(').filter(|(name, _)| name.chars().all(is_name)) else {
            continue;
        };
        seen.insert(name.to_owned());
        // By SQLite, where the hub is root, which the unit's user is not.
        let as_root = name == "fchown" && arguments.contains(", 0, 0)");
        assert!(as_root || allowed.contains(name), "SystemCallFilter forbids {call}");
        match name {
            "socket" | "socketpair" => {
                let family = arguments.split(',').next().unwrap();
                assert!(families.split(' ').any(|allowed| allowed == family), "RestrictAddressFamilies forbids {call}");
            }
            "mmap" => {
                let both = call.contains("PROT_WRITE") && call.contains("PROT_EXEC");
                assert!(!both, "MemoryDenyWriteExecute forbids {call}");
            }
            "mprotect" | "pkey_mprotect" => {
                assert!(!call.contains("PROT_EXEC"), "MemoryDenyWriteExecute forbids {call}");
            }
            "openat" | "open" | "creat" if ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|mode| call.contains(mode)) => {
                assert!(own(call.split('"').nth(1).unwrap()), "ProtectSystem forbids {call}");
            }
            _ => assert!(!call.contains("CLONE_NEW"), "RestrictNamespaces forbids {call}"),
        }
    }
    assert!(["accept4", "openat", "clone3", "mmap", "prlimit64"].iter().all(|name| seen.contains(*name)), "{seen:?}");
}
