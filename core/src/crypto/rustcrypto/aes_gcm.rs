//! AES-GCM (NIST SP 800-38D) as the crate `aes-gcm` has it, for 32-bit targets, where it is small.

use ::aes_gcm::KeyInit;
use ::aes_gcm::aead::AeadInOut;
use aes::cipher::common::BlockSizeUser;
use aes::cipher::consts::{U12, U16};
use aes::cipher::{BlockCipherEncrypt, KeySizeUser};

use crate::crypto::{CryptoError, RecordKey};

/// AES-GCM under one key, with 12-byte nonces and 16-byte tags. Key schedule and GHASH key are wiped on drop.
pub struct AesGcm<A>(::aes_gcm::AesGcm<A, U12>);

impl<A> RecordKey for AesGcm<A>
where
    A: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    const KEY_LEN: usize = <<A as KeySizeUser>::KeySize as aes::cipher::typenum::Unsigned>::USIZE;
    const NONCE_LEN: usize = 12;
    const TAG_LEN: usize = 16;

    fn new(key: &[u8]) -> Result<Self, CryptoError> {
        KeyInit::new_from_slice(key)
            .map(Self)
            .map_err(|_| CryptoError::BadLength)
    }

    fn seal_in_place(
        &self,
        nonce: &[u8],
        aad: &[u8],
        buf: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        let nonce = nonce.try_into().map_err(|_| CryptoError::BadLength)?;
        let tag: &mut [u8; 16] = tag.try_into().map_err(|_| CryptoError::BadLength)?;
        *tag = self
            .0
            .encrypt_inout_detached(nonce, aad, buf.into())
            .map_err(|_| CryptoError::BadLength)?
            .into();
        Ok(())
    }

    fn open_in_place(&self, nonce: &[u8], aad: &[u8], buf: &mut [u8], tag: &[u8]) -> Result<(), CryptoError> {
        let nonce = nonce.try_into().map_err(|_| CryptoError::BadLength)?;
        let tag = tag.try_into().map_err(|_| CryptoError::BadLength)?;
        // The tag is verified before anything is decrypted: after a refusal `buf` is still ciphertext.
        self.0
            .decrypt_inout_detached(nonce, aad, buf.into(), tag)
            .map_err(|_| CryptoError::Rejected)
    }
}
