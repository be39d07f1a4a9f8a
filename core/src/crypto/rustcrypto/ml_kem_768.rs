//! ML-KEM-768 by RustCrypto's `ml-kem`.

use ml_kem::kem::{Decapsulate as _, KeyExport as _};
use ml_kem::{DecapsulationKey768, EncapsulationKey768};
use zeroize::Zeroize as _;

use crate::crypto::{CIPHERTEXT_LEN, CryptoError, ENCAPSULATION_KEY_LEN, Kem};
use crate::entropy::Entropy;
use crate::secret::Secret;

/// A decapsulation key, kept as the 64-byte seed that it is made from (FIPS 203 §7.1): expanded it takes many times the room, and
/// expanding it costs less than one operation of P-256. Wiped on drop.
pub struct MlKem768(Secret<64>);

impl MlKem768 {
    fn expand(&self) -> DecapsulationKey768 {
        DecapsulationKey768::from_seed((*self.0.expose()).into())
    }
}

impl Kem for MlKem768 {
    fn generate(entropy: &mut dyn Entropy) -> Result<Self, CryptoError> {
        let mut seed = Secret::zero();
        entropy.fill_secret(seed.expose_mut())?;
        Ok(Self(seed))
    }

    fn encapsulation_key(&self, out: &mut [u8; ENCAPSULATION_KEY_LEN]) -> Result<(), CryptoError> {
        *out = self.expand().encapsulation_key().to_bytes().into();
        Ok(())
    }

    fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Result<Secret<32>, CryptoError> {
        let mut shared = self.expand().decapsulate(&(*ciphertext).into());
        let secret = Secret::new(shared.into());
        shared.zeroize();
        Ok(secret)
    }

    fn encapsulate(
        encapsulation_key: &[u8; ENCAPSULATION_KEY_LEN],
        entropy: &mut dyn Entropy,
        ciphertext: &mut [u8; CIPHERTEXT_LEN],
    ) -> Result<Secret<32>, CryptoError> {
        let key = EncapsulationKey768::new(&(*encapsulation_key).into())
            .map_err(|_| CryptoError::BadEncapsulationKey)?;
        // The 32 bytes that FIPS 203 §7.2 has drawn here, from the caller's source like all randomness of core.
        let mut message = Secret::<32>::zero();
        entropy.fill_secret(message.expose_mut())?;
        let (made, mut shared) = key.encapsulate_deterministic(&(*message.expose()).into());
        *ciphertext = made.into();
        let secret = Secret::new(shared.into());
        shared.zeroize();
        Ok(secret)
    }
}
