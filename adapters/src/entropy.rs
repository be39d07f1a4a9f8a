//! The server's entropy: the operating system's generator.

use dbmirror_core::entropy::{Entropy, EntropyError};

/// Draws from the operating system. The kernel's generator keeps its outputs apart, so secret and public bytes come
/// from the same call.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(out).map_err(|_| EntropyError)
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(out).map_err(|_| EntropyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        OsEntropy.fill_secret(&mut a).unwrap();
        OsEntropy.fill_public(&mut b).unwrap();
        assert_ne!(a, b);
        assert_ne!(a, [0; 32]);
    }
}
