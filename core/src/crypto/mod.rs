//! The provider seam: cryptographic *operations*, never protocol steps.
//!
//! Core owns sequence numbers, nonces, headers, padding, limits, HMAC and HKDF; a provider only computes. Everything
//! is static generics with sizes as constants, without allocation. [`rustcrypto`] is the default provider; `aws-lc` for servers
//! lives in adapters. Every provider passes the same vectors; `no_security`, for simulators and fuzzers, is none that ships.

pub mod hmac;
#[cfg(feature = "no-security")]
pub mod no_security;
pub mod rustcrypto;

#[cfg(all(feature = "no-security", not(debug_assertions)))]
compile_error!("the feature `no-security` is for simulators and fuzzers: build them with debug assertions");

use crate::entropy::{Entropy, EntropyError};
use crate::secret::Secret;

/// Length in bytes of a SHA-256 digest.
pub const HASH_LEN: usize = 32;
/// Length in bytes of an uncompressed P-256 point (SEC 1: `04 ‖ X ‖ Y`), the only form that is sent or accepted.
pub const POINT_LEN: usize = 65;
/// Most bytes of an ECDSA-P256 signature in DER.
pub const SIGNATURE_LEN_MAX: usize = 72;

/// The operations that one provider offers.
pub trait Provider: Sized + 'static {
    /// SHA-256.
    type Sha256: Hash;
    /// AES-128-GCM under one traffic key.
    type Aes128Gcm: RecordKey;
    /// Ephemeral ECDH over P-256.
    type P256: KeyExchange;
    /// An own long-term P-256 signing key.
    type SigningKey: SigningKey;
    /// A peer's P-256 public key, parsed once.
    type VerifyingKey: VerifyingKey;

    /// Is told every secret of a connection as it is made, with the name that key log files know it by, so that a packet
    /// capture can be read (<https://datatracker.ietf.org/doc/draft-ietf-tls-keylogfile/>). Does nothing unless a provider
    /// for debugging says otherwise.
    #[cfg(feature = "key-log")]
    fn key_log(label: &str, client_random: &[u8; 32], secret: &[u8]) {
        let _ = (label, client_random, secret);
    }
}

/// Incremental SHA-256; `Clone` forks the state at a transcript point.
pub trait Hash: Clone {
    /// The empty state.
    fn new() -> Self;
    /// Takes in `bytes`.
    fn update(&mut self, bytes: &[u8]);
    /// The digest of all bytes taken in.
    fn finish(self) -> [u8; HASH_LEN];

    /// The digest of `bytes` in one call.
    fn digest(bytes: &[u8]) -> [u8; HASH_LEN] {
        let mut state = Self::new();
        state.update(bytes);
        state.finish()
    }
}

/// Record protection under one key. Nonces are built by the caller, who never repeats one.
pub trait RecordKey: Sized {
    /// Length of the key in bytes.
    const KEY_LEN: usize;
    /// Length of nonce and IV in bytes.
    const NONCE_LEN: usize;
    /// Length of the tag in bytes.
    const TAG_LEN: usize;

    /// Schedules `key`, of exactly [`Self::KEY_LEN`] bytes.
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] for a key of another length.
    fn new(key: &[u8]) -> Result<Self, CryptoError>;

    /// Protects `buf` in place and writes the tag into `tag`, of exactly [`Self::TAG_LEN`] bytes.
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] for a nonce or tag of another length.
    fn seal_in_place(
        &self,
        nonce: &[u8],
        aad: &[u8],
        buf: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError>;

    /// Verifies `tag` and unprotects `buf` in place.
    ///
    /// # Errors
    /// [`CryptoError::Rejected`] when the tag does not fit; `buf` then holds no plaintext.
    fn open_in_place(&self, nonce: &[u8], aad: &[u8], buf: &mut [u8], tag: &[u8]) -> Result<(), CryptoError>;
}

/// An ephemeral key pair. Fresh for each connection; wiped on drop.
pub trait KeyExchange: Sized {
    /// Draws a key pair.
    ///
    /// # Errors
    /// [`CryptoError::Entropy`] when the source fails.
    fn start(entropy: &mut dyn Entropy) -> Result<Self, CryptoError>;

    /// The public share to send.
    fn share(&self) -> [u8; POINT_LEN];

    /// The shared secret with the peer's share (the X coordinate). Asked once; the caller then drops the key where it lies.
    ///
    /// # Errors
    /// [`CryptoError::BadPoint`] for anything but an uncompressed point on the curve.
    fn finish(&self, peer_share: &[u8]) -> Result<Secret<32>, CryptoError>;
}

/// An own long-term signing key.
pub trait SigningKey: Sized {
    /// Takes a big-endian private scalar.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] for zero or a value not below the group order.
    fn from_scalar(scalar: &Secret<32>) -> Result<Self, CryptoError>;

    /// The public point that belongs to it.
    fn public_point(&self) -> [u8; POINT_LEN];

    /// ECDSA over SHA-256 of `message`; writes DER and returns its length.
    ///
    /// # Errors
    /// [`CryptoError::Entropy`] when hedging randomness fails, [`CryptoError::Rejected`] when the signer refuses.
    fn sign(
        &self,
        message: &[u8],
        entropy: &mut dyn Entropy,
        out: &mut [u8; SIGNATURE_LEN_MAX],
    ) -> Result<usize, CryptoError>;
}

/// A peer's public key.
pub trait VerifyingKey: Sized {
    /// Parses an uncompressed point.
    ///
    /// # Errors
    /// [`CryptoError::BadPoint`] for anything but an uncompressed point on the curve.
    fn from_point(point: &[u8; POINT_LEN]) -> Result<Self, CryptoError>;

    /// Checks an ECDSA-SHA-256 signature in strict DER over `message`.
    ///
    /// # Errors
    /// [`CryptoError::Rejected`] when it does not verify, malformed DER included.
    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError>;
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CryptoError {
    /// A key, nonce or tag of a wrong length: a mistake of the caller.
    BadLength,
    /// Not an uncompressed point on P-256.
    BadPoint,
    /// Not a private key of P-256.
    BadKey,
    /// A tag or signature does not fit, or a signer refused.
    Rejected,
    /// The entropy source failed.
    Entropy,
}

impl From<EntropyError> for CryptoError {
    fn from(_: EntropyError) -> Self {
        Self::Entropy
    }
}

impl core::fmt::Display for CryptoError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::BadLength => "a key, nonce or tag has a wrong length",
            Self::BadPoint => "not an uncompressed point on P-256",
            Self::BadKey => "not a private key of P-256",
            Self::Rejected => "a tag or signature does not fit",
            Self::Entropy => "the entropy source failed",
        })
    }
}

impl core::error::Error for CryptoError {}
