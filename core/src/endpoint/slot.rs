//! The places that the caller lends: for connections, sessions and events.

use heapless::Deque;

use super::close::{CloseReason, Step};
use super::output::{ConnectionId, Event};
use super::source::Source;
use super::view::{ConnectionState, ConnectionView, LoginState};
use crate::PARTNER;
use crate::channel::Channel;
use crate::crypto::{HASH_LEN, Provider};
use crate::message::{Address, InstanceId, InstanceName, SessionGuid, Text, UseNumber};
use crate::pairing::Exchange;
use crate::places::Place;
use crate::session::{Peer, Session, SessionError};
use crate::time::{Duration, Instant};

/// Place for one connection; lend as many as there may be at a time.
pub struct ConnectionSlot<P: Provider> {
    pub(super) generation: u32,
    pub(super) live: Option<Connection<P>>,
}

impl<P: Provider> ConnectionSlot<P> {
    /// A free place.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            generation: 0,
            live: None,
        }
    }
}

impl<P: Provider> Default for ConnectionSlot<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Provider> Place for ConnectionSlot<P> {
    fn is_free(&self) -> bool {
        self.live.is_none()
    }
}

/// Place for one database's session; lend as many as there may be at a time.
#[derive(Default)]
pub struct SessionSlot(pub(super) Option<Session>);

impl Place for SessionSlot {
    const USED: bool = PARTNER;

    fn is_free(&self) -> bool {
        self.0.is_none()
    }
}

/// Events that wait to be polled, over the places that the caller lends. When they run out the newest are dropped and
/// counted; nothing but the telling is lost.
pub(super) struct EventQueue<'a> {
    places: &'a mut [Option<Event>],
    first: usize,
    count: usize,
    lost: u32,
}

impl<'a> EventQueue<'a> {
    pub(super) const fn new(places: &'a mut [Option<Event>]) -> Self {
        Self {
            places,
            first: 0,
            count: 0,
            lost: 0,
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        let at = self
            .first
            .checked_add(self.count)
            .and_then(|at| at.checked_rem(self.places.len()));
        let place = at.and_then(|at| self.places.get_mut(at));
        match place {
            Some(place @ None) => {
                *place = Some(event);
                self.count = self.count.saturating_add(1);
            }
            Some(Some(_)) | None => self.lost = self.lost.saturating_add(1),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        if let Some(event) = self.places.get_mut(self.first).and_then(Option::take) {
            self.count = self.count.saturating_sub(1);
            let next = self.first.saturating_add(1);
            self.first = if next >= self.places.len() { 0 } else { next };
            return Some(event);
        }
        let lost = core::mem::take(&mut self.lost);
        (lost > 0).then_some(Event::EventsLost(lost))
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To carry sessions.
    Sessions,
    /// To let whoever answers carry sessions over it ([`super::Endpoint::call`]): no session of this instance has that address.
    Call,
    /// To learn who answers at a session's address, while other sessions stay on the connection they use.
    Verify,
    /// A test that an operator asked for.
    Probe {
        /// How long it is held once it is online.
        hold: Duration,
    },
    /// To pair with who holds a window open there.
    Pair,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The driver connects.
    Dialing,
    /// The channel shakes hands.
    Handshake,
    /// The channel stands; the peer's HELLO is awaited.
    Hello,
    /// Messages flow.
    Online,
    /// The channel stands under the protocol of pairing, and never carries another.
    Pairing,
}

/// An answer to a peer that belongs to no session of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Not held here.
    None(SessionGuid),
    /// Ended here.
    Tombstone(SessionGuid),
    /// A START that came to nothing.
    StartRefused(SessionGuid, SessionError),
    /// A message that was not accepted.
    Refusal(SessionGuid, u16, SessionError),
    /// An ask for a session of which nothing is kept.
    Denial(SessionGuid, u32),
    /// What came of a SUCCESSOR or RETIRED of that number.
    Certificate(u64, Option<SessionError>),
}

/// Answers that may wait on one connection. Reading stops at a third of it, and one record asks for two thirds at most. A device's records
/// are short, and what a partner says to a witness and has answered is longer than 51 bytes: a record of 2 KiB asks for 40 at most.
pub(super) const REPLIES: usize = if PARTNER { 96 } else { 48 };
/// From so many waiting answers on nothing more is read.
pub(super) const REPLIES_BUSY: usize = if PARTNER { 32 } else { 8 };

/// An end under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    pub(super) reason: CloseReason,
    /// GOODBYE is still to be said.
    pub(super) goodbye: bool,
    /// What is left to say is not waited for any longer than this.
    pub(super) until: Instant,
    /// The transport is gone: nothing can be said.
    pub(super) mute: bool,
}

/// A connection from its first byte to its last.
pub(super) struct Connection<P: Provider> {
    pub(super) channel: Channel<P>,
    pub(super) accepted: bool,
    /// Where an accepted one comes from.
    pub(super) source: Source,
    pub(super) purpose: Purpose,
    /// Either side said that it is a probe.
    pub(super) probe: bool,
    pub(super) address: Address,
    pub(super) stage: Stage,
    pub(super) dial_given: bool,
    pub(super) opened: Instant,
    pub(super) login_time: Option<Instant>,
    pub(super) online_since: Option<Instant>,
    pub(super) last_activity: Instant,
    pub(super) last_heard: Instant,
    pub(super) next_ping: Instant,
    /// When the time is told next, by who has a clock.
    pub(super) next_time: Instant,
    /// When the peer's was heard last.
    pub(super) time_heard: Option<Instant>,
    pub(super) login: Option<u32>,
    pub(super) certificate: Option<u32>,
    pub(super) instance: InstanceId,
    pub(super) boot: u64,
    pub(super) name: InstanceName,
    /// What it can do beyond the version.
    pub(super) capabilities: u64,
    /// The own certificate that the handshake shows (`Directory::certificate_for`).
    pub(super) own_certificate: u32,
    /// The number of the last notice on own certificates that was said here.
    pub(super) notice_said: u64,
    /// It has not been answered.
    pub(super) notice_unanswered: bool,
    /// The number of the peer's notice that the directory has not answered yet.
    pub(super) notice_open: Option<u64>,
    /// Order in which connections came online; 0 before.
    pub(super) order: u64,
    pub(super) hello_said: bool,
    /// The number of the USE that named it; NONE before.
    pub(super) used: UseNumber,
    pub(super) use_due: bool,
    /// Another connection took its place, or no session needs it, since then.
    pub(super) spare_since: Option<Instant>,
    /// Age of the oldest unfinished operation of the peer's storage, as of its last ping.
    pub(super) peer_age: Duration,
    pub(super) peer_age_at: Instant,
    pub(super) replies: Deque<Reply, REPLIES>,
    pub(super) refused: u32,
    pub(super) said_goodbye: Option<u32>,
    pub(super) closing: Option<Closing>,
    /// The pairing under way.
    pub(super) pairing: Option<Exchange>,
    /// SHA-256 of the certificate that a peer without a pin showed in the handshake of a pairing.
    pub(super) pairing_fingerprint: Option<[u8; HASH_LEN]>,
    /// The peer has said hello for a session of which nothing is kept here: it may be about to register it.
    pub(super) seeks_witness: bool,
    pub(super) room: usize,
    /// Whose piece of log, and of a seed, went last: the next one's turn comes after.
    pub(super) log_turn: usize,
    pub(super) seed_turn: usize,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) messages_sent: u64,
    pub(super) messages_received: u64,
    pub(super) sends: u64,
    pub(super) receives: u64,
}

impl<P: Provider> Connection<P> {
    pub(super) fn new(
        channel: Channel<P>,
        accepted: bool,
        purpose: Purpose,
        address: Address,
        now: Instant,
    ) -> Self {
        Self {
            channel,
            accepted,
            source: Source::default(),
            purpose,
            probe: !matches!(purpose, Purpose::Sessions | Purpose::Call),
            address,
            stage: if accepted {
                Stage::Handshake
            } else {
                Stage::Dialing
            },
            dial_given: false,
            opened: now,
            login_time: None,
            online_since: None,
            last_activity: now,
            last_heard: now,
            next_ping: now,
            next_time: now,
            time_heard: None,
            login: None,
            certificate: None,
            instance: InstanceId::default(),
            boot: 0,
            name: Text::EMPTY,
            capabilities: 0,
            own_certificate: 0,
            notice_said: 0,
            notice_unanswered: false,
            notice_open: None,
            order: 0,
            hello_said: false,
            used: UseNumber::NONE,
            use_due: false,
            spare_since: None,
            peer_age: Duration::ZERO,
            peer_age_at: now,
            replies: Deque::new(),
            refused: 0,
            said_goodbye: None,
            closing: None,
            pairing: None,
            pairing_fingerprint: None,
            seeks_witness: false,
            room: 0,
            log_turn: 0,
            seed_turn: 0,
            bytes_sent: 0,
            bytes_received: 0,
            messages_sent: 0,
            messages_received: 0,
            sends: 0,
            receives: 0,
        }
    }

    /// Online and not about to close.
    pub(super) fn is_online(&self) -> bool {
        self.stage == Stage::Online && self.closing.is_none()
    }

    /// It speaks the protocol of pairing.
    pub(super) fn is_pairing(&self) -> bool {
        PARTNER && self.stage == Stage::Pairing
    }

    /// May carry sessions.
    pub(super) fn is_usable(&self) -> bool {
        self.is_online() && !self.probe
    }

    /// Who is at the other end, once it told.
    pub(super) fn peer(&self) -> Option<Peer> {
        let login = self.login.filter(|_| self.stage == Stage::Online)?;
        Some(Peer {
            login,
            instance: self.instance,
        })
    }

    /// The step at which it stands, for the log.
    pub(super) fn step(&self, reason: CloseReason) -> Step {
        use crate::channel::{ChannelError, PeerRefusal};
        match (self.stage, reason) {
            (Stage::Dialing, _) => Step::Connect,
            (
                Stage::Handshake,
                CloseReason::Channel(ChannelError::PeerRefused(
                    PeerRefusal::NoLogin { .. } | PeerRefusal::NoConnect { .. },
                )),
            ) => Step::Login,
            (
                Stage::Handshake,
                CloseReason::Channel(
                    ChannelError::PeerRefused(_)
                    | ChannelError::CertificateMissing
                    | ChannelError::CertificateForm
                    | ChannelError::BadSignature
                    | ChannelError::NotMutual,
                ),
            ) => Step::Certificate,
            (Stage::Handshake, _) => Step::Tls,
            (Stage::Hello, _) => Step::Hello,
            (Stage::Online, _) => Step::Online,
            (Stage::Pairing, _) => Step::Pairing,
        }
    }

    pub(super) fn view(&self, connection: ConnectionId) -> ConnectionView {
        let state = if self.closing.is_some() {
            ConnectionState::Closed
        } else {
            match self.stage {
                Stage::Dialing => ConnectionState::New,
                Stage::Handshake if self.bytes_received == 0 && self.accepted => ConnectionState::New,
                Stage::Handshake => ConnectionState::Connecting,
                Stage::Pairing => ConnectionState::Connected,
                Stage::Hello | Stage::Online => ConnectionState::LoggedIn,
            }
        };
        let login_state = if self.closing.is_some_and(|closing| !closing.reason.is_orderly()) {
            LoginState::Error
        } else {
            match self.stage {
                Stage::Dialing => LoginState::Initial,
                Stage::Handshake if self.bytes_received == 0 => LoginState::WaitLoginNegotiate,
                Stage::Handshake | Stage::Pairing => LoginState::WaitValidation,
                Stage::Hello => LoginState::Online,
                Stage::Online
                    if self.spare_since.is_some() && !self.probe && self.used == UseNumber::NONE =>
                {
                    LoginState::WaitArbitration
                }
                Stage::Online => LoginState::Online,
            }
        };
        ConnectionView {
            connection,
            address: self.address,
            accepted: self.accepted,
            probe: self.probe,
            pairing: self.purpose == Purpose::Pair || self.pairing.is_some(),
            used: self.used != UseNumber::NONE,
            state,
            login_state,
            connect_time: self.opened,
            login_time: self.login_time,
            last_activity: self.last_activity,
            login: self.login,
            certificate: self.certificate,
            suite: self.channel.established().map(|established| established.suite),
            own_certificate: self.own_certificate,
            instance: (self.stage == Stage::Online).then_some(self.instance),
            name: self.name,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            messages_sent: self.messages_sent,
            messages_received: self.messages_received,
            sends: self.sends,
            receives: self.receives,
        }
    }
}
