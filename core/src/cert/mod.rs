//! Self-signed P-256 certificates, issued and parsed, and the pins made of them.
//!
//! There is no CA: a peer is accepted because its certificate *is* one that an operator stored. So nothing that a CA
//! would vouch for is judged here: issuer, names, key usage and extensions are read for their structure and shown, no
//! more. What counts is the key and the validity. The handshake itself sees [`Pin`]s only and parses no X.509.
//!
//! ```
//! use dbmirror_core::cert::{self, Certificate, Request};
//! use dbmirror_core::crypto::rustcrypto::RustCrypto;
//! use dbmirror_core::keys::PrivateKey;
//! use dbmirror_core::time::UnixSeconds;
//! # use dbmirror_core::entropy::{Entropy, EntropyError};
//! # struct Seven;
//! # impl Entropy for Seven {
//! #     fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> { out.fill(7); Ok(()) }
//! #     fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> { out.fill(7); Ok(()) }
//! # }
//! # let entropy = &mut Seven;
//! let key = PrivateKey::generate::<RustCrypto>(entropy)?.signing_key::<RustCrypto>()?;
//! let request = Request {
//!     subject: "HOST_A certificate for database mirroring",
//!     not_before: UnixSeconds(1_795_000_000),
//!     not_after: UnixSeconds(1_826_536_000),
//! };
//! let mut der = [0; cert::CERTIFICATE_LEN_MAX];
//! let len = cert::issue::<RustCrypto>(&request, &key, entropy, &mut der)?;
//!
//! let certificate = Certificate::parse::<RustCrypto>(&der[..len])?;
//! certificate.check_self_signature::<RustCrypto>()?;
//! assert_eq!(certificate.subject().to_string(), request.subject);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod issue;
mod name;
mod parse;
mod pfx;
#[cfg(test)]
mod tests;

use subtle::ConstantTimeEq;

pub use issue::{Request, issue, succeed};
pub use name::Name;
pub use parse::Certificate;
pub use pfx::{PFX_IMPORT_LEN_MAX, PFX_LEN_MAX, PfxError, pfx_iterations, read_pfx, write_pfx};

use crate::asn1::{NoRoom, NotDer};
use crate::crypto::{CryptoError, HASH_LEN, Hash, POINT_LEN};
use crate::entropy::EntropyError;
use crate::time::UnixSeconds;

/// Most bytes of a certificate in DER, own or imported.
pub const CERTIFICATE_LEN_MAX: usize = 2048;

/// A peer's certificate as the handshake needs it: what it must be equal to, the key to verify with, and the dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// SHA-256 of the DER: what the peer shows must be this certificate, byte for byte.
    pub sha256: [u8; HASH_LEN],
    /// The public key, uncompressed, known to be on the curve.
    pub point: [u8; POINT_LEN],
    /// The first second of validity.
    pub not_before: UnixSeconds,
    /// The last second of validity.
    pub not_after: UnixSeconds,
}

impl Pin {
    /// Whether `der` is the pinned certificate.
    #[must_use]
    pub fn matches<H: Hash>(&self, der: &[u8]) -> bool {
        H::digest(der).ct_eq(&self.sha256).into()
    }

    /// Whether the certificate is valid at `now`; both dates belong to the validity (RFC 5280 §4.1.2.5).
    ///
    /// # Errors
    /// [`OutsideValidity`].
    pub fn check_validity(&self, now: UnixSeconds) -> Result<(), OutsideValidity> {
        if now > self.not_after {
            Err(OutsideValidity::Expired)
        } else if now < self.not_before {
            Err(OutsideValidity::NotYetValid)
        } else {
            Ok(())
        }
    }
}

/// On which side of its validity a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutsideValidity {
    /// Before it.
    NotYetValid,
    /// After it.
    Expired,
}

/// The kind of public key that a certificate holds, where it is not an uncompressed point on P-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// RSA, with or without restriction to PSS.
    Rsa,
    /// DSA.
    Dsa,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// secp256k1.
    Secp256k1,
    /// Another elliptic curve, or one given by explicit parameters.
    OtherCurve,
    /// P-256, with its point compressed.
    CompressedP256,
    /// Ed25519.
    Ed25519,
    /// Ed448.
    Ed448,
    /// Something else.
    Unknown,
}

impl core::fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Rsa => "an RSA key",
            Self::Dsa => "a DSA key",
            Self::P384 => "a key on P-384",
            Self::P521 => "a key on P-521",
            Self::Secp256k1 => "a key on secp256k1",
            Self::OtherCurve => "a key on an unsupported elliptic curve",
            Self::CompressedP256 => "a compressed point on P-256",
            Self::Ed25519 => "an Ed25519 key",
            Self::Ed448 => "an Ed448 key",
            Self::Unknown => "a key of an unknown algorithm",
        })
    }
}

/// Why a certificate cannot be issued or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertError {
    /// More than [`CERTIFICATE_LEN_MAX`] bytes.
    TooLong,
    /// Not an X.509 certificate in strict DER, cut short, or with something behind its end.
    Malformed,
    /// PEM: the Base64 text around a certificate in DER.
    Pem,
    /// A certificate of version 1 or 2.
    NotVersion3,
    /// Another public key than an uncompressed point on P-256.
    UnsupportedKey {
        /// What it is.
        found: KeyAlgorithm,
    },
    /// A public key that is not on P-256.
    BadPoint,
    /// Signed by something else than its own key, as its names say.
    NotSelfSigned,
    /// Signed by another algorithm than ECDSA with SHA-256.
    UnsupportedSignature,
    /// The signature does not fit.
    BadSignature,
    /// A subject, or one of its attributes, without text.
    SubjectEmpty,
    /// A subject, or one of its attributes, with more characters than X.520 allows.
    SubjectTooLong,
    /// A distinguished name that cannot be read; see `docs/keys.md` for its form.
    SubjectSyntax,
    /// A distinguished name with an attribute other than CN, O, OU, L, ST, C, DC, E.
    SubjectAttribute,
    /// A subject with a control character, or one that its attribute does not allow.
    SubjectCharacter,
    /// A date outside 1970 to 9999.
    Date,
    /// The signer failed, or its signature does not verify.
    Signer,
    /// The entropy source failed.
    Entropy,
}

impl CertError {
    /// A stable number for logs and counters; never reused.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::TooLong => 1,
            Self::Malformed => 2,
            Self::NotVersion3 => 3,
            Self::UnsupportedKey { .. } => 4,
            Self::BadPoint => 5,
            Self::NotSelfSigned => 6,
            Self::UnsupportedSignature => 7,
            Self::BadSignature => 8,
            Self::SubjectEmpty => 9,
            Self::SubjectTooLong => 10,
            Self::SubjectSyntax => 11,
            Self::SubjectAttribute => 12,
            Self::SubjectCharacter => 13,
            Self::Date => 14,
            Self::Signer => 15,
            Self::Entropy => 16,
            Self::Pem => 17,
        }
    }
}

impl From<der::Error> for CertError {
    fn from(error: der::Error) -> Self {
        match error.kind() {
            der::ErrorKind::Overlength => Self::TooLong,
            _ => Self::Malformed,
        }
    }
}

impl From<NotDer> for CertError {
    fn from(_: NotDer) -> Self {
        Self::Malformed
    }
}

impl From<NoRoom> for CertError {
    fn from(_: NoRoom) -> Self {
        Self::TooLong
    }
}

impl From<EntropyError> for CertError {
    fn from(_: EntropyError) -> Self {
        Self::Entropy
    }
}

impl From<CryptoError> for CertError {
    fn from(error: CryptoError) -> Self {
        match error {
            CryptoError::Entropy => Self::Entropy,
            CryptoError::BadEncapsulationKey | CryptoError::BadPoint => Self::BadPoint,
            CryptoError::BadKey | CryptoError::BadLength | CryptoError::Rejected => Self::Signer,
        }
    }
}

impl core::fmt::Display for CertError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the certificate has more than 2,048 bytes",
            Self::Malformed => "not an X.509 certificate in DER, or damaged or cut short",
            Self::Pem => "the certificate is in PEM; DER is wanted (openssl x509 -outform DER)",
            Self::NotVersion3 => "the certificate is not of version 3",
            Self::UnsupportedKey { found } => {
                return write!(
                    f,
                    "the certificate holds {found}; only uncompressed P-256 is supported"
                );
            }
            Self::BadPoint => "the public key is not on P-256",
            Self::NotSelfSigned => "the certificate names another issuer than itself",
            Self::UnsupportedSignature => "the certificate is not signed by ECDSA with SHA-256",
            Self::BadSignature => "the signature of the certificate does not fit",
            Self::SubjectEmpty => "the subject is empty",
            Self::SubjectTooLong => "the subject is too long",
            Self::SubjectSyntax => "the subject begins like a distinguished name and cannot be read as one",
            Self::SubjectAttribute => "the subject has an attribute other than CN, O, OU, L, ST, C, DC, E",
            Self::SubjectCharacter => "the subject has a character that is not allowed",
            Self::Date => "a date lies outside the years 1970 to 9999",
            Self::Signer => "the certificate could not be signed",
            Self::Entropy => "the entropy source failed",
        })
    }
}

impl core::error::Error for CertError {}
