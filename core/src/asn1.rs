//! What `keys` and `cert` need besides the `der` crate: a writer that works backwards, and a narrow reader for what every build reads
//! ([`elements`]), which is also seen not to panic (`tests/no-panic`).
//!
//! DER puts a length before everything. Written from the last byte to the first, each length is known when it is its
//! turn, so nested structures need neither allocation nor a first pass.

pub(crate) mod dates;
pub(crate) mod elements;

use der::{Encode, ErrorKind, Header, Length, Tag, TagNumber};

/// The bytes are not the DER that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotDer;

/// What is to be written does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl From<NoRoom> for der::Error {
    fn from(_: NoRoom) -> Self {
        ErrorKind::Overlength.into()
    }
}

/// Writes DER into the end of a slice lent by the caller, last element first.
pub(crate) struct Backwards<'a> {
    buf: &'a mut [u8],
    /// Everything from here to the end is written.
    at: usize,
}

impl<'a> Backwards<'a> {
    /// An empty structure at the end of `buf`.
    pub(crate) fn new(buf: &'a mut [u8]) -> Self {
        let at = buf.len();
        Self { buf, at }
    }

    /// Puts `value` before what is written.
    pub(crate) fn put<T: Encode>(&mut self, value: &T) -> der::Result<()> {
        let len = usize::try_from(value.encoded_len()?)?;
        value.encode_to_slice(self.room(len)?)?;
        Ok(())
    }

    /// Puts bytes that are DER already, or the content of a primitive value, before what is written.
    #[inline(never)]
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let room = self.room(bytes.len())?;
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(())
    }

    /// Puts an element before what is written.
    #[inline(never)]
    pub(crate) fn element(&mut self, tag: u8, content: &[u8]) -> Result<(), NoRoom> {
        let end = self.at;
        self.raw(content)?;
        self.close(tag, end)
    }

    /// Puts an INTEGER before what is written: a number that is not negative, big-endian, zeros before it or not.
    #[inline(never)]
    pub(crate) fn magnitude(&mut self, number: &[u8]) -> Result<(), NoRoom> {
        let end = self.at;
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let shortest = number.get(zeros..).unwrap_or_default();
        self.raw(shortest)?;
        // The first bit is the sign.
        if shortest.first().is_none_or(|first| *first >= 0x80) {
            self.raw(&[0])?;
        }
        self.close(elements::tag::INTEGER, end)
    }

    /// Where an element ends whose content is written next, last things first; [`Self::close`] begins it.
    pub(crate) const fn end(&self) -> usize {
        self.at
    }

    /// Puts the beginning of an element around what was written since `end`: 65,535 bytes at most.
    #[inline(never)]
    pub(crate) fn close(&mut self, tag: u8, end: usize) -> Result<(), NoRoom> {
        let len = u16::try_from(end.saturating_sub(self.at)).map_err(|_| NoRoom)?;
        match len.to_be_bytes() {
            [0, len @ 0..=0x7f] => self.raw(&[tag, len]),
            [0, len] => self.raw(&[tag, 0x81, len]),
            [high, low] => self.raw(&[tag, 0x82, high, low]),
        }
    }

    /// Puts a `tag` around what `content` writes, which again writes last things first.
    pub(crate) fn wrap<E: From<der::Error>>(
        &mut self,
        tag: Tag,
        content: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = self.at;
        content(self)?;
        let len = Length::try_from(end.saturating_sub(self.at)).map_err(E::from)?;
        self.put(&Header::new(tag, len)).map_err(E::from)
    }

    /// What is written so far.
    pub(crate) fn written(&self) -> &[u8] {
        self.buf.get(self.at..).unwrap_or_default()
    }

    /// Moves what is written to the front of the slice, and returns its length.
    pub(crate) fn finish(self) -> usize {
        let len = self.buf.len().saturating_sub(self.at);
        self.buf.rotate_left(self.at);
        len
    }

    fn room(&mut self, len: usize) -> Result<&mut [u8], NoRoom> {
        let end = self.at;
        self.at = end.checked_sub(len).ok_or(NoRoom)?;
        self.buf.get_mut(self.at..end).ok_or(NoRoom)
    }
}

/// The tag `[number]`, around a structure or around bytes.
pub(crate) const fn context(number: u32, constructed: bool) -> Tag {
    Tag::ContextSpecific {
        constructed,
        number: TagNumber(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nests_and_bounds() {
        let mut buf = [0; 12];
        let mut out = Backwards::new(&mut buf);
        out.wrap::<der::Error>(Tag::Sequence, |out| {
            out.put(&7_u8)?;
            out.wrap(context(0, true), |out| Ok(out.raw(&[0x05, 0x00])?))
        })
        .unwrap();
        assert_eq!(out.written(), [0x30, 7, 0xa0, 2, 5, 0, 2, 1, 7]);
        assert!(out.raw(&[0; 4]).is_err());
        let mut out = Backwards::new(&mut buf);
        out.raw(&[1, 2]).unwrap();
        assert_eq!(out.finish(), 2);
        assert_eq!(buf[..2], [1, 2]);
        let mut out = Backwards::new(&mut buf);
        for number in [&[0, 0x80][..], &[0, 0], &[0x7f, 1]] {
            out.magnitude(number).unwrap();
        }
        assert_eq!(out.written(), [2, 2, 0x7f, 1, 2, 1, 0, 2, 2, 0, 0x80]);
        let mut out = Backwards::new(&mut buf[..1]);
        assert!(out.put(&7_u8).is_err());
    }

    #[test]
    fn both_ways_of_nesting_write_the_same() {
        for len in [0, 1, 127, 128, 255, 256, 2_000] {
            let content = std::vec![7; len];
            let (mut one, mut other) = ([0; 2_010], [0; 2_010]);
            let mut wrapped = Backwards::new(&mut one);
            wrapped
                .wrap::<der::Error>(Tag::Sequence, |out| {
                    out.wrap(context(3, true), |out| Ok(out.raw(&content)?))
                })
                .unwrap();
            let mut closed = Backwards::new(&mut other);
            let end = closed.end();
            closed.element(0xa3, &content).unwrap();
            closed.close(0x30, end).unwrap();
            assert_eq!(closed.written(), wrapped.written());
        }
        assert_eq!(Backwards::new(&mut [0; 3]).element(4, &[1, 2]), Err(NoRoom));
    }
}
