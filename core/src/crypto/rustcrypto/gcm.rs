//! AES-GCM (NIST SP 800-38D) composed of the crates `aes`, `ctr` and `polyval`, for 64-bit targets.
//!
//! The crate `aes-gcm` composes the same three, in two passes: counter mode, then GHASH, for which it turns the bytes of each block
//! around (RFC 8452 appendix A) in vector registers, right behind AES instructions that are twice and four times as wide. Here a span
//! is encrypted and turned around, as integers, in one pass. And GHASH is a chain, each link of which waits for the multiplication
//! before it; so a long text is hashed as two halves A and B side by side, of n blocks each, which make A * H^n + B. Ciphers
//! and products are those crates', which take the same time whatever the bytes are; what is secret here (powers of H, what a half came to,
//! the mask of the tag) meets nothing but exclusive or and the field's product.

use core::mem;

use aes::cipher::common::BlockSizeUser;
use aes::cipher::consts::U16;
use aes::cipher::{
    Array, BlockCipherEncrypt, InnerIvInit, KeyInit, KeySizeUser, StreamCipherCore, StreamCipherSeekCore,
};
use polyval::hazmat::FieldElement;
use polyval::universal_hash::UniversalHash;
use polyval::{Block, Polyval};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto::{CryptoError, RecordKey};
use crate::wire;

/// Bytes of a block.
const BLOCK: usize = 16;
/// Blocks that are encrypted and turned around at a time: as many as AES takes at once, and so many that no load waits for its store.
const SPAN: usize = 64;
/// Bytes of a span.
const SPAN_LEN: usize = SPAN * BLOCK;
/// Blocks that each of two halves is hashed by, one after the other.
const STEP: usize = 4;
/// How many spans a half may have: two of eight are a full record.
const HALVES: [usize; 4] = [8, 4, 2, 1];
/// Most bytes under one nonce (SP 800-38D §5.2.1.1: 2^39 - 256 bits).
const LEN_MAX: u64 = (1 << 36) - 32;

/// Counter mode whose last 32 bits count.
type Counter<'a, A> = ctr::CtrCore<&'a A, ctr::flavors::Ctr32BE>;
/// A span, with its bytes in POLYVAL's order.
type Turned = [Block; SPAN];

/// AES-GCM under one key, with 12-byte nonces and 16-byte tags. Key schedule and GHASH key are wiped on drop.
pub struct AesGcm<A> {
    aes: A,
    ghash: Key,
}

/// `aes` and POLYVAL wipe themselves (a test holds both), and [`Key`] its powers.
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
        let ghash = Key::new(&mut h);
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
        let (mut counter, mask) = self.counter(nonce)?;
        let hash = Hash::new(&self.ghash, aad).ok_or(CryptoError::BadLength)?;
        let spans = hash.spans(buf, |place, span, turned| {
            counter.set_block_pos(place);
            counter.write_keystream_blocks(turned);
            for (to, from) in turned.iter_mut().zip(span) {
                let ciphertext = u128::from_be_bytes((*to).into()) ^ u128::from_be_bytes(*from);
                *from = ciphertext.to_be_bytes();
                *to = ciphertext.to_le_bytes().into();
            }
        });
        let (hash, place, rest) = spans.ok_or(CryptoError::BadLength)?;
        counter.set_block_pos(place);
        counter.apply_keystream_partial((&mut *rest).into());
        *tag = hash.tag(rest, lengths, mask).ok_or(CryptoError::BadLength)?;
        Ok(())
    }

    fn open_in_place(&self, nonce: &[u8], aad: &[u8], buf: &mut [u8], tag: &[u8]) -> Result<(), CryptoError> {
        let tag: &[u8; BLOCK] = tag.try_into().map_err(|_| CryptoError::BadLength)?;
        let lengths = lengths(aad, buf).ok_or(CryptoError::BadLength)?;
        let (counter, mask) = self.counter(nonce)?;
        let hash = Hash::new(&self.ghash, aad).ok_or(CryptoError::BadLength)?;
        let spans = hash.spans(buf, |_, span, turned| {
            for (to, from) in turned.iter_mut().zip(span) {
                *to = turn(*from);
            }
        });
        let (hash, _, rest) = spans.ok_or(CryptoError::BadLength)?;
        let made = hash.tag(rest, lengths, mask).ok_or(CryptoError::BadLength)?;
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
}

/// The key of GHASH.
struct Key {
    /// POLYVAL under the key that makes it GHASH of turned blocks; nothing taken in.
    polyval: Polyval,
    /// That key to the power of the blocks of a half, as [`HALVES`] has them.
    powers: [FieldElement; HALVES.len()],
}

impl Key {
    /// The key, from AES of the zero block, which is wiped.
    fn new(h: &mut [u8; BLOCK]) -> Self {
        let mut power = FieldElement::from(*h).reverse().mulx();
        *h = power.into();
        let polyval = Polyval::new((&*h).into());
        h.zeroize();
        for _ in 0..SPAN.ilog2() {
            power = times(power, power);
        }
        let mut powers = [FieldElement::default(); HALVES.len()];
        for place in powers.iter_mut().rev() {
            *place = power;
            power = times(power, power);
        }
        power.zeroize();
        Self { polyval, powers }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.powers.zeroize();
    }
}

/// GHASH under way.
struct Hash<'a> {
    key: &'a Key,
    polyval: Polyval,
    /// What a part in two halves came to: added to the next block, as POLYVAL adds what it has.
    carry: FieldElement,
}

impl<'a> Hash<'a> {
    /// Behind what is authenticated and not encrypted. `None` never happens.
    fn new(key: &'a Key, aad: &[u8]) -> Option<Self> {
        let mut hash = Self {
            key,
            polyval: key.polyval.clone(),
            carry: FieldElement::default(),
        };
        // Five bytes, under TLS: no batch is worth its zeros.
        hash.bytes(aad, &mut [Block::default()])?;
        Some(hash)
    }

    /// Takes in whole spans after `each` has made their turned blocks; `each` hears which block of the text a span begins with, counted from 1.
    /// What is left of `text` comes with its place. `None` for more blocks than the counter has.
    fn spans(
        mut self,
        mut text: &mut [u8],
        mut each: impl FnMut(u32, &mut [[u8; BLOCK]; SPAN], &mut Turned),
    ) -> Option<(Self, u32, &mut [u8])> {
        let stride = u32::try_from(SPAN).ok()?;
        let mut place = 1_u32;
        if text.len() < 2 * SPAN_LEN {
            return Some((self, place, text));
        }
        let (mut turned, mut other) = ([Block::default(); SPAN], [Block::default(); SPAN]);
        for (spans, power) in HALVES.into_iter().zip(&self.key.powers) {
            let len = spans.checked_mul(SPAN_LEN)?;
            let blocks = stride.checked_mul(u32::try_from(spans).ok()?)?;
            while text.len() >= len.checked_mul(2)? {
                let (first, rest) = mem::take(&mut text).split_at_mut_checked(len)?;
                let (second, rest) = rest.split_at_mut_checked(len)?;
                let mut lane = self.key.polyval.clone();
                for (a, b) in spans_of(first).zip(spans_of(second)) {
                    each(place, a, &mut turned);
                    each(place.checked_add(blocks)?, b, &mut other);
                    place = place.checked_add(stride)?;
                    self.carry_into(&mut turned);
                    let (a, b) = (turned.as_chunks::<STEP>().0, other.as_chunks::<STEP>().0);
                    for (a, b) in a.iter().zip(b) {
                        self.polyval.update(a);
                        lane.update(b);
                    }
                }
                place = place.checked_add(blocks)?;
                let a = mem::replace(&mut self.polyval, self.key.polyval.clone()).finalize();
                self.carry = plus(times(a.into(), *power), lane.finalize().into());
                text = rest;
            }
        }
        Some((self, place, text))
    }

    /// Takes in bytes, padded with zeros to whole blocks, by as many blocks at a time as `turned` has. `None` never happens: a batch has
    /// room for its blocks.
    fn bytes(&mut self, bytes: &[u8], turned: &mut [Block]) -> Option<()> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for batch in blocks.chunks(turned.len().max(1)) {
            let turned = turned.get_mut(..batch.len())?;
            for (to, from) in turned.iter_mut().zip(batch) {
                *to = turn(*from);
            }
            self.blocks(turned);
        }
        if !rest.is_empty() {
            let mut last = [0; BLOCK];
            wire::copy(&mut last, rest)?;
            self.blocks(&mut [turn(last)]);
        }
        Some(())
    }

    /// Takes in turned blocks.
    fn blocks(&mut self, turned: &mut [Block]) {
        self.carry_into(turned);
        self.polyval.update(turned);
    }

    /// Adds what is carried to the next block.
    fn carry_into(&mut self, turned: &mut [Block]) {
        if let Some(first) = turned.first_mut() {
            *first = plus((*first).into(), mem::take(&mut self.carry)).into();
        }
    }

    /// The tag (§7.1, steps 5 and 6) behind the last ciphertext; `lengths` is the last block, already turned.
    fn tag(mut self, ciphertext: &[u8], lengths: u128, mask: u128) -> Option<[u8; BLOCK]> {
        self.bytes(ciphertext, &mut [Block::default(); SPAN])?;
        self.blocks(&mut [lengths.to_le_bytes().into()]);
        let hash = u128::from_le_bytes(self.polyval.finalize().into());
        Some((hash ^ mask).to_be_bytes())
    }
}

/// The whole spans of a half.
fn spans_of(half: &mut [u8]) -> impl Iterator<Item = &mut [[u8; BLOCK]; SPAN]> {
    half.as_chunks_mut::<BLOCK>()
        .0
        .as_chunks_mut::<SPAN>()
        .0
        .iter_mut()
}

/// Both lengths in bits, as the last block, turned around; `None` for more than one nonce may protect.
fn lengths(aad: &[u8], text: &[u8]) -> Option<u128> {
    let bits = |bytes: &[u8]| {
        let len = u64::try_from(bytes.len()).ok().filter(|len| *len <= LEN_MAX)?;
        len.checked_mul(8).map(u128::from)
    };
    Some((bits(aad)? << 64) | bits(text)?)
}

#[expect(clippy::arithmetic_side_effects, reason = "a finite field has no overflow")]
fn times(a: FieldElement, b: FieldElement) -> FieldElement {
    a * b
}

#[expect(clippy::arithmetic_side_effects, reason = "a finite field has no overflow")]
fn plus(a: FieldElement, b: FieldElement) -> FieldElement {
    a + b
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
            text in proptest::collection::vec(any::<u8>(), 0..5_000),
            flip in any::<usize>(),
        ) {
            agree::<AesGcm<aes::Aes128>, whole::AesGcm<aes::Aes128>>(&key[..16], &nonce, &aad, &text, flip);
            agree::<AesGcm<aes::Aes256>, whole::AesGcm<aes::Aes256>>(&key, &nonce, &aad, &text, flip);
        }
    }

    /// A whole record, one that has halves of each size, and longer texts than a record has.
    #[test]
    fn halves_of_every_size() {
        let aads: [&[u8]; 5] = [&[1; 5], &[], &[2; 16], &[3; 17], &[4; 1_025]];
        let lens = [2_047_u32, 2_048, 16_384, 16_385, 16_401, 30_721, 30_735, 70_000];
        for (len, aad) in lens.into_iter().zip(aads.into_iter().cycle()) {
            let text: Vec<u8> = (0..len).map(|n| (n.wrapping_mul(n) >> 3) as u8).collect();
            let flip = len as usize + 1;
            agree::<AesGcm<aes::Aes128>, whole::AesGcm<aes::Aes128>>(&[7; 16], &[9; 12], aad, &text, flip);
            agree::<AesGcm<aes::Aes256>, whole::AesGcm<aes::Aes256>>(&[8; 32], &[9; 12], aad, &text, flip);
        }
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
