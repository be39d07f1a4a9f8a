//! Randomness as the caller lends it, at just the calls that need it.
//!
//! Secret and public randomness are drawn apart, so that bytes which an enemy sees on the wire (nonces, session ids,
//! serial numbers) tell nothing about those he must never know, whatever the generator behind.

use zeroize::Zeroize;

use crate::secret::Secret;

/// A source of randomness. `&mut dyn Entropy` is passed to the calls that draw from it; nothing in core stores one.
pub trait Entropy {
    /// Fills `out` with bytes for a secret: a private key, a master key.
    ///
    /// # Errors
    /// [`EntropyError`] when the source cannot vouch for the bytes. The caller then refuses the whole operation; `out`
    /// is to be taken as worthless.
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError>;

    /// Fills `out` with bytes that may be seen: nonces, salts, serial numbers, identities.
    ///
    /// # Errors
    /// As [`Entropy::fill_secret`].
    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError>;
}

/// A source under watch: one that gives the same bytes twice in a row is stuck, and fails from then on. Draws of less than
/// 16 bytes are not compared: they may be equal by chance.
pub struct Watched<'e> {
    source: &'e mut dyn Entropy,
    last: Option<Secret<WATCHED_LEN>>,
    stuck: bool,
}

/// How many bytes of a draw are compared with those of the one before.
const WATCHED_LEN: usize = 16;

impl<'e> Watched<'e> {
    /// Watches `source`.
    pub const fn new(source: &'e mut dyn Entropy) -> Self {
        Self {
            source,
            last: None,
            stuck: false,
        }
    }

    fn watch(&mut self, drawn: &mut [u8]) -> Result<(), EntropyError> {
        if let Some(first) = drawn.first_chunk::<WATCHED_LEN>() {
            let first = Secret::new(*first);
            self.stuck |= self.last.as_ref().is_some_and(|last| last.ct_eq(&first));
            self.last = Some(first);
        }
        if self.stuck {
            drawn.zeroize();
            return Err(EntropyError);
        }
        Ok(())
    }
}

impl Entropy for Watched<'_> {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.source.fill_secret(out)?;
        self.watch(out)
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.source.fill_public(out)?;
        self.watch(out)
    }
}

/// The source could not give bytes it vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyError;

impl core::fmt::Display for EntropyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the entropy source failed")
    }
}

impl core::error::Error for EntropyError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte over and over, another one each time, or nothing.
    struct Source(u8, u8);

    impl Entropy for Source {
        fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
            out.fill(self.0);
            self.0 = self.0.wrapping_add(self.1);
            Ok(())
        }

        fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
            self.fill_secret(out)
        }
    }

    #[test]
    fn a_stuck_source_is_found_out_at_the_second_draw() {
        let mut stuck = Source(7, 0);
        let mut watched = Watched::new(&mut stuck);
        let mut out = [0; 32];
        assert_eq!(watched.fill_public(&mut out), Ok(()));
        assert_eq!(watched.fill_secret(&mut out), Err(EntropyError));
        assert_eq!(out, [0; 32], "what it gave is not left to be used");
        assert_eq!(
            watched.fill_secret(&mut out[..4]),
            Err(EntropyError),
            "it stays broken"
        );
    }

    #[test]
    fn a_source_that_moves_and_short_draws_pass() {
        let mut moving = Source(7, 1);
        let mut watched = Watched::new(&mut moving);
        for len in [32, 16, 64, 1, 1, 17] {
            assert_eq!(watched.fill_secret(&mut [0; 64][..len]), Ok(()));
        }
        let mut stuck = Source(7, 0);
        let mut watched = Watched::new(&mut stuck);
        for _ in 0..3 {
            assert_eq!(watched.fill_public(&mut [0; 15]), Ok(()));
        }
    }
}
