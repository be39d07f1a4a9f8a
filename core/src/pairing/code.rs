//! The one-time code: 128 random bits, written as 30 letters and digits that people can read out.
//!
//! The text is Crockford's base32 (no I, L, O, U; lower case is read too, and what looks like another as that one) of the 16
//! bytes and 22 bits of check, in six groups of five. The check finds a mistyped code before it costs a try; it is the first 22 bits
//! of SHA-256 over a label and the bytes, so it tells nothing to who does not have the code.

use zeroize::Zeroize;

use crate::crypto::Hash;
use crate::entropy::{Entropy, EntropyError};
use crate::secret::Secret;

/// Random bytes of a code.
pub const CODE_LEN: usize = 16;
/// Characters of a code as it is shown: six groups of five, hyphens between.
pub const CODE_TEXT_LEN: usize = 35;
/// Letters and digits of a code.
const SYMBOLS: usize = 30;
const GROUP: usize = 5;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LABEL: &[u8] = b"dbm-pair/1 code";
/// Code and check, the last two bits zero.
const WHOLE_LEN: usize = 19;

/// A one-time code. Wiped when dropped; it has no `Debug` and is shown on purpose only ([`Code::text`]).
pub struct Code(Secret<CODE_LEN>);

/// Why a text is not a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeError {
    /// Not 30 letters and digits.
    Length,
    /// A character that no code has.
    Character,
    /// The check does not fit: something was mistyped.
    Check,
}

impl core::fmt::Display for CodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Length => "a code has 30 letters and digits",
            Self::Character => "it has a character that no code has",
            Self::Check => "its check does not fit: it was mistyped",
        })
    }
}

impl core::error::Error for CodeError {}

impl Code {
    /// Draws a code.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, EntropyError> {
        let mut bytes = Secret::zero();
        entropy.fill_secret(bytes.expose_mut())?;
        Ok(Self(bytes))
    }

    /// Takes the random bytes themselves.
    #[must_use]
    pub const fn from_bytes(bytes: Secret<CODE_LEN>) -> Self {
        Self(bytes)
    }

    /// The random bytes.
    #[must_use]
    pub const fn expose(&self) -> &[u8; CODE_LEN] {
        self.0.expose()
    }

    /// Writes the code as people read it into `out` and returns it. The caller wipes `out` when it has been shown.
    pub fn text<'o, H: Hash>(&self, out: &'o mut [u8; CODE_TEXT_LEN]) -> &'o str {
        let mut whole = Self::whole::<H>(&self.0);
        let mut symbols = Bits::new(whole.expose());
        let mut in_group = 0_usize;
        for place in out.iter_mut() {
            if in_group == GROUP {
                *place = b'-';
                in_group = 0;
                continue;
            }
            in_group = in_group.saturating_add(1);
            let symbol = usize::from(symbols.next().unwrap_or(0));
            *place = ALPHABET.get(symbol).copied().unwrap_or(b'0');
        }
        whole.zeroize();
        core::str::from_utf8(out).unwrap_or("")
    }

    /// Reads a code that somebody typed. Hyphens and blanks are skipped wherever they are.
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn parse<H: Hash>(text: &str) -> Result<Self, CodeError> {
        let mut whole = Secret::<WHOLE_LEN>::zero();
        let mut places = whole.expose_mut().iter_mut();
        let (mut pending, mut bits, mut count) = (0_u16, 0_u32, 0_usize);
        for byte in text.bytes().filter(|b| !matches!(b, b'-' | b' ' | b'\t')) {
            let symbol = symbol(byte).ok_or(CodeError::Character)?;
            count = count.saturating_add(1);
            pending = pending.wrapping_shl(5) | u16::from(symbol);
            bits = bits.saturating_add(5);
            if bits >= 8 {
                bits = bits.saturating_sub(8);
                let [_, low] = pending.wrapping_shr(bits).to_be_bytes();
                *places.next().ok_or(CodeError::Length)? = low;
            }
        }
        if count != SYMBOLS {
            return Err(CodeError::Length);
        }
        // 150 bits are 18 bytes and six bits.
        let [_, low] = pending.wrapping_shl(2).to_be_bytes();
        *places.next().ok_or(CodeError::Length)? = low;
        pending.zeroize();
        let code = whole.expose().first_chunk().copied().ok_or(CodeError::Length)?;
        let code = Secret::new(code);
        if Self::whole::<H>(&code).ct_eq(&whole) {
            Ok(Self(code))
        } else {
            Err(CodeError::Check)
        }
    }

    /// The bytes with their check.
    fn whole<H: Hash>(code: &Secret<CODE_LEN>) -> Secret<WHOLE_LEN> {
        let mut state = H::new();
        state.update(LABEL);
        state.update(code.expose());
        let [a, b, c, ..] = state.finish();
        let mut whole = Secret::zero();
        let check = [a, b, c & 0xfc];
        for (to, from) in whole
            .expose_mut()
            .iter_mut()
            .zip(code.expose().iter().chain(&check))
        {
            *to = *from;
        }
        whole
    }
}

/// The value of a character.
fn symbol(byte: u8) -> Option<u8> {
    let byte = match byte.to_ascii_uppercase() {
        b'I' | b'L' => b'1',
        b'O' => b'0',
        other => other,
    };
    let at = ALPHABET.iter().position(|known| *known == byte)?;
    u8::try_from(at).ok()
}

/// Bytes in pieces of five bits.
struct Bits<'a> {
    bytes: core::slice::Iter<'a, u8>,
    pending: u16,
    bits: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes: bytes.iter(),
            pending: 0,
            bits: 0,
        }
    }

    fn next(&mut self) -> Option<u8> {
        if self.bits < 5 {
            self.pending = self.pending.wrapping_shl(8) | u16::from(*self.bytes.next()?);
            self.bits = self.bits.saturating_add(8);
        }
        self.bits = self.bits.saturating_sub(5);
        let [_, low] = self.pending.wrapping_shr(self.bits).to_be_bytes();
        Some(low & 0x1f)
    }
}
