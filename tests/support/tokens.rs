//! Tokens as the app signs them, and those minted by the real simplejwt.

use std::{
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// The key of the tests' app: the one in tests/fixtures/tokens.json.
pub const SECRET: &str = "django-insecure-the-seed-apps-own-secret-key-0123456789";

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An access token of an hour.
pub fn token(user_id: &str, name: &str) -> String {
    signed(&json!({
        "token_type": "access", "user_id": user_id, "username": name, "exp": now() + 3_600, "jti": super::unique(),
    }))
}

pub fn signed(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A token whose header and claims are any text; the signature is good.
pub fn forged(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let said = format!("{}.{}", base64url(header), base64url(claims));
    let signature = jsonwebtoken::crypto::sign(said.as_bytes(), key, algorithm).unwrap();
    format!("{said}.{signature}")
}

/// RFC 4648 section 5, without padding.
pub fn base64url(text: impl AsRef<[u8]>) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let encode = |chunk: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| (bits << 8) | usize::from(chunk.get(at).copied().unwrap_or(0)));
        let letters = (0..=chunk.len()).map(|at| char::from(ALPHABET[(bits >> (18 - 6 * at)) & 63]));
        letters.collect::<String>()
    };
    text.as_ref().chunks(3).map(encode).collect()
}

/// A private key for this run alone.
pub fn made_key(algorithm: &str) -> EncodingKey {
    let how: &[&str] = match algorithm {
        "RS256" => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        _ => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    };
    let made = Command::new("openssl").arg("genpkey").args(how).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key = if algorithm == "RS256" { EncodingKey::from_rsa_pem } else { EncodingKey::from_ec_pem };
    key(&made.stdout).unwrap()
}

/// The fixture's tokens that its HS256 secret is to judge.
pub fn fixture_tokens() -> Vec<Value> {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/tokens.json")).unwrap();
    assert_eq!(fixture["hs256_secret"], SECRET);
    fixture["tokens"].as_array().unwrap().iter().filter(|t| t["verify_with"] == "hs256_secret").cloned().collect()
}
