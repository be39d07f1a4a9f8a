//! Pairing: two instances that know nothing of each other exchange certificates, because two operators hold the same
//! one-time code, or each other's fingerprint (`docs/pairing.md`).
//!
//! It is spoken over the channel under a protocol of its own, [`ALPN`], with a verifier of its own: [`PairingVerifier`] lets
//! in whoever proves that it owns the certificate that it shows, and that proof is worth nothing but the right to try. What
//! counts is the [`proof`]: a MAC under the code over the channel's exporter, both certificates and both instance ids, so
//! that somebody in the middle, who has two channels with two exporters, cannot pass one side's on to the other.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`code`] | the one-time code, and how people read it |
//! | [`proof`] | the key made of it, and the MAC |
//! | [`message`] | the four messages |
//! | [`exchange`] | one side's part, from HELLO to STORED |
//! | [`tries`] | how often a code may be tried |

pub mod code;
pub mod exchange;
pub mod message;
pub mod proof;
#[cfg(test)]
mod tests;
pub mod tries;
mod verifier;

pub use code::{Code, CodeError};
pub use exchange::{Exchange, Heard, Own, Said, Side};
pub use proof::PairingKey;
pub use verifier::PairingVerifier;

/// The application protocol of pairing.
pub const ALPN: &[u8] = b"dbm-pair/1";
/// The label of the exporter that both proofs are bound to, with an empty context (RFC 8446 §7.5; RFC 5705 §4 keeps names
/// that begin so free for use without registration).
pub const EXPORTER_LABEL: &[u8] = b"EXPERIMENTAL dbm-pair/1";
/// Bytes of that exporter.
pub const EXPORTER_LEN: usize = 32;

/// How the two sides know each other. Both must have been told the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// 1: both hold the same one-time code.
    Code,
    /// 2: each was told the SHA-256 fingerprint of the other's certificate.
    Fingerprint,
}

impl Method {
    /// As sent.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Code => 1,
            Self::Fingerprint => 2,
        }
    }
}

/// Why a pairing came to nothing. It is sent as its message number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// 50140: no operator holds a window open, or its time is over, or it has had its one success.
    NotOpen,
    /// 50141: more tries than a minute allows.
    TooManyTries,
    /// 50142: the proof does not fit: another code, or somebody between the two.
    WrongProof,
    /// 50143: one side has a code and the other a fingerprint.
    OtherMethod,
    /// 50144: the code was already proved by another instance.
    AnotherPeer,
    /// 1452: the peer is this instance itself, or says so.
    OwnInstance,
    /// 9757: no common version.
    NoCommonVersion,
    /// 1434: a message was malformed or came out of turn.
    BadMessage,
    /// The catalog does not take the peer, or could not store it: the message number.
    Declined(u32),
}

impl Refusal {
    /// The message number.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::NotOpen => 50140,
            Self::TooManyTries => 50141,
            Self::WrongProof => 50142,
            Self::OtherMethod => 50143,
            Self::AnotherPeer => 50144,
            Self::OwnInstance => 1452,
            Self::NoCommonVersion => 9757,
            Self::BadMessage => 1434,
            Self::Declined(number) => number,
        }
    }

    /// The refusal that is sent as `number`.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            50140 => Self::NotOpen,
            50141 => Self::TooManyTries,
            50142 => Self::WrongProof,
            50143 => Self::OtherMethod,
            50144 => Self::AnotherPeer,
            1452 => Self::OwnInstance,
            9757 => Self::NoCommonVersion,
            1434 => Self::BadMessage,
            other => Self::Declined(other),
        }
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotOpen => f.write_str("no pairing window is open"),
            Self::TooManyTries => f.write_str("too many tries within a minute"),
            Self::WrongProof => f.write_str("the proof does not fit"),
            Self::OtherMethod => f.write_str("one side has a code and the other a fingerprint"),
            Self::AnotherPeer => f.write_str("another instance has already proved the code"),
            Self::OwnInstance => f.write_str("both ends are the same instance"),
            Self::NoCommonVersion => f.write_str("no common version of pairing"),
            Self::BadMessage => f.write_str("a message was malformed or came out of turn"),
            Self::Declined(number) => write!(f, "the catalog refused it (message {number})"),
        }
    }
}

impl core::error::Error for Refusal {}
