//! Tokens as the app signs them, and those minted by the real simplejwt.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

/// The key of the tests' app: the one in tests/fixtures/tokens.json.
pub const SECRET: &str = "django-insecure-the-seed-apps-own-secret-key-0123456789";

/// An access token of an hour.
pub fn token(user_id: &str, name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    signed(&json!({
        "token_type": "access", "user_id": user_id, "username": name, "exp": now + 3_600, "jti": super::unique(),
    }))
}

pub fn signed(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// The fixture's tokens that its HS256 secret is to judge.
pub fn fixture_tokens() -> Vec<Value> {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/tokens.json")).unwrap();
    assert_eq!(fixture["hs256_secret"], SECRET);
    fixture["tokens"].as_array().unwrap().iter().filter(|t| t["verify_with"] == "hs256_secret").cloned().collect()
}
