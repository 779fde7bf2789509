//! Tokens that no operator would mint: signed by a key of the tests, with any claims, or broken on purpose.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The secret of the key below; set it as `SENTINEL_TEST_JWT` in the fleet's environment.
pub const SECRET: &str = "a secret of the tests, long enough for every HS algorithm there is: 0123456789";
/// `[auth]` with that key beside the built-in one.
pub const AUTH: &str = "[auth]\nbuilt_in_key = true\nissuer = \"https://id.test\"\naudience = \"sentinel\"\n\
    [[auth.keys]]\nkid = \"tests\"\nalgorithm = \"HS256\"\nsecret_env = \"SENTINEL_TEST_JWT\"\n";

/// Claims of a good token for the key of the tests.
#[must_use]
pub fn claims(client: &str, role: &str) -> Value {
    let now = now();
    json!({ "iss": "https://id.test", "aud": "sentinel", "sub": client, "roles": [role], "iat": now, "exp": now + 3600 })
}

/// Unix seconds.
#[must_use]
pub fn now() -> u64 {
    // Of a file that is made now: tests ask no clock of their own.
    let file = tempfile::tempfile().unwrap();
    let made = file.metadata().unwrap().modified().unwrap();
    made.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// Signed with the key of the tests.
#[must_use]
pub fn signed(claims: &Value) -> String {
    signed_as(claims, Algorithm::HS256, Some("tests"), SECRET)
}

/// Signed with any algorithm of the HS family, any `kid`, any secret.
#[must_use]
pub fn signed_as(claims: &Value, algorithm: Algorithm, kid: Option<&str>, secret: &str) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(ToOwned::to_owned);
    encode(&header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}
