//! AWS-LC as a [`Provider`]: for servers, where it is several times faster than portable code. It is C and assembly, so it is a
//! feature that nobody gets without asking.
//!
//! It passes the same examination as the default provider. Two things differ inside. Ephemeral keys, ECDSA nonces and ML-KEM keys
//! come from AWS-LC's own generator, which it reseeds from the operating system; the caller's source is asked all the same, so that a
//! dead source stops a handshake here too. (A scalar that is handed to AWS-LC has its public key computed twice, the second time to
//! compare: a twentieth of a handshake.) And AES and SHA-256 states are wiped by AWS-LC, not by `zeroize`.

use aws_lc_rs::{aead, agreement, digest, kem, rand, signature};
use dbmirror_core::crypto::{
    CIPHERTEXT_LEN, CryptoError, ENCAPSULATION_KEY_LEN, HASH_LEN, Hash, Kem, KeyExchange, POINT_LEN,
    Provider, RecordKey, SHA384_LEN, SIGNATURE_LEN_MAX, SigningKey, VerifyingKey,
};
use dbmirror_core::entropy::Entropy;
use dbmirror_core::secret::Secret;

/// SEC 1's mark of an uncompressed point.
const UNCOMPRESSED: u8 = 0x04;

/// The provider itself; it has no state.
#[derive(Clone, Copy, Debug)]
pub struct AwsLc;

impl Provider for AwsLc {
    type Sha256 = Sha256;
    type Aes128Gcm = Aes128Gcm;
    type Sha384 = Sha384;
    type Aes256Gcm = Aes256Gcm;
    type P256 = EphemeralP256;
    type MlKem768 = MlKem768;
    type SigningKey = P256SigningKey;
    type VerifyingKey = P256VerifyingKey;
}

macro_rules! sha2 {
    ($(#[$doc:meta])* $name:ident, $algorithm:ident, $len:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(digest::Context);

        impl Hash<$len> for $name {
            fn new() -> Self {
                Self(digest::Context::new(&digest::$algorithm))
            }

            fn update(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }

            fn finish(self) -> [u8; $len] {
                let mut out = [0; $len];
                // A digest is as long as `out` by definition.
                out.copy_from_slice(self.0.finish().as_ref());
                out
            }
        }
    };
}

sha2!(
    /// SHA-256 (FIPS 180-4).
    Sha256, SHA256, HASH_LEN
);
sha2!(
    /// SHA-384 (FIPS 180-4).
    Sha384, SHA384, SHA384_LEN
);

macro_rules! aes_gcm {
    ($(#[$doc:meta])* $name:ident, $algorithm:ident, $key_len:literal) => {
        $(#[$doc])*
        pub struct $name(aead::LessSafeKey);

        impl RecordKey for $name {
            const KEY_LEN: usize = $key_len;
            const NONCE_LEN: usize = 12;
            const TAG_LEN: usize = 16;

            fn new(key: &[u8]) -> Result<Self, CryptoError> {
                aead::UnboundKey::new(&aead::$algorithm, key)
                    .map(|key| Self(aead::LessSafeKey::new(key)))
                    .map_err(|_| CryptoError::BadLength)
            }

            fn seal_in_place(
                &self,
                nonce: &[u8],
                aad: &[u8],
                buf: &mut [u8],
                tag: &mut [u8],
            ) -> Result<(), CryptoError> {
                let nonce =
                    aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| CryptoError::BadLength)?;
                let tag: &mut [u8; 16] = tag.try_into().map_err(|_| CryptoError::BadLength)?;
                let made = self
                    .0
                    .seal_in_place_separate_tag(nonce, aead::Aad::from(aad), buf)
                    .map_err(|_| CryptoError::BadLength)?;
                *tag = made.as_ref().try_into().map_err(|_| CryptoError::BadLength)?;
                Ok(())
            }

            fn open_in_place(
                &self,
                nonce: &[u8],
                aad: &[u8],
                buf: &mut [u8],
                tag: &[u8],
            ) -> Result<(), CryptoError> {
                let nonce =
                    aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| CryptoError::BadLength)?;
                if tag.len() != Self::TAG_LEN {
                    return Err(CryptoError::BadLength);
                }
                let opened = self
                    .0
                    .open_in_place_separate_tag(nonce, aead::Aad::from(aad), tag, buf)
                    .is_ok();
                if opened {
                    return Ok(());
                }
                // AWS-LC decrypts while it authenticates: what it leaves behind after a refusal must not be seen.
                buf.fill(0);
                Err(CryptoError::Rejected)
            }
        }
    };
}

aes_gcm!(
    /// AES-128-GCM (NIST SP 800-38D) with 12-byte nonces and 16-byte tags.
    Aes128Gcm, AES_128_GCM, 16
);
aes_gcm!(
    /// AES-256-GCM (NIST SP 800-38D) with 12-byte nonces and 16-byte tags.
    Aes256Gcm, AES_256_GCM, 32
);

/// An ephemeral key pair on P-256.
pub struct EphemeralP256 {
    key: agreement::PrivateKey,
    share: [u8; POINT_LEN],
}

impl EphemeralP256 {
    /// The pair of a scalar that was drawn elsewhere: for published vectors.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] for zero, and from the group's order on.
    pub fn from_scalar(scalar: &Secret<32>) -> Result<Self, CryptoError> {
        agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, scalar.expose())
            .map_err(|_| CryptoError::BadKey)
            .and_then(Self::of)
    }

    fn of(key: agreement::PrivateKey) -> Result<Self, CryptoError> {
        let share = key.compute_public_key().map_err(|_| CryptoError::BadKey)?;
        let share = share.as_ref().try_into().map_err(|_| CryptoError::BadKey)?;
        Ok(Self { key, share })
    }
}

impl KeyExchange for EphemeralP256 {
    fn start(entropy: &mut dyn Entropy) -> Result<Self, CryptoError> {
        alive(entropy)?;
        agreement::PrivateKey::generate(&agreement::ECDH_P256)
            .map_err(|_| CryptoError::Entropy)
            .and_then(Self::of)
    }

    fn share(&self) -> [u8; POINT_LEN] {
        self.share
    }

    fn finish(&self, peer_share: &[u8]) -> Result<Secret<32>, CryptoError> {
        let peer = uncompressed(peer_share)?;
        let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, peer);
        agreement::agree(&self.key, peer, CryptoError::BadPoint, |raw| {
            let mut out = Secret::zero();
            let place: &mut [u8; 32] = out.expose_mut();
            *place = raw.try_into().map_err(|_| CryptoError::BadLength)?;
            Ok(out)
        })
    }
}

/// A decapsulation key of ML-KEM-768. Keys and ciphertexts are drawn by AWS-LC's own generator; the caller's source is asked all
/// the same, as for signatures.
pub struct MlKem768(kem::DecapsulationKey);

impl Kem for MlKem768 {
    fn generate(entropy: &mut dyn Entropy) -> Result<Self, CryptoError> {
        alive(entropy)?;
        kem::DecapsulationKey::generate(&kem::ML_KEM_768)
            .map(Self)
            .map_err(|_| CryptoError::Entropy)
    }

    fn encapsulation_key(&self, out: &mut [u8; ENCAPSULATION_KEY_LEN]) -> Result<(), CryptoError> {
        let key = self.0.encapsulation_key().map_err(|_| CryptoError::BadKey)?;
        let bytes = key.key_bytes().map_err(|_| CryptoError::BadKey)?;
        *out = bytes.as_ref().try_into().map_err(|_| CryptoError::BadLength)?;
        Ok(())
    }

    fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Result<Secret<32>, CryptoError> {
        let shared = self.0.decapsulate(ciphertext[..].into());
        secret(shared.map_err(|_| CryptoError::Rejected)?)
    }

    fn encapsulate(
        encapsulation_key: &[u8; ENCAPSULATION_KEY_LEN],
        entropy: &mut dyn Entropy,
        ciphertext: &mut [u8; CIPHERTEXT_LEN],
    ) -> Result<Secret<32>, CryptoError> {
        alive(entropy)?;
        let key = kem::EncapsulationKey::new(&kem::ML_KEM_768, encapsulation_key)
            .map_err(|_| CryptoError::BadEncapsulationKey)?;
        let (made, shared) = key.encapsulate().map_err(|_| CryptoError::BadEncapsulationKey)?;
        *ciphertext = made.as_ref().try_into().map_err(|_| CryptoError::BadLength)?;
        secret(shared)
    }
}

/// A shared secret in our own place; the other copy is wiped by AWS-LC.
fn secret(shared: kem::SharedSecret) -> Result<Secret<32>, CryptoError> {
    let mut out = Secret::zero();
    let place: &mut [u8; 32] = out.expose_mut();
    *place = shared.as_ref().try_into().map_err(|_| CryptoError::BadLength)?;
    Ok(out)
}

/// A dead source stops what AWS-LC would draw by itself.
fn alive(entropy: &mut dyn Entropy) -> Result<(), CryptoError> {
    let mut drawn = Secret::<32>::zero();
    Ok(entropy.fill_secret(drawn.expose_mut())?)
}

/// An own long-term signing key.
pub struct P256SigningKey {
    pair: signature::EcdsaKeyPair,
    point: [u8; POINT_LEN],
}

impl SigningKey for P256SigningKey {
    fn from_scalar(scalar: &Secret<32>) -> Result<Self, CryptoError> {
        let public = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, scalar.expose())
            .and_then(|key| {
                key.compute_public_key()
                    .map_err(|_| aws_lc_rs::error::Unspecified.into())
            })
            .map_err(|_| CryptoError::BadKey)?;
        let point = public.as_ref().try_into().map_err(|_| CryptoError::BadKey)?;
        let pair = signature::EcdsaKeyPair::from_private_key_and_public_key(
            &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            scalar.expose(),
            public.as_ref(),
        )
        .map_err(|_| CryptoError::BadKey)?;
        Ok(Self { pair, point })
    }

    fn public_point(&self) -> [u8; POINT_LEN] {
        self.point
    }

    fn sign(
        &self,
        message: &[u8],
        entropy: &mut dyn Entropy,
        out: &mut [u8; SIGNATURE_LEN_MAX],
    ) -> Result<usize, CryptoError> {
        alive(entropy)?;
        let made = self
            .pair
            .sign(&rand::SystemRandom::new(), message)
            .map_err(|_| CryptoError::Rejected)?;
        let made = made.as_ref();
        out.get_mut(..made.len())
            .ok_or(CryptoError::Rejected)?
            .copy_from_slice(made);
        Ok(made.len())
    }
}

/// A peer's public key, parsed once.
pub struct P256VerifyingKey(signature::ParsedPublicKey);

impl VerifyingKey for P256VerifyingKey {
    fn from_point(point: &[u8; POINT_LEN]) -> Result<Self, CryptoError> {
        signature::ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, uncompressed(point)?)
            .map(Self)
            .map_err(|_| CryptoError::BadPoint)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.0
            .verify_sig(message, signature)
            .map_err(|_| CryptoError::Rejected)
    }
}

/// Refuses every form of a point but the uncompressed one; AWS-LC checks that it is on the curve.
fn uncompressed(point: &[u8]) -> Result<&[u8; POINT_LEN], CryptoError> {
    let point: &[u8; POINT_LEN] = point.try_into().map_err(|_| CryptoError::BadPoint)?;
    if point.first() == Some(&UNCOMPRESSED) {
        Ok(point)
    } else {
        Err(CryptoError::BadPoint)
    }
}
