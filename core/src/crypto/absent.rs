//! What a provider does without.

use super::{CIPHERTEXT_LEN, CryptoError, ENCAPSULATION_KEY_LEN, Hash, Kem, RecordKey, SHA384_LEN};
use crate::entropy::Entropy;
use crate::secret::Secret;

/// Stands for an operation that a provider does not have, so that none of its code is in the image of a device. The channel
/// asks [`RecordKey::PRESENT`] and [`Kem::PRESENT`], and neither offers nor takes what is absent; should it be reached all the same, no key can be
/// made.
#[derive(Clone, Copy, Debug)]
pub struct Absent;

/// Nothing: the digest is all zero, and no key is ever made from it.
impl Hash<SHA384_LEN> for Absent {
    fn new() -> Self {
        Self
    }

    fn update(&mut self, _: &[u8]) {}

    fn finish(self) -> [u8; SHA384_LEN] {
        [0; SHA384_LEN]
    }
}

/// No key is ever made.
impl RecordKey for Absent {
    const PRESENT: bool = false;
    const KEY_LEN: usize = 0;
    const NONCE_LEN: usize = 0;
    const TAG_LEN: usize = 0;

    fn new(_: &[u8]) -> Result<Self, CryptoError> {
        Err(CryptoError::BadLength)
    }

    fn seal_in_place(&self, _: &[u8], _: &[u8], _: &mut [u8], _: &mut [u8]) -> Result<(), CryptoError> {
        Err(CryptoError::Rejected)
    }

    fn open_in_place(&self, _: &[u8], _: &[u8], _: &mut [u8], _: &[u8]) -> Result<(), CryptoError> {
        Err(CryptoError::Rejected)
    }
}

/// No key is ever made, and nothing agreed on.
impl Kem for Absent {
    const PRESENT: bool = false;

    fn generate(_: &mut dyn Entropy) -> Result<Self, CryptoError> {
        Err(CryptoError::Rejected)
    }

    fn encapsulation_key(&self, _: &mut [u8; ENCAPSULATION_KEY_LEN]) -> Result<(), CryptoError> {
        Err(CryptoError::Rejected)
    }

    fn decapsulate(&self, _: &[u8; CIPHERTEXT_LEN]) -> Result<Secret<32>, CryptoError> {
        Err(CryptoError::Rejected)
    }

    fn encapsulate(
        _: &[u8; ENCAPSULATION_KEY_LEN],
        _: &mut dyn Entropy,
        _: &mut [u8; CIPHERTEXT_LEN],
    ) -> Result<Secret<32>, CryptoError> {
        Err(CryptoError::Rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_made() {
        for len in [0, 16, 32, 48] {
            assert!(<Absent as RecordKey>::new(&[7; 48][..len]).is_err(), "{len}");
        }
        assert!(
            Absent
                .seal_in_place(&[0; 12], &[], &mut [1], &mut [0; 16])
                .is_err()
        );
        assert!(Absent.open_in_place(&[0; 12], &[], &mut [1], &[0; 16]).is_err());
    }
}
