//! The hash that a cipher suite brings along, chosen by the handshake, and values as long as its digests.

use crate::crypto::{HASH_LEN, SHA384_LEN};

/// Most bytes of a digest of any suite.
pub const DIGEST_LEN_MAX: usize = SHA384_LEN;

/// The hash of a cipher suite: for the transcript, the key schedule and Finished (RFC 8446 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-384, 48 bytes.
    Sha384,
}

impl HashAlgorithm {
    /// Length of its digests in bytes.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "the length of what it makes; no hash makes nothing"
    )]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha256 => HASH_LEN,
            Self::Sha384 => SHA384_LEN,
        }
    }
}

/// A digest by value. It is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    bytes: [u8; DIGEST_LEN_MAX],
    algorithm: HashAlgorithm,
}

impl Digest {
    pub(crate) fn of_sha256(digest: &[u8; HASH_LEN]) -> Self {
        let mut bytes = [0; DIGEST_LEN_MAX];
        // 32 bytes into 48: always fits.
        let _fits = crate::wire::copy(&mut bytes, digest);
        Self {
            bytes,
            algorithm: HashAlgorithm::Sha256,
        }
    }

    pub(crate) const fn of_sha384(bytes: [u8; SHA384_LEN]) -> Self {
        Self {
            bytes,
            algorithm: HashAlgorithm::Sha384,
        }
    }

    /// Its bytes, as many as its hash makes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.algorithm.len()).unwrap_or(&[])
    }

    /// The hash that made it.
    #[must_use]
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }
}
