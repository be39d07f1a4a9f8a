//! Groups of the key exchange, and shares as they are sent.

use crate::crypto::{CIPHERTEXT_LEN, ENCAPSULATION_KEY_LEN, Kem as _, POINT_LEN, Provider};
use crate::wire::{Full, Writer};

/// How the two sides agree on a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedGroup {
    /// secp256r1: ECDH.
    Secp256r1,
    /// SecP256r1MLKEM768 (<https://datatracker.ietf.org/doc/draft-ietf-tls-ecdhe-mlkem/>): ECDH, and ML-KEM-768 beside it,
    /// so that who keeps what crosses today and has a quantum computer one day reads nothing.
    SecP256r1MlKem768,
}

impl NamedGroup {
    /// Its code on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Secp256r1 => 23,
            Self::SecP256r1MlKem768 => 0x11eb,
        }
    }

    /// The name that IANA lists it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secp256r1 => "secp256r1",
            Self::SecP256r1MlKem768 => "SecP256r1MLKEM768",
        }
    }

    /// Length in bytes of a client's share: a point, and an encapsulation key behind it.
    pub(crate) const fn client_share_len(self) -> usize {
        match self {
            Self::Secp256r1 => POINT_LEN,
            Self::SecP256r1MlKem768 => POINT_LEN + ENCAPSULATION_KEY_LEN,
        }
    }
}

/// Room for the longest share. Builds without the hybrid have none for it.
const SHARE_LEN_MAX: usize = if cfg!(feature = "hybrid") {
    POINT_LEN + ENCAPSULATION_KEY_LEN
} else {
    POINT_LEN
};

const _: () = assert!(
    CIPHERTEXT_LEN <= ENCAPSULATION_KEY_LEN,
    "a server's share fits too"
);

/// A share by value.
pub(crate) struct Share {
    bytes: [u8; SHARE_LEN_MAX],
    len: usize,
}

impl Share {
    /// What `fill` writes.
    pub(crate) fn build(fill: impl FnOnce(&mut Writer<'_>) -> Result<(), Full>) -> Result<Self, Full> {
        let mut bytes = [0; SHARE_LEN_MAX];
        let mut w = Writer::new(&mut bytes);
        fill(&mut w)?;
        let len = w.len();
        Ok(Self { bytes, len })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// The groups that one side offers and takes.
#[derive(Clone, Copy)]
pub(crate) struct Groups {
    pub(crate) hybrid: bool,
}

impl Groups {
    /// The preferred one first.
    pub(crate) fn list<P: Provider>(self) -> impl Iterator<Item = NamedGroup> {
        let hybrid = self.hybrid && P::MlKem768::PRESENT && cfg!(feature = "hybrid");
        let groups = [NamedGroup::SecP256r1MlKem768, NamedGroup::Secp256r1];
        groups
            .into_iter()
            .filter(move |group| hybrid || *group != NamedGroup::SecP256r1MlKem768)
    }
}
