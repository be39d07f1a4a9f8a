//! Short UTF-8 texts of bounded length, held in place.

/// At most `N` bytes of UTF-8 without control characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: u16,
}

/// A server network address as its operator typed it: `TCP://host:port`.
pub type Address = Text<128>;
/// An instance's name.
pub type InstanceName = Text<128>;
/// A database's name: 128 characters, of which each may take three bytes.
pub type DatabaseName = Text<384>;

impl<const N: usize> Text<N> {
    /// No text.
    pub const EMPTY: Self = Self {
        bytes: [0; N],
        length: 0,
    };

    /// Takes `text`.
    ///
    /// # Errors
    /// [`TextTooLong`] when it is longer than `N` bytes or has control characters in it.
    pub fn new(text: &str) -> Result<Self, TextTooLong> {
        let mut bytes = [0; N];
        crate::wire::copy(&mut bytes, text.as_bytes()).ok_or(TextTooLong)?;
        let length = u16::try_from(text.len()).map_err(|_| TextTooLong)?;
        if text.chars().any(char::is_control) {
            return Err(TextTooLong);
        }
        Ok(Self { bytes, length })
    }

    /// Takes bytes that must be UTF-8.
    ///
    /// # Errors
    /// [`TextTooLong`] as [`Text::new`], and for bytes that are not UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TextTooLong> {
        Self::new(core::str::from_utf8(bytes).map_err(|_| TextTooLong)?)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes
            .get(..usize::from(self.length))
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .unwrap_or("")
    }

    /// Whether there is no text.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> core::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> core::fmt::Display for Text<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that does not fit its place: too long, not UTF-8, or with control characters in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextTooLong;

impl core::fmt::Display for TextTooLong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the text is too long, not UTF-8, or has control characters in it")
    }
}

impl core::error::Error for TextTooLong {}
