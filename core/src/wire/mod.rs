//! Cursors over caller-owned bytes. Reading past the end is an answer, never a panic.

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
