//! Messages of `dbm/1` into bytes and back (`docs/protocol.md` §1). The table is in `messages.rs`.
//!
//! A message is a header of eight bytes (length of the body, kind, zero) and its body, whose fields follow one another in
//! the order of the table. A record of the channel carries one or more whole messages; none spans two.

pub use super::messages::*;

use super::ids::SessionGuid;
use crate::wire::{Full, Malformed, Reader, Writer};

/// Bytes of a message's header.
pub const HEADER_LEN: usize = 8;
/// Most bytes of a message with its header, data chunks excepted; a record's payload must hold it.
pub const CONTROL_LEN_MAX: usize = 1_536;
/// The version of these messages, the only one so far.
pub const VERSION: u16 = 1;
/// Set in the kind of a message that may be skipped by who does not know it.
pub const OPTIONAL: u16 = 0x8000;

/// Why bytes are not a message that can be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// The bytes do not have the form of that kind.
    Malformed {
        /// Its kind; 0 when not even the header is whole.
        kind: u16,
        /// Where, from the start of the message.
        at: Malformed,
    },
    /// A kind that this version does not know and may not skip.
    Unknown {
        /// The kind.
        kind: u16,
    },
}

impl MessageError {
    /// The kind of the message, as far as it is known.
    #[must_use]
    pub const fn kind(self) -> u16 {
        match self {
            Self::Malformed { kind, .. } | Self::Unknown { kind } => kind,
        }
    }
}

impl core::fmt::Display for MessageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Malformed { kind, at } => write!(f, "message of kind {kind:#06x} {at}"),
            Self::Unknown { kind } => write!(f, "unknown mandatory message of kind {kind:#06x}"),
        }
    }
}

impl core::error::Error for MessageError {}

impl<'a> Message<'a> {
    /// Appends the message with its header to `to`.
    ///
    /// # Errors
    /// [`Full`] when it does not fit; nothing is appended then.
    pub fn encode(&self, to: &mut Writer<'_>) -> Result<(), Full> {
        let start = to.len();
        let done = (|| {
            to.u32_le(0)?;
            to.u16_le(self.kind())?;
            to.u16_le(0)?;
            let body = to.len();
            self.write_body(to)?;
            let length = u32::try_from(to.len().saturating_sub(body)).map_err(|_| Full)?;
            to.patch(start, &length.to_le_bytes())
        })();
        if done.is_err() {
            to.truncate(start);
        }
        done
    }

    /// Appends the message around a piece of `len` bytes that already lies in the free room of `to`, where the message's
    /// last field, which must be an empty piece, ends.
    ///
    /// # Errors
    /// [`Full`] when there are not so many bytes; nothing is appended then.
    pub fn encode_around(&self, to: &mut Writer<'_>, len: usize) -> Result<(), Full> {
        let start = to.len();
        self.encode(to)?;
        let done = to.advance(len).and_then(|()| {
            let body = to.len().saturating_sub(start).saturating_sub(HEADER_LEN);
            to.patch(start, &u32::try_from(body).map_err(|_| Full)?.to_le_bytes())
        });
        if done.is_err() {
            to.truncate(start);
        }
        done
    }

    /// Takes the next message from the front of `from`; `Ok(None)` for one that is unknown and may be skipped.
    ///
    /// # Errors
    /// [`MessageError`]; what follows in the record is worthless then.
    #[inline(never)]
    pub fn decode(from: &mut Reader<'a>) -> Result<Option<Self>, MessageError> {
        let base = from.position();
        let relative = |at: Malformed| Malformed {
            at: at.at.saturating_sub(base),
        };
        let cut = |at| MessageError::Malformed {
            kind: 0,
            at: relative(at),
        };
        let length = from.u32_le().map_err(cut)?;
        let kind = from.u16_le().map_err(cut)?;
        let malformed = |at| MessageError::Malformed {
            kind,
            at: relative(at),
        };
        let reserved = from.malformed();
        if from.u16_le().map_err(malformed)? != 0 {
            return Err(malformed(reserved));
        }
        let length = usize::try_from(length).map_err(|_| malformed(from.malformed()))?;
        let mut body = from.sub(length).map_err(malformed)?;
        match Self::read_body(kind, &mut body) {
            Some(message) => {
                let message = message.map_err(malformed)?;
                body.finish().map_err(malformed)?;
                Ok(Some(message))
            }
            None if kind & OPTIONAL != 0 => Ok(None),
            None => Err(MessageError::Unknown { kind }),
        }
    }

    /// The session that the message is about.
    #[must_use]
    pub const fn guid(&self) -> Option<SessionGuid> {
        Some(match self {
            Self::Hello(_)
            | Self::Use(_)
            | Self::Ping(_)
            | Self::Goodbye(_)
            | Self::Successor(_)
            | Self::Retired(_)
            | Self::CertificateAnswer(_)
            | Self::Time(_) => return None,
            Self::Refusal(m) => m.guid,
            Self::Start(m) => m.guid,
            Self::StartAccepted(m) => m.guid,
            Self::StartRefused(m) => m.guid,
            Self::SessionHello(m) => m.guid,
            Self::None(m) => m.guid,
            Self::Tombstone(m) => m.guid,
            Self::Block(m) => m.guid,
            Self::Ack(m) => m.guid,
            Self::Credit(m) => m.guid,
            Self::Status(m) => m.guid,
            Self::TailRequest(m) => m.guid,
            Self::Tail(m) => m.guid,
            Self::SeedRequest(m) => m.guid,
            Self::SeedBegin(m) => m.guid,
            Self::Seed(m) => m.guid,
            Self::SeedEnd(m) => m.guid,
            Self::SetProperties(m) => m.guid,
            Self::AskSuspend(m) => m.guid,
            Self::Attachment(m) => m.guid,
            Self::Propose(m) => m.guid,
            Self::Ask(m) => m.guid,
            Self::Grant(m) => m.guid,
            Self::Denial(m) => m.guid,
            Self::Register(m) => m.guid,
            Self::Confirm(m) => m.guid,
            Self::Drop(m) => m.guid,
            Self::HelloAgain(m) => m.guid,
            Self::NameWitness(m) => m.guid,
            Self::Described(m) => m.guid,
            #[cfg(not(feature = "partner"))]
            Self::OfPartners(m) => m.guid,
        })
    }
}

/// Bytes of a [`Block`] before its piece, with the header.
pub const BLOCK_OVERHEAD: usize = HEADER_LEN + 16 + 4 + 12 + 12 + 4 + 4;
/// Bytes of a [`Tail`] before its piece, with the header.
pub const TAIL_OVERHEAD: usize = BLOCK_OVERHEAD - 12;
/// Bytes of a [`Seed`] before its piece, with the header.
pub const SEED_OVERHEAD: usize = HEADER_LEN + 16 + 4 + 8;
