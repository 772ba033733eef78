//! Keys from `auth.jwks_url`, against a server of the test's own: fetched once, again for an unknown `kid` but at most once a
//! minute, kept while the provider is away or says something odd, and asked for nowhere else. Fails where tokens can make the
//! hub fetch as often as they like or from where they like, where a bad answer takes good keys away or brings bad ones
//! in, where a slow provider holds others up, and where a config lets keys come over a wire that anyone may write on.

use std::{
    io::Write,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::support::{
    Api, Client, Hub, HubOptions, PATIENCE, Provider, SECRET, Script, base64url, forged, made_key, now, unique,
};

/// The longest that a fetch may take, as the hub has it.
const TIMEOUT: Duration = Duration::from_secs(5);

fn jwk(key: &EncodingKey, kid: &str) -> Value {
    let mut jwk = Jwk::from_encoding_key(key, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some(kid.to_owned());
    json!(jwk)
}

fn set(keys: &[(&EncodingKey, &str)]) -> Script {
    ok(&json!({"keys": keys.iter().map(|(key, kid)| jwk(key, kid)).collect::<Vec<_>>()}).to_string())
}

fn ok(body: &str) -> Script {
    Provider::answer("200 OK", "Content-Type: application/json\r\n", body)
}

fn options(provider: &Provider) -> HubOptions {
    let options = HubOptions::default().unlimited().set("auth.algorithms", "ES256").set("auth.secret", "");
    options.set("auth.jwks_url", format!("http://{}/keys.json", provider.address))
}

fn by(key: &EncodingKey, kid: &str) -> String {
    with_header(key, &json!({"alg": "ES256", "kid": kid}))
}

fn with_header(key: &EncodingKey, header: &Value) -> String {
    forged(&header.to_string(), &json!({"user_id": "1", "exp": now() + 600}).to_string(), key, Algorithm::ES256)
}

fn status(hub: &Hub, token: &str) -> u16 {
    Api::new(hub.address, Some(token.to_owned())).get("/api/me").status
}

/// How a socket with this token ends; 0 where it does not.
async fn socket(hub: &Hub, token: &str) -> u16 {
    let mut client = Client::open(&hub.url("/ws"), Some(token)).await.unwrap();
    match client.try_next().await {
        Some(frame) if frame["type"] == "hello" => 0,
        _ => client.closed().await.map_or(1, |closed| closed.code),
    }
}

/// Waits for the hub's first keys, which it fetches while it already listens.
async fn has_keys(hub: &Hub, token: &str) -> Duration {
    let start = Instant::now();
    while status(hub, token) != 200 {
        assert!(start.elapsed() < PATIENCE, "no keys");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

/// A hub that has the key "a" of this provider.
async fn hub_with_a(provider: &Provider, a: &EncodingKey) -> Hub {
    let hub = Hub::with(options(provider));
    has_keys(&hub, &by(a, "a")).await;
    assert_eq!(provider.came(), 1);
    hub
}

#[tokio::test]
async fn unknown_kids_make_it_fetch_once_and_keys_come_and_go_with_the_set() {
    let (a, b) = (made_key("ES256"), made_key("ES256"));
    let provider = Provider::start(set(&[(&a, "a")]));
    let hub = hub_with_a(&provider, &a).await;
    assert_eq!(socket(&hub, &by(&a, "a")).await, 0);
    // The same kid by another issuer's key, and no kid at all, are judged by the keys that are there.
    let nameless = with_header(&b, &json!({"alg": "ES256"}));
    for forged in [by(&b, "a"), nameless, "x.y.z".to_owned(), String::new()] {
        assert_eq!(status(&hub, &forged), 401);
    }
    assert_eq!((provider.came(), status(&hub, &by(&a, "a"))), (1, 200), "a kid that is known made it fetch");
    // The provider rotates: the new key is fetched when it is first used, and the old one is good no longer.
    provider.says(set(&[(&b, "b")]));
    assert_eq!((status(&hub, &by(&a, "a")), provider.came()), (200, 1));
    assert_eq!((status(&hub, &by(&b, "b")), provider.came()), (200, 2));
    assert_eq!((status(&hub, &by(&a, "a")), socket(&hub, &by(&a, "a")).await), (401, 4500));
    // And whatever else comes within the minute makes no fetch.
    let randoms: Vec<_> = (0..50).map(|_| by(&a, &unique())).collect();
    let address = hub.address;
    let asked =
        randoms.into_iter().map(|token| spawn_blocking(move || Api::new(address, Some(token)).get("/api/me").status));
    for status in futures_util::future::join_all(asked).await {
        assert_eq!(status.unwrap(), 401);
    }
    assert_eq!((provider.came(), status(&hub, &by(&b, "b"))), (2, 200));
}

/// The first time that kids are unknown, fifty at once: still one fetch.
#[tokio::test]
async fn fifty_unknown_kids_at_once_are_one_fetch() {
    let a = made_key("ES256");
    let provider = Provider::start(set(&[(&a, "a")]));
    let hub = hub_with_a(&provider, &a).await;
    let sockets = (0..50).map(|_| {
        let (hub, token) = (&hub, by(&a, &unique()));
        async move { socket(hub, &token).await }
    });
    assert_eq!(futures_util::future::join_all(sockets).await, [4500; 50]);
    assert_eq!((provider.came(), status(&hub, &by(&a, "a"))), (2, 200));
}

/// Answers that are no keys, each with where else it would lead.
fn bad_answers(evil: &EncodingKey) -> Vec<(&'static str, Script, Option<Provider>)> {
    let elsewhere = || Provider::start(set(&[(evil, "evil")]));
    let redirect = |status: &str, to: &Provider| {
        Provider::answer(status, &format!("Location: http://{}/keys.json\r\n", to.address), "")
    };
    let (moved, kept) = (elsewhere(), elsewhere());
    let good = json!({"keys": [jwk(evil, "evil")]}).to_string();
    let oct = json!({"kty": "oct", "kid": "evil", "k": base64url(SECRET)});
    let sized = |alg: &str| json!({"kty": "oct", "kid": "evil", "alg": alg, "k": base64url(SECRET)});
    let encryption = jwk(evil, "evil").as_object().cloned().map(|mut key| {
        key.insert("use".to_owned(), json!("enc"));
        key
    });
    // What is good comes after ten megabytes of blanks, which JSON allows.
    let large = format!("{}{good}", " ".repeat(10_000_000));
    vec![
        ("a redirect", redirect("302 Found", &moved), Some(moved)),
        ("a redirect that keeps the method", redirect("307 Temporary Redirect", &kept), Some(kept)),
        ("ten megabytes", ok(&large), None),
        ("an error that holds a set", Provider::answer("500 Internal Server Error", "", &good), None),
        ("not found", Provider::answer("404 Not Found", "", "{}"), None),
        ("not JSON", ok("<html>Sign in first</html>"), None),
        (
            "not UTF-8",
            Arc::new(|stream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe"))),
            None,
        ),
        (
            "half a set",
            Arc::new(move |stream| {
                let text =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", good.len(), &good[..good.len() / 2]);
                drop(stream.write_all(text.as_bytes()));
            }),
            None,
        ),
        ("an empty set", ok(r#"{"keys":[]}"#), None),
        ("no set", ok("[]"), None),
        ("secrets", ok(&json!({"keys": [oct, sized("HS256"), sized("ES256")]}).to_string()), None),
        ("keys for encryption", ok(&json!({"keys": [encryption]}).to_string()), None),
        ("nothing", Arc::new(|_| ()), None),
    ]
}

/// What an attacker would sign with, if a bad answer had brought it in.
fn evil_tokens(evil: &EncodingKey) -> [String; 3] {
    let claims = json!({"user_id": "1", "exp": now() + 600}).to_string();
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let by_secret =
        |alg: &str| forged(&json!({"alg": alg, "kid": "evil"}).to_string(), &claims, &secret, Algorithm::HS256);
    [by(evil, "evil"), by_secret("HS256"), by_secret("ES256")]
}

#[tokio::test]
async fn whatever_the_provider_says_later_the_keys_that_are_there_stay() {
    let (a, evil) = (made_key("ES256"), made_key("ES256"));
    for (name, answer, elsewhere) in bad_answers(&evil) {
        let provider = Provider::start(set(&[(&a, "a")]));
        let hub = hub_with_a(&provider, &a).await;
        provider.says(answer);
        for token in evil_tokens(&evil) {
            assert_eq!(status(&hub, &token), 401, "{name}: {token}");
        }
        assert_eq!((provider.came(), status(&hub, &by(&a, "a"))), (2, 200), "{name}");
        assert_eq!(elsewhere.map_or(0, |elsewhere| elsewhere.came()), 0, "{name} was followed");
        assert!(hub.log().contains("auth.jwks_url: no keys fetched"), "{name}: the operator is not told");
    }
    // And where nobody is there any more.
    let provider = Provider::start(set(&[(&a, "a")]));
    let hub = hub_with_a(&provider, &a).await;
    provider.stop();
    assert_eq!((status(&hub, &by(&a, "b")), status(&hub, &by(&a, "a"))), (401, 200));
}

/// A hub that starts before its provider: it can't say who anyone is, says so, and needs no restart.
#[tokio::test]
async fn without_keys_nobody_gets_in_and_nobody_is_turned_away_for_good() {
    let (a, evil) = (made_key("ES256"), made_key("ES256"));
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut hubs = Vec::new();
    for (name, answer, elsewhere) in bad_answers(&evil) {
        let (provider, start) = (Provider::start(answer), Instant::now());
        let hub = Hub::with(options(&provider));
        hubs.push((name, Some(provider), elsewhere, hub, start));
    }
    let absent = HubOptions::default().set("auth.algorithms", "ES256").set("auth.secret", "");
    let absent = Hub::with(absent.set("auth.jwks_url", format!("http://{nowhere}/keys.json")));
    hubs.push(("nobody", None, None, absent, Instant::now()));
    for (name, provider, elsewhere, hub, start) in &mut hubs {
        while !hub.log().contains("auth.jwks_url: no keys fetched") {
            assert!(start.elapsed() < PATIENCE, "{name}: no fetch");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let answer = Api::new(hub.address, Some(by(&a, "a"))).get("/api/me");
        assert_eq!(answer.refusal(), (503, "unavailable"), "{name}");
        assert!(answer.headers.contains_key("retry-after") && answer.body["error"]["retryable"] == true, "{name}");
        for token in evil_tokens(&evil) {
            assert_eq!((status(hub, &token), socket(hub, &token).await), (503, 4004), "{name}: {token}");
        }
        // The hub's own accounts have its own key.
        let own = hub.beside(&["token", "--user", "zoe"]);
        assert_eq!(status(hub, String::from_utf8(own.stdout).unwrap().trim()), 200, "{name}");
        match provider {
            // It asks every five seconds, and whoever can't be let in does not make it ask more often.
            Some(provider) => {
                let most = start.elapsed().as_secs() / 5 + 1;
                assert!(u64::try_from(provider.came()).unwrap() <= most, "{name}: {} fetches", provider.came());
                provider.says(set(&[(&a, "a")]));
            }
            None => *provider = Some(Provider::start_at(nowhere, set(&[(&a, "a")]))),
        }
        assert_eq!(elsewhere.as_ref().map_or(0, Provider::came), 0, "{name} was followed");
    }
    let came = Instant::now();
    for (name, _, _, hub, _) in &hubs {
        has_keys(hub, &by(&a, "a")).await;
        assert!(came.elapsed() < Duration::from_secs(12), "{name}: {:?} after the provider came", came.elapsed());
        assert_eq!(socket(hub, &by(&a, "a")).await, 0);
    }
}

/// A provider that says a little now and then is given up after five seconds, and nobody else waits for it.
#[tokio::test]
async fn a_slow_provider_is_given_up_and_holds_nobody_up() {
    let (a, b) = (made_key("ES256"), made_key("ES256"));
    let provider = Provider::start(set(&[(&a, "a")]));
    let hub = hub_with_a(&provider, &a).await;
    let body = json!({"keys": [jwk(&b, "b")]}).to_string();
    provider.says(Arc::new(move |stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        for byte in head.bytes().chain(body.bytes()) {
            if stream.write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }));
    let start = Instant::now();
    let unknown = {
        let (address, token) = (hub.address, by(&b, "b"));
        spawn_blocking(move || {
            let status = Api::new(address, Some(token)).get("/api/me").status;
            (status, start.elapsed())
        })
    };
    let (known, mut slowest) = (by(&a, "a"), Duration::ZERO);
    while !unknown.is_finished() {
        let began = Instant::now();
        assert_eq!((status(&hub, &known), socket(&hub, &known).await), (200, 0));
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, took) = unknown.await.unwrap();
    assert_eq!((status, provider.came()), (401, 2));
    assert!((TIMEOUT - Duration::from_millis(500)..TIMEOUT + Duration::from_secs(3)).contains(&took), "{took:?}");
    assert!(slowest < Duration::from_secs(3), "a known key waited {slowest:?}");
}

#[tokio::test]
async fn a_token_names_no_place_that_the_hub_goes_to() {
    let (a, evil, trap) = (made_key("ES256"), made_key("ES256"), Provider::trap());
    let provider = Provider::start(set(&[(&a, "a")]));
    let hub = hub_with_a(&provider, &a).await;
    let url = format!("http://{}/keys.json", trap.address);
    trap.says(set(&[(&evil, "evil")]));
    for kid in ["a", "evil", &url] {
        let header = json!({"alg": "ES256", "kid": kid, "jku": url, "x5u": url, "jwk": jwk(&evil, kid), "iss": url});
        let claims = json!({"user_id": "1", "exp": now() + 600, "iss": url, "jku": url, "aud": url});
        let token = forged(&header.to_string(), &claims.to_string(), &evil, Algorithm::ES256);
        assert_eq!((status(&hub, &token), socket(&hub, &token).await), (401, 4500), "{kid}");
    }
    let harmless = with_header(&a, &json!({"alg": "ES256", "kid": "a", "jku": url, "x5u": url}));
    assert_eq!(status(&hub, &harmless), 200);
    assert_eq!((trap.came(), provider.came()), (0, 2), "to the trap, and to the provider");
}

#[test]
fn addresses_that_are_not_safe_end_with_78() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("set.json"), json!({"keys": [jwk(&made_key("ES256"), "a")]}).to_string())
        .unwrap();
    let (dev, production) = (&["check-config"][..], &["check-config", "--profile", "production"][..]);
    let https = "https://id.example/keys.json";
    for (url, algorithms, file, arguments, fault) in [
        (https, "ES256", "", production, None),
        (https, "RS256,ES256", "", dev, None),
        ("http://127.0.0.1:9/keys.json", "ES256", "", production, None),
        ("http://localhost/keys.json", "ES256", "", production, None),
        ("http://[::1]:9/keys.json", "ES256", "", production, None),
        ("http://id.example/keys.json", "ES256", "", dev, None),
        ("http://id.example/keys.json", "ES256", "", production, Some("must be https")),
        ("http://10.0.0.1/keys.json", "ES256", "", production, Some("must be https")),
        ("http://127.0.0.1.id.example/keys.json", "ES256", "", production, Some("must be https")),
        ("http://localhost.id.example/keys.json", "ES256", "", production, Some("must be https")),
        // Before an @ stands a name, and what comes after it is the place.
        ("http://127.0.0.1:9@id.example/keys.json", "ES256", "", production, Some("auth.jwks_url must")),
        ("http://localhost@id.example/keys.json", "ES256", "", production, Some("auth.jwks_url must")),
        ("https://name:xyzzy@id.example/keys.json", "ES256", "", dev, Some("auth.jwks_url must")),
        ("https://", "ES256", "", dev, Some("must be an address")),
        ("https:///keys.json", "ES256", "", dev, Some("must be an address")),
        ("https://id.example:port/", "ES256", "", dev, Some("must be an address")),
        ("https://id example/", "ES256", "", dev, Some("must be an address")),
        ("file:///etc/passwd", "ES256", "", dev, Some("must be an address")),
        ("keys.json", "ES256", "", dev, Some("must be an address")),
        (https, "ES256", "set.json", dev, Some("are both set")),
        (https, "HS256", "", dev, Some("auth.jwks_url is set, but")),
        (https, "HS256,ES256", "", dev, Some("can't be mixed")),
    ] {
        let options = HubOptions::default().set("auth.jwks_url", url).set("auth.algorithms", algorithms);
        let mut command = Hub::command(folder.path(), &options.set("auth.public_key_file", file));
        let output = command.args(arguments).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(if fault.is_some() { 78 } else { 0 }), "{url} {arguments:?}: {err}");
        assert!(err.contains(fault.unwrap_or_default()), "{url}: {err}");
        assert!(!err.contains("xyzzy") && !err.contains(SECRET), "{err}");
    }
}
