//! What `keys` and `cert` add to the `der` crate: a writer that works backwards, and a reader that is seen not to panic.
//!
//! DER puts a length before everything. Written from the last byte to the first, each length is known when it is its
//! turn, so nested structures need neither allocation nor a first pass.

use der::{Encode, EncodingRules, ErrorKind, Header, Length, SliceReader, Tag, TagNumber};

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
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> der::Result<()> {
        let room = self.room(bytes.len())?;
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(())
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

    fn room(&mut self, len: usize) -> der::Result<&mut [u8]> {
        let end = self.at;
        self.at = end.checked_sub(len).ok_or(ErrorKind::Overlength)?;
        self.buf
            .get_mut(self.at..end)
            .ok_or_else(|| ErrorKind::Overlength.into())
    }
}

/// The `der` crate's reader over a slice, but for how single bytes are copied out of it: the crate's own way panics for lengths that
/// differ, which they never do, and no compiler sees that (`tests/no-panic`).
#[derive(Clone)]
pub(crate) struct Reader<'a>(SliceReader<'a>);

impl<'a> Reader<'a> {
    /// At the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> der::Result<Self> {
        SliceReader::new(bytes).map(Self)
    }
}

impl<'a> der::Reader<'a> for Reader<'a> {
    const CAN_READ_SLICE: bool = true;

    fn encoding_rules(&self) -> EncodingRules {
        self.0.encoding_rules()
    }

    fn input_len(&self) -> Length {
        self.0.input_len()
    }

    fn position(&self) -> Length {
        self.0.position()
    }

    fn read_nested<T, F, E>(&mut self, len: Length, f: F) -> Result<T, E>
    where
        E: From<der::Error>,
        F: FnOnce(&mut Self) -> Result<T, E>,
    {
        self.0.read_nested(len, |inner| {
            let mut reader = Self(inner.clone());
            let read = f(&mut reader);
            *inner = reader.0;
            read
        })
    }

    fn read_slice(&mut self, len: Length) -> der::Result<&'a [u8]> {
        self.0.read_slice(len)
    }

    fn read_into<'o>(&mut self, buf: &'o mut [u8]) -> der::Result<&'o [u8]> {
        let bytes = self.0.read_slice(buf.len().try_into()?)?;
        for (to, from) in buf.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(buf)
    }

    fn error(&mut self, kind: ErrorKind) -> der::Error {
        self.0.error(kind)
    }

    fn finish(self) -> der::Result<()> {
        self.0.finish()
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
            out.wrap(context(0, true), |out| out.raw(&[0x05, 0x00]))
        })
        .unwrap();
        assert_eq!(out.written(), [0x30, 7, 0xa0, 2, 5, 0, 2, 1, 7]);
        assert!(out.raw(&[0; 4]).is_err());
        let mut out = Backwards::new(&mut buf);
        out.raw(&[1, 2]).unwrap();
        assert_eq!(out.finish(), 2);
        assert_eq!(buf[..2], [1, 2]);
        let mut out = Backwards::new(&mut buf[..1]);
        assert!(out.put(&7_u8).is_err());
    }
}
