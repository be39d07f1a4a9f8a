//! AES Key Wrap (RFC 3394) and AES Key Wrap with Padding (RFC 5649), both under AES-256.
//!
//! The `aes-kw` crate takes lengths that the RFCs do not allow (an empty key; one block for RFC 3394), for some of
//! which there is nothing left to check. They are refused here.

use aes_kw::{KeyInit, KwAes256, KwpAes256};

use super::KeyError;
use crate::secret::Secret;

/// Bytes that wrapping adds, and the unit that both modes work in.
const SEMIBLOCK: usize = 8;
/// RFC 3394 §2.2.1: at least two semiblocks of key.
const KW_KEY_LEN_MIN: usize = 16;

/// Wraps `key`, a multiple of 8 bytes and at least 16, as RFC 3394 §2.2.1 has it; returns `key.len() + 8`.
///
/// # Errors
/// [`KeyError::Malformed`] for another length of key, [`KeyError::NoRoom`] when `out` is too short.
pub fn kw_wrap(kek: &Secret<32>, key: &[u8], out: &mut [u8]) -> Result<usize, KeyError> {
    if key.len() < KW_KEY_LEN_MIN {
        return Err(KeyError::Malformed);
    }
    KwAes256::new(kek.expose().into())
        .wrap_key(key, out)
        .map(<[u8]>::len)
        .map_err(refusal)
}

/// Opens what [`kw_wrap`] made (RFC 3394 §2.2.2) and returns the key's length.
///
/// # Errors
/// [`KeyError::Rejected`] when the integrity check fails: `out` then holds no key; [`KeyError::Malformed`] for a
/// length that wrapping cannot give; [`KeyError::NoRoom`] when `out` is too short.
pub fn kw_unwrap(kek: &Secret<32>, wrapped: &[u8], out: &mut [u8]) -> Result<usize, KeyError> {
    if wrapped.len() < KW_KEY_LEN_MIN.saturating_add(SEMIBLOCK) {
        return Err(KeyError::Malformed);
    }
    KwAes256::new(kek.expose().into())
        .unwrap_key(wrapped, out)
        .map(<[u8]>::len)
        .map_err(refusal)
}

/// Wraps `key` of any length but zero as RFC 5649 §4.1 has it; returns the length rounded up to 8, plus 8.
///
/// # Errors
/// [`KeyError::Malformed`] for an empty key, [`KeyError::NoRoom`] when `out` is too short.
pub fn kwp_wrap(kek: &Secret<32>, key: &[u8], out: &mut [u8]) -> Result<usize, KeyError> {
    if key.is_empty() {
        return Err(KeyError::Malformed);
    }
    KwpAes256::new(kek.expose().into())
        .wrap_key(key, out)
        .map(<[u8]>::len)
        .map_err(refusal)
}

/// Opens what [`kwp_wrap`] made (RFC 5649 §4.2) and returns the key's length. `out` needs room for the padding too:
/// `wrapped.len() - 8` bytes.
///
/// # Errors
/// As [`kw_unwrap`].
pub fn kwp_unwrap(kek: &Secret<32>, wrapped: &[u8], out: &mut [u8]) -> Result<usize, KeyError> {
    if wrapped.len() < SEMIBLOCK.saturating_mul(2) {
        return Err(KeyError::Malformed);
    }
    KwpAes256::new(kek.expose().into())
        .unwrap_key(wrapped, out)
        .map(<[u8]>::len)
        .map_err(refusal)
}

fn refusal(error: aes_kw::Error) -> KeyError {
    match error {
        aes_kw::Error::InvalidDataSize => KeyError::Malformed,
        aes_kw::Error::InvalidOutputSize { .. } => KeyError::NoRoom,
        aes_kw::Error::IntegrityCheckFailed => KeyError::Rejected,
    }
}
