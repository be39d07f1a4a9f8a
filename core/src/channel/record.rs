//! The record layer's framing (RFC 8446 §5.1, §5.2): type, version, length, and what each may be.

use super::error::ChannelError;
use super::{HEAD_ROOM, PAYLOAD_LEN_MAX};

/// `ContentType.change_cipher_spec`
pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
/// `ContentType.alert`
pub(crate) const ALERT: u8 = 21;
/// `ContentType.handshake`
pub(crate) const HANDSHAKE: u8 = 22;
/// `ContentType.application_data`
pub(crate) const APPLICATION_DATA: u8 = 23;

/// `legacy_record_version` of every record that we send but a first ClientHello.
pub(crate) const VERSION: [u8; 2] = [3, 3];
/// `legacy_record_version` of a first ClientHello (§5.1: for the sake of old boxes on the way).
pub(crate) const VERSION_FIRST: [u8; 2] = [3, 1];
/// The first byte of every version of TLS and SSL 3. The second is paid no regard (§5.1).
const VERSION_MAJOR: u8 = 3;

/// The change_cipher_spec that means nothing (appendix D.4), as a record.
pub(crate) const CHANGE_CIPHER_SPEC_RECORD: [u8; 6] = [CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1];

/// Most bytes behind the header of a protected record (§5.2).
pub(crate) const CIPHERTEXT_LEN_MAX: usize = PAYLOAD_LEN_MAX + 256;

/// How many records in a row may carry nothing: change_cipher_spec, empty data, KeyUpdate, tickets. The RFC sets no
/// number; an honest peer sends a few.
pub(crate) const IDLE_RECORDS_MAX: u8 = 32;

/// Counts a record that carries nothing.
///
/// # Errors
/// [`ChannelError::Flood`] at the first too many.
pub(crate) fn count_idle(count: &mut u8) -> Result<(), ChannelError> {
    if *count >= IDLE_RECORDS_MAX {
        return Err(ChannelError::Flood);
    }
    *count = count.saturating_add(1);
    Ok(())
}

/// What stands at the front of the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// That many bytes more are needed before anything can be said.
    Need(usize),
    /// A whole record.
    Whole {
        /// Its outer content type, one of the four.
        content_type: u8,
        /// Its length with the header.
        len: usize,
    },
}

/// Looks for a whole record at the front of `rx`. With `keyed`, protected records are expected, with at most so many
/// bytes behind their header.
///
/// # Errors
/// [`ChannelError::UnexpectedRecord`], [`ChannelError::NotTls`] or [`ChannelError::RecordOverflow`], as soon as the
/// header says so.
pub(crate) fn frame(rx: &[u8], keyed: Option<usize>) -> Result<Frame, ChannelError> {
    let Some((header, body)) = rx.split_first_chunk::<HEAD_ROOM>() else {
        return Ok(Frame::Need(HEAD_ROOM.saturating_sub(rx.len())));
    };
    let [content_type, major, _, high, low] = *header;
    let expected = match content_type {
        CHANGE_CIPHER_SPEC => true,
        ALERT | HANDSHAKE => keyed.is_none(),
        APPLICATION_DATA => keyed.is_some(),
        _ => false,
    };
    if !expected {
        return Err(ChannelError::UnexpectedRecord { content_type });
    }
    if major != VERSION_MAJOR {
        return Err(ChannelError::NotTls);
    }
    let body_len = usize::from(u16::from_be_bytes([high, low]));
    if body_len > keyed.unwrap_or(PAYLOAD_LEN_MAX) {
        return Err(ChannelError::RecordOverflow);
    }
    Ok(match body_len.checked_sub(body.len()) {
        Some(missing) if missing > 0 => Frame::Need(missing),
        _ => Frame::Whole {
            content_type,
            len: HEAD_ROOM.saturating_add(body_len),
        },
    })
}

/// The header of a record with `body_len` bytes behind it; `None` above 65,535.
pub(crate) fn header(content_type: u8, version: [u8; 2], body_len: usize) -> Option<[u8; HEAD_ROOM]> {
    let [high, low] = u16::try_from(body_len).ok()?.to_be_bytes();
    let [major, minor] = version;
    Some([content_type, major, minor, high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYED: Option<usize> = Some(CIPHERTEXT_LEN_MAX);

    #[test]
    fn need_is_exact() {
        let record = [23, 3, 3, 0, 2, 9, 9, 23];
        for (have, need) in [(0, 5), (1, 4), (4, 1), (5, 2), (6, 1)] {
            assert_eq!(frame(&record[..have], KEYED), Ok(Frame::Need(need)), "{have}");
        }
        assert_eq!(
            frame(&record, KEYED),
            Ok(Frame::Whole {
                content_type: 23,
                len: 7
            })
        );
    }

    #[test]
    fn types_follow_the_keys() {
        for (content_type, plain, keyed) in [
            (20, true, true),
            (21, true, false),
            (22, true, false),
            (23, false, true),
            (24, false, false),
        ] {
            let record = [content_type, 3, 1, 0, 0];
            assert_eq!(frame(&record, None).is_ok(), plain, "{content_type}");
            assert_eq!(frame(&record, KEYED).is_ok(), keyed, "{content_type}");
        }
    }

    #[test]
    fn lengths_are_judged_by_the_header_alone() {
        assert_eq!(frame(&[22, 3, 1, 0x40, 0], None), Ok(Frame::Need(16_384)));
        assert_eq!(
            frame(&[22, 3, 1, 0x40, 1], None),
            Err(ChannelError::RecordOverflow)
        );
        assert_eq!(frame(&[23, 3, 3, 0x41, 0], KEYED), Ok(Frame::Need(16_640)));
        assert_eq!(
            frame(&[23, 3, 3, 0x41, 1], KEYED),
            Err(ChannelError::RecordOverflow)
        );
        assert_eq!(
            frame(b"GET / HTTP/1.1", None),
            Err(ChannelError::UnexpectedRecord { content_type: b'G' })
        );
        assert_eq!(frame(&[22, 9, 9, 0, 1], None), Err(ChannelError::NotTls));
    }
}
