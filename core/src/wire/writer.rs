//! Putting bytes together, front to back.

use super::copy;

/// A cursor that fills `buf`. A write that does not fit writes nothing and leaves the cursor where it was.
pub struct Writer<'a> {
    buf: &'a mut [u8],
    len: usize,
}

/// The place is too small for what was to be written, or a vector is too long for its length field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no room left to write")
    }
}

impl core::error::Error for Full {}

macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident: $int:ty = $to:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`Full`] when it does not fit.
        pub fn $name(&mut self, value: $int) -> Result<(), Full> {
            self.bytes(&value.$to())
        }
    )*};
}

impl<'a> Writer<'a> {
    /// A cursor at the start of `buf`.
    #[must_use]
    pub const fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    integers! {
        /// One byte.
        u8: u8 = to_be_bytes;
        /// Two bytes, big-endian.
        u16_be: u16 = to_be_bytes;
        /// Four bytes, big-endian.
        u32_be: u32 = to_be_bytes;
        /// Eight bytes, big-endian.
        u64_be: u64 = to_be_bytes;
        /// Two bytes, little-endian.
        u16_le: u16 = to_le_bytes;
        /// Four bytes, little-endian.
        u32_le: u32 = to_le_bytes;
        /// Eight bytes, little-endian.
        u64_le: u64 = to_le_bytes;
    }

    /// All of `bytes`.
    ///
    /// # Errors
    /// [`Full`] when they do not fit.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let place = self.buf.get_mut(self.len..).ok_or(Full)?;
        let written = copy(place, bytes).ok_or(Full)?;
        self.len = self.len.checked_add(written).ok_or(Full)?;
        Ok(())
    }

    /// The room that is left, for who puts bytes there itself and then [`Writer::advance`]s over them.
    #[must_use]
    pub fn free_mut(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.len..).unwrap_or_default()
    }

    /// Counts `len` bytes as written that lie in the free room already.
    ///
    /// # Errors
    /// [`Full`] when there are not so many.
    pub fn advance(&mut self, len: usize) -> Result<(), Full> {
        let end = self.len.checked_add(len).ok_or(Full)?;
        if end > self.buf.len() {
            return Err(Full);
        }
        self.len = end;
        Ok(())
    }

    /// Takes back what was written after the first `len` bytes; nothing when there are not so many.
    pub const fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
        }
    }

    /// A vector with a one-byte length before it; `fill` writes the content.
    ///
    /// # Errors
    /// [`Full`] when it does not fit or is longer than 255 bytes.
    pub fn vec8(&mut self, fill: impl FnOnce(&mut Self) -> Result<(), Full>) -> Result<(), Full> {
        self.vector::<1>(fill)
    }

    /// A vector with a two-byte big-endian length before it; `fill` writes the content.
    ///
    /// # Errors
    /// [`Full`] when it does not fit or is longer than 65,535 bytes.
    pub fn vec16_be(&mut self, fill: impl FnOnce(&mut Self) -> Result<(), Full>) -> Result<(), Full> {
        self.vector::<2>(fill)
    }

    /// A vector with a three-byte big-endian length before it; `fill` writes the content.
    ///
    /// # Errors
    /// [`Full`] when it does not fit or is longer than 2^24 - 1 bytes.
    pub fn vec24_be(&mut self, fill: impl FnOnce(&mut Self) -> Result<(), Full>) -> Result<(), Full> {
        self.vector::<3>(fill)
    }

    /// Number of bytes written so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes written so far.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or(&[])
    }

    /// Writes over bytes that were written before, `at` bytes from the start.
    ///
    /// # Errors
    /// [`Full`] when that place is not wholly inside what has been written.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) -> Result<(), Full> {
        let place = self
            .buf
            .get_mut(..self.len)
            .and_then(|b| b.get_mut(at..))
            .ok_or(Full)?;
        copy(place, bytes).map(|_| ()).ok_or(Full)
    }

    fn vector<const N: usize>(
        &mut self,
        fill: impl FnOnce(&mut Self) -> Result<(), Full>,
    ) -> Result<(), Full> {
        let start = self.len;
        let done = self.bytes(&[0; N]).and_then(|()| {
            let content = self.len;
            fill(self)?;
            let len = u32::try_from(self.len.saturating_sub(content))
                .map_err(|_| Full)?
                .to_be_bytes();
            let (over, field) = len.split_last_chunk::<N>().map(|(o, f)| (o, *f)).ok_or(Full)?;
            if over.iter().any(|b| *b != 0) {
                return Err(Full);
            }
            self.patch(start, &field)
        });
        if done.is_err() {
            self.len = start;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_get_their_length() {
        let mut buf = [0; 16];
        let mut w = Writer::new(&mut buf);
        w.u16_le(0x0102).unwrap();
        w.vec24_be(|w| w.vec8(|w| w.bytes(b"ab"))).unwrap();
        assert_eq!(w.written(), [2, 1, 0, 0, 3, 2, b'a', b'b']);
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut buf = [0; 4];
        let mut w = Writer::new(&mut buf);
        w.u8(1).unwrap();
        assert_eq!(w.vec16_be(|w| w.u16_be(5)), Err(Full));
        assert_eq!(w.u32_be(1), Err(Full));
        assert_eq!(w.written(), [1]);
        w.vec16_be(|w| w.u8(7)).unwrap();
        assert_eq!(w.written(), [1, 0, 1, 7]);
        assert_eq!(w.patch(3, &[1, 2]), Err(Full));
    }

    #[test]
    fn a_vector_longer_than_its_length_field_is_refused() {
        let mut buf = [0; 300];
        let mut w = Writer::new(&mut buf);
        assert_eq!(w.vec8(|w| w.bytes(&[0; 256])), Err(Full));
        assert!(w.is_empty());
    }
}
