//! Randomness as the caller lends it, at just the calls that need it.
//!
//! Secret and public randomness are drawn apart, so that bytes which an enemy sees on the wire (nonces, session ids,
//! serial numbers) tell nothing about those he must never know, whatever the generator behind.

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

/// The source could not give bytes it vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyError;

impl core::fmt::Display for EntropyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the entropy source failed")
    }
}

impl core::error::Error for EntropyError {}
