//! Tokens by configured algorithm and key: all twenty of the fixture end as they must, as PEM and as a JSON Web Key Set;
//! issuer and audience; what is no key; and the config that docs/tokens.md gives for each identity provider.

use std::{collections::HashMap, fs};

use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Api, Hub, HubOptions, Provider, SECRET, made_key};

fn fixture() -> Value {
    serde_json::from_str(include_str!("fixtures/tokens.json")).unwrap()
}

/// A hub that verifies by this algorithm, with the fixture's key for it.
fn hub_for(fixture: &Value, algorithm: &str, folder: &TempDir, as_set: bool) -> Hub {
    let options = HubOptions::default().set("auth.algorithms", algorithm);
    if algorithm.starts_with("HS") {
        return Hub::with(options);
    }
    let path = folder.path().join(format!("{algorithm}-{as_set}"));
    let text = if as_set {
        fixture["jwks"].to_string()
    } else {
        fixture["public_keys"][algorithm].as_str().unwrap().to_owned()
    };
    fs::write(&path, text).unwrap();
    let options = options.set("auth.secret", "").set("auth.public_key_file", path.display());
    Hub::with(options.set("auth.issuer", "https://app.example").set("auth.audience", "other,hubbub"))
}

#[tokio::test]
async fn all_twenty_tokens_end_as_they_must() {
    let (fixture, folder) = (fixture(), TempDir::new().unwrap());
    let tokens = fixture["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 20);
    let mut hubs: HashMap<(String, bool), Hub> = HashMap::new();
    for token in tokens {
        let name = token["name"].as_str().unwrap();
        let algorithm = match token["verify_with"].as_str().unwrap() {
            "hs256_secret" => "HS256",
            "hs_secret_alg" if name.ends_with("384") => "HS384",
            "hs_secret_alg" => "HS512",
            key => key.strip_prefix("public_key:").unwrap(),
        };
        for as_set in [false, true] {
            let make = || hub_for(&fixture, algorithm, &folder, as_set);
            let hub = hubs.entry((algorithm.to_owned(), as_set)).or_insert_with(make);
            let status = Api::new(hub.address, token["token"].as_str().map(str::to_owned)).get("/api/me").status;
            assert_eq!(status, if token["expect"] == "accept" { 200 } else { 401 }, "{name} by {algorithm}");
        }
    }
    // And each accepted one is refused by every hub that is configured for another algorithm.
    for token in tokens.iter().filter(|token| token["expect"] == "accept") {
        let token = token["token"].as_str().unwrap().to_owned();
        let accepting: Vec<_> = hubs
            .iter()
            .filter(|(_, hub)| Api::new(hub.address, Some(token.clone())).get("/api/me").status == 200)
            .map(|((algorithm, _), _)| algorithm.clone())
            .collect();
        assert!(accepting.len() == 2 && accepting[0] == accepting[1], "accepted by {accepting:?}");
    }
}

#[tokio::test]
async fn a_foreign_issuer_or_audience_is_refused() {
    let (fixture, folder) = (fixture(), TempDir::new().unwrap());
    let path = folder.path().join("key.pem");
    fs::write(&path, fixture["public_keys"]["RS256"].as_str().unwrap()).unwrap();
    let find = |name: &str| fixture["tokens"].as_array().unwrap().iter().find(|token| token["name"] == name).unwrap();
    let token = find("access_rs256")["token"].as_str().unwrap();
    let options = || {
        let options = HubOptions::default().set("auth.algorithms", "RS256").set("auth.secret", "");
        options.set("auth.public_key_file", path.display())
    };
    let status = |options: HubOptions, token: &str| {
        let hub = Hub::with(options);
        Api::new(hub.address, Some(token.to_owned())).get("/api/me").status
    };
    assert_eq!(status(options(), token), 200);
    assert_eq!(status(options().set("auth.issuer", "https://evil.example"), token), 401);
    assert_eq!(status(options().set("auth.audience", "another"), token), 401);
    // Where one is asked for, a token without it is refused.
    let plain = find("access_hs256")["token"].as_str().unwrap();
    assert_eq!(status(HubOptions::default().set("auth.issuer", "https://app.example"), plain), 401);
    assert_eq!(status(HubOptions::default().set("auth.audience", "hubbub"), plain), 401);
}

#[test]
fn what_is_no_key_is_said_and_ends_with_78() {
    let (fixture, folder) = (fixture(), TempDir::new().unwrap());
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("letter", "dear aunt");
    write("rsa.pem", fixture["public_keys"]["RS256"].as_str().unwrap());
    write("private.pem", "-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----\n");
    write("broken.pem", "-----BEGIN PUBLIC KEY-----\nMC4CAQ==\n-----END PUBLIC KEY-----\n");
    write("empty.json", r#"{"keys": []}"#);
    for (algorithms, file, expected) in [
        ("RS256", "letter", "letter: is no public key"),
        ("RS256", "private.pem", "private.pem: is a private key"),
        ("RS256", "broken.pem", "broken.pem: holds something that is no public key"),
        ("RS256", "empty.json", "empty.json: holds no key for any of auth.algorithms"),
        ("ES256", "rsa.pem", "rsa.pem: holds no key for any of auth.algorithms"),
        ("RS256", "none.pem", "none.pem: No such file"),
        ("RS256", "", "auth.public_key_file and auth.jwks_url are not set"),
        ("HS256", "rsa.pem", "auth.public_key_file or auth.jwks_url is set, but"),
        ("HS256,RS256", "rsa.pem", "can't be mixed"),
        ("none", "", "\"none\" is none of"),
        ("", "", "auth.algorithms"),
    ] {
        let options = HubOptions::default().set("auth.algorithms", algorithms).set("auth.public_key_file", file);
        let output = Hub::command(folder.path(), &options).arg("check-config").output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{algorithms} {file}: {err}");
        assert!(err.contains(expected), "{algorithms} {file}: {err}");
        assert!(!err.contains(SECRET));
    }
}

/// The TOML blocks of docs/tokens.md by provider, each with a token as that provider makes it.
#[tokio::test]
async fn the_docs_config_of_each_identity_provider_takes_its_tokens() {
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tokens.md")).unwrap();
    let folder = TempDir::new().unwrap();
    let (rsa, ec) = (made_key("RS256"), made_key("ES256"));
    let jwk = |key: &EncodingKey, algorithm: Algorithm| {
        let mut jwk = Jwk::from_encoding_key(key, algorithm).unwrap();
        jwk.common.key_id = Some(format!("{algorithm:?}-test"));
        json!(jwk)
    };
    // A real set has keys for encryption in it too.
    let mut other = jwk(&rsa, Algorithm::RS256);
    (other["use"], other["alg"], other["kid"]) = (json!("enc"), json!("RSA-OAEP"), json!("enc-test"));
    let set = json!({"keys": [other, jwk(&rsa, Algorithm::RS256), jwk(&ec, Algorithm::ES256)]});
    let provider = Provider::start(Provider::answer("200 OK", "", &set.to_string()));
    let provider_at = format!("http://{}/jwks.json", provider.address);
    for (provider, key, claims, expected) in [
        (
            "Auth0",
            "RS256",
            json!({"iss": "https://YOUR-TENANT.eu.auth0.com/", "sub": "auth0|5f7c8ec7", "aud": ["https://chat.example.com"],
                   "azp": "client", "scope": "openid", "https://chat.example.com/name": "Jo"}),
            ("auth0|5f7c8ec7", "Jo"),
        ),
        (
            "Keycloak",
            "RS256",
            json!({"iss": "https://keycloak.example.com/realms/YOUR-REALM", "sub": "9a2c-11", "aud": ["hubbub", "account"],
                   "typ": "Bearer", "preferred_username": "jo", "name": "Jo Doe"}),
            ("9a2c-11", "Jo Doe"),
        ),
        (
            "Supabase",
            "ES256",
            json!({"iss": "https://YOUR-PROJECT.supabase.co/auth/v1", "sub": "7d1e-22", "aud": "authenticated",
                   "role": "authenticated", "email": "jo@example.com"}),
            ("7d1e-22", "jo@example.com"),
        ),
        (
            "Cognito",
            "RS256",
            json!({"iss": "https://cognito-idp.eu-west-1.amazonaws.com/YOUR-POOL", "sub": "aaaa-33", "token_use": "access",
                   "client_id": "abc", "username": "jo"}),
            ("aaaa-33", "jo"),
        ),
    ] {
        let section = docs.split(&format!("## {provider}")).nth(1).unwrap_or_else(|| panic!("no section {provider}"));
        let toml = section.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        assert!(toml.lines().filter(|line| line.contains('=')).count() <= 5, "more than five lines for {provider}");
        let config = folder.path().join(format!("{provider}.toml"));
        fs::write(&config, toml).unwrap();
        // Only where the keys are is another place here.
        let options = HubOptions::default().set("auth.secret", "").set("auth.jwks_url", &provider_at);
        assert!(toml.contains("\njwks_url = \"https://"), "{provider}");
        let hub = Hub::with(options.config_file(&config));
        let mut claims = claims.clone();
        claims["exp"] = json!(4_000_000_000_u64);
        let sign = |claims: &Value| {
            let mut header = Header::new(key.parse().unwrap());
            header.kid = Some(format!("{key}-test"));
            jsonwebtoken::encode(&header, claims, if key == "RS256" { &rsa } else { &ec }).unwrap()
        };
        let me = |claims: &Value| Api::new(hub.address, Some(sign(claims))).get("/api/me");
        // 503 until the keys are there.
        let answer = std::iter::repeat_with(|| me(&claims)).find(|answer| answer.status != 503).unwrap();
        assert_eq!(answer.status, 200, "{provider}: {:?}", answer.body);
        assert_eq!((&answer.body["user_id"], &answer.body["user"]), (&json!(expected.0), &json!(expected.1)));
        let mut foreign = claims.clone();
        foreign["iss"] = json!("https://evil.example");
        assert_eq!(me(&foreign).status, 401, "{provider}: a foreign issuer");
    }
}
