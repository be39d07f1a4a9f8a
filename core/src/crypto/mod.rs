//! The provider seam: cryptographic *operations*, never protocol steps.
//!
//! Core owns sequence numbers, nonces, headers, padding, limits, HMAC and HKDF; a provider only computes. Everything
//! is static generics with sizes as constants, without allocation. [`rustcrypto`] is the default provider; `aws-lc` for servers
//! lives in adapters. Every provider passes the same vectors; `no_security`, for simulators and fuzzers, is none that ships.

mod absent;
pub mod hmac;
#[cfg(feature = "no-security")]
pub mod no_security;
pub mod rustcrypto;

#[cfg(all(feature = "no-security", not(feature = "simulation"), not(debug_assertions)))]
compile_error!("the feature `no-security` is for simulators and fuzzers: build them with debug assertions");

pub use absent::Absent;

use crate::entropy::{Entropy, EntropyError};
use crate::secret::Secret;

/// Length in bytes of a SHA-256 digest.
pub const HASH_LEN: usize = 32;
/// Length in bytes of a SHA-384 digest.
pub const SHA384_LEN: usize = 48;
/// Length in bytes of an uncompressed P-256 point (SEC 1: `04 ‖ X ‖ Y`), the only form that is sent or accepted.
pub const POINT_LEN: usize = 65;
/// Most bytes of an ECDSA-P256 signature in DER.
pub const SIGNATURE_LEN_MAX: usize = 72;
/// Length in bytes of an encapsulation key of ML-KEM-768 (FIPS 203 §8, table 3).
pub const ENCAPSULATION_KEY_LEN: usize = 1_184;
/// Length in bytes of a ciphertext of ML-KEM-768.
pub const CIPHERTEXT_LEN: usize = 1_088;

/// The operations that one provider offers. What a device does without, its provider names [`Absent`]: it is then never
/// offered and never taken.
pub trait Provider: Sized + 'static {
    /// SHA-256.
    type Sha256: Hash;
    /// AES-128-GCM under one traffic key.
    type Aes128Gcm: RecordKey;
    /// SHA-384, the hash of the suite of AES-256; or [`Absent`].
    type Sha384: Hash<SHA384_LEN>;
    /// AES-256-GCM under one traffic key, or [`Absent`].
    type Aes256Gcm: RecordKey;
    /// Ephemeral ECDH over P-256.
    type P256: KeyExchange;
    /// ML-KEM-768, for the hybrid key exchange; or [`Absent`].
    type MlKem768: Kem;
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

/// An incremental hash of the SHA-2 family with digests of `LEN` bytes, SHA-256 unless said otherwise; `Clone` forks the
/// state at a transcript point.
pub trait Hash<const LEN: usize = HASH_LEN>: Clone {
    /// Length in bytes of the blocks that it works on, to which HMAC pads a key (FIPS 180-4 §1, figure 1).
    const BLOCK_LEN: usize = if LEN <= HASH_LEN { 64 } else { 128 };

    /// The empty state.
    fn new() -> Self;
    /// Takes in `bytes`.
    fn update(&mut self, bytes: &[u8]);
    /// The digest of all bytes taken in.
    fn finish(self) -> [u8; LEN];

    /// The digest of `bytes` in one call.
    fn digest(bytes: &[u8]) -> [u8; LEN] {
        let mut state = Self::new();
        state.update(bytes);
        state.finish()
    }
}

/// Record protection under one key. Nonces are built by the caller, who never repeats one.
pub trait RecordKey: Sized {
    /// Whether the provider has it at all.
    const PRESENT: bool = true;
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

/// An ephemeral decapsulation key of ML-KEM-768 (FIPS 203). Fresh for each connection; wiped on drop.
pub trait Kem: Sized {
    /// Whether the provider has it at all.
    const PRESENT: bool = true;

    /// Draws a key.
    ///
    /// # Errors
    /// [`CryptoError::Entropy`] when the source fails.
    fn generate(entropy: &mut dyn Entropy) -> Result<Self, CryptoError>;

    /// Writes the encapsulation key to send.
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    fn encapsulation_key(&self, out: &mut [u8; ENCAPSULATION_KEY_LEN]) -> Result<(), CryptoError>;

    /// The shared secret in a ciphertext. One that was not made for this key gives another secret, and no error (FIPS 203
    /// §6.3: implicit rejection).
    ///
    /// # Errors
    /// [`CryptoError`] when the provider contradicts itself.
    fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Result<Secret<32>, CryptoError>;

    /// The other side: a shared secret for a peer's encapsulation key, and the ciphertext that carries it.
    ///
    /// # Errors
    /// [`CryptoError::BadEncapsulationKey`] for a key with a coefficient that is not reduced (FIPS 203 §7.2),
    /// [`CryptoError::Entropy`] when the source fails.
    fn encapsulate(
        encapsulation_key: &[u8; ENCAPSULATION_KEY_LEN],
        entropy: &mut dyn Entropy,
        ciphertext: &mut [u8; CIPHERTEXT_LEN],
    ) -> Result<Secret<32>, CryptoError>;
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
    /// Not an encapsulation key of ML-KEM-768.
    BadEncapsulationKey,
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
            Self::BadEncapsulationKey => "not an encapsulation key of ML-KEM-768",
            Self::BadKey => "not a private key of P-256",
            Self::Rejected => "a tag or signature does not fit",
            Self::Entropy => "the entropy source failed",
        })
    }
}

impl core::error::Error for CryptoError {}
