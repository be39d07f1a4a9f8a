//! Where in a batch something was written.

/// A range of bytes of the batch text, with the line on which it begins.
///
/// Lines are counted from 1 at the first line of the batch, as error messages count them: the text after a
/// `GO` starts again at line 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
    /// Line of the first byte, from 1.
    pub line: u32,
}

impl Span {
    /// The bytes of `batch` that this span covers; empty when the span is not one of `batch`.
    #[must_use]
    pub fn of<'a>(&self, batch: &'a str) -> &'a str {
        batch.get(self.start as usize..self.end as usize).unwrap_or("")
    }

    /// From the beginning of `self` to the end of `last`.
    #[must_use]
    pub const fn to(self, last: Span) -> Span {
        Span {
            start: self.start,
            end: if last.end > self.end { last.end } else { self.end },
            line: self.line,
        }
    }
}
