//! The secrets in the links of mails.
//!
//! A token is the user's id and an HMAC-SHA-256 over its purpose and a random nonce, in base64url:
//! 64 characters. The key of the HMAC is a secret that all replicas share. So any replica can make
//! the token of a mail that another one has begun, and neither the user's document nor the outbox
//! contains it: the document has its SHA-256, and the outbox has the nonce until the mail is sent.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::{AccountTokenDigest, TokenNonce, TokenPurpose, UserId};

/// Number of bytes of a user's id in a token.
const ID_BYTES: usize = 16;
/// Number of bytes of a token, before base64url: the id, and the code.
const TOKEN_BYTES: usize = ID_BYTES + 32;
/// Number of bytes of a nonce.
const NONCE_BYTES: usize = 16;

/// The key that makes tokens.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

impl TokenKey {
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// Returns the token of `user` for `purpose`: the same one for the same nonce.
    ///
    /// # Panics
    /// Never: HMAC accepts keys of any length.
    pub fn token(&self, purpose: TokenPurpose, user: UserId, nonce: &TokenNonce) -> String {
        let mut code = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        let id = user.uuid();
        // The purpose ends with a NUL and the id has a fixed length, so that no two inputs are the
        // same bytes.
        code.update(purpose.name().as_bytes());
        code.update(&[0]);
        code.update(id.as_bytes());
        code.update(nonce.0.as_bytes());
        let mut token = id.as_bytes().to_vec();
        token.extend_from_slice(&code.finalize().into_bytes());
        URL_SAFE_NO_PAD.encode(token)
    }
}

/// Returns a new nonce.
///
/// # Panics
/// If the system provides no random bytes.
pub fn new_nonce() -> TokenNonce {
    let mut nonce = [0u8; NONCE_BYTES];
    getrandom::fill(&mut nonce).expect("the system provides random bytes");
    TokenNonce(hex::encode(nonce).into())
}

/// Returns the user whose token `text` may be, or `None` if it has not the form of a token.
pub fn user_of(text: &str) -> Option<UserId> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == TOKEN_BYTES)?;
    Uuid::from_slice(&bytes[..ID_BYTES]).ok().map(UserId::new)
}

/// Returns what is stored of a token.
pub fn digest_of(text: &str) -> AccountTokenDigest {
    AccountTokenDigest(hex::encode(Sha256::digest(text.as_bytes())).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: UserId = UserId::new(Uuid::from_u128(7));

    #[test]
    fn token_is_the_same_for_the_same_nonce_and_differs_otherwise() {
        let (key, nonce) = (TokenKey::new([1; 32]), TokenNonce("aa".into()));
        let token = key.token(TokenPurpose::Verify, USER, &nonce);
        assert_eq!(token, key.token(TokenPurpose::Verify, USER, &nonce));
        let others = [
            key.token(TokenPurpose::Reset, USER, &nonce),
            key.token(TokenPurpose::Verify, UserId::new(Uuid::from_u128(8)), &nonce),
            key.token(TokenPurpose::Verify, USER, &TokenNonce("ab".into())),
            TokenKey::new([2; 32]).token(TokenPurpose::Verify, USER, &nonce),
        ];
        assert!(others.iter().all(|other| *other != token), "{others:?}");
    }

    #[test]
    fn user_is_read_from_a_token_only() {
        let token = TokenKey::new([1; 32]).token(TokenPurpose::Verify, USER, &new_nonce());
        assert_eq!(token.len(), 64);
        assert_eq!(user_of(&token), Some(USER));
        for text in ["", "abc", &token[1..], &format!("{token}A"), &"é".repeat(32)] {
            assert_eq!(user_of(text), None, "{text}");
        }
    }

    #[test]
    fn nonces_differ() {
        assert_ne!(new_nonce(), new_nonce());
    }
}
