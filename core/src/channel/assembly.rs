//! Handshake messages out of records (RFC 8446 §5.1): fragments are put together, several in one record taken apart.
//!
//! A message that lies whole in one record is used where it lies in the caller's receive buffer; only fragments are
//! copied, into a buffer of one message. A record with several messages is taken in several steps: the caller drops
//! what is consumed and lends the rest, already decrypted, again.

use super::MESSAGE_LEN_MAX;
use super::alert::{ALERT_LEN, Alert};
use super::error::ChannelError;
use super::messages::{MESSAGE_HEADER_LEN, message_type};
use super::protect::Opener;
use super::record::{self, Frame};
use crate::crypto::Provider;
use crate::wire::{self, Reader};

/// The incoming side of a handshake.
pub(crate) struct Assembly {
    /// A message that came, or is coming, in fragments.
    buf: [u8; MESSAGE_LEN_MAX],
    /// Bytes of it that are there.
    len: usize,
    /// Open handshake bytes at the front of the receive buffer, from a record that was opened before.
    open: usize,
    /// Bytes behind them that belong to the same record: content type, padding, tag.
    open_tail: usize,
    /// Records in a row that carried nothing.
    idle: u8,
}

/// What may come besides protected records, at this moment.
#[derive(Clone, Copy)]
pub(crate) struct Tolerated {
    /// change_cipher_spec, which is dropped (§5, appendix D.4).
    pub(crate) change_cipher_spec: bool,
    /// An alert in clear: a client that makes nothing of our ServerHello has no keys to say so with (§6 has alerts
    /// protected as their connection is). It proves nothing, and can do no more than whoever cuts the connection.
    pub(crate) alert_in_clear: bool,
}

/// What a step over the receive buffer brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// That many bytes more are needed.
    Need(usize),
    /// So many bytes were consumed, and no message is whole yet.
    Consumed(usize),
    /// A whole message.
    Message {
        /// Where it lies.
        place: Place,
        /// Bytes of the receive buffer to drop once it is dealt with.
        consumed: usize,
    },
}

/// Where a whole message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the receive buffer.
    Lent {
        /// From this offset.
        at: usize,
        /// So many bytes.
        len: usize,
    },
    /// In [`Assembly`]'s own buffer.
    Own,
}

impl Assembly {
    pub(crate) const fn new() -> Self {
        Self {
            buf: [0; MESSAGE_LEN_MAX],
            len: 0,
            open: 0,
            open_tail: 0,
            idle: 0,
        }
    }

    /// Takes the next record, message or fragment from the front of `rx`. With an `opener`, records are protected, but
    /// for what is `tolerated`.
    pub(crate) fn next<P: Provider>(
        &mut self,
        rx: &mut [u8],
        opener: Option<&mut Opener<P>>,
        tolerated: Tolerated,
    ) -> Result<Incoming, ChannelError> {
        if self.open > 0 {
            let lent = self.open.saturating_add(self.open_tail);
            return match lent.checked_sub(rx.len()) {
                Some(missing) if missing > 0 => Ok(Incoming::Need(missing)),
                _ => self.take(rx, 0),
            };
        }
        let in_clear = tolerated.alert_in_clear && rx.first() == Some(&record::ALERT);
        let opener = opener.filter(|_| !in_clear);
        let (content_type, len) = match record::frame(rx, opener.as_deref().map(Opener::body_len_max))? {
            Frame::Need(missing) => return Ok(Incoming::Need(missing)),
            Frame::Whole { content_type, len } => (content_type, len),
        };
        let record = rx.get_mut(..len).ok_or(ChannelError::State)?;
        let body_len = len.saturating_sub(super::HEAD_ROOM);
        let (content_type, content_len) = match (content_type, opener) {
            (record::CHANGE_CIPHER_SPEC, _) => {
                self.drop_change_cipher_spec(record, tolerated.change_cipher_spec)?;
                return Ok(Incoming::Consumed(len));
            }
            (_, Some(opener)) => {
                let opened = opener.open(record)?;
                (opened.content_type, opened.content_len)
            }
            (content_type, None) => (content_type, body_len),
        };
        match content_type {
            record::HANDSHAKE if content_len > 0 => {
                self.open = content_len;
                self.open_tail = body_len.saturating_sub(content_len);
                self.take(rx, super::HEAD_ROOM)
            }
            record::HANDSHAKE => Err(ChannelError::EmptyRecord),
            record::ALERT if self.len > 0 => Err(ChannelError::Interleaved),
            record::ALERT => {
                match parse_alert(record.get(super::HEAD_ROOM..).and_then(|b| b.get(..content_len)))? {
                    Alert::CloseNotify => Err(ChannelError::ClosedInHandshake),
                    Alert::UserCanceled => {
                        record::count_idle(&mut self.idle)?;
                        Ok(Incoming::Consumed(len))
                    }
                    alert => Err(ChannelError::PeerAlert(alert)),
                }
            }
            content_type => Err(ChannelError::UnexpectedRecord { content_type }),
        }
    }

    /// The message that [`Self::next`] found.
    pub(crate) fn message<'a>(&'a self, rx: &'a [u8], place: Place) -> Result<&'a [u8], ChannelError> {
        match place {
            Place::Lent { at, len } => rx.get(at..).and_then(|rest| rest.get(..len)),
            Place::Own => self.buf.get(..self.len),
        }
        .ok_or(ChannelError::State)
    }

    /// Forgets a message that was put together from fragments. Call it when the message is dealt with.
    pub(crate) fn done(&mut self, place: Place) {
        if place == Place::Own {
            self.len = 0;
        }
    }

    /// Takes from the `open` bytes that start at `base` of `rx`.
    fn take(&mut self, rx: &[u8], base: usize) -> Result<Incoming, ChannelError> {
        let content = rx
            .get(base..)
            .and_then(|rest| rest.get(..self.open))
            .ok_or(ChannelError::State)?;
        self.idle = 0;
        if self.len == 0
            && let Some(len) = message_len(content)?
            && len <= content.len()
        {
            let consumed = self.advance(base, len);
            self.check_aligned(content)?;
            return Ok(Incoming::Message {
                place: Place::Lent { at: base, len },
                consumed,
            });
        }
        let mut taken = self.append_up_to(content, MESSAGE_HEADER_LEN)?;
        let mut whole = false;
        if let Some(len) = message_len(self.buf.get(..self.len).ok_or(ChannelError::State)?)? {
            let rest = content.get(taken..).ok_or(ChannelError::State)?;
            taken = taken.saturating_add(self.append_up_to(rest, len)?);
            whole = self.len == len;
        }
        let consumed = self.advance(base, taken);
        if !whole {
            return Ok(Incoming::Consumed(consumed));
        }
        self.check_aligned(&self.buf)?;
        Ok(Incoming::Message {
            place: Place::Own,
            consumed,
        })
    }

    /// Appends bytes of `from` until `buf` holds `len` of them; returns how many.
    fn append_up_to(&mut self, from: &[u8], len: usize) -> Result<usize, ChannelError> {
        let wanted = len.saturating_sub(self.len).min(from.len());
        let piece = from.get(..wanted).ok_or(ChannelError::State)?;
        let place = self.buf.get_mut(self.len..).ok_or(ChannelError::State)?;
        wire::copy(place, piece).ok_or(ChannelError::State)?;
        self.len = self.len.saturating_add(wanted);
        Ok(wanted)
    }

    /// Counts `taken` of the open bytes as consumed, and the record's end with the last of them.
    fn advance(&mut self, base: usize, taken: usize) -> usize {
        self.open = self.open.saturating_sub(taken);
        let mut consumed = base.saturating_add(taken);
        if self.open == 0 {
            consumed = consumed.saturating_add(self.open_tail);
            self.open_tail = 0;
        }
        consumed
    }

    /// No byte may follow, in the same record, a message after which the keys change (§5.1).
    fn check_aligned(&self, message: &[u8]) -> Result<(), ChannelError> {
        let changes_keys = matches!(
            message.first(),
            Some(
                &(message_type::CLIENT_HELLO
                    | message_type::SERVER_HELLO
                    | message_type::FINISHED
                    | message_type::KEY_UPDATE)
            )
        );
        if changes_keys && self.open > 0 {
            Err(ChannelError::KeyChangeNotAligned)
        } else {
            Ok(())
        }
    }

    fn drop_change_cipher_spec(&mut self, record: &[u8], hello_seen: bool) -> Result<(), ChannelError> {
        if !hello_seen || record.get(super::HEAD_ROOM..) != Some(&[1]) {
            return Err(ChannelError::BadChangeCipherSpec);
        }
        if self.len > 0 {
            return Err(ChannelError::Interleaved);
        }
        record::count_idle(&mut self.idle)
    }
}

/// The length of the message at the front of `bytes`, with its header, if that much can be seen.
fn message_len(bytes: &[u8]) -> Result<Option<usize>, ChannelError> {
    let mut r = Reader::new(bytes);
    let (Ok(message_type), Ok(body_len)) = (r.u8(), r.u24_be()) else {
        return Ok(None);
    };
    usize::try_from(body_len)
        .ok()
        .and_then(|len| len.checked_add(MESSAGE_HEADER_LEN))
        .filter(|len| *len <= MESSAGE_LEN_MAX)
        .map(Some)
        .ok_or(ChannelError::MessageTooLong { message_type })
}

/// The alert in a record's content. Its level says nothing (§6).
pub(crate) fn parse_alert(content: Option<&[u8]>) -> Result<Alert, ChannelError> {
    const { assert!(ALERT_LEN == 2, "taken apart below") };
    match content {
        Some([]) => Err(ChannelError::EmptyRecord),
        Some([_, description]) => Ok(Alert::from_code(*description)),
        _ => Err(ChannelError::MalformedAlert),
    }
}
