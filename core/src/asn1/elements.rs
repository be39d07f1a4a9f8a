//! A reader of DER for what every build takes apart: certificates, wrapped keys, signatures.
//!
//! The `der` crate reads into types, and each type and each nesting becomes code of its own, which came to a tenth of a device's flash. This
//! reader knows elements, numbers and bit strings; what else there is are bytes to it.

use super::NotDer;

/// Identifier octets (X.690 §8.1.2, §8.14; universal numbers from X.680 table 1).
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const TELETEX_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const VISIBLE_STRING: u8 = 0x1a;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// `[number]` around bytes; `number` below 31.
    pub(crate) const fn bytes(number: u8) -> u8 {
        0x80 | number
    }

    /// `[number]` around a structure; `number` below 31.
    pub(crate) const fn structure(number: u8) -> u8 {
        0xa0 | number
    }
}

/// Universal numbers of what is made of elements: SEQUENCE and SET.
const STRUCTURES: [u8; 2] = [0x10, 0x11];
/// A number of 31 or more, which takes further octets: nothing that is read here has one.
const LONG_NUMBER: u8 = 0x1f;
/// The longest object identifier that is taken, in bytes.
const OBJECT_IDENTIFIER_LEN_MAX: usize = 39;
/// The longest of its numbers, in bytes: 32 bits.
const NUMBER_LEN_MAX: u8 = 5;

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    /// Its identifier octet.
    pub(crate) tag: u8,
    /// What is in it.
    pub(crate) content: &'a [u8],
    /// All of it.
    pub(crate) whole: &'a [u8],
}

/// Elements one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The elements that `bytes` consist of.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether there are no more.
    pub(crate) const fn is_finished(&self) -> bool {
        self.0.is_empty()
    }

    /// There must not be more.
    pub(crate) const fn finish(&self) -> Result<(), NotDer> {
        if self.0.is_empty() { Ok(()) } else { Err(NotDer) }
    }

    /// The identifier octet of the next one; 0, which is none, behind the last.
    pub(crate) fn peek(&self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    /// The next one, with a definite length in its shortest form (X.690 §10.1).
    #[inline(never)]
    pub(crate) fn element(&mut self) -> Result<Element<'a>, NotDer> {
        let (tag, len, body) = match self.0 {
            [tag, len @ 0..=0x7f, body @ ..] => (*tag, usize::from(*len), body),
            [tag, 0x81, len @ 0x80..=0xff, body @ ..] => (*tag, usize::from(*len), body),
            [tag, 0x82, high @ 1..=0xff, low, body @ ..] => {
                (*tag, usize::from(u16::from_be_bytes([*high, *low])), body)
            }
            _ => return Err(NotDer),
        };
        if !is_identifier(tag) {
            return Err(NotDer);
        }
        let (content, rest) = body.split_at_checked(len).ok_or(NotDer)?;
        let whole = self.0.len().saturating_sub(rest.len());
        let whole = self.0.get(..whole).ok_or(NotDer)?;
        self.0 = rest;
        Ok(Element { tag, content, whole })
    }

    /// The content of the next one, which must have this `tag`.
    #[inline(never)]
    pub(crate) fn content(&mut self, tag: u8) -> Result<&'a [u8], NotDer> {
        let element = self.element()?;
        if element.tag == tag {
            Ok(element.content)
        } else {
            Err(NotDer)
        }
    }

    /// What the next one, which must have this `tag`, consists of.
    pub(crate) fn inside(&mut self, tag: u8) -> Result<Self, NotDer> {
        self.content(tag).map(Self)
    }

    /// An object identifier's content: numbers of 5 bytes at most, each in its shortest form (X.690 §8.19).
    #[inline(never)]
    pub(crate) fn object_identifier(&mut self) -> Result<&'a [u8], NotDer> {
        let content = self.content(tag::OBJECT_IDENTIFIER)?;
        let mut of_number = 0_u8;
        for byte in content {
            if of_number == 0 && *byte == 0x80 || of_number == NUMBER_LEN_MAX {
                return Err(NotDer);
            }
            of_number = if *byte >= 0x80 {
                of_number.saturating_add(1)
            } else {
                0
            };
        }
        if of_number > 0 || content.is_empty() || content.len() > OBJECT_IDENTIFIER_LEN_MAX {
            return Err(NotDer);
        }
        Ok(content)
    }

    /// A number that is not negative, without the zero that may stand before it: no bytes for 0.
    #[inline(never)]
    pub(crate) fn magnitude(&mut self) -> Result<&'a [u8], NotDer> {
        match self.content(tag::INTEGER)? {
            [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => Err(NotDer),
            [0, rest @ ..] => Ok(rest),
            all => Ok(all),
        }
    }

    /// The same, of 32 bits at most.
    #[inline(never)]
    pub(crate) fn unsigned(&mut self) -> Result<u32, NotDer> {
        let magnitude = self.magnitude()?;
        let mut bytes = [0; 4];
        if magnitude.len() > bytes.len() {
            return Err(NotDer);
        }
        for (to, from) in bytes.iter_mut().rev().zip(magnitude.iter().rev()) {
            *to = *from;
        }
        Ok(u32::from_be_bytes(bytes))
    }

    /// A bit string's bytes; `None` when its last one is not used whole.
    #[inline(never)]
    pub(crate) fn bits(&mut self) -> Result<Option<&'a [u8]>, NotDer> {
        match self.content(tag::BIT_STRING)? {
            [0, bytes @ ..] => Ok(Some(bytes)),
            [1..=7, _, ..] => Ok(None),
            _ => Err(NotDer),
        }
    }
}

/// Whether DER knows the identifier: of the universal ones a SEQUENCE and a SET are structures, and nothing else is (X.690 §10.2).
fn is_identifier(tag: u8) -> bool {
    let number = tag & LONG_NUMBER;
    let structure = tag & 0x20 != 0;
    let universal = tag & 0xc0 == 0;
    number != LONG_NUMBER && (!universal || number != 0 && structure == STRUCTURES.contains(&number))
}

#[cfg(test)]
mod tests {
    use der::Decode as _;
    use der::asn1::{AnyRef, ObjectIdentifier};
    use proptest::prelude::*;
    use std::vec;

    use super::*;

    fn first(bytes: &[u8]) -> Result<Element<'_>, NotDer> {
        Elements::new(bytes).element()
    }

    #[test]
    fn lengths_have_their_shortest_form_and_end_in_time() {
        assert_eq!(first(&[4, 1, 7, 9]).unwrap().whole, [4, 1, 7]);
        for len in [0, 1, 127, 128, 255, 256, 65_535_usize] {
            let big = len.to_be_bytes();
            let long: &[u8] = match len {
                0..=127 => &big[7..],
                128..=255 => &[0x81, big[7]],
                _ => &[0x82, big[6], big[7]],
            };
            let mut bytes = [&[4], long].concat();
            bytes.resize(bytes.len() + len, 0xee);
            let element = first(&bytes).unwrap();
            assert_eq!((element.content.len(), element.whole.len()), (len, bytes.len()));
            bytes.pop();
            if len > 0 {
                assert_eq!(first(&bytes), Err(NotDer), "{len}: one is missing");
            }
        }
        let bad: [&[u8]; 8] = [
            &[],
            &[4],
            &[4, 0x80],
            &[4, 0x81, 0x7f],
            &[4, 0x82, 0, 0xff],
            &[4, 0x83, 0, 0, 1],
            &[4, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[4, 0xff],
        ];
        for bad in bad {
            let padded = [bad, &[0; 300]].concat();
            assert_eq!(first(bad), Err(NotDer), "{bad:02x?}");
            if bad.len() > 1 {
                assert_eq!(first(&padded), Err(NotDer), "{bad:02x?}");
            }
        }
    }

    #[test]
    fn identifiers() {
        for tag in [0x04, 0x0c, 0x1e, 0x30, 0x31, 0x80, 0xa3, 0x9e] {
            assert!(first(&[tag, 0]).is_ok(), "{tag:02x}");
        }
        for tag in [0x00, 0x20, 0x10, 0x11, 0x24, 0x22, 0x2c, 0x1f, 0x3f, 0x9f, 0xbf] {
            assert_eq!(first(&[tag, 0]), Err(NotDer), "{tag:02x}");
        }
    }

    #[test]
    fn numbers() {
        let number = |content: &[u8]| {
            let bytes = [&[2, u8::try_from(content.len()).unwrap()], content].concat();
            Elements::new(&bytes).unsigned()
        };
        assert_eq!(number(&[0]), Ok(0));
        assert_eq!(number(&[0x7f]), Ok(127));
        assert_eq!(number(&[0, 0x80]), Ok(128));
        assert_eq!(number(&[0x12, 0x34, 0x56]), Ok(0x12_3456));
        assert_eq!(number(&[0, 0xff, 0xff, 0xff, 0xff]), Ok(u32::MAX));
        let bad: [&[u8]; 5] = [&[], &[0x80], &[0, 0x7f], &[0, 0], &[1, 0, 0, 0, 0]];
        for bad in bad {
            assert_eq!(number(bad), Err(NotDer), "{bad:02x?}");
        }
    }

    #[test]
    fn bit_strings() {
        let read = |bytes: &'static [u8]| Elements::new(bytes).bits();
        assert_eq!(read(&[3, 3, 0, 4, 5]), Ok(Some(&[4, 5][..])));
        assert_eq!(read(&[3, 1, 0]), Ok(Some(&[][..])));
        assert_eq!(read(&[3, 2, 7, 0x80]), Ok(None));
        for bad in [&[3, 0][..], &[3, 1, 1], &[3, 2, 8, 0], &[4, 2, 0, 0]] {
            assert_eq!(read(bad), Err(NotDer), "{bad:02x?}");
        }
    }

    proptest! {
        /// The `der` crate is what this reader is held against.
        #[test]
        fn takes_what_the_der_crate_takes(
            tag in prop::sample::select(vec![1_u8, 2, 3, 4, 5, 6, 0x0c, 0x13, 0x16, 0x1e, 0x30, 0x31, 0x80, 0xa0, 0xa3, 0x24, 0x10]),
            head in prop::collection::vec(any::<u8>(), 0..3),
            body in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [&[tag], &head[..], &body].concat();
            let mut rest = Elements::new(&bytes);
            let ours = rest.element().ok().filter(|_| rest.is_finished());
            let theirs = AnyRef::from_der(&bytes).ok();
            prop_assert_eq!(ours.map(|ours| ours.content), theirs.as_ref().map(|theirs| theirs.value()));
        }

        /// It knows no second number above 39 under 2, and takes numbers that begin with zeros, and some that are too long.
        #[test]
        fn takes_the_object_identifiers_that_the_der_crate_takes(
            content in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 0x2a, 0x7f, 0x80, 0x81, 0x8f, 0xff]), 0..12),
        ) {
            let bytes = [&[6, u8::try_from(content.len()).unwrap()], &content[..]].concat();
            let ours = Elements::new(&bytes).object_identifier().is_ok();
            let theirs = ObjectIdentifier::from_bytes(&content).is_ok();
            let starts = |at: usize| at == 0 || content[at - 1] < 0x80;
            let padded = (0..content.len()).any(|at| starts(at) && content[at] == 0x80);
            let long = content.windows(5).any(|five| five.iter().all(|byte| *byte >= 0x80));
            if theirs {
                prop_assert_eq!(ours, !padded && !long);
            } else if ours {
                prop_assert!(content[0] >= 120);
            }
        }
    }
}
