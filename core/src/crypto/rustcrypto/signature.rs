//! ECDSA signatures in DER: `SEQUENCE { r INTEGER, s INTEGER }` (RFC 3279 §2.2.3), and as the curve crate has them, both numbers in full.

use crate::asn1::Backwards;
use crate::asn1::elements::{Elements, tag};
use crate::crypto::SIGNATURE_LEN_MAX;
use crate::wire;

/// Bytes of one number, and of both.
const NUMBER_LEN: usize = 32;
const NUMBERS_LEN: usize = 64;

/// Reads strict DER; `None` for anything else, and for a number of more than 32 bytes.
#[inline(never)]
pub(super) fn read(der: &[u8]) -> Option<[u8; NUMBERS_LEN]> {
    let mut outer = Elements::new(der);
    let mut fields = outer.inside(tag::SEQUENCE).ok()?;
    let mut numbers = [0; NUMBERS_LEN];
    let (places, _) = numbers.as_chunks_mut::<NUMBER_LEN>();
    for place in places {
        let magnitude = fields.magnitude().ok()?;
        let zeros = NUMBER_LEN.checked_sub(magnitude.len())?;
        wire::copy(place.get_mut(zeros..)?, magnitude)?;
    }
    fields.finish().and(outer.finish()).ok()?;
    Some(numbers)
}

/// Writes both numbers as DER and returns its length.
#[inline(never)]
pub(super) fn write(numbers: &[u8], out: &mut [u8; SIGNATURE_LEN_MAX]) -> Option<usize> {
    let (r, s) = numbers.split_at_checked(NUMBER_LEN)?;
    let mut der = Backwards::new(out);
    let end = der.end();
    for number in [s, r] {
        der.magnitude(number).ok()?;
    }
    der.close(tag::SEQUENCE, end).ok()?;
    Some(der.finish())
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::{DerSignature, Signature};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The curve crate's own form is what this is held against.
        #[test]
        fn writes_and_reads_what_the_curve_crate_does(
            r in prop::collection::vec(any::<u8>(), 1..=32),
            s in prop::collection::vec(any::<u8>(), 1..=32),
        ) {
            let mut numbers = [0; NUMBERS_LEN];
            numbers[NUMBER_LEN - r.len()..NUMBER_LEN].copy_from_slice(&r);
            numbers[NUMBERS_LEN - s.len()..].copy_from_slice(&s);
            if let Ok(signature) = Signature::from_slice(&numbers) {
                let mut out = [0; SIGNATURE_LEN_MAX];
                let len = write(&numbers, &mut out).unwrap();
                let theirs: DerSignature = signature.to_der();
                prop_assert_eq!(&out[..len], theirs.as_bytes());
                prop_assert_eq!(read(theirs.as_bytes()), Some(numbers));
            }
        }

        #[test]
        fn takes_what_the_curve_crate_takes(at in 0..72_usize, byte: u8, cut in 0..3_usize) {
            let mut numbers = [0x81; NUMBERS_LEN];
            numbers[40] = 0;
            let mut out = [0; SIGNATURE_LEN_MAX];
            let len = write(&numbers, &mut out).unwrap();
            let mut der = out[..len - cut].to_vec();
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            let ours = read(&der).and_then(|numbers| Signature::from_slice(&numbers).ok());
            let theirs = DerSignature::from_bytes(&der).ok();
            let theirs = theirs.and_then(|theirs| Signature::try_from(theirs).ok());
            prop_assert_eq!(ours, theirs);
        }
    }
}
