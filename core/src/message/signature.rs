//! A signature as it stands in a message.

use super::field::Field;
use crate::crypto::SIGNATURE_LEN_MAX;
use crate::wire::{Full, Malformed, Reader, Writer};

/// An ECDSA-P256 signature in DER, of 1 to [`SIGNATURE_LEN_MAX`] bytes; whether it is one is for its verifier to say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    bytes: [u8; SIGNATURE_LEN_MAX],
    len: u8,
}

impl Signature {
    /// Takes the bytes of a signature; nothing for none, and for more than there can be.
    #[must_use]
    pub fn new(signature: &[u8]) -> Option<Self> {
        let mut bytes = [0; SIGNATURE_LEN_MAX];
        let len = crate::wire::copy(&mut bytes, signature).filter(|len| *len > 0)?;
        Some(Self {
            bytes,
            len: u8::try_from(len).ok()?,
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl core::fmt::Debug for Signature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Signature({} bytes)", self.len)
    }
}

/// A byte of length, then so many bytes.
impl<'a> Field<'a> for Signature {
    fn read(from: &mut Reader<'a>) -> Result<Self, Malformed> {
        let wrong = from.malformed();
        let len = from.u8()?;
        Self::new(from.bytes(usize::from(len))?).ok_or(wrong)
    }
    fn write(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        to.u8(self.len)?;
        to.bytes(self.as_bytes())
    }
}
