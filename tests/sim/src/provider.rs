//! Core's provider without security, with a key for each instance: a witness tells its partners apart by their keys.

use dbmirror_core::crypto::no_security::{NoKey, NoSecurity};
use dbmirror_core::crypto::{CryptoError, POINT_LEN, Provider, SIGNATURE_LEN_MAX, SigningKey};
use dbmirror_core::entropy::Entropy;
use dbmirror_core::secret::Secret;

/// The provider.
#[derive(Clone, Copy, Debug)]
pub struct Simulated;

/// A key that is only a number.
#[derive(Clone, Copy, Debug)]
pub struct NumberedKey(u8);

impl Provider for Simulated {
    type Sha256 = <NoSecurity as Provider>::Sha256;
    type Sha384 = <NoSecurity as Provider>::Sha384;
    type Aes256Gcm = <NoSecurity as Provider>::Aes256Gcm;
    type MlKem768 = <NoSecurity as Provider>::MlKem768;
    type Aes128Gcm = NoKey;
    type P256 = NoKey;
    type SigningKey = NumberedKey;
    type VerifyingKey = NoKey;
}

impl SigningKey for NumberedKey {
    fn from_scalar(scalar: &Secret<32>) -> Result<Self, CryptoError> {
        Ok(Self(scalar.expose()[31]))
    }

    fn public_point(&self) -> [u8; POINT_LEN] {
        let mut point = NoKey.public_point();
        point[POINT_LEN - 1] ^= self.0;
        point
    }

    fn sign(
        &self,
        message: &[u8],
        entropy: &mut dyn Entropy,
        out: &mut [u8; SIGNATURE_LEN_MAX],
    ) -> Result<usize, CryptoError> {
        NoKey.sign(message, entropy, out)
    }
}
