//! Taking bytes apart, front to back.

/// A cursor over `bytes`. Every read either succeeds whole or leaves the cursor where it was.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
    position: usize,
}

/// The bytes do not have the promised form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Offset in bytes, from the start of the outermost slice, of the field that is cut short or should not be there.
    pub at: usize,
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "malformed at byte {}", self.at)
    }
}

impl core::error::Error for Malformed {}

macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident: $int:ty = $from:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`Malformed`] when the bytes end before it does.
        pub fn $name(&mut self) -> Result<$int, Malformed> {
            Ok(<$int>::$from(self.array()?))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            position: 0,
        }
    }

    integers! {
        /// One byte.
        u8: u8 = from_be_bytes;
        /// Two bytes, big-endian.
        u16_be: u16 = from_be_bytes;
        /// Four bytes, big-endian.
        u32_be: u32 = from_be_bytes;
        /// Eight bytes, big-endian.
        u64_be: u64 = from_be_bytes;
        /// Two bytes, little-endian.
        u16_le: u16 = from_le_bytes;
        /// Four bytes, little-endian.
        u32_le: u32 = from_le_bytes;
        /// Eight bytes, little-endian.
        u64_le: u64 = from_le_bytes;
    }

    /// Three bytes, big-endian.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes end before it does.
    pub fn u24_be(&mut self) -> Result<u32, Malformed> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_be_bytes([0, a, b, c]))
    }

    /// The next `N` bytes by value.
    ///
    /// # Errors
    /// [`Malformed`] when fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.malformed())?;
        self.rest = rest;
        self.position = self.position.saturating_add(N);
        Ok(*head)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`Malformed`] when fewer are left.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        self.position = self.position.saturating_add(len);
        Ok(head)
    }

    /// The next `len` bytes as a cursor of their own.
    ///
    /// # Errors
    /// [`Malformed`] when fewer are left.
    pub fn sub(&mut self, len: usize) -> Result<Self, Malformed> {
        let position = self.position;
        Ok(Self {
            rest: self.bytes(len)?,
            position,
        })
    }

    /// A vector with a one-byte length before it.
    ///
    /// # Errors
    /// [`Malformed`] when the length or the content is cut short.
    pub fn vec8(&mut self) -> Result<Self, Malformed> {
        let mut ahead = *self;
        let len = usize::from(ahead.u8()?);
        let content = ahead.sub(len)?;
        *self = ahead;
        Ok(content)
    }

    /// A vector with a two-byte big-endian length before it.
    ///
    /// # Errors
    /// [`Malformed`] when the length or the content is cut short.
    pub fn vec16_be(&mut self) -> Result<Self, Malformed> {
        let mut ahead = *self;
        let len = usize::from(ahead.u16_be()?);
        let content = ahead.sub(len)?;
        *self = ahead;
        Ok(content)
    }

    /// A vector with a three-byte big-endian length before it.
    ///
    /// # Errors
    /// [`Malformed`] when the length or the content is cut short.
    pub fn vec24_be(&mut self) -> Result<Self, Malformed> {
        let mut ahead = *self;
        let len = usize::try_from(ahead.u24_be()?).map_err(|_| self.malformed())?;
        let content = ahead.sub(len)?;
        *self = ahead;
        Ok(content)
    }

    /// All bytes that are left; the cursor stands at the end afterwards.
    pub fn take_rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.position = self.position.saturating_add(rest.len());
        self.rest = &[];
        rest
    }

    /// Says that nothing may be left.
    ///
    /// # Errors
    /// [`Malformed`] at the first byte too many.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    /// The bytes that are left, without taking them.
    #[must_use]
    pub const fn peek(&self) -> &'a [u8] {
        self.rest
    }

    /// Number of bytes that are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Offset of the cursor in bytes from the start of the outermost slice.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// The error for the place where the cursor stands: for a value that is there but not allowed.
    #[must_use]
    pub const fn malformed(&self) -> Malformed {
        Malformed { at: self.position }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_both_orders() {
        let bytes = [1, 0, 2, 0, 0, 3, 4, 0, 0, 0, 5, 0];
        let mut r = Reader::new(&bytes);
        assert_eq!(r.u8(), Ok(1));
        assert_eq!(r.u16_be(), Ok(2));
        assert_eq!(r.u24_be(), Ok(3));
        assert_eq!(r.u32_le(), Ok(4));
        assert_eq!(r.u16_le(), Ok(5));
        assert_eq!(r.finish(), Ok(()));
    }

    #[test]
    fn a_failed_read_moves_nothing_and_says_where() {
        let bytes = [0, 9, 1, 2];
        let mut r = Reader::new(&bytes);
        assert!(r.vec16_be().is_err());
        assert_eq!(r.position(), 0);
        assert_eq!(r.u8(), Ok(0));
        assert_eq!(r.u32_be(), Err(Malformed { at: 1 }));
        assert_eq!(r.remaining(), 3);
        assert_eq!(r.finish(), Err(Malformed { at: 1 }));
    }

    #[test]
    fn nested_positions_count_from_the_outside() {
        let bytes = [7, 0, 0, 2, 1, 9];
        let mut r = Reader::new(&bytes);
        assert_eq!(r.u8(), Ok(7));
        let mut inner = r.vec24_be().unwrap();
        assert_eq!(inner.position(), 4);
        let innermost = inner.vec8().unwrap();
        assert_eq!((innermost.position(), innermost.peek()), (5, &[9][..]));
        assert!(inner.is_empty() && r.is_empty());
    }
}
