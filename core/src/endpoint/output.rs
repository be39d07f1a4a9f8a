//! What the endpoint gives back: bytes, dials, closes, records to persist, events, and when to wake it.

use super::close::{CloseReason, Step};
use crate::channel::CipherSuite;
use crate::message::{Address, InstanceId, SessionGuid};
use crate::session::{DatabaseId, SessionError, SessionEvent};
use crate::time::{Instant, UnixSeconds};
use crate::witness::WitnessEvent;

/// One connection of this endpoint. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    pub(super) index: u16,
    pub(super) generation: u32,
}

impl ConnectionId {
    /// The id as one number, for a driver's tables.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        (u64::from(self.generation) << 16) | u64::from(self.index)
    }

    /// The id that [`ConnectionId::as_u64`] gave.
    #[must_use]
    pub fn from_u64(number: u64) -> Option<Self> {
        Some(Self {
            index: u16::try_from(number & 0xffff).ok()?,
            generation: u32::try_from(number >> 16).ok()?,
        })
    }
}

/// One persist request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// What [`super::Endpoint::poll_output`] wants the driver to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Output<'b> {
    /// Send `bytes` on the connection, all of them, in order. Never more than the room that was told.
    Transmit {
        /// The connection.
        connection: ConnectionId,
        /// The bytes, in the buffer that was lent.
        bytes: &'b [u8],
    },
    /// Connect to `address`; answer with `connected` or `dial_failed`.
    Dial {
        /// The connection that it is to become.
        connection: ConnectionId,
        /// `TCP://host:port` as its operator typed it.
        address: Address,
    },
    /// Send what is still to be sent, then close. The id is not valid any more; the event with the reason came before.
    Close {
        /// The connection.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// Make the write durable, then call `handle_persisted` with `ticket`. Tickets are confirmed in order; several may
    /// share one sync. When it fails, stop: nothing is claimed without it (`docs/safety.md` I5).
    Persist {
        /// To be confirmed.
        ticket: Ticket,
        /// What to write.
        write: RecordWrite<'b>,
    },
    /// Something happened.
    Event(Event),
    /// The lent buffer is too short: lend at least this many bytes. Nothing is lost.
    NeedBuffer(usize),
    /// Nothing more. Call `handle_timeout` at that instant, if there is one.
    Wait(Option<Instant>),
}

/// A write to the store of session records: at most one live record for each database, for each ended session its tombstone, for
/// ever, and for each session that this instance is the witness of what it keeps of it. Writes that are asked for together may be
/// made durable by one sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordWrite<'b> {
    /// The database's record is now this.
    Live {
        /// The database.
        database: DatabaseId,
        /// `docs/protocol.md`, stored record.
        record: &'b [u8],
    },
    /// The database has no record any more; keep this tombstone under the session's guid.
    Ended {
        /// The database.
        database: DatabaseId,
        /// The session that ended.
        guid: SessionGuid,
        /// Its last record.
        record: &'b [u8],
    },
    /// The database has no record any more, and the session never had a guid.
    Removed {
        /// The database.
        database: DatabaseId,
    },
    /// What this instance keeps as the witness of a session is now this.
    Witness {
        /// The session.
        guid: SessionGuid,
        /// `docs/protocol.md`, the witness's record.
        record: &'b [u8],
        /// In the same step what is kept of that session goes: it gave up its place.
        replaces: Option<SessionGuid>,
    },
    /// This instance is not the witness of that session any more.
    WitnessRemoved {
        /// The session.
        guid: SessionGuid,
    },
}

/// Something that the operator or the instance should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of a connection.
    Connection {
        /// The connection; its view can be asked until `Close` was given out.
        connection: ConnectionId,
        /// What.
        event: ConnectionEvent,
    },
    /// Of a database's session.
    Session {
        /// The database.
        database: DatabaseId,
        /// What.
        event: SessionEvent,
    },
    /// Of a session that this instance is the witness of.
    Witness {
        /// The session.
        guid: SessionGuid,
        /// What.
        event: WitnessEvent,
    },
    /// A message about a session that is not held here, or not with this peer, was refused (1402); nothing changed.
    Refused {
        /// Where it came.
        connection: ConnectionId,
        /// The login that the peer authenticated with.
        login: u32,
        /// The instance id that it told.
        instance: InstanceId,
        /// The session it named.
        guid: SessionGuid,
        /// The kind of the message.
        kind: u16,
    },
    /// Of a pairing.
    Pairing {
        /// Its connection.
        connection: ConnectionId,
        /// What.
        event: PairingEvent,
    },
    /// So many events were dropped because nobody polled for too long.
    EventsLost(u32),
}

/// How far a pairing is. The peer is [`super::Endpoint::pairing_peer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingEvent {
    /// The peer proved itself here, where the window is: would the catalog take it? `Endpoint::answer_pairing`.
    Check,
    /// Store the peer's certificate durably, then `Endpoint::answer_pairing`.
    Store,
    /// Both have stored. The connection closes, and so does the window.
    Done,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// The transport is connected; the handshake begins.
    Connected,
    /// 28046: the peer proved that it owns a stored certificate, and its login has CONNECT.
    LoggedIn {
        /// The login.
        login: u32,
        /// The certificate.
        certificate: u32,
        /// What the handshake came to. The connection may be closed again by the time that this is read.
        suite: CipherSuite,
    },
    /// The peer told who it is; messages flow.
    Online {
        /// Its instance id.
        instance: InstanceId,
    },
    /// The peer has answered a notice on own certificates (`Directory::notice`).
    CertificateAnswered {
        /// The notice.
        number: u64,
        /// `None`: it is done there, durably.
        refusal: Option<SessionError>,
    },
    /// A notice of the peer on its certificates was refused before the directory heard of it.
    CertificateRefused {
        /// Why.
        refusal: SessionError,
    },
    /// The peer told its time, which is as true as the peer is. At most once an hour on a connection.
    TimeTold {
        /// What it told.
        unix: UnixSeconds,
    },
    /// It ended.
    Closed {
        /// At which step.
        step: Step,
        /// Why.
        reason: CloseReason,
    },
}
