//! HMAC (RFC 2104) and HKDF (RFC 5869), written once over [`Hash`], so that every provider has the same.

use core::marker::PhantomData;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::{CryptoError, HASH_LEN, Hash};
use crate::secret::Secret;
use crate::wire;

/// The longest block of any hash in bytes.
const BLOCK_LEN_MAX: usize = 128;
/// Most bytes that one [`Hkdf::expand`] over SHA-256 can give (RFC 5869 §2.3: 255 blocks).
pub const EXPAND_LEN_MAX: usize = 255 * HASH_LEN;

/// One HMAC computation. `Clone` forks the keyed state, which is cheaper than keying again. The states are wiped by
/// the provider's [`Hash`] when they are dropped.
#[derive(Clone)]
pub struct Hmac<H: Hash<LEN>, const LEN: usize = HASH_LEN> {
    inner: H,
    outer: H,
}

impl<H: Hash<LEN>, const LEN: usize> Hmac<H, LEN> {
    /// Keyed with `key` of any length; one longer than a block is hashed first, as RFC 2104 §2 has it.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        const {
            assert!(LEN <= H::BLOCK_LEN && H::BLOCK_LEN <= BLOCK_LEN_MAX);
        }
        let mut place = [0; BLOCK_LEN_MAX];
        let block = place.get_mut(..H::BLOCK_LEN).unwrap_or(&mut []);
        if wire::copy(block, key).is_none() {
            let mut digest = H::digest(key);
            // A digest is no longer than a block.
            let _fits = wire::copy(block, &digest);
            digest.zeroize();
        }
        let keyed = |block: &mut [u8], pad: u8| {
            for byte in block.iter_mut() {
                *byte ^= pad;
            }
            let mut state = H::new();
            state.update(block);
            state
        };
        let inner = keyed(block, 0x36);
        let outer = keyed(block, 0x36 ^ 0x5c);
        place.zeroize();
        Self { inner, outer }
    }

    /// Takes in `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
    }

    /// The tag of all bytes taken in.
    #[must_use]
    pub fn finish(self) -> [u8; LEN] {
        let Self { inner, mut outer } = self;
        let mut digest = inner.finish();
        outer.update(&digest);
        digest.zeroize();
        outer.finish()
    }

    /// Compares the tag with `expected` in constant time.
    ///
    /// # Errors
    /// [`CryptoError::Rejected`] when they differ, in length too.
    pub fn verify(self, expected: &[u8]) -> Result<(), CryptoError> {
        let mut tag = self.finish();
        let fits = tag.ct_eq(expected).into();
        tag.zeroize();
        if fits { Ok(()) } else { Err(CryptoError::Rejected) }
    }

    /// The tag of `parts`, one after the other, in one call.
    #[must_use]
    pub fn tag(key: &[u8], parts: &[&[u8]]) -> [u8; LEN] {
        let mut mac = Self::new(key);
        for part in parts {
            mac.update(part);
        }
        mac.finish()
    }
}

/// HKDF (RFC 5869) over the hash `H`.
pub struct Hkdf<H, const LEN: usize = HASH_LEN>(PhantomData<H>);

impl<H: Hash<LEN>, const LEN: usize> Hkdf<H, LEN> {
    /// HKDF-Extract. An absent salt is the empty slice: padding makes it equal to as many zero bytes as a digest has.
    #[must_use]
    pub fn extract(salt: &[u8], ikm: &[u8]) -> Secret<LEN> {
        Secret::new(Hmac::<H, LEN>::tag(salt, &[ikm]))
    }

    /// HKDF-Expand: fills `out` from `prk`. `info` is what its parts give when put together.
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] when `out` is longer than 255 digests; `out` is then untouched.
    pub fn expand(prk: &Secret<LEN>, info: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        Self::expand_from(prk.expose(), info, out)
    }

    /// [`Self::expand`] for a key that lies elsewhere.
    pub(crate) fn expand_from(prk: &[u8], info: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
        if out.len() > LEN.saturating_mul(255) {
            return Err(CryptoError::BadLength);
        }
        let keyed = Hmac::<H, LEN>::new(prk);
        let mut previous = Secret::<LEN>::zero();
        for (index, chunk) in out.chunks_mut(LEN.max(1)).enumerate() {
            let counter = u8::try_from(index)
                .ok()
                .and_then(|index| index.checked_add(1))
                .ok_or(CryptoError::BadLength)?;
            let mut mac = keyed.clone();
            if index > 0 {
                mac.update(previous.expose());
            }
            for part in info {
                mac.update(part);
            }
            mac.update(&[counter]);
            *previous.expose_mut() = mac.finish();
            for (to, from) in chunk.iter_mut().zip(previous.expose()) {
                *to = *from;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::rustcrypto::Sha256;
    use std::vec::Vec;

    fn unhex(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    /// RFC 4231 §4.2 to §4.8.
    #[test]
    fn rfc_4231() {
        let cases: [(Vec<u8>, Vec<u8>, &str); 7] = [
            (
                [0x0b; 20].to_vec(),
                b"Hi There".to_vec(),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?".to_vec(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                [0xaa; 20].to_vec(),
                [0xdd; 50].to_vec(),
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                unhex("0102030405060708090a0b0c0d0e0f10111213141516171819"),
                [0xcd; 50].to_vec(),
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (
                [0x0c; 20].to_vec(),
                b"Test With Truncation".to_vec(),
                "a3b6167473100ee06e0c796c2955552b",
            ),
            (
                [0xaa; 131].to_vec(),
                b"Test Using Larger Than Block-Size Key - Hash Key First".to_vec(),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                [0xaa; 131].to_vec(),
                b"This is a test using a larger than block-size key and a larger than block-size data. \
                  The key needs to be hashed before being used by the HMAC algorithm."
                    .to_vec(),
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, data, expected) in cases {
            let expected = unhex(expected);
            let tag = Hmac::<Sha256>::tag(&key, &[&data]);
            assert_eq!(&tag[..expected.len()], expected);
            let (head, tail) = data.split_at(data.len() / 2);
            let mut mac = Hmac::<Sha256>::new(&key);
            mac.update(head);
            mac.update(tail);
            assert_eq!(mac.clone().finish(), tag);
            assert!(mac.clone().verify(&tag).is_ok());
            assert_eq!(mac.clone().verify(&tag[..31]), Err(CryptoError::Rejected));
            let mut wrong = tag;
            wrong[31] ^= 1;
            assert_eq!(mac.verify(&wrong), Err(CryptoError::Rejected));
        }
    }

    /// RFC 5869 appendix A.1 to A.3, the SHA-256 cases.
    #[test]
    fn rfc_5869() {
        let long: Vec<u8> = (0x00..=0xff).collect();
        let cases = [
            (
                [0x0b; 22].to_vec(),
                unhex("000102030405060708090a0b0c"),
                unhex("f0f1f2f3f4f5f6f7f8f9"),
                "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            ),
            (
                long[0x00..0x50].to_vec(),
                long[0x60..0xb0].to_vec(),
                long[0xb0..].to_vec(),
                "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
                 59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
                 cc30c58179ec3e87c14c01d5c1f3434f1d87",
            ),
            (
                [0x0b; 22].to_vec(),
                Vec::new(),
                Vec::new(),
                "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
            ),
        ];
        for (ikm, salt, info, prk, okm) in cases {
            let extracted = Hkdf::<Sha256>::extract(&salt, &ikm);
            assert_eq!(extracted.expose(), &unhex(prk)[..]);
            let mut out = std::vec![0; okm.len() / 2];
            let (head, tail) = info.split_at(info.len() / 3);
            Hkdf::<Sha256>::expand(&extracted, &[head, tail], &mut out).unwrap();
            assert_eq!(out, unhex(okm));
        }
    }

    #[test]
    fn expand_has_an_end() {
        let prk = Secret::new([7; 32]);
        let mut out = [0; EXPAND_LEN_MAX + 1];
        assert_eq!(
            Hkdf::<Sha256>::expand(&prk, &[], &mut out),
            Err(CryptoError::BadLength)
        );
        assert!(out.iter().all(|&byte| byte == 0));
        Hkdf::<Sha256>::expand(&prk, &[], &mut out[..EXPAND_LEN_MAX]).unwrap();
        assert_ne!(out[EXPAND_LEN_MAX - 32..EXPAND_LEN_MAX], [0; 32]);
    }
}
