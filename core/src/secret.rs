//! A place for secret bytes: wiped when dropped, never printed, copied or compared by accident.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// `N` secret bytes. No `Clone`, `Copy`, `Debug` or `PartialEq`; [`Secret::expose`] is the one way in.
///
/// ```compile_fail
/// let s = dbmirror_core::secret::Secret::<4>::zero();
/// let t = s.clone();
/// ```
/// ```compile_fail
/// let s = dbmirror_core::secret::Secret::<4>::zero();
/// println!("{s:?}");
/// ```
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// All zero: to be filled in place, since every move may leave a copy behind.
    #[must_use]
    pub const fn zero() -> Self {
        Self([0; N])
    }

    /// Takes over `bytes`.
    #[must_use]
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The secret bytes. Greppable on purpose.
    #[must_use]
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// The secret bytes, to be filled in place.
    #[must_use]
    pub const fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }

    /// Compares in constant time.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Zeroize for Secret<N> {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> zeroize::ZeroizeOnDrop for Secret<N> {}
