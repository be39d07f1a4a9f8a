//! After the handshake: two independent halves that share nothing but one flag (RFC 8446 §4.6.3, §5, §6).

use super::alert::Alert;
use super::assembly::parse_alert;
use super::auth::Proved;
use super::error::{ChannelError, UseError};
use super::key_schedule::{ExporterSecret, FinishedVerified};
use super::keys::Keys;
use super::post_handshake::{Completed, PostHandshake};
use super::protect::{Opener, Sealer, UPDATE_DUE_RECORDS, small_record};
use super::record::{self, ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, Frame, HANDSHAKE};
use super::verify::Alpn;
use super::{Established, HEAD_ROOM, Role};
use crate::crypto::Provider;
use crate::time::UnixSeconds;

/// A KeyUpdate that asks for none in return: the peer's keys are the peer's affair, and who never asks never has two
/// requests outstanding.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
/// Seconds after which our own keys are changed, however little they have protected.
const UPDATE_DUE_SECONDS: i64 = 60 * 60;

/// An established channel in its parts, for a caller that reads and writes in two places. See
/// [`super::Channel::split`].
pub struct Halves<P: Provider> {
    /// Opens what the peer sends.
    pub reader: Reader<P>,
    /// Seals what we send.
    pub writer: Writer<P>,
    /// Who the peer is, and the exporter.
    pub session: Session<P>,
}

/// What a handshake comes to, but for the keys. The proofs are what it takes to make one.
pub(crate) struct Outcome(Established);

impl Outcome {
    pub(crate) fn new<P: Provider>(
        role: Role,
        alpn: Alpn,
        (proved, _finished): (Proved, FinishedVerified),
        keys: &Keys<P>,
    ) -> Self {
        Self(Established {
            role,
            alpn,
            suite: keys.protection.suite,
            group: keys.group,
            peer: proved.peer(),
        })
    }

    /// Goes over to traffic under the application keys.
    pub(crate) fn into_traffic(self) -> Traffic {
        let Self(established) = self;
        Traffic {
            receiving: Receiving::new(established.role),
            sending: Sending::new(),
            established,
        }
    }
}

/// An established channel, but for its keys.
pub(crate) struct Traffic {
    pub(crate) receiving: Receiving,
    pub(crate) sending: Sending,
    pub(crate) established: Established,
}

/// What stays of the handshake.
pub struct Session<P: Provider> {
    /// The facts.
    pub established: Established,
    pub(crate) exporter: ExporterSecret<P>,
}

impl<P: Provider> Session<P> {
    /// Keying material that both sides can compute and nobody else (RFC 8446 §7.5).
    ///
    /// # Errors
    /// [`UseError::BadExport`] for a label above 249 bytes or more than 8,160 bytes of output.
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), UseError> {
        self.exporter
            .export(label, context, out)
            .map_err(|_| UseError::BadExport)
    }
}

/// What one [`Reader::read`] did.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Read<'b> {
    /// Bytes at the front of what was lent that are used up.
    pub consumed: usize,
    /// With nothing consumed: how many bytes more than were lent must come; exact. Else 0.
    pub need: usize,
    /// What was in it.
    pub event: ReadEvent<'b>,
}

/// What a record brought.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadEvent<'b> {
    /// Nothing for the caller.
    Nothing,
    /// Application data, decrypted in place; never empty.
    Data(&'b [u8]),
    /// The peer has changed its keys and asks for ours to change: call [`Writer::answer_key_update`].
    KeyUpdateRequested,
    /// The peer has closed in good order. What comes behind is consumed and ignored.
    Closed,
}

/// The half that opens what the peer sends.
pub struct Reader<P: Provider> {
    pub(crate) opener: Opener<P>,
    pub(crate) receiving: Receiving,
}

/// Where the peer's direction stands.
pub(crate) struct Receiving {
    post_handshake: PostHandshake,
    /// Records in a row that carried nothing.
    idle: u8,
    end: End,
}

/// How far the peer's direction has come to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Closed,
    Failed(ChannelError),
}

impl<P: Provider> Reader<P> {
    /// Takes at most one record from the front of `rx`.
    ///
    /// # Errors
    /// [`ChannelError`], and the same one at every later call. Hand it to [`Writer::fail`].
    pub fn read<'b>(&mut self, rx: &'b mut [u8]) -> Result<Read<'b>, ChannelError> {
        self.receiving.read(&mut self.opener, rx)
    }

    /// Tells the reader that the transport has ended.
    ///
    /// # Errors
    /// [`ChannelError::Truncated`] when the peer had not closed before.
    pub fn end_of_input(&mut self) -> Result<(), ChannelError> {
        self.receiving.end_of_input()
    }
}

impl Receiving {
    const fn new(role: Role) -> Self {
        Self {
            post_handshake: PostHandshake::new(role),
            idle: 0,
            end: End::Open,
        }
    }

    pub(crate) fn read<'b, P: Provider>(
        &mut self,
        opener: &mut Opener<P>,
        rx: &'b mut [u8],
    ) -> Result<Read<'b>, ChannelError> {
        match self.end {
            End::Failed(error) => return Err(error),
            End::Closed => {
                return Ok(Read {
                    consumed: rx.len(),
                    need: 0,
                    event: ReadEvent::Closed,
                });
            }
            End::Open => {}
        }
        let read = self.open_next(opener, rx);
        match &read {
            Err(error) => self.end = End::Failed(*error),
            Ok(Read {
                event: ReadEvent::Closed,
                ..
            }) => self.end = End::Closed,
            Ok(_) => {}
        }
        read
    }

    pub(crate) fn end_of_input(&mut self) -> Result<(), ChannelError> {
        match self.end {
            End::Closed => Ok(()),
            End::Failed(error) => Err(error),
            End::Open => {
                self.end = End::Failed(ChannelError::Truncated);
                Err(ChannelError::Truncated)
            }
        }
    }

    fn open_next<'b, P: Provider>(
        &mut self,
        opener: &mut Opener<P>,
        rx: &'b mut [u8],
    ) -> Result<Read<'b>, ChannelError> {
        let (content_type, len) = match record::frame(rx, Some(opener.body_len_max()))? {
            Frame::Need(need) => {
                return Ok(Read {
                    consumed: 0,
                    need,
                    event: ReadEvent::Nothing,
                });
            }
            Frame::Whole { content_type, len } => (content_type, len),
        };
        if content_type == CHANGE_CIPHER_SPEC {
            return Err(ChannelError::BadChangeCipherSpec);
        }
        let record = rx.get_mut(..len).ok_or(ChannelError::State)?;
        let opened = opener.open(record)?;
        let content = record
            .get(HEAD_ROOM..)
            .and_then(|rest| rest.get(..opened.content_len))
            .ok_or(ChannelError::State)?;
        if opened.content_type != HANDSHAKE && !self.post_handshake.is_between() {
            return Err(ChannelError::Interleaved);
        }
        let event = match opened.content_type {
            APPLICATION_DATA if content.is_empty() => {
                record::count_idle(&mut self.idle)?;
                ReadEvent::Nothing
            }
            APPLICATION_DATA => {
                self.idle = 0;
                ReadEvent::Data(content)
            }
            HANDSHAKE if content.is_empty() => return Err(ChannelError::EmptyRecord),
            HANDSHAKE => self.handshake(opener, content)?,
            ALERT => match parse_alert(Some(content))? {
                Alert::CloseNotify => ReadEvent::Closed,
                Alert::UserCanceled => {
                    record::count_idle(&mut self.idle)?;
                    ReadEvent::Nothing
                }
                alert => return Err(ChannelError::PeerAlert(alert)),
            },
            CHANGE_CIPHER_SPEC => return Err(ChannelError::BadChangeCipherSpec),
            content_type => return Err(ChannelError::UnexpectedRecord { content_type }),
        };
        Ok(Read {
            consumed: len,
            need: 0,
            event,
        })
    }

    /// All messages, or pieces of them, in one record.
    fn handshake<'b, P: Provider>(
        &mut self,
        opener: &mut Opener<P>,
        content: &[u8],
    ) -> Result<ReadEvent<'b>, ChannelError> {
        // A record of fragments carries as little as one of a whole message.
        record::count_idle(&mut self.idle)?;
        let mut bytes = content.iter();
        while let Some(byte) = bytes.next() {
            match self.post_handshake.push(*byte)? {
                None => {}
                Some(Completed::Ticket) => record::count_idle(&mut self.idle)?,
                Some(Completed::KeyUpdate { answer }) => {
                    if bytes.len() > 0 {
                        return Err(ChannelError::KeyChangeNotAligned);
                    }
                    opener.update().map_err(|_| ChannelError::Provider)?;
                    return Ok(if answer {
                        ReadEvent::KeyUpdateRequested
                    } else {
                        ReadEvent::Nothing
                    });
                }
            }
        }
        Ok(ReadEvent::Nothing)
    }
}

/// The half that seals what we send.
pub struct Writer<P: Provider> {
    pub(crate) sealer: Sealer<P>,
    pub(crate) sending: Sending,
}

/// Where our own direction stands.
pub(crate) struct Sending {
    key_update_owed: bool,
    /// Since when the present keys are known to be in use.
    keys_since: Option<UnixSeconds>,
    end: Goodbye,
}

/// How far our own direction has come to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    /// It has not.
    Open,
    /// This alert is still to be sent.
    Owed(Alert),
    /// Nothing is sent any more.
    Said,
}

impl<P: Provider> Writer<P> {
    /// Seals `payload_len` bytes at offset [`HEAD_ROOM`] of `buf` as application data; returns the record's length.
    ///
    /// # Errors
    /// [`UseError::Closed`], [`UseError::WritePending`], [`UseError::NoRoom`], [`UseError::TooLong`] or
    /// [`UseError::KeyExhausted`]; nothing is sealed then.
    pub fn seal(&mut self, buf: &mut [u8], payload_len: usize) -> Result<usize, UseError> {
        self.sending.seal(&mut self.sealer, buf, payload_len)
    }

    /// Most bytes of payload that the peer takes in one record.
    #[must_use]
    pub const fn payload_len_max(&self) -> usize {
        self.sealer.payload_len_max()
    }

    /// Whether [`Self::write`] has something to give: a key update that is asked for or due, a last alert.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.sending.wants_write(&self.sealer)
    }

    /// Fills `tx` with what the writer itself has to send and returns the number of bytes; 0 when `tx` is below
    /// [`super::WRITE_ROOM_MIN`] bytes and too small.
    ///
    /// # Errors
    /// [`ChannelError::Provider`], and the writer is then closed.
    pub fn write(&mut self, tx: &mut [u8]) -> Result<usize, ChannelError> {
        self.sending.write(&mut self.sealer, tx)
    }

    /// Answers [`ReadEvent::KeyUpdateRequested`]. Several requests before the answer are answered by one.
    pub const fn answer_key_update(&mut self) {
        self.sending.update_keys();
    }

    /// Changes our keys without being asked; [`Self::write`] gives the message.
    pub const fn update_keys(&mut self) {
        self.sending.update_keys();
    }

    /// Says what time it is. Keys that have been used for an hour are changed.
    pub fn note_time(&mut self, now: UnixSeconds) {
        self.sending.note_time(now);
    }

    /// Says that we send no more; [`Self::write`] gives the close_notify.
    pub fn close(&mut self) {
        self.sending.close();
    }

    /// Ends our direction because of `error`; [`Self::write`] gives its alert, if it has one.
    pub fn fail(&mut self, error: ChannelError) {
        self.sending.fail(error);
    }
}

impl Sending {
    const fn new() -> Self {
        Self {
            key_update_owed: false,
            keys_since: None,
            end: Goodbye::Open,
        }
    }

    pub(crate) fn seal<P: Provider>(
        &self,
        sealer: &mut Sealer<P>,
        buf: &mut [u8],
        payload_len: usize,
    ) -> Result<usize, UseError> {
        if self.end != Goodbye::Open {
            return Err(UseError::Closed);
        }
        if self.key_update_owed {
            // The answer comes before the next data (§4.6.3).
            return Err(UseError::WritePending);
        }
        sealer.seal(APPLICATION_DATA, buf, payload_len)
    }

    pub(crate) fn wants_write<P: Provider>(&self, sealer: &Sealer<P>) -> bool {
        match self.end {
            Goodbye::Open => self.key_update_owed || sealer.records() >= UPDATE_DUE_RECORDS,
            Goodbye::Owed(_) => true,
            Goodbye::Said => false,
        }
    }

    pub(crate) fn write<P: Provider>(
        &mut self,
        sealer: &mut Sealer<P>,
        tx: &mut [u8],
    ) -> Result<usize, ChannelError> {
        if !self.wants_write(sealer) {
            return Ok(0);
        }
        let written = match self.end {
            Goodbye::Owed(alert) => small_record(Some(&mut *sealer), ALERT, &alert.to_bytes(), tx),
            _ => small_record(Some(&mut *sealer), HANDSHAKE, &KEY_UPDATE, tx),
        };
        match written {
            None => return Ok(0),
            Some(Err(_)) => self.end = Goodbye::Said,
            Some(Ok(len)) => {
                if let Goodbye::Owed(_) = self.end {
                    self.end = Goodbye::Said;
                    return Ok(len);
                }
                self.key_update_owed = false;
                self.keys_since = None;
                if sealer.update().is_ok() {
                    return Ok(len);
                }
                self.end = Goodbye::Said;
            }
        }
        Err(ChannelError::Provider)
    }

    pub(crate) const fn update_keys(&mut self) {
        self.key_update_owed = true;
    }

    /// The clock is the calendar's, which may be set: one that goes back starts the hour anew.
    pub(crate) fn note_time(&mut self, now: UnixSeconds) {
        match self.keys_since {
            Some(since) if since <= now => {
                if now.0.saturating_sub(since.0) >= UPDATE_DUE_SECONDS {
                    self.update_keys();
                }
            }
            _ => self.keys_since = Some(now),
        }
    }

    pub(crate) fn close(&mut self) {
        if self.end == Goodbye::Open {
            self.end = Goodbye::Owed(Alert::CloseNotify);
        }
    }

    pub(crate) fn fail(&mut self, error: ChannelError) {
        if self.end != Goodbye::Said {
            self.end = error.alert().map_or(Goodbye::Said, Goodbye::Owed);
        }
    }

    /// What is left to say for a channel that dies of `error`.
    pub(crate) fn last_alert(&mut self, error: ChannelError) -> Option<Alert> {
        self.fail(error);
        match self.end {
            Goodbye::Owed(alert) => Some(alert),
            Goodbye::Open | Goodbye::Said => None,
        }
    }
}
