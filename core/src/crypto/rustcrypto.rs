//! The default provider: RustCrypto's `aes`, `sha2` and `p256`. No C, no assembly, no std.
//!
//! Two habits of those crates are kept outside on purpose: compressed points (SEC 1 knows them, this project does
//! not), and generators that may loop for ever on a stuck source (a scalar is drawn here, with a bound).

// On 64-bit targets the crate is what tests compare with.
#[cfg(any(test, not(target_pointer_width = "64")))]
mod aes_gcm;
#[cfg(target_pointer_width = "64")]
mod gcm;
#[cfg(feature = "hybrid")]
mod ml_kem_768;
mod signature;

use p256::ecdsa::Signature;
use p256::ecdsa::signature::hazmat::{PrehashVerifier, RandomizedPrehashSigner};
use p256::elliptic_curve::point::AffineCoordinates;
use p256::elliptic_curve::sec1::ToSec1Point;
use sha2::Digest;
use zeroize::Zeroize;

#[cfg(feature = "aes-256")]
use super::SHA384_LEN;
use super::{CryptoError, HASH_LEN, Hash, POINT_LEN, Provider, SIGNATURE_LEN_MAX};
use crate::entropy::{Entropy, EntropyError};
use crate::secret::Secret;
use crate::wire;

#[cfg(not(target_pointer_width = "64"))]
use aes_gcm::AesGcm;
#[cfg(target_pointer_width = "64")]
use gcm::AesGcm;

/// SEC 1's mark of an uncompressed point.
const UNCOMPRESSED: u8 = 0x04;

/// How often a scalar is drawn before the source counts as broken. One draw fails with a chance of 2^-32.
const SCALAR_TRIES: usize = 4;

/// The provider itself; it has no state.
#[derive(Clone, Copy, Debug)]
pub struct RustCrypto;

impl Provider for RustCrypto {
    type Sha256 = Sha256;
    type Aes128Gcm = Aes128Gcm;
    #[cfg(feature = "aes-256")]
    type Sha384 = Sha384;
    #[cfg(not(feature = "aes-256"))]
    type Sha384 = super::Absent;
    #[cfg(feature = "aes-256")]
    type Aes256Gcm = Aes256Gcm;
    #[cfg(not(feature = "aes-256"))]
    type Aes256Gcm = super::Absent;
    type P256 = EphemeralP256;
    #[cfg(feature = "hybrid")]
    type MlKem768 = ml_kem_768::MlKem768;
    #[cfg(not(feature = "hybrid"))]
    type MlKem768 = super::Absent;
    type SigningKey = SigningKey;
    type VerifyingKey = VerifyingKey;
}

/// SHA-256 (FIPS 180-4). Its state is wiped on drop.
#[derive(Clone)]
pub struct Sha256(sha2::Sha256);

impl Hash for Sha256 {
    fn new() -> Self {
        Self(sha2::Sha256::new())
    }

    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; HASH_LEN] {
        self.0.finalize().into()
    }
}

// Types of their own and no aliases: generic code is compiled where it is named, and only this crate is compiled as one unit, without
// which the small functions inside AES stay calls.
macro_rules! aes_gcm {
    ($(#[$attribute:meta])* $name:ident, $aes:ty) => {
        $(#[$attribute])*
        pub struct $name(AesGcm<$aes>);

        $(#[$attribute])*
        impl super::RecordKey for $name {
            const KEY_LEN: usize = AesGcm::<$aes>::KEY_LEN;
            const NONCE_LEN: usize = AesGcm::<$aes>::NONCE_LEN;
            const TAG_LEN: usize = AesGcm::<$aes>::TAG_LEN;

            fn new(key: &[u8]) -> Result<Self, CryptoError> {
                AesGcm::new(key).map(Self)
            }

            fn seal_in_place(
                &self,
                nonce: &[u8],
                aad: &[u8],
                buf: &mut [u8],
                tag: &mut [u8],
            ) -> Result<(), CryptoError> {
                self.0.seal_in_place(nonce, aad, buf, tag)
            }

            fn open_in_place(
                &self,
                nonce: &[u8],
                aad: &[u8],
                buf: &mut [u8],
                tag: &[u8],
            ) -> Result<(), CryptoError> {
                self.0.open_in_place(nonce, aad, buf, tag)
            }
        }
    };
}

aes_gcm!(
    /// AES-128-GCM (NIST SP 800-38D) with 12-byte nonces and 16-byte tags. Key schedule and GHASH key are wiped on drop.
    Aes128Gcm,
    aes::Aes128
);
aes_gcm!(
    /// AES-256-GCM (NIST SP 800-38D) with 12-byte nonces and 16-byte tags. Key schedule and GHASH key are wiped on drop.
    #[cfg(feature = "aes-256")]
    Aes256Gcm,
    aes::Aes256
);

/// SHA-384 (FIPS 180-4). Its state is wiped on drop.
#[cfg(feature = "aes-256")]
#[derive(Clone)]
pub struct Sha384(sha2::Sha384);

#[cfg(feature = "aes-256")]
impl Hash<SHA384_LEN> for Sha384 {
    fn new() -> Self {
        Self(sha2::Sha384::new())
    }

    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> [u8; SHA384_LEN] {
        self.0.finalize().into()
    }
}

/// An ephemeral key pair on P-256. The scalar is wiped on drop.
pub struct EphemeralP256 {
    scalar: p256::SecretKey,
    share: [u8; POINT_LEN],
}

impl super::KeyExchange for EphemeralP256 {
    fn start(entropy: &mut dyn Entropy) -> Result<Self, CryptoError> {
        let mut bytes = Secret::<32>::zero();
        for _ in 0..SCALAR_TRIES {
            entropy.fill_secret(bytes.expose_mut())?;
            if let Ok(scalar) = p256::SecretKey::from_bytes(bytes.expose().into()) {
                let share = encode_point(&scalar.public_key())?;
                return Ok(Self { scalar, share });
            }
        }
        Err(CryptoError::Entropy)
    }

    fn share(&self) -> [u8; POINT_LEN] {
        self.share
    }

    fn finish(&self, peer_share: &[u8]) -> Result<Secret<32>, CryptoError> {
        let peer = decode_point(peer_share)?;
        let shared = self.scalar.diffie_hellman(&peer);
        let mut out = Secret::zero();
        wire::copy(out.expose_mut(), shared.raw_secret_bytes()).ok_or(CryptoError::BadLength)?;
        Ok(out)
    }
}

/// An own long-term signing key. The scalar is wiped on drop.
pub struct SigningKey {
    key: p256::ecdsa::SigningKey,
    point: [u8; POINT_LEN],
}

impl super::SigningKey for SigningKey {
    fn from_scalar(scalar: &Secret<32>) -> Result<Self, CryptoError> {
        let key =
            p256::ecdsa::SigningKey::from_bytes(scalar.expose().into()).map_err(|_| CryptoError::BadKey)?;
        let point = encode_point(&p256::PublicKey::from(key.verifying_key()))?;
        Ok(Self { key, point })
    }

    fn public_point(&self) -> [u8; POINT_LEN] {
        self.point
    }

    /// RFC 6979 §3.6: the deterministic nonce, hedged with 32 fresh bytes, so that neither a weak source nor a fault
    /// injected into a repeated signature gives the key away.
    fn sign(
        &self,
        message: &[u8],
        entropy: &mut dyn Entropy,
        out: &mut [u8; SIGNATURE_LEN_MAX],
    ) -> Result<usize, CryptoError> {
        let signature: Signature = self
            .key
            .sign_prehash_with_rng(&mut Hedge(entropy), &Sha256::digest(message))
            // The signer itself cannot fail on a 32-byte digest; only the source can.
            .map_err(|_| CryptoError::Entropy)?;
        signature::write(signature.to_bytes().as_ref(), out).ok_or(CryptoError::Rejected)
    }
}

/// A peer's public key.
pub struct VerifyingKey(p256::ecdsa::VerifyingKey);

impl super::VerifyingKey for VerifyingKey {
    fn from_point(point: &[u8; POINT_LEN]) -> Result<Self, CryptoError> {
        Ok(Self(decode_point(point)?.into()))
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let signature = signature::read(signature).ok_or(CryptoError::Rejected)?;
        let signature = Signature::from_slice(&signature).map_err(|_| CryptoError::Rejected)?;
        self.0
            .verify_prehash(&Sha256::digest(message), &signature)
            .map_err(|_| CryptoError::Rejected)
    }
}

/// Refuses every form but the uncompressed one, and every point that is not on the curve.
fn decode_point(bytes: &[u8]) -> Result<p256::PublicKey, CryptoError> {
    let bytes: &[u8; POINT_LEN] = bytes.try_into().map_err(|_| CryptoError::BadPoint)?;
    let [UNCOMPRESSED, coordinates @ ..] = bytes else {
        return Err(CryptoError::BadPoint);
    };
    let (Some((x, _)), Some((_, y))) = (
        coordinates.split_first_chunk::<32>(),
        coordinates.split_last_chunk::<32>(),
    ) else {
        return Err(CryptoError::BadPoint);
    };
    // Not by way of SEC 1's other forms: their square roots would be in the image of a device.
    let point = p256::AffinePoint::from_coordinates(x.into(), y.into());
    let point = point.into_option().ok_or(CryptoError::BadPoint)?;
    p256::PublicKey::from_affine(point).map_err(|_| CryptoError::BadPoint)
}

fn encode_point(key: &p256::PublicKey) -> Result<[u8; POINT_LEN], CryptoError> {
    key.to_sec1_point(false)
        .as_bytes()
        .try_into()
        .map_err(|_| CryptoError::BadPoint)
}

/// The caller's entropy as the signer wants it: asked once, for one field's worth of bytes.
struct Hedge<'a>(&'a mut dyn Entropy);

impl rand_core::TryRng for Hedge<'_> {
    type Error = EntropyError;

    fn try_next_u32(&mut self) -> Result<u32, EntropyError> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, EntropyError> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill_secret(out).inspect_err(|_| out.zeroize())
    }
}

impl rand_core::TryCryptoRng for Hedge<'_> {}

#[cfg(test)]
mod tests {
    use zeroize::ZeroizeOnDrop;

    /// What is wiped underneath depends on features of other crates: this does not compile once one is lost.
    #[test]
    fn everything_secret_is_wiped_on_drop() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<sha2::Sha256>();
        wiped::<::aes_gcm::Aes128Gcm>();
        wiped::<::aes_gcm::Aes256Gcm>();
        wiped::<sha2::Sha384>();
        wiped::<aes::Aes256>();
        wiped::<aes_kw::KwAes256>();
        wiped::<aes_kw::KwpAes256>();
        wiped::<cbc::Decryptor<aes::Aes256>>();
        wiped::<cbc::Encryptor<aes::Aes256>>();
        wiped::<p256::SecretKey>();
        wiped::<p256::ecdsa::SigningKey>();
        wiped::<crate::secret::Secret<32>>();
    }
}
