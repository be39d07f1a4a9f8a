//! Cipher suites, what an operator's ENCRYPTION makes of them, and the limit on the size of records.

use super::digest::HashAlgorithm;
use super::{HEAD_ROOM, PAYLOAD_LEN_MAX, RECORD_LEN_MAX};
use crate::crypto::{Provider, RecordKey as _};

/// A cipher suite of the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherSuite {
    /// TLS_AES_128_GCM_SHA256 (RFC 8446 appendix B.4).
    Aes128GcmSha256,
    /// TLS_AES_256_GCM_SHA384 (RFC 8446 appendix B.4): for servers, where a provider has it.
    Aes256GcmSha384,
    /// TLS_SHA256_SHA256 (RFC 9150): nothing is encrypted, everything is authenticated.
    Sha256Sha256,
}

impl CipherSuite {
    /// Its code on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Aes128GcmSha256 => 0x1301,
            Self::Aes256GcmSha384 => 0x1302,
            Self::Sha256Sha256 => 0xc0b4,
        }
    }

    /// The name that IANA lists it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128GcmSha256 => "TLS_AES_128_GCM_SHA256",
            Self::Aes256GcmSha384 => "TLS_AES_256_GCM_SHA384",
            Self::Sha256Sha256 => "TLS_SHA256_SHA256",
        }
    }

    /// Whether it hides what is said.
    #[must_use]
    pub const fn encrypts(self) -> bool {
        match self {
            Self::Aes128GcmSha256 | Self::Aes256GcmSha384 => true,
            Self::Sha256Sha256 => false,
        }
    }

    /// The hash of its transcript and key schedule.
    #[must_use]
    pub const fn hash(self) -> HashAlgorithm {
        match self {
            Self::Aes128GcmSha256 | Self::Sha256Sha256 => HashAlgorithm::Sha256,
            Self::Aes256GcmSha384 => HashAlgorithm::Sha384,
        }
    }
}

/// What an endpoint's `ENCRYPTION` says. The server's choice is the first of its own suites that the client offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// Nothing is sent that is not encrypted.
    #[default]
    Required,
    /// Encrypted if the peer can, else authenticated only.
    Supported,
    /// Authenticated only.
    Disabled,
}

impl Encryption {
    /// The suites that belong to it, the preferred one first. AES-128 comes first: it is the faster one, and nothing that
    /// attacks the handshake's 128 bits is kept out by 256 in the records. AES-256 is for a peer that takes nothing else.
    #[must_use]
    pub const fn suites(self) -> &'static [CipherSuite] {
        use CipherSuite::{Aes128GcmSha256, Aes256GcmSha384, Sha256Sha256};
        match self {
            Self::Required => &[Aes128GcmSha256, Aes256GcmSha384],
            Self::Supported => &[Aes128GcmSha256, Aes256GcmSha384, Sha256Sha256],
            Self::Disabled => &[Sha256Sha256],
        }
    }
}

/// The suites that one side offers and takes.
#[derive(Clone, Copy)]
pub(crate) struct Suites {
    pub(crate) encryption: Encryption,
    pub(crate) aes_256: bool,
}

impl Suites {
    /// The preferred one first.
    pub(crate) fn list<P: Provider>(self) -> impl Iterator<Item = CipherSuite> {
        let aes_256 = self.aes_256 && P::Aes256Gcm::PRESENT;
        let suites = self.encryption.suites().iter().copied();
        suites.filter(move |suite| aes_256 || *suite != CipherSuite::Aes256GcmSha384)
    }
}

/// The longest record that one side is ready to take, in bytes of content, content type and padding (RFC 8449 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordSizeLimit(u16);

impl RecordSizeLimit {
    /// The smallest that may be asked for (RFC 8449 §4).
    pub const MIN: Self = Self(64);
    /// The largest that TLS 1.3 knows: 2^14 bytes of content, and the content type.
    pub const MAX: Self = Self(16_385);

    /// A limit of 64 to 16,385 bytes.
    #[must_use]
    pub const fn new(limit: u16) -> Option<Self> {
        if limit < Self::MIN.0 || limit > Self::MAX.0 {
            None
        } else {
            Some(Self(limit))
        }
    }

    /// What a peer may ask for: a larger value than the largest means just that (RFC 8449 §4). `None` below 64.
    pub(crate) const fn of_peer(limit: u16) -> Option<Self> {
        if limit > Self::MAX.0 {
            Some(Self::MAX)
        } else {
            Self::new(limit)
        }
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Bytes of a receive buffer in which a record of this limit has room, whatever the suite.
    #[must_use]
    pub fn receive_len(self) -> usize {
        if self == Self::MAX {
            RECORD_LEN_MAX
        } else {
            HEAD_ROOM
                .saturating_add(usize::from(self.0))
                .saturating_add(super::protect::TAG_LEN_MAX)
        }
    }

    /// Most bytes of content, type and padding.
    pub(crate) fn inner_len_max(self) -> usize {
        usize::from(self.0)
    }

    /// Most bytes of content.
    pub(crate) fn payload_len_max(self) -> usize {
        usize::from(self.0).saturating_sub(1).min(PAYLOAD_LEN_MAX)
    }
}

impl Default for RecordSizeLimit {
    fn default() -> Self {
        Self::MAX
    }
}

/// What a handshake has agreed on for records.
#[derive(Clone, Copy)]
pub(crate) struct Protection {
    pub(crate) suite: CipherSuite,
    /// Ours: what we take.
    pub(crate) own_limit: RecordSizeLimit,
    /// The peer's: what we send.
    pub(crate) peer_limit: RecordSizeLimit,
}

impl Protection {
    pub(crate) const fn new(own_limit: RecordSizeLimit) -> Self {
        Self {
            suite: CipherSuite::Aes128GcmSha256,
            own_limit,
            peer_limit: RecordSizeLimit::MAX,
        }
    }
}
