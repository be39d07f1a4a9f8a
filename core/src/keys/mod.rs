//! The key hierarchy at rest (`docs/keys.md`).
//!
//! ```text
//! ServiceMasterKey (one per instance)
//!   └ DatabaseMasterKey (AES-256)   wrapped by a password, and by the service master key
//!       └ PrivateKey (P-256)        wrapped by the database master key, or by a password
//! ```
//!
//! A key leaves memory in one form only: as a [`WrappedKey`]. (The service master key, which nothing stands above,
//! has a plain file of its own, [`ServiceMasterKey::to_file`]; private keys travel as PKCS #8,
//! [`PrivateKey::to_encrypted_pkcs8`].)
//!
//! ```
//! use dbmirror_core::keys::{DatabaseMasterKey, Iterations, KeyError, WrappedKey};
//! # use dbmirror_core::entropy::{Entropy, EntropyError};
//! # struct Seven;
//! # impl Entropy for Seven {
//! #     fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> { out.fill(7); Ok(()) }
//! #     fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> { out.fill(7); Ok(()) }
//! # }
//! # let entropy = &mut Seven;
//! let key = DatabaseMasterKey::generate(entropy)?;
//! let stored = key.wrap_by_password(b"<1_Strong_Password!>", Iterations::new(1_000)?, entropy)?.to_der()?;
//!
//! let wrapped = WrappedKey::from_der(&stored)?;
//! assert!(DatabaseMasterKey::unwrap_by_password(&wrapped, b"<1_Strong_Password!>").is_ok());
//! assert_eq!(DatabaseMasterKey::unwrap_by_password(&wrapped, b"guess").err(), Some(KeyError::Rejected));
//! # Ok::<(), KeyError>(())
//! ```

mod hierarchy;
mod password;
pub(crate) mod pbes2;
mod pkcs8;
mod root;
mod stored_password;
#[cfg(test)]
mod tests;
mod wrap;
mod wrapped;

pub use hierarchy::{DatabaseMasterKey, PrivateKey, SERVICE_KEY_FILE_LEN, ServiceMasterKey};
pub use password::{Iterations, SALT_LEN, derive_into};
pub use pkcs8::PKCS8_LEN_MAX;
pub use root::{RootKey, settle};
pub use stored_password::{OpenedPassword, STORED_PASSWORD_LEN_MAX, STORED_PASSWORD_MAX};
pub use wrap::{kw_unwrap, kw_wrap, kwp_unwrap, kwp_wrap};
pub use wrapped::{KeyKind, Protection, WRAPPED_KEY_LEN_MAX, WrappedKey};

use crate::asn1::{NoRoom, NotDer};
use crate::crypto::CryptoError;
use crate::entropy::EntropyError;

/// Why a key cannot be wrapped, read or opened. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes are not a wrapped key: truncated, with something behind the end, or not strict DER.
    Malformed,
    /// A wrapped key of another format version than this software knows.
    UnknownVersion,
    /// A key of another kind than the one asked for.
    WrongKind {
        /// What the bytes hold.
        found: KeyKind,
    },
    /// The key is protected by something else than what was used to open it.
    WrongProtection {
        /// What protects it.
        found: Protection,
    },
    /// The password or wrapping key is not the one that protects this key, or the bytes were changed. The two cannot
    /// be told apart.
    Rejected,
    /// An iteration count of zero or above [`Iterations::MAX`].
    IterationCount,
    /// Not a private key of P-256.
    BadKey,
    /// A private key file in a scheme that is not supported (`docs/keys.md` lists those that are).
    UnknownScheme,
    /// A private key file that is encrypted, where one without encryption was to be read.
    Encrypted,
    /// A private key file in PEM: the Base64 text around DER.
    Pem,
    /// The caller's buffer is too short.
    NoRoom,
    /// The entropy source failed.
    Entropy,
}

impl KeyError {
    /// A stable number for logs and counters; never reused.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Malformed => 1,
            Self::UnknownVersion => 2,
            Self::WrongKind { .. } => 3,
            Self::WrongProtection { .. } => 4,
            Self::Rejected => 5,
            Self::IterationCount => 6,
            Self::BadKey => 7,
            Self::UnknownScheme => 8,
            Self::NoRoom => 9,
            Self::Entropy => 10,
            Self::Pem => 11,
            Self::Encrypted => 12,
        }
    }
}

impl From<EntropyError> for KeyError {
    fn from(_: EntropyError) -> Self {
        Self::Entropy
    }
}

impl From<CryptoError> for KeyError {
    fn from(error: CryptoError) -> Self {
        match error {
            CryptoError::Entropy => Self::Entropy,
            CryptoError::BadEncapsulationKey | CryptoError::BadKey | CryptoError::BadPoint => Self::BadKey,
            CryptoError::BadLength => Self::Malformed,
            CryptoError::Rejected => Self::Rejected,
        }
    }
}

impl From<NotDer> for KeyError {
    fn from(_: NotDer) -> Self {
        Self::Malformed
    }
}

impl From<NoRoom> for KeyError {
    fn from(_: NoRoom) -> Self {
        Self::NoRoom
    }
}

impl From<der::Error> for KeyError {
    fn from(error: der::Error) -> Self {
        match error.kind() {
            der::ErrorKind::Overlength => Self::NoRoom,
            _ => Self::Malformed,
        }
    }
}

impl core::fmt::Display for KeyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Malformed => f.write_str("the bytes are not a wrapped key, or are damaged or cut short"),
            Self::UnknownVersion => f.write_str("the key was wrapped by a newer version of this software"),
            Self::WrongKind { found } => write!(f, "the bytes hold a {found}"),
            Self::WrongProtection { found } => write!(f, "the key is protected by {found}"),
            Self::Rejected => {
                f.write_str("the password or key does not open this key, or the bytes were changed")
            }
            Self::IterationCount => write!(f, "the iteration count is not within 1..={}", Iterations::MAX),
            Self::BadKey => f.write_str(
                "not a private key of P-256; RSA, Ed25519 and other curves are not supported (openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 makes one)",
            ),
            Self::UnknownScheme => f.write_str(
                "the private key is encrypted by a scheme other than PBES2 with PBKDF2, HMAC-SHA-256 and AES (openssl pkcs8 -topk8 -v2 aes256 converts it)",
            ),
            Self::Encrypted => f.write_str("the private key is encrypted: its password is needed"),
            Self::Pem => {
                f.write_str("the private key is in PEM; DER is wanted (openssl pkcs8 -topk8 -outform DER)")
            }
            Self::NoRoom => f.write_str("the buffer is too short"),
            Self::Entropy => f.write_str("the entropy source failed"),
        }
    }
}

impl core::error::Error for KeyError {}
