//! Every token over every way to bring it (`Authorization`, subprotocol, first frame, ticket, `?token=`): a good one opens a
//! session of its user, a bad one nothing, and no way is kinder than another. All twenty of the fixture, and the matrix of
//! what libraries get wrong by default: time, algorithm, issuer, `kid`, keys that the token brings itself, JSON that is odd.
//! Fails where one way skips a check, where one of jsonwebtoken's lax defaults comes back, where a token makes the hub
//! connect to somewhere, and where the hub sends a token back.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{Error, client::IntoClientRequest};

use crate::support::{
    Api, Client, Hub, HubOptions, PATIENCE, Provider, SECRET, base64url, forged, made_key, now, signed, token,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Header,
    Protocol,
    Frame,
    Ticket,
    Query,
}

const WAYS: [Way; 5] = [Way::Header, Way::Protocol, Way::Frame, Way::Ticket, Way::Query];

/// What becomes of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// A session of this user.
    Hello(String),
    Closed(u16),
    /// No socket, or no ticket.
    Http(u16),
    /// A socket that still waits for a token.
    Waits,
}

const INVALID: End = End::Closed(4500);
const EXPIRED: End = End::Closed(4001);
/// The hub's own bound on a token, which is `limits.auth_frame_bytes` too.
const LONG: usize = 8_192;
/// What fits into an address, and into all headers together.
const ADDRESS: usize = 65_000;
const HEAD: usize = 128 * 1_024;

fn user(id: &str) -> End {
    End::Hello(id.to_owned())
}

/// What this way must do with a token that is to end so.
fn expected(way: Way, token: &str, end: &End) -> End {
    match way {
        Way::Frame if token.len() + 26 > LONG => End::Closed(1009),
        Way::Frame => end.clone(),
        _ if token.len() > HEAD => End::Http(431),
        Way::Query if token.len() > ADDRESS => End::Http(400),
        // Blanks at the end of a header are no part of it (RFC 9110 section 5.5): nothing was brought.
        Way::Header if token.trim().is_empty() => End::Waits,
        Way::Ticket if !matches!(end, End::Hello(_)) => End::Http(401),
        _ => end.clone(),
    }
}

async fn bring(hub: &Hub, way: Way, token: &str) -> End {
    let header = |name: &str, value: String| vec![(name.to_owned(), value)];
    let bearer = || header("Authorization", format!("Bearer {token}"));
    match way {
        _ if token.len() > HEAD && way != Way::Frame => {
            let head = match way {
                Way::Query => format!("GET /ws?token={token}"),
                Way::Ticket => "POST /api/ws-ticket".to_owned(),
                _ => "GET /ws".to_owned(),
            };
            End::Http(status(hub, &head, &bearer()))
        }
        Way::Query if token.len() > ADDRESS => End::Http(status(hub, &format!("GET /ws?token={token}"), &[])),
        Way::Header if token.trim().is_empty() => {
            let mut client = Client::open(&hub.url("/ws"), Some(token)).await.unwrap();
            client.send(&json!({"type": "auth", "token": crate::support::token("late", "Late")})).await;
            if end(client).await == user("late") { End::Waits } else { INVALID }
        }
        Way::Header => open(hub, "/ws", bearer()).await,
        Way::Protocol => open(hub, "/ws", header("Sec-WebSocket-Protocol", format!("hubbub.v1, bearer.{token}"))).await,
        Way::Query => open(hub, &format!("/ws?token={}", token.replace(' ', "%20")), vec![]).await,
        Way::Frame => {
            let mut client = Client::open(&hub.url("/ws"), None).await.unwrap();
            // One that is too long is not read to its end.
            client.try_send(&json!({"type": "auth", "token": token})).await;
            end(client).await
        }
        Way::Ticket => {
            let answer = Api::new(hub.address, Some(token.to_owned())).call("POST", "/api/ws-ticket", None);
            if answer.status != 200 {
                assert_eq!(answer.refusal(), (answer.status, "unauthenticated"), "{answer:?}");
                return End::Http(answer.status);
            }
            open(hub, &format!("/ws?ticket={}", answer.body["ticket"].as_str().unwrap()), vec![]).await
        }
    }
}

async fn open(hub: &Hub, path: &str, headers: Vec<(String, String)>) -> End {
    let mut request = hub.url(path).into_client_request().unwrap();
    let offers = headers.iter().any(|(name, _)| name == "Sec-WebSocket-Protocol");
    for (name, value) in headers {
        request
            .headers_mut()
            .append(tokio_tungstenite::tungstenite::http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    match Client::upgrade(request, None).await {
        Ok((client, answer)) => {
            // Chosen, and alone: the token that was offered beside it is not sent back.
            let chosen: Vec<_> = answer.headers().get_all("sec-websocket-protocol").iter().collect();
            assert_eq!(chosen, if offers { vec!["hubbub.v1"] } else { vec![] });
            end(client).await
        }
        Err(Error::Http(answer)) => End::Http(answer.status().as_u16()),
        Err(other) => panic!("{path}: {other}"),
    }
}

/// How a session begins: with hello, or with its end.
async fn end(mut client: Client) -> End {
    loop {
        match client.receive().await {
            Ok(hello) if hello["type"] == "hello" => return user(hello["user_id"].as_str().unwrap()),
            Ok(_) => {}
            Err(closed) => return End::Closed(closed.map_or(0, |closed| closed.code)),
        }
    }
}

/// A request that no client would make, and the head of its answer.
fn raw(hub: &Hub, head: &str, headers: &[(String, String)]) -> String {
    let mut stream = TcpStream::connect(hub.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    // The hub need not read it to its end.
    drop(stream.write_all(format!("{head} HTTP/1.1\r\nHost: hub\r\n{headers}\r\n").as_bytes()));
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

fn status(hub: &Hub, head: &str, headers: &[(String, String)]) -> u16 {
    let answer = raw(hub, head, headers);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

type Case = (String, String, End);

async fn all_ways(hub: &Hub, cases: &[Case]) {
    let mut wrong = Vec::new();
    for (name, token, end) in cases {
        for way in WAYS {
            let (is, should) = (bring(hub, way, token).await, expected(way, token, end));
            if is != should {
                wrong.push(format!("{name} by {way:?}: {is:?}, not {should:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // And it all did the hub no harm.
    assert_eq!(bring(hub, Way::Header, &hub.beside_token()).await, user("hub:after"));
}

impl Hub {
    /// By the hub's own key, which verifies whatever the app's key is.
    fn beside_token(&self) -> String {
        let output = self.beside(&["token", "--user", "after"]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn case(name: &str, token: impl Into<String>, end: End) -> Case {
    (name.to_owned(), token.into(), end)
}

fn fixture() -> Value {
    serde_json::from_str(include_str!("fixtures/tokens.json")).unwrap()
}

/// The fixture's tokens for these keys.
fn fixture_cases(fixture: &Value, keys: &[&str]) -> Vec<Case> {
    let mine = |token: &&Value| keys.contains(&token["verify_with"].as_str().unwrap());
    let tokens = fixture["tokens"].as_array().unwrap().iter().filter(mine);
    let case = |token: &Value| {
        let (name, text) = (token["name"].as_str().unwrap(), token["token"].as_str().unwrap());
        let end = match (&token["expect"], &token["claims"]["user_id"]) {
            (expect, Value::String(id)) if expect == "accept" => user(id),
            (expect, id) if expect == "accept" => user(&id.to_string()),
            _ if name == "expired_hs256" => EXPIRED,
            _ => INVALID,
        };
        case(name, text, end)
    };
    tokens.map(case).collect()
}

fn secret() -> EncodingKey {
    EncodingKey::from_secret(SECRET.as_bytes())
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn claims() -> Value {
    json!({"user_id": "1", "exp": now() + 600})
}

/// Good but for the header, which is given.
fn headed(header: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    forged(&header.to_string(), &claims().to_string(), key, algorithm)
}

/// Good but for the claims, which are any text.
fn claiming(claims: &str) -> String {
    forged(HS256, claims, &secret(), Algorithm::HS256)
}

/// Headers that name keys, by which the attacker has signed: as they are, and where to fetch them.
fn brought_keys(trap: &Provider, jwk: &Value) -> Vec<(&'static str, Value)> {
    let url = format!("http://{}/keys.json", trap.address);
    let set = json!({"keys": [jwk]}).to_string();
    trap.says(Provider::answer("200 OK", "Content-Type: application/json\r\n", &set));
    vec![
        ("jku", json!({"jku": url})),
        ("x5u", json!({"x5u": url})),
        ("jwk", json!({"jwk": jwk})),
        ("x5c", json!({"x5c": ["MIIB"]})),
        ("all of them", json!({"jku": url, "x5u": url, "jwk": jwk, "iss": url, "kid": url})),
    ]
}

fn with(mut object: Value, more: &Value) -> Value {
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

#[tokio::test]
async fn by_a_secret_no_way_is_kinder_than_another() {
    let (hub, trap) = (Hub::with(HubOptions::default().unlimited()), Provider::trap());
    let mut cases = fixture_cases(&fixture(), &["hs256_secret"]);
    assert_eq!(cases.len(), 14);
    let later = now() + 600;
    for (name, claims, end) in [
        ("good", json!({"exp": later, "user_id": "1"}), user("1")),
        ("expired 30 s ago", json!({"exp": now() - 30, "user_id": "1"}), EXPIRED),
        ("expired long ago", json!({"exp": 0, "user_id": "1"}), EXPIRED),
        ("nbf in the future", json!({"exp": later, "nbf": now() + 60, "user_id": "1"}), INVALID),
        ("nbf in the future as text", json!({"exp": later, "nbf": (now() + 60).to_string(), "user_id": "1"}), INVALID),
        ("nbf passed", json!({"exp": later, "nbf": now() - 60, "user_id": "1"}), user("1")),
        ("exp past as text", json!({"exp": (now() - 60).to_string(), "user_id": "1"}), INVALID),
        ("exp to come as text", json!({"exp": later.to_string(), "user_id": "1"}), INVALID),
        ("exp missing", json!({"user_id": "1"}), INVALID),
        ("exp null", json!({"exp": null, "user_id": "1"}), INVALID),
        ("exp negative", json!({"exp": -1, "user_id": "1"}), INVALID),
        ("exp as long as can be", json!({"exp": u64::MAX, "user_id": "1"}), user("1")),
        ("exp past any number", json!({"exp": 1e300, "user_id": "1"}), INVALID),
        ("a hub account's id", json!({"exp": later, "user_id": "hub:root", "iss": "hubbub"}), INVALID),
        ("no object", json!([1]), INVALID),
    ] {
        cases.push(case(name, claiming(&claims.to_string()), end));
    }
    let good = claiming(&claims().to_string());
    let (said, signature) = good.rsplit_once('.').unwrap();
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({"alg": algorithm, "typ": "JWT"});
        let signed = headed(&header, &secret(), Algorithm::HS256);
        let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
        cases.push(case(&format!("alg {algorithm:?}, signed"), signed, INVALID));
        cases.push(case(&format!("alg {algorithm:?}"), unsigned, INVALID));
    }
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let header = json!({"alg": algorithm});
        cases.push(case(&format!("{algorithm:?} for HS256"), headed(&header, &secret(), algorithm), INVALID));
        let header = json!({"alg": "HS256"});
        cases.push(case(&format!("{algorithm:?} as HS256"), headed(&header, &secret(), algorithm), INVALID));
    }
    cases.push(case("no signature", format!("{said}."), INVALID));
    cases.push(case("half a signature", format!("{said}.{}", &signature[..20]), INVALID));
    cases.push(case("a padded signature", format!("{good}="), INVALID));
    cases.push(case("a fourth part", format!("{good}.{signature}"), INVALID));
    cases.push(case("dots", "..", INVALID));
    for (name, kid) in
        [("a path", "../../dev/null".to_owned()), ("SQL", "' or 1=1".to_owned()), ("4 KiB", "k".repeat(4_096))]
    {
        let header = json!({"alg": "HS256", "kid": kid});
        // What is at the path is empty, and so would be the key.
        for (key, secret) in [("nothing", ""), ("a nul", "\0"), ("the kid", &kid)] {
            let key_of_it = EncodingKey::from_secret(secret.as_bytes());
            let token = headed(&header, &key_of_it, Algorithm::HS256);
            cases.push(case(&format!("kid is {name}, signed by {key}"), token, INVALID));
        }
        // Secrets have no kid for it to differ from.
        let token = headed(&header, &secret(), Algorithm::HS256);
        cases.push(case(&format!("kid is {name}, signed as it must be"), token, user("1")));
    }
    let attacker = EncodingKey::from_secret(b"the attacker's own");
    let jwk = json!({"kty": "oct", "alg": "HS256", "kid": "x", "k": base64url("the attacker's own")});
    for (name, header) in brought_keys(&trap, &jwk) {
        let token = headed(&with(json!({"alg": "HS256"}), &header), &attacker, Algorithm::HS256);
        cases.push(case(&format!("brings its key as {name}"), token, INVALID));
    }
    for header in [
        r#"{"alg":"HS256","crit":["exp-policy"],"exp-policy":true}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"typ":"JWT"}"#,
        "HS256",
    ] {
        let token = forged(header, &claims().to_string(), &secret(), Algorithm::HS256);
        cases.push(case(header, token, INVALID));
    }
    // Of a claim that is there twice the last one counts, or the token is refused (RFC 7519 section 4): never the first.
    let past = now() - 60;
    cases.push(case("two exp", claiming(&format!(r#"{{"user_id":"1","exp":{later},"exp":{past}}}"#)), INVALID));
    cases.push(case("two exp", claiming(&format!(r#"{{"user_id":"1","exp":{past},"exp":{later}}}"#)), INVALID));
    cases.push(case("two users", claiming(&format!(r#"{{"user_id":"1","user_id":"2","exp":{later}}}"#)), user("2")));
    for depth in [200, 2_500, 10_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let deep = format!(r#"{{"user_id":"1","exp":{later},"deep":{open}{close}}}"#);
        cases.push(case(&format!("claims {depth} deep"), claiming(&deep), INVALID));
        let header = format!(r#"{{"alg":"HS256","deep":{open}{close}}}"#);
        let token = forged(&header, &claims().to_string(), &secret(), Algorithm::HS256);
        cases.push(case(&format!("a header {depth} deep"), token, INVALID));
    }
    for (name, bytes) in [("10 KB", 10_000), ("100 KB", 100_000), ("1 MB", 1_000_000)] {
        let long = json!({"user_id": "1", "exp": later, "much": "x".repeat(bytes * 3 / 4)});
        cases.push(case(name, claiming(&long.to_string()), INVALID));
    }
    all_ways(&hub, &cases).await;
    assert_eq!(trap.came(), 0, "a token made the hub connect to where it says");
}

#[tokio::test]
async fn lifetime_issuer_and_audience_are_kept_over_every_way() {
    let options = HubOptions::default().unlimited().set("auth.max_token_lifetime", "1h");
    let hub = Hub::with(options.set("auth.issuer", "https://app.example").set("auth.audience", "other,hubbub"));
    let good = json!({"user_id": "1", "exp": now() + 600, "iss": "https://app.example", "aud": "hubbub"});
    let without = |claim: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(claim);
        claims
    };
    let cases: Vec<_> = [
        ("good", good.clone(), user("1")),
        ("one audience of several", with(good.clone(), &json!({"aud": ["x", "other"]})), user("1")),
        ("issued a while ago", with(good.clone(), &json!({"iat": now() - 60})), user("1")),
        ("exp as long as can be", with(good.clone(), &json!({"exp": u64::MAX})), INVALID),
        ("two hours left", with(good.clone(), &json!({"exp": now() + 7_200})), INVALID),
        ("a minute left of two hours", with(good.clone(), &json!({"iat": now() - 7_140, "exp": now() + 60})), INVALID),
        ("no aud", without("aud"), INVALID),
        ("aud null", with(good.clone(), &json!({"aud": null})), INVALID),
        ("aud of nobody", with(good.clone(), &json!({"aud": []})), INVALID),
        ("another's aud", with(good.clone(), &json!({"aud": "hubbub2"})), INVALID),
        ("others' aud", with(good.clone(), &json!({"aud": ["x", "y"]})), INVALID),
        ("aud is no text", with(good.clone(), &json!({"aud": {"hubbub": true}})), INVALID),
        ("no iss", without("iss"), INVALID),
        ("iss null", with(good.clone(), &json!({"iss": null})), INVALID),
        ("another's iss", with(good.clone(), &json!({"iss": "https://app.example/"})), INVALID),
        ("the hub's iss", with(good.clone(), &json!({"iss": "hubbub"})), INVALID),
        ("expired", with(good.clone(), &json!({"exp": now() - 30})), EXPIRED),
    ]
    .into_iter()
    .map(|(name, claims, end)| case(name, signed(&claims), end))
    .collect();
    let mut wrong = Vec::new();
    for (name, token, end) in &cases {
        for way in WAYS {
            let is = bring(&hub, way, token).await;
            if is != expected(way, token, end) {
                wrong.push(format!("{name} by {way:?}: {is:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn by_public_keys_no_way_is_kinder_than_another() {
    let (folder, trap) = (TempDir::new().unwrap(), Provider::trap());
    let (key, attacker) = (made_key("ES256"), made_key("ES256"));
    let jwk = |key: &EncodingKey, kid: &str| {
        let mut jwk = Jwk::from_encoding_key(key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        json!(jwk)
    };
    let set = folder.path().join("set.json");
    std::fs::write(&set, json!({"keys": [jwk(&key, "known")]}).to_string()).unwrap();
    let options = HubOptions::default().unlimited().set("auth.secret", "").set("auth.public_key_file", set.display());
    let hub = Hub::with(options.set("auth.algorithms", "ES256"));
    let by = |key: &EncodingKey, header: Value| headed(&with(json!({"alg": "ES256"}), &header), key, Algorithm::ES256);
    let mut cases = vec![
        case("good", by(&key, json!({"kid": "known"})), user("1")),
        case("without a kid", by(&key, json!({})), user("1")),
        case("by another key", by(&attacker, json!({"kid": "known"})), INVALID),
        case("by the app's old secret", token("1", "a"), INVALID),
    ];
    let long = "k".repeat(4_096);
    for kid in ["unknown", "", "Known", "known ", "../../dev/null", "' or 1=1", &long] {
        let token = by(&key, json!({"kid": kid}));
        cases.push(case(&format!("kid is {:?}", &kid[..kid.len().min(20)]), token, INVALID));
    }
    for (name, header) in brought_keys(&trap, &jwk(&attacker, "known")) {
        let forged = by(&attacker, with(json!({"kid": "known"}), &header));
        cases.push(case(&format!("brings its key as {name}"), forged, INVALID));
        // Whoever has signed, nobody looks at it.
        if header["kid"].is_null() {
            let harmless = by(&key, with(json!({"kid": "known"}), &header));
            cases.push(case(&format!("a good one with {name}"), harmless, user("1")));
        }
    }
    all_ways(&hub, &cases).await;
    assert_eq!(trap.came(), 0, "a token made the hub connect to where it says");
}

#[tokio::test]
async fn each_algorithm_s_tokens_over_every_way() {
    let (fixture, folder) = (fixture(), TempDir::new().unwrap());
    let set = folder.path().join("set.json");
    std::fs::write(&set, fixture["jwks"].to_string()).unwrap();
    let public = HubOptions::default().set("auth.algorithms", "RS256,ES256,EdDSA").set("auth.secret", "");
    let public = Hub::with(public.unlimited().set("auth.public_key_file", set.display()));
    let mut cases = fixture_cases(&fixture, &["public_key:RS256", "public_key:ES256", "public_key:EdDSA"]);
    assert_eq!(cases.len(), 4);
    // The public key as a secret: its PEM as it is, trimmed, and with each kid of the set.
    let pem = fixture["public_keys"]["RS256"].as_str().unwrap();
    for pem in [pem, pem.trim()] {
        let key = EncodingKey::from_secret(pem.as_bytes());
        for kid in fixture["jwks"]["keys"].as_array().unwrap().iter().map(|key| &key["kid"]) {
            for algorithm in ["HS256", "RS256"] {
                let token = headed(&json!({"alg": algorithm, "kid": kid}), &key, Algorithm::HS256);
                cases.push(case(&format!("{algorithm} by the public key {kid}"), token, INVALID));
            }
        }
    }
    all_ways(&public, &cases).await;
    let secrets = Hub::with(HubOptions::default().unlimited().set("auth.algorithms", "HS384,HS512"));
    let mut cases = fixture_cases(&fixture, &["hs_secret_alg"]);
    assert_eq!(cases.len(), 2);
    cases.push(case("HS256 where it is none of them", token("1", "a"), INVALID));
    all_ways(&secrets, &cases).await;
}

/// Clocks differ: five seconds are forgiven, not eight, and by no way more or less than by another.
#[tokio::test]
async fn a_late_token_has_five_seconds_over_every_way() {
    let hub = Hub::start();
    let late = |seconds: u64| signed(&json!({"user_id": "1", "exp": now() - seconds}));
    for way in WAYS {
        assert_eq!(bring(&hub, way, &late(3)).await, user("1"), "3 s late by {way:?}");
        let token = late(8);
        assert_eq!(bring(&hub, way, &token).await, expected(way, &token, &EXPIRED), "8 s late by {way:?}");
    }
}

/// What opens a socket is offered in many forms; only the protocol's own name is ever said back.
#[tokio::test]
async fn a_subprotocol_that_holds_a_token_is_never_chosen() {
    let hub = Hub::start();
    let (good, other) = (token("1", "a"), token("2", "b"));
    for (offered, chosen) in [
        (vec![format!("hubbub.v1, bearer.{good}")], Some("hubbub.v1")),
        (vec![format!("bearer.{good},hubbub.v1")], Some("hubbub.v1")),
        (vec![format!("bearer.{good}"), "hubbub.v1".to_owned()], Some("hubbub.v1")),
        (vec![format!("bearer.{good}")], None),
        (vec![format!("hubbub.v2, bearer.{good}")], None),
        (vec![format!("bearer.{good}, bearer.{other}")], None),
        (vec!["hubbub.v1".to_owned()], Some("hubbub.v1")),
    ] {
        let upgrade = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ];
        let upgrade = upgrade.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let offers = offered.iter().map(|offer| ("Sec-WebSocket-Protocol".to_owned(), offer.clone()));
        let answer = raw(&hub, "GET /ws", &upgrade.chain(offers).collect::<Vec<_>>());
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        let said: Vec<_> = answer
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"))
            .map(|(_, value)| value)
            .collect();
        assert_eq!(said, chosen.into_iter().collect::<Vec<_>>(), "{offered:?}");
        assert!(!answer.contains("bearer.") && !answer.contains("eyJ"), "the token is sent back: {answer}");
    }
}

/// A token that is not good is not passed over for another that came beside it.
#[tokio::test]
async fn the_first_way_counts_and_no_other_helps() {
    let hub = Hub::start();
    let (good, bad) = (token("1", "a"), "x.y.z");
    let bearer = |token: &str| ("Authorization".to_owned(), format!("Bearer {token}"));
    let protocol = |token: &str| ("Sec-WebSocket-Protocol".to_owned(), format!("hubbub.v1, bearer.{token}"));
    for (query, headers, end) in [
        (format!("?token={good}"), vec![bearer(bad)], INVALID),
        (format!("?token={good}"), vec![protocol(bad)], INVALID),
        (format!("?token={good}&ticket=x"), vec![], INVALID),
        (String::new(), vec![bearer(bad), protocol(&good)], INVALID),
        (format!("?token={bad}&ticket=x"), vec![bearer(&good)], user("1")),
        (format!("?token={bad}"), vec![protocol(&good)], user("1")),
    ] {
        let names: Vec<_> = headers.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(open(&hub, &format!("/ws{query}"), headers).await, end, "{query} {names:?}");
    }
}
