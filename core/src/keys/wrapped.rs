//! The one form that keys have at rest, byte by byte in `docs/keys.md`.
//!
//! ```text
//! WrappedKey ::= SEQUENCE {
//!   version     INTEGER (1),
//!   kind        INTEGER { serviceMasterKey (1), databaseMasterKey (2), privateKey (3) },
//!   protection  CHOICE {
//!     password           [0] IMPLICIT SEQUENCE { salt OCTET STRING (SIZE (16)), iterations INTEGER },
//!     serviceMasterKey   [1] IMPLICIT NULL,
//!     databaseMasterKey  [2] IMPLICIT NULL },
//!   wrapped     OCTET STRING (SIZE (48)) }     -- RFC 5649 over: kind (1 byte) ‖ key (32 bytes)
//! ```
//!
//! The kind stands inside the wrapping once more, so that a stored private key cannot be passed off as a master key.

use heapless::Vec;

use super::password::{Iterations, SALT_LEN, derive};
use super::{KeyError, kwp_unwrap, kwp_wrap};
use crate::asn1::Backwards;
use crate::asn1::elements::{Element, Elements, tag};
use crate::entropy::Entropy;
use crate::secret::Secret;

/// Most bytes of a wrapped key in DER.
pub const WRAPPED_KEY_LEN_MAX: usize = 84;

const VERSION: u8 = 1;
/// The kind and the key.
const PLAIN_LEN: usize = 33;
/// Rounded up to semiblocks: what unwrapping needs room for.
const PADDED_LEN: usize = 40;
const CIPHER_LEN: usize = 48;

/// What a wrapped key is the key of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// The instance's own.
    ServiceMasterKey,
    /// A database's, above its certificates' private keys.
    DatabaseMasterKey,
    /// A certificate's.
    PrivateKey,
}

impl KeyKind {
    const fn number(self) -> u8 {
        match self {
            Self::ServiceMasterKey => 1,
            Self::DatabaseMasterKey => 2,
            Self::PrivateKey => 3,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::ServiceMasterKey),
            2 => Some(Self::DatabaseMasterKey),
            3 => Some(Self::PrivateKey),
            _ => None,
        }
    }
}

impl core::fmt::Display for KeyKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::ServiceMasterKey => "service master key",
            Self::DatabaseMasterKey => "database master key",
            Self::PrivateKey => "private key",
        })
    }
}

/// What a key is wrapped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protection {
    /// A password, by way of PBKDF2-HMAC-SHA256.
    Password {
        /// Drawn for this key.
        salt: [u8; SALT_LEN],
        /// What each guess costs.
        iterations: Iterations,
    },
    /// The instance's service master key.
    ServiceMasterKey,
    /// The database master key of the same database.
    DatabaseMasterKey,
}

impl core::fmt::Display for Protection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "a password",
            Self::ServiceMasterKey => "the service master key",
            Self::DatabaseMasterKey => "the database master key",
        })
    }
}

/// A key at rest: ciphertext, and what is needed to open it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    kind: KeyKind,
    protection: Protection,
    wrapped: [u8; CIPHER_LEN],
}

impl WrappedKey {
    /// Reads strict DER. Nothing is opened by this.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::UnknownVersion`], [`KeyError::IterationCount`].
    pub fn from_der(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > WRAPPED_KEY_LEN_MAX {
            return Err(KeyError::Malformed);
        }
        let mut outer = Elements::new(bytes);
        let mut fields = outer.inside(tag::SEQUENCE)?;
        outer.finish()?;
        let version = u8::try_from(fields.unsigned()?).map_err(|_| KeyError::Malformed)?;
        if version != VERSION {
            return Err(KeyError::UnknownVersion);
        }
        let kind = u8::try_from(fields.unsigned()?).ok();
        let kind = kind.and_then(KeyKind::from_number).ok_or(KeyError::Malformed)?;
        let protection = read_protection(&fields.element()?)?;
        let wrapped = fields.content(tag::OCTET_STRING)?;
        let wrapped = wrapped.try_into().map_err(|_| KeyError::Malformed)?;
        fields.finish()?;
        Ok(Self {
            kind,
            protection,
            wrapped,
        })
    }

    /// The DER to be stored.
    ///
    /// # Errors
    /// None in practice: every value of this type fits.
    pub fn to_der(&self) -> Result<Vec<u8, WRAPPED_KEY_LEN_MAX>, KeyError> {
        let mut buf = [0; WRAPPED_KEY_LEN_MAX];
        let mut out = Backwards::new(&mut buf);
        let end = out.end();
        out.element(tag::OCTET_STRING, &self.wrapped)?;
        match self.protection {
            Protection::Password { salt, iterations } => {
                let end = out.end();
                out.magnitude(&iterations.get().to_be_bytes())?;
                out.element(tag::OCTET_STRING, &salt)?;
                out.close(tag::structure(0), end)?;
            }
            Protection::ServiceMasterKey => out.element(tag::bytes(1), &[])?,
            Protection::DatabaseMasterKey => out.element(tag::bytes(2), &[])?,
        }
        out.element(tag::INTEGER, &[self.kind.number()])?;
        out.element(tag::INTEGER, &[VERSION])?;
        out.close(tag::SEQUENCE, end)?;
        Vec::from_slice(out.written()).map_err(|_| KeyError::NoRoom)
    }

    /// What it is the key of.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// What it is wrapped by.
    #[must_use]
    pub const fn protection(&self) -> Protection {
        self.protection
    }

    #[cfg(test)]
    pub(super) fn with_protection(self, protection: Protection) -> Self {
        Self { protection, ..self }
    }

    pub(super) fn seal_by_password(
        kind: KeyKind,
        key: &Secret<32>,
        password: &[u8],
        iterations: Iterations,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, KeyError> {
        let mut salt = [0; SALT_LEN];
        entropy.fill_public(&mut salt)?;
        let kek = derive(password, &salt, iterations);
        Self::seal(kind, key, &kek, Protection::Password { salt, iterations })
    }

    pub(super) fn open_by_password(&self, kind: KeyKind, password: &[u8]) -> Result<Secret<32>, KeyError> {
        self.expect(kind)?;
        let Protection::Password { salt, iterations } = self.protection else {
            return Err(KeyError::WrongProtection {
                found: self.protection,
            });
        };
        self.open(&derive(password, &salt, iterations))
    }

    pub(super) fn seal_by_key(
        kind: KeyKind,
        key: &Secret<32>,
        kek: &Secret<32>,
        protection: Protection,
    ) -> Result<Self, KeyError> {
        Self::seal(kind, key, kek, protection)
    }

    pub(super) fn open_by_key(
        &self,
        kind: KeyKind,
        kek: &Secret<32>,
        protection: Protection,
    ) -> Result<Secret<32>, KeyError> {
        self.expect(kind)?;
        if self.protection != protection {
            return Err(KeyError::WrongProtection {
                found: self.protection,
            });
        }
        self.open(kek)
    }

    fn expect(&self, kind: KeyKind) -> Result<(), KeyError> {
        if self.kind == kind {
            Ok(())
        } else {
            Err(KeyError::WrongKind { found: self.kind })
        }
    }

    fn seal(
        kind: KeyKind,
        key: &Secret<32>,
        kek: &Secret<32>,
        protection: Protection,
    ) -> Result<Self, KeyError> {
        let mut plain = Secret::<PLAIN_LEN>::zero();
        let [first, rest @ ..] = plain.expose_mut();
        *first = kind.number();
        *rest = *key.expose();
        let mut wrapped = [0; CIPHER_LEN];
        kwp_wrap(kek, plain.expose(), &mut wrapped)?;
        Ok(Self {
            kind,
            protection,
            wrapped,
        })
    }

    fn open(&self, kek: &Secret<32>) -> Result<Secret<32>, KeyError> {
        let mut plain = Secret::<PADDED_LEN>::zero();
        let len = kwp_unwrap(kek, &self.wrapped, plain.expose_mut())?;
        match plain.expose().get(..len) {
            Some([kind, rest @ ..]) if *kind == self.kind.number() => {
                let mut key = Secret::zero();
                *key.expose_mut() = *<&[u8; 32]>::try_from(rest).map_err(|_| KeyError::Rejected)?;
                Ok(key)
            }
            _ => Err(KeyError::Rejected),
        }
    }
}

fn read_protection(any: &Element<'_>) -> Result<Protection, KeyError> {
    let mut fields = Elements::new(any.content);
    let protection = match any.tag {
        found if found == tag::structure(0) => {
            let salt = fields.content(tag::OCTET_STRING)?;
            let salt = salt.try_into().map_err(|_| KeyError::Malformed)?;
            let iterations = Iterations::new(fields.unsigned()?)?;
            Protection::Password { salt, iterations }
        }
        found if found == tag::bytes(1) => Protection::ServiceMasterKey,
        found if found == tag::bytes(2) => Protection::DatabaseMasterKey,
        _ => return Err(KeyError::Malformed),
    };
    fields.finish()?;
    Ok(protection)
}
