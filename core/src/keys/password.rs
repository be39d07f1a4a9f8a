//! Keys made of passwords: PBKDF2-HMAC-SHA256 (RFC 8018 §5.2).

use sha2::Sha256;

use super::KeyError;
use crate::secret::Secret;

/// Length of a salt in bytes.
pub const SALT_LEN: usize = 16;

/// How many iterations of PBKDF2 a password costs; stored beside the key that it protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iterations(u32);

impl Iterations {
    /// What a server uses for new keys.
    pub const HOST_DEFAULT: Self = Self(600_000);
    /// The most that is read or written: some seconds on a server. A stored count is an input like any other, and one
    /// of four thousand million would keep an instance busy for hours.
    pub const MAX: u32 = 10_000_000;

    /// A count within `1..=`[`Iterations::MAX`].
    ///
    /// # Errors
    /// [`KeyError::IterationCount`] outside.
    pub const fn new(count: u32) -> Result<Self, KeyError> {
        if count == 0 || count > Self::MAX {
            return Err(KeyError::IterationCount);
        }
        Ok(Self(count))
    }

    /// The count.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// The 256-bit key that `password` gives.
pub(super) fn derive(password: &[u8], salt: &[u8], iterations: Iterations) -> Secret<32> {
    let mut key = Secret::zero();
    derive_into(password, salt, iterations, key.expose_mut());
    key
}

/// Fills `key`, of any length, with what `password` gives: PBKDF2-HMAC-SHA256.
pub fn derive_into(password: &[u8], salt: &[u8], iterations: Iterations, key: &mut [u8]) {
    pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations.0, key);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7914 §11, the first 32 of 64 bytes; the second has a count that the RFC calls 80,000.
    #[test]
    fn rfc_7914() {
        let key = derive(b"passwd", b"salt", Iterations::new(1).unwrap());
        assert_eq!(
            hex::encode(key.expose()),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
        );
        let key = derive(b"Password", b"NaCl", Iterations::new(80_000).unwrap());
        assert_eq!(
            hex::encode(key.expose()),
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
        );
    }

    #[test]
    fn counts_are_bounded() {
        assert_eq!(Iterations::new(0), Err(KeyError::IterationCount));
        assert_eq!(
            Iterations::new(Iterations::MAX + 1),
            Err(KeyError::IterationCount)
        );
        assert_eq!(Iterations::new(Iterations::MAX).unwrap().get(), Iterations::MAX);
        assert!(Iterations::HOST_DEFAULT.get() >= 600_000);
    }
}
