//! The OpenAPI document against the running hub: it has every route and no other; each of its operations is called, and
//! every answer is one that it describes, with no field that it does not.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use crate::support::{Answer, Api, Hub, HubOptions, on_postgres};

/// The document, and which of its answers were seen.
struct Contract {
    document: Value,
    seen: BTreeSet<(String, String)>,
    validators: HashMap<String, jsonschema::Validator>,
}

/// An object may have the fields that are described, and no others.
fn strict(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".into(), json!(false));
            }
            fields.values_mut().for_each(strict);
        }
        Value::Array(list) => list.iter_mut().for_each(strict),
        _ => {}
    }
}

impl Contract {
    fn of(hub: &Hub) -> Self {
        let document = Api::new(hub.address, None).get("/api/openapi.json").body;
        Self { document, seen: BTreeSet::new(), validators: HashMap::new() }
    }

    fn operations(&self) -> BTreeSet<(String, String)> {
        let each = |(path, methods): (&String, &Value)| {
            let path = path.clone();
            let methods: Vec<_> = methods.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
            methods.into_iter().map(move |method| (method, path.clone()))
        };
        self.document["paths"].as_object().unwrap().iter().flat_map(each).collect()
    }

    fn answers(&self, method: &str, path: &str) -> Map<String, Value> {
        self.document["paths"][path][method.to_lowercase()]["responses"].as_object().unwrap().clone()
    }

    /// Holds an answer against what the document says of this operation.
    fn check(&mut self, method: &str, path: &str, answer: &Answer) {
        let (operation, status) = (format!("{method} {path}"), answer.status.to_string());
        let answers = self.answers(method, path);
        let mut described = answers.get(&status).unwrap_or_else(|| panic!("{operation}: {status} is not described"));
        if let Some(name) = described["$ref"].as_str() {
            described = &self.document["components"]["responses"][name.rsplit('/').next().unwrap()];
        }
        self.check_headers(&operation, described, answer);
        if let Some(schema) = described["content"]["application/json"].get("schema") {
            let mut whole =
                json!({"allOf": [schema], "components": {"schemas": self.document["components"]["schemas"]}});
            let validator = self.validators.entry(format!("{operation} {status}")).or_insert_with(|| {
                strict(&mut whole);
                jsonschema::validator_for(&whole).unwrap()
            });
            let faults: Vec<_> = validator.iter_errors(&answer.body).map(|fault| fault.to_string()).collect();
            assert!(faults.is_empty(), "{operation} {status}: {faults:?} in {}", answer.body);
        } else if described["content"].is_null() {
            assert_eq!(answer.body, "", "{operation} {status}: a body that is not described");
        }
        self.seen.insert((operation, status));
    }

    /// Described headers hold numbers, and a refusal for a time has them all; the rate is told nowhere unsaid.
    fn check_headers(&self, operation: &str, described: &Value, answer: &Answer) {
        let mut names: Vec<_> = described["headers"].as_object().into_iter().flat_map(Map::keys).collect();
        for name in &names {
            assert!(self.document["components"]["headers"][*name].is_object(), "{operation}: {name} is not described");
            let number = answer.headers.get(name.as_str()).map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
            assert!(answer.status != 429 || number.is_some(), "{operation}: 429 without {name}");
        }
        names.retain(|name| name.starts_with("X-RateLimit"));
        let told = answer.headers.contains_key("x-ratelimit-limit");
        assert!(!told || answer.status >= 400 || names.len() == 3, "{operation} {}: an unsaid rate", answer.status);
    }

    /// What needs a token, with paths that could be.
    fn with_token(&self) -> Vec<(String, String, String)> {
        let operations = self.operations().into_iter();
        let open =
            |path: &str, method: &str| self.document["paths"][path][method.to_lowercase()]["security"].is_array();
        let operations = operations.filter(|(method, path)| !open(path, method));
        operations
            .map(|(method, path)| (filled(&path), method, path))
            .map(|(at, method, path)| (method, path, at))
            .collect()
    }

    /// Calls an operation and checks its answer.
    fn call(&mut self, api: &Api, call: (&str, &str), filled: &str, body: Option<Value>) -> Answer {
        let (method, path) = call;
        let text = body.map(|body| body.to_string());
        let answer = api.call(method, filled, text.as_deref().map(|text| ("application/json", text)));
        self.check(method, path, &answer);
        answer
    }
}

fn filled(path: &str) -> String {
    path.replace("{room}", "lobby").replace("{user_id}", "alice").replace("{session}", "0123456789abcdef")
}

#[test]
fn the_document_has_every_route_and_no_other() {
    let hub = Hub::start();
    let routes: BTreeSet<_> =
        hubbub::http::operations().into_iter().map(|(method, path)| (method.to_string(), path.to_owned())).collect();
    let contract = Contract::of(&hub);
    assert_eq!(contract.operations(), routes);
    // Each route is really there, and each operation has a name of its own and says which errors it has.
    let mut names = BTreeSet::new();
    for (method, path) in contract.operations() {
        let body = (method != "GET" && method != "DELETE").then_some(("application/json", "{}"));
        let answer = hub.api("alice").call(&method, &filled(&path), body);
        assert_ne!(answer.refusal(), (404, "not_found"), "{method} {path}");
        assert!(names.insert(contract.document["paths"][&path][method.to_lowercase()]["operationId"].to_string()));
    }
}

#[test]
fn its_error_codes_are_the_hub_s() {
    let document = Contract::of(&Hub::start()).document;
    let listed =
        document["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"].clone();
    let known: Vec<_> = hubbub::protocol::ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(listed, json!(known));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_called_and_answers_as_it_is_described() {
    let options = HubOptions::default().unlimited().set("server.metrics_token", "a token for the scraper");
    let hub = Hub::with(options.set("rooms.auto_create", false).set("limits.revoked_tokens", 1));
    let mut contract = Contract::of(&hub);
    let (alice, nobody) = (hub.api("alice"), Api::new(hub.address, None));
    let room = "/api/rooms/{room}";
    let c = &mut contract;

    // The first admin.
    let mut first = json!({"token": "not the one", "username": "first", "password": "correct horse"});
    c.call(&nobody, ("POST", "/api/setup"), "/api/setup", Some(first.clone()));
    c.call(&nobody, ("POST", "/api/setup"), "/api/setup", Some(json!({"token": 1})));
    c.call(&nobody, ("POST", "/api/setup"), "/api/setup", Some(json!([])));
    first["token"] = json!(hub.setup_token().unwrap());
    c.call(&nobody, ("POST", "/api/setup"), "/api/setup", Some(first.clone()));
    c.call(&nobody, ("POST", "/api/setup"), "/api/setup", Some(first));
    let root = hub.admin();

    // Users and rooms.
    c.call(&alice, ("GET", "/api/me"), "/api/me", None);
    c.call(&nobody, ("GET", "/api/me"), "/api/me", None);
    for (body, _) in [
        (json!({"name": "tea", "title": "Tea", "kind": "private"}), 201),
        (json!({"name": "tea"}), 409),
        (json!({"name": "no name"}), 400),
        (json!({"name": "#x"}), 403),
        (json!({"name": "x".repeat(70_000)}), 413),
    ] {
        c.call(&alice, ("POST", "/api/rooms"), "/api/rooms", Some(body));
    }
    let mut member = hub.member("alice", "tea").await;
    for query in ["", "?limit=1&after=a", "?limit=0"] {
        c.call(&alice, ("GET", "/api/rooms"), &format!("/api/rooms{query}"), None);
        c.call(&alice, ("GET", "/api/me/rooms"), &format!("/api/me/rooms{query}"), None);
    }
    c.call(&alice, ("GET", room), "/api/rooms/tea", None);
    c.call(&alice, ("GET", room), "/api/rooms/none", None);
    c.call(&alice, ("PATCH", room), "/api/rooms/tea", Some(json!({"title": "Green tea"})));
    c.call(&alice, ("PATCH", room), "/api/rooms/tea", Some(json!({"title": ""})));
    c.call(&hub.api("bob"), ("PATCH", room), "/api/rooms/tea", Some(json!({"title": "Mine"})));

    // Messages.
    let messages = "/api/rooms/{room}/messages";
    let at = "/api/rooms/tea/messages";
    for body in [
        json!({"message": "hi", "client_id": "a", "data": {"x": [1, null]}}),
        json!({"message": "hi", "client_id": "a", "data": {"x": [1, null]}}),
        json!({"message": "ho", "client_id": "a"}),
        json!({"message": " "}),
        json!({"message": "x".repeat(4_001)}),
        json!({"message": "hi", "as_user": "bob"}),
    ] {
        c.call(&alice, ("POST", messages), at, Some(body));
    }
    c.call(&root, ("POST", messages), at, Some(json!({"message": "hi", "as_user": "new user"})));
    c.call(&root, ("POST", messages), at, Some(json!({"message": "hi", "as_user": "hub:nobody"})));
    for query in ["", "?after=0&limit=1", "?before=2", "?around=1", "?after=x", "?after=1&before=2"] {
        c.call(&alice, ("GET", messages), &format!("{at}{query}"), None);
    }
    c.call(&hub.api("bob"), ("GET", messages), at, None);
    c.call(&alice, ("PUT", "/api/rooms/{room}/read"), "/api/rooms/tea/read", Some(json!({"seq": 1})));
    c.call(&alice, ("PUT", "/api/rooms/{room}/read"), "/api/rooms/tea/read", Some(json!({"seq": -1})));
    c.call(&alice, ("GET", "/api/me/rooms"), "/api/me/rooms", None);
    c.call(&alice, ("GET", "/api/rooms/{room}/presence"), "/api/rooms/tea/presence", None);
    c.call(&hub.api("bob"), ("GET", "/api/rooms/{room}/presence"), "/api/rooms/tea/presence", None);

    // Members.
    let one = "/api/rooms/{room}/members/{user_id}";
    let bob = "/api/rooms/tea/members/bob";
    c.call(&alice, ("PUT", one), bob, None);
    c.call(&alice, ("PUT", one), bob, Some(json!({"role": "moderator"})));
    c.call(&alice, ("PUT", one), bob, Some(json!({"role": "king"})));
    c.call(&alice, ("PUT", one), "/api/rooms/tea/members/alice", Some(json!({"role": "member"})));
    c.call(&alice, ("PUT", one), "/api/rooms/tea/members/hub:nobody", Some(json!({})));
    c.call(&hub.api("bob"), ("PUT", one), "/api/rooms/tea/members/x", Some(json!({"role": "owner"})));
    for query in ["", "?limit=1", "?after=%07"] {
        let filled = format!("/api/rooms/tea/members{query}");
        c.call(&alice, ("GET", "/api/rooms/{room}/members"), &filled, None);
    }
    c.call(&alice, ("DELETE", one), "/api/rooms/tea/members/alice", None);
    c.call(&hub.api("bob"), ("DELETE", one), "/api/rooms/tea/members/alice", None);
    c.call(&alice, ("DELETE", one), bob, None);
    c.call(&hub.api("stranger"), ("DELETE", one), bob, None);

    // Bans. One of a public room's is told what it is; who is banned can't be made a member.
    let (bans, ban) = ("/api/rooms/{room}/bans", "/api/rooms/{room}/bans/{user_id}");
    c.call(&alice, ("PUT", ban), "/api/rooms/tea/bans/bob", None);
    c.call(
        &alice,
        ("PUT", ban),
        "/api/rooms/tea/bans/bob",
        Some(json!({"until": "2100-01-01T00:00:00+01:00", "reason": "spam"})),
    );
    c.call(&alice, ("PUT", ban), "/api/rooms/tea/bans/bob", Some(json!({"until": "2001-01-01T00:00:00Z"})));
    c.call(&alice, ("PUT", ban), "/api/rooms/tea/bans/alice", None);
    c.call(&alice, ("PUT", ban), "/api/rooms/tea/bans/hub:nobody", None);
    c.call(&root, ("PUT", ban), "/api/rooms/tea/bans/alice", None);
    for query in ["", "?limit=1&after=a", "?limit=0"] {
        c.call(&alice, ("GET", bans), &format!("/api/rooms/tea/bans{query}"), None);
    }
    c.call(&hub.api("bob"), ("GET", bans), "/api/rooms/tea/bans", None);
    let refused = c.call(&alice, ("PUT", one), bob, None);
    assert_eq!(refused.refusal(), (403, "banned"));
    c.call(&alice, ("POST", "/api/rooms"), "/api/rooms", Some(json!({"name": "square"})));
    c.call(&alice, ("PUT", ban), "/api/rooms/square/bans/bob", None);
    c.call(&hub.api("carol"), ("GET", bans), "/api/rooms/square/bans", None);
    let at_square = "/api/rooms/square/messages";
    for (call, filled) in [
        (("GET", room), "/api/rooms/square"),
        (("GET", messages), at_square),
        (("POST", messages), at_square),
        (("GET", bans), "/api/rooms/square/bans"),
        (("PUT", one), "/api/rooms/square/members/bob"),
    ] {
        let body = (call.0 != "GET").then(|| json!({"message": "hi"}));
        assert_eq!(c.call(&hub.api("bob"), call, filled, body).refusal(), (403, "banned"), "{call:?}");
    }
    c.call(&hub.api("carol"), ("DELETE", ban), "/api/rooms/square/bans/bob", None);
    c.call(&alice, ("DELETE", ban), "/api/rooms/square/bans/bob", None);
    c.call(&alice, ("DELETE", ban), "/api/rooms/none/bans/bob", None);

    // Tickets.
    c.call(&alice, ("POST", "/api/ws-ticket"), "/api/ws-ticket", None);
    c.call(&nobody, ("POST", "/api/ws-ticket"), "/api/ws-ticket", None);

    // Accounts.
    let account = json!({"username": "carol", "password": "correct horse"});
    let made = c.call(&nobody, ("POST", "/api/register"), "/api/register/", Some(account.clone()));
    c.call(&nobody, ("POST", "/api/register"), "/api/register/", Some(account.clone()));
    c.call(&nobody, ("POST", "/api/token"), "/api/token/", Some(account));
    c.call(&nobody, ("POST", "/api/token"), "/api/token/", Some(json!({"username": "carol", "password": "no"})));
    c.call(&nobody, ("POST", "/api/token"), "/api/token/", Some(json!([])));
    for (path, field) in [("/api/token/refresh", "refresh"), ("/api/token/verify", "token")] {
        c.call(&nobody, ("POST", path), path, Some(json!({field: made.body["refresh"]})));
        c.call(&nobody, ("POST", path), path, Some(json!({field: "no token"})));
        c.call(&nobody, ("POST", path), path, Some(json!({})));
    }

    // For the operator.
    c.call(&root, ("GET", "/api/admin/stats"), "/api/admin/stats", None);
    c.call(&alice, ("GET", "/api/admin/stats"), "/api/admin/stats", None);
    for (path, query) in
        [("users", "q=%25&after=a&limit=1"), ("rooms", "q=%25&after=a&limit=1"), ("sessions", "q=%25&limit=1")]
    {
        let path = format!("/api/admin/{path}");
        for query in ["", "?limit=0", &format!("?{query}")] {
            c.call(&root, ("GET", &path), &format!("{path}{query}"), None);
            c.call(&alice, ("GET", &path), &format!("{path}{query}"), None);
        }
    }
    let history = "/api/admin/history";
    let mut points = c.call(&root, ("GET", history), history, None);
    while points.body["points"].as_array().unwrap().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(200));
        points = c.call(&root, ("GET", history), history, None);
    }
    c.call(&root, ("GET", history), "/api/admin/history?after=x", None);
    c.call(&alice, ("GET", history), history, None);
    let scraper = Api::new(hub.address, Some("a token for the scraper".into()));
    c.call(&scraper, ("GET", "/metrics"), "/metrics", None);
    c.call(&alice, ("GET", "/metrics"), "/metrics", None);
    let [disable, enable, revoke, sessions] =
        ["disable", "enable", "revoke", "sessions"].map(|act| (format!("/api/admin/users/{{user_id}}/{act}"), act));
    for ((path, act), body) in [
        (&revoke, json!({"jti": "of-a-token", "until": "2100-01-01T00:00:00Z"})),
        (&revoke, json!({"jti": "of-another"})),
        (&revoke, json!({"issued_before": "2001-01-01T00:00:00Z"})),
        (&revoke, json!({"issued_before": "yesterday"})),
        (&disable, json!({"reason": "spam"})),
        (&disable, json!({"reason": 1})),
        (&disable, json!({})),
        (&enable, json!({})),
    ] {
        for user in ["bob", "hub:nobody"] {
            c.call(&root, ("POST", path), &format!("/api/admin/users/{user}/{act}"), Some(body.clone()));
        }
        c.call(&alice, ("POST", path), &format!("/api/admin/users/bob/{act}"), Some(body));
    }
    c.call(&root, ("POST", &disable.0), "/api/admin/users/root/disable", None);
    let mut carols = hub.member("carol", "square").await;
    let list = c.call(&root, ("GET", &sessions.0), "/api/admin/users/carol/sessions", None);
    c.call(&root, ("GET", &sessions.0), "/api/admin/users/nobody/sessions", None);
    c.call(&alice, ("GET", &sessions.0), "/api/admin/users/carol/sessions", None);
    let close = "/api/admin/sessions/{session}/close";
    for session in [list.body["sessions"][0]["session"].as_str().unwrap(), "0123456789abcdef", "none"] {
        for api in [&alice, &root] {
            c.call(api, ("POST", close), &format!("/api/admin/sessions/{session}/close"), None);
        }
    }
    assert_eq!(carols.closed().await.map(|closed| closed.code), Some(4505));
    for query in ["", "?limit=2", "?before=3&limit=1", "?before=x"] {
        c.call(&root, ("GET", "/api/admin/audit"), &format!("/api/admin/audit{query}"), None);
    }
    c.call(&alice, ("GET", "/api/admin/audit"), "/api/admin/audit", None);
    c.call(&nobody, ("GET", "/health/live"), "/health/live", None);
    c.call(&nobody, ("GET", "/health/ready"), "/health/ready", None);

    // With the database locked.
    let database = hub.database().await;
    database.lock().await;
    for ready in std::iter::repeat_with(|| nobody.get("/health/ready")) {
        let away = ready.status == 503;
        c.check("GET", "/health/ready", &ready);
        if away {
            break;
        }
        member.send(&json!({"type": "send", "room": "tea", "message": "hi"})).await;
    }
    c.call(&alice, ("POST", messages), at, Some(json!({"message": "while it is locked"})));
    database.unlock().await;

    // Every operation was called with success, and most refusals were seen too.
    for (method, path) in contract.operations() {
        for status in contract.answers(&method, &path).keys().filter(|status| status.starts_with('2')) {
            let seen = contract.seen.contains(&(format!("{method} {path}"), status.clone()));
            // Only on a database that several nodes may share may a session be on another one.
            let elsewhere = status == "202" && !on_postgres();
            assert!(seen || elsewhere, "{method} {path}: never answered {status}");
        }
    }
    assert!(contract.seen.len() >= 60, "only {} answers were seen", contract.seen.len());
}

#[test]
fn whoever_is_disabled_or_over_their_rate_is_told_so_by_every_operation() {
    let options = HubOptions::default().set("limits.user_commands_per_second", 1).set("limits.user_commands_burst", 1);
    let hub = Hub::with(options.set("limits.sign_ins_per_minute", 1).set("limits.registrations_per_hour", 1).set(
        // One that is known as a proxy counts by its address, be it a private one.
        "server.trusted_proxies",
        "127.0.0.1/32",
    ));
    let mut contract = Contract::of(&hub);
    let root = hub.admin();
    assert_eq!(root.post("/api/admin/users/bob/disable", &json!({})).status, 200);
    for (method, path, at) in contract.with_token() {
        let call = (method.as_str(), path.as_str());
        let body = || (method != "GET" && method != "DELETE").then(|| json!({}));
        let refused = contract.call(&hub.api("bob"), call, &at, body());
        assert_eq!(refused.refusal(), (403, "forbidden"), "{call:?}");
        // A second gives one more.
        let refused =
            (0..5).map(|_| contract.call(&hub.api("alice"), call, &at, body())).find(|answer| answer.status == 429);
        assert_eq!(refused.expect("429").refusal(), (429, "rate_limited"), "{call:?}");
    }
    let nobody = Api::new(hub.address, None);
    for path in ["/api/token", "/api/register", "/api/setup"] {
        let account = json!({"token": "x", "username": "dora", "password": "correct horse"});
        contract.call(&nobody, ("POST", path), path, Some(account.clone()));
        let throttled = contract.call(&nobody, ("POST", path), path, Some(account));
        assert_eq!(throttled.status, 429);
        let detail = throttled.body["detail"].as_str().unwrap();
        let wait = throttled.headers["retry-after"].to_str().unwrap();
        assert_eq!(detail, format!("Request was throttled. Expected available in {wait} seconds."));
    }
}

#[test]
fn the_pages_and_what_they_load_are_all_there() {
    let hub = Hub::start();
    let nobody = Api::new(hub.address, None);
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let files = fs::read_dir(&web).unwrap().flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    // What is for people and tools that read the sources is not served.
    let served = |path: &PathBuf| !["d.ts", "md", "json"].iter().any(|end| path.to_str().unwrap().ends_with(end));
    for path in files.map(|file| file.unwrap().path()).filter(served) {
        let name = path.strip_prefix(&web).unwrap().to_str().unwrap();
        let served = nobody.get(&format!("/assets/{name}"));
        let (text, lean) = (fs::read_to_string(&path).unwrap(), served.body.as_str().unwrap());
        // All of it in its order, but for indentation, blank lines and comments.
        assert_eq!(served.status, 200, "{name}");
        let mut left = lean.lines().peekable();
        for line in text.lines().map(str::trim) {
            let kept = left.next_if_eq(&line).is_some();
            let starts = ["//", "/*", "*", "<!--"];
            assert!(
                kept || line.is_empty() || starts.iter().any(|start| line.starts_with(start)) || line.ends_with("*/"),
                "{name}: {line}"
            );
        }
        assert_eq!(left.next(), None, "{name}");
        let policy = served.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        // Nothing from elsewhere, nothing inline.
        let inline = ["<script>", " onclick=", " style=\"", "javascript:"].iter().find(|what| text.contains(**what));
        assert!(!name.ends_with(".html") || inline.is_none(), "{name}: {inline:?}");
        // A browser that has it is told so.
        let known = nobody.with_headers(
            "GET",
            &format!("/assets/{name}"),
            &[("if-none-match", served.headers["etag"].to_str().unwrap())],
        );
        assert_eq!(known.status, 304, "{name}");
    }
    for page in ["/", "/api/docs"] {
        let served = nobody.get(page);
        assert!(served.status == 200 && served.body.as_str().unwrap().contains("<!doctype html>"), "{page}");
    }
    assert_eq!(nobody.get("/assets/none.js").refusal(), (404, "not_found"));
    assert_eq!(nobody.get("/assets/..%2fCargo.toml").refusal(), (404, "not_found"));
}
