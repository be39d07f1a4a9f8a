//! A provider that protects nothing, for simulators and fuzzers, where curve arithmetic would eat the time. SHA-256 is
//! real; a shared secret is the peer's X coordinate, a signature is a constant that always verifies, sealing adds zeros.
//!
//! Only with the feature `no-security`, which a build without debug assertions refuses.

use super::rustcrypto::RustCrypto;
use super::{
    CryptoError, KeyExchange, POINT_LEN, Provider, RecordKey, SIGNATURE_LEN_MAX, SigningKey, VerifyingKey,
};
use crate::entropy::Entropy;
use crate::secret::Secret;
use crate::wire;

/// The provider without security.
#[derive(Clone, Copy, Debug)]
pub struct NoSecurity;

/// Stands for every key of [`NoSecurity`].
#[derive(Clone, Copy, Debug)]
pub struct NoKey;

/// The generator of P-256: a point as good as any.
const POINT: [u8; POINT_LEN] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
    0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f,
    0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce,
    0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
];
/// r = s = 1.
const SIGNATURE: [u8; 8] = [0x30, 6, 2, 1, 1, 2, 1, 1];

impl Provider for NoSecurity {
    type Sha256 = <RustCrypto as Provider>::Sha256;
    type Aes128Gcm = NoKey;
    type Sha384 = super::Absent;
    type Aes256Gcm = super::Absent;
    type MlKem768 = super::Absent;
    type P256 = NoKey;
    type SigningKey = NoKey;
    type VerifyingKey = NoKey;
}

impl RecordKey for NoKey {
    const KEY_LEN: usize = 16;
    const NONCE_LEN: usize = 12;
    const TAG_LEN: usize = 16;

    fn new(key: &[u8]) -> Result<Self, CryptoError> {
        if key.len() == Self::KEY_LEN {
            Ok(Self)
        } else {
            Err(CryptoError::BadLength)
        }
    }

    fn seal_in_place(&self, _: &[u8], _: &[u8], _: &mut [u8], tag: &mut [u8]) -> Result<(), CryptoError> {
        tag.fill(0);
        Ok(())
    }

    fn open_in_place(&self, _: &[u8], _: &[u8], _: &mut [u8], _: &[u8]) -> Result<(), CryptoError> {
        Ok(())
    }
}

impl KeyExchange for NoKey {
    fn start(_: &mut dyn Entropy) -> Result<Self, CryptoError> {
        Ok(Self)
    }

    fn share(&self) -> [u8; POINT_LEN] {
        POINT
    }

    fn finish(&self, peer_share: &[u8]) -> Result<Secret<32>, CryptoError> {
        match peer_share {
            [4, rest @ ..] if peer_share.len() == POINT_LEN => {
                Ok(Secret::new(*rest.first_chunk().ok_or(CryptoError::BadPoint)?))
            }
            _ => Err(CryptoError::BadPoint),
        }
    }
}

impl SigningKey for NoKey {
    fn from_scalar(_: &Secret<32>) -> Result<Self, CryptoError> {
        Ok(Self)
    }

    fn public_point(&self) -> [u8; POINT_LEN] {
        POINT
    }

    fn sign(
        &self,
        _: &[u8],
        _: &mut dyn Entropy,
        out: &mut [u8; SIGNATURE_LEN_MAX],
    ) -> Result<usize, CryptoError> {
        wire::copy(out, &SIGNATURE).ok_or(CryptoError::BadLength)
    }
}

impl VerifyingKey for NoKey {
    fn from_point(point: &[u8; POINT_LEN]) -> Result<Self, CryptoError> {
        if point.first() == Some(&4) {
            Ok(Self)
        } else {
            Err(CryptoError::BadPoint)
        }
    }

    fn verify(&self, _: &[u8], _: &[u8]) -> Result<(), CryptoError> {
        Ok(())
    }
}
