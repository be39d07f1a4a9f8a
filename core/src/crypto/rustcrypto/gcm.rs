//! AES-GCM (NIST SP 800-38D) composed of the crates `aes`, `ctr` and `polyval`, for 64-bit targets.
//!
//! The crate `aes-gcm` composes the same three, and turns the bytes of each block around for POLYVAL (RFC 8452 appendix A) in
//! vector registers, right behind AES instructions that are twice and four times as wide: on x86-64 without newer shuffles that is
//! as long as the multiplication. Here blocks are turned around as integers, a batch at a time. Everything secret stays inside those
//! crates, which take the same time whatever the bytes are.

use aes::cipher::common::BlockSizeUser;
use aes::cipher::consts::U16;
use aes::cipher::{Array, BlockCipherEncrypt, InnerIvInit, KeyInit, KeySizeUser, StreamCipherCore};
use polyval::hazmat::FieldElement;
use polyval::universal_hash::UniversalHash;
use polyval::{Block, Polyval};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto::{CryptoError, RecordKey};
use crate::wire;

/// Bytes of a block.
const BLOCK: usize = 16;
/// Blocks that are turned around at a time: half a kilobyte of the stack, long enough that no load waits for its store.
const BATCH: usize = 32;
/// Most bytes under one nonce (SP 800-38D §5.2.1.1: 2^39 - 256 bits).
const LEN_MAX: u64 = (1 << 36) - 32;

/// Counter mode whose last 32 bits count.
type Counter<'a, A> = ctr::CtrCore<&'a A, ctr::flavors::Ctr32BE>;

/// AES-GCM under one key, with 12-byte nonces and 16-byte tags. Key schedule and GHASH key are wiped on drop.
pub struct AesGcm<A> {
    aes: A,
    /// POLYVAL under the key that makes it GHASH of turned blocks; nothing taken in.
    ghash: Polyval,
}

/// `aes` and POLYVAL wipe themselves (a test holds both).
impl<A: ZeroizeOnDrop> ZeroizeOnDrop for AesGcm<A> {}

impl<A> RecordKey for AesGcm<A>
where
    A: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    const KEY_LEN: usize = <<A as KeySizeUser>::KeySize as aes::cipher::typenum::Unsigned>::USIZE;
    const NONCE_LEN: usize = 12;
    const TAG_LEN: usize = BLOCK;

    fn new(key: &[u8]) -> Result<Self, CryptoError> {
        let aes = A::new_from_slice(key).map_err(|_| CryptoError::BadLength)?;
        let mut h = [0; BLOCK];
        aes.encrypt_block((&mut h).into());
        let mut turned = FieldElement::from(h).reverse().mulx();
        h = turned.into();
        let ghash = Polyval::new((&h).into());
        turned.zeroize();
        h.zeroize();
        Ok(Self { aes, ghash })
    }

    fn seal_in_place(
        &self,
        nonce: &[u8],
        aad: &[u8],
        buf: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        let tag: &mut [u8; BLOCK] = tag.try_into().map_err(|_| CryptoError::BadLength)?;
        let lengths = lengths(aad, buf).ok_or(CryptoError::BadLength)?;
        let (counter, mask) = self.counter(nonce)?;
        counter.apply_keystream_partial((&mut *buf).into());
        *tag = self.tag(mask, aad, buf, lengths).ok_or(CryptoError::BadLength)?;
        Ok(())
    }

    fn open_in_place(&self, nonce: &[u8], aad: &[u8], buf: &mut [u8], tag: &[u8]) -> Result<(), CryptoError> {
        let tag: &[u8; BLOCK] = tag.try_into().map_err(|_| CryptoError::BadLength)?;
        let lengths = lengths(aad, buf).ok_or(CryptoError::BadLength)?;
        let (counter, mask) = self.counter(nonce)?;
        let made = self.tag(mask, aad, buf, lengths).ok_or(CryptoError::BadLength)?;
        // Nothing is decrypted before the tag fits: after a refusal `buf` is still ciphertext.
        if !bool::from(made.ct_eq(tag)) {
            return Err(CryptoError::Rejected);
        }
        counter.apply_keystream_partial(buf.into());
        Ok(())
    }
}

impl<A> AesGcm<A>
where
    A: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    /// Counter mode behind its first block, and that block, which masks the tag (§7.1, steps 2, 3 and 6).
    fn counter(&self, nonce: &[u8]) -> Result<(Counter<'_, A>, u128), CryptoError> {
        let nonce: &[u8; 12] = nonce.try_into().map_err(|_| CryptoError::BadLength)?;
        let mut first = [0; BLOCK];
        wire::copy(&mut first, nonce).ok_or(CryptoError::BadLength)?;
        if let Some(count) = first.last_mut() {
            *count = 1;
        }
        let mut counter = Counter::inner_iv_init(&self.aes, (&first).into());
        let mut mask = Array::default();
        counter.write_keystream_block(&mut mask);
        Ok((counter, u128::from_be_bytes(mask.into())))
    }

    /// The tag over ciphertext (§7.1, steps 5 and 6); `lengths` is the last block, already turned.
    fn tag(&self, mask: u128, aad: &[u8], ciphertext: &[u8], lengths: u128) -> Option<[u8; BLOCK]> {
        let mut ghash = self.ghash.clone();
        let mut turned = [Block::default(); BATCH];
        absorb(&mut ghash, aad, &mut turned)?;
        absorb(&mut ghash, ciphertext, &mut turned)?;
        ghash.update(&[lengths.to_le_bytes().into()]);
        let hash = u128::from_le_bytes(ghash.finalize().into());
        Some((hash ^ mask).to_be_bytes())
    }
}

/// Both lengths in bits, as the last block, turned around; `None` for more than one nonce may protect.
fn lengths(aad: &[u8], text: &[u8]) -> Option<u128> {
    let bits = |bytes: &[u8]| {
        let len = u64::try_from(bytes.len()).ok().filter(|len| *len <= LEN_MAX)?;
        len.checked_mul(8).map(u128::from)
    };
    Some((bits(aad)? << 64) | bits(text)?)
}

/// Takes in bytes, padded with zeros to whole blocks. `None` never happens: a batch has room for its blocks.
fn absorb(ghash: &mut Polyval, bytes: &[u8], turned: &mut [Block; BATCH]) -> Option<()> {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for batch in blocks.chunks(BATCH) {
        let turned = turned.get_mut(..batch.len())?;
        for (to, from) in turned.iter_mut().zip(batch) {
            *to = turn(*from);
        }
        ghash.update(turned);
    }
    if !rest.is_empty() {
        let mut last = [0; BLOCK];
        wire::copy(&mut last, rest)?;
        ghash.update(&[turn(last)]);
    }
    Some(())
}

/// A block with its bytes in POLYVAL's order.
fn turn(block: [u8; BLOCK]) -> Block {
    u128::from_be_bytes(block).to_le_bytes().into()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::aes_gcm as whole;
    use super::*;

    fn agree<Ours: RecordKey, Theirs: RecordKey>(
        key: &[u8],
        nonce: &[u8],
        aad: &[u8],
        text: &[u8],
        flip: usize,
    ) {
        let (ours, theirs) = (Ours::new(key).unwrap(), Theirs::new(key).unwrap());
        let (mut sealed, mut tag) = (text.to_vec(), [0; 16]);
        ours.seal_in_place(nonce, aad, &mut sealed, &mut tag).unwrap();
        let (mut expected, mut expected_tag) = (text.to_vec(), [0; 16]);
        theirs
            .seal_in_place(nonce, aad, &mut expected, &mut expected_tag)
            .unwrap();
        assert_eq!((&sealed, tag), (&expected, expected_tag));

        // One bit changed anywhere is refused, and no byte is decrypted.
        let at = flip % (sealed.len() + 16);
        let (mut changed, mut changed_tag) = (sealed.clone(), tag);
        match changed.get_mut(at) {
            Some(byte) => *byte ^= 0x40,
            None => changed_tag[at - sealed.len()] ^= 0x40,
        }
        let before = changed.clone();
        assert_eq!(
            ours.open_in_place(nonce, aad, &mut changed, &changed_tag),
            Err(CryptoError::Rejected)
        );
        assert_eq!(changed, before);

        ours.open_in_place(nonce, aad, &mut sealed, &tag).unwrap();
        assert_eq!(sealed, text);
    }

    proptest! {
        /// Beside the crate `aes-gcm`, over every length that fills batches and blocks in part.
        #[test]
        fn as_the_crate_has_it(
            key in any::<[u8; 32]>(),
            nonce in any::<[u8; 12]>(),
            aad in proptest::collection::vec(any::<u8>(), 0..40),
            text in proptest::collection::vec(any::<u8>(), 0..1_600),
            flip in any::<usize>(),
        ) {
            agree::<AesGcm<aes::Aes128>, whole::AesGcm<aes::Aes128>>(&key[..16], &nonce, &aad, &text, flip);
            agree::<AesGcm<aes::Aes256>, whole::AesGcm<aes::Aes256>>(&key, &nonce, &aad, &text, flip);
        }
    }

    #[test]
    fn a_whole_record() {
        let text: Vec<u8> = (0..16_401_u32).map(|n| ((n * n) >> 3) as u8).collect();
        agree::<AesGcm<aes::Aes128>, whole::AesGcm<aes::Aes128>>(&[7; 16], &[9; 12], &[1; 5], &text, 16_402);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let refused = Some(CryptoError::BadLength);
        assert_eq!(AesGcm::<aes::Aes128>::new(&[0; 32]).err(), refused);
        let key = AesGcm::<aes::Aes128>::new(&[0; 16]).unwrap();
        assert_eq!(
            key.seal_in_place(&[0; 11], &[], &mut [], &mut [0; 16]).err(),
            refused
        );
        assert_eq!(
            key.seal_in_place(&[0; 12], &[], &mut [], &mut [0; 15]).err(),
            refused
        );
        assert_eq!(key.open_in_place(&[0; 13], &[], &mut [], &[0; 16]).err(), refused);
        assert_eq!(key.open_in_place(&[0; 12], &[], &mut [], &[0; 17]).err(), refused);
    }

    /// Without the feature `zeroize` of `polyval` its field elements are not [`Zeroize`], and its drop wipes nothing.
    #[test]
    fn what_wipes_itself() {
        fn wipes<T: Zeroize>() {}
        fn wiped<T: ZeroizeOnDrop>() {}
        wipes::<FieldElement>();
        wiped::<AesGcm<aes::Aes128>>();
        wiped::<AesGcm<aes::Aes256>>();
    }
}
