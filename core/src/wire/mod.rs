//! Cursors over caller-owned bytes. Reading past the end is an answer, never a panic.
//!
//! [`Reader`] takes bytes apart and [`Writer`] puts them together. TLS is big-endian (`*_be`), the mirroring messages and
//! the log block are little-endian (`*_le`); both live here so that no room needs its own arithmetic on offsets.

mod reader;
mod writer;

use core::cell::Cell;

pub use reader::{Malformed, Reader};
pub use writer::{Full, Writer};

/// Copies `src` into the front of `dst` and returns its length; `None` when `dst` is too short, and then nothing is
/// written.
#[must_use]
pub fn copy(dst: &mut [u8], src: &[u8]) -> Option<usize> {
    let place = dst.get_mut(..src.len())?;
    for (to, from) in place.iter_mut().zip(src) {
        *to = *from;
    }
    Some(src.len())
}

/// Moves `len` bytes within `buf` from offset `from` to offset `to`; the two places may overlap. `None` when either
/// lies outside, and then nothing is moved.
#[must_use]
pub fn shift(buf: &mut [u8], from: usize, to: usize, len: usize) -> Option<()> {
    let cells = Cell::from_mut(buf).as_slice_of_cells();
    let source = cells.get(from..from.checked_add(len)?)?;
    let target = cells.get(to..to.checked_add(len)?)?;
    let moves = source.iter().zip(target);
    // Towards the end, the last byte goes first: nothing is overwritten before it has moved.
    if to > from {
        moves.rev().for_each(|(source, target)| target.set(source.get()));
    } else {
        moves.for_each(|(source, target)| target.set(source.get()));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_refuses_a_short_place() {
        let mut place = [9; 2];
        assert_eq!(copy(&mut place, &[1, 2, 3]), None);
        assert_eq!(place, [9; 2]);
        assert_eq!(copy(&mut place, &[1]), Some(1));
        assert_eq!(place, [1, 9]);
    }

    #[test]
    fn shift_overlaps_and_stays_inside() {
        let mut buf = [1, 2, 3, 4, 5];
        assert_eq!(shift(&mut buf, 0, 1, 4), Some(()));
        assert_eq!(buf, [1, 1, 2, 3, 4]);
        assert_eq!(shift(&mut buf, 2, 0, 4), None);
        assert_eq!(shift(&mut buf, usize::MAX, 0, 2), None);
        assert_eq!(buf, [1, 1, 2, 3, 4]);
    }
}
