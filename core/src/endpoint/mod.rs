//! What a driver drives: connections, channels, messages and sessions composed.
//!
//! An [`Endpoint`] does no I/O. Its driver tells it what happened (`accept`, `connected`, `handle_input`, `handle_eof`,
//! `handle_timeout`, a command, a confirmation of the storage) and then does what it says. **The contract: one such call,
//! then [`Endpoint::poll_output`] until it answers [`Output::Wait`].** Breaking it loses nothing but time: what is to be said is
//! worked out when it is polled, not queued.
//!
//! - *Buffers* are the driver's. Received bytes are lent contiguously from the first one not yet consumed, and decrypted in
//!   place; [`Consumed`] says how many to drop. A receive buffer of [`RECEIVE_LEN`] bytes always suffices. Output is written
//!   into the buffer that `poll_output` is lent, of at least [`SEND_LEN_MIN`] bytes.
//! - *Room*: nothing is transmitted on a connection beyond what the driver said it takes ([`Endpoint::set_room`]); so what
//!   waits unsent below the endpoint is the driver's to bound, and control always overtakes log, and log seeds.
//! - *Durability*: [`Output::Persist`] asks for a write, [`Endpoint::handle_persisted`] confirms it; nothing that claims it is
//!   said before (`docs/safety.md` I5).
//! - *Capacity* is the length of the slices lent to [`Endpoint::new`]; full is an answer.
//!
//! An endpoint that is lent places by [`Endpoint::with_witness`] is a witness too, if its [`Role`] lets it; see [`crate::witness`].
//!
//! Beside mirroring, an endpoint that is lent a [`PairingPlace`] answers `dbm-pair/1` while an operator holds a window open; see
//! [`crate::pairing`].
//!
//! Where a session's rules are: [`crate::session`]. Which connection sessions use: `arbitration` (R2). Who may say what:
//! `dispatch` (R11). What is done for peers with short records: `fragments`. How certificates are replaced over standing connections: `certificates`. The witness's part: `witness`.

mod arbitration;
mod certificates;
mod close;
mod command;
mod config;
mod dispatch;
mod env;
mod fragments;
mod input;
mod output;
mod pairing;
mod poll;
mod slot;
mod source;
mod timers;
mod view;
mod witness;

pub use certificates::{PROOF_LEN, SUCCESSION, SUCCESSOR_EXPORTER, SUCCESSOR_LEN_MAX, successor_proof};
pub use close::{CloseReason, DialError, Step};
pub use config::{Config, Limits, Role};
pub use env::{Directory, Env, IdentityError, Notice, NoticeBody, PeerNotice, PeerNoticeBody};
pub use fragments::FragmentPlace;
pub use input::Consumed;
pub use output::{ConnectionEvent, ConnectionId, Event, Output, PairingEvent, RecordWrite, Ticket};
pub use pairing::{PairingError, PairingPeer, PairingPlace, Secret as PairingSecret};
pub use slot::{ConnectionSlot, SessionSlot};
pub use source::Source;
pub use view::{ConnectionState, ConnectionView, LoginState};

use crate::channel::{self, Channel, Protocol, ServerOptions};
use crate::crypto::{Provider, SigningKey as _};
use crate::message::codec::CONTROL_LEN_MAX;
use crate::pairing::PairingVerifier;
use crate::places::Places;
use crate::session::{Ctx, Session, SessionView};
use crate::time::Instant;
use crate::witness::Witness;
use slot::{Closing, Connection, EventQueue, Purpose};

/// The application protocol of mirroring endpoints.
pub const ALPN: &[u8] = b"dbm/1";
/// A receive buffer of so many bytes always suffices.
pub const RECEIVE_LEN: usize = channel::RECORD_LEN_MAX;
/// The least that [`Endpoint::poll_output`] has to be lent: a whole control message in its record.
pub const SEND_LEN_MIN: usize = channel::HEAD_ROOM + CONTROL_LEN_MAX + channel::TAIL_ROOM;
/// A buffer in which a full record fits; more is of no use.
pub const SEND_LEN: usize = channel::HEAD_ROOM + channel::PAYLOAD_LEN_MAX + channel::TAIL_ROOM;

/// One mirroring endpoint with all its connections and sessions.
pub struct Endpoint<'a, P: Provider> {
    config: Config,
    /// What channels are made with; a client's is the same.
    channels: ServerOptions,
    connections: Places<'a, ConnectionSlot<P>>,
    sessions: Places<'a, SessionSlot>,
    events: EventQueue<'a>,
    now: Instant,
    running: bool,
    /// The last number of a USE said here; within [`Config::boot`].
    use_n: u64,
    /// The last place in the order of connections that came online.
    order: u64,
    ticket: u64,
    /// Where the next connection's turn to transmit is.
    turn: usize,
    pairing: Option<&'a mut PairingPlace>,
    role: Role,
    clock: bool,
    witness: Witness<'a>,
    fragments: &'a mut [FragmentPlace],
}

/// No place for another connection or session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no room for another connection or session")
    }
}

impl core::error::Error for Full {}

impl<'a, P: Provider> Endpoint<'a, P> {
    /// An endpoint over the places that are lent. It is stopped: [`Endpoint::set_running`] lets it accept and dial.
    #[must_use]
    pub fn new(
        config: Config,
        connections: &'a mut [ConnectionSlot<P>],
        sessions: &'a mut [SessionSlot],
        events: &'a mut [Option<Event>],
    ) -> Self {
        Self {
            config,
            channels: ServerOptions::default(),
            connections: Places::new(connections),
            sessions: Places::new(sessions),
            events: EventQueue::new(events),
            now: Instant::ZERO,
            running: false,
            use_n: 0,
            order: 0,
            ticket: 0,
            turn: 0,
            pairing: None,
            role: Role::All,
            clock: false,
            witness: Witness::new(&mut []),
            fragments: &mut [],
        }
    }

    /// The same endpoint, of an instance whose `Env::unix` is the time: it tells peers, for those that have no clock.
    #[must_use]
    pub const fn with_clock(mut self) -> Self {
        self.clock = true;
        self
    }

    /// Starts or stops accepting and dialing. Stopping closes all connections; sessions stay, DISCONNECTED.
    pub fn set_running(&mut self, env: &mut Env<'_, P>, running: bool) {
        self.present(env);
        self.running = running;
        if !running {
            for index in 0..self.connections.len() {
                self.close(index, CloseReason::Done);
            }
            self.witness.unbind_all();
            self.arbitrate_all(env);
        }
    }

    /// What channels are made with from now on, in both roles. Connections that stand go on, but for those with a suite that
    /// `options` does not allow: they are closed, and dialed anew where sessions need them. Returns how many.
    ///
    /// An endpoint begins with the default: it requires encryption, and takes records of any size.
    pub fn set_channels(&mut self, env: &mut Env<'_, P>, options: ServerOptions) -> usize {
        self.present(env);
        self.channels = options;
        let mut count = 0_usize;
        for index in 0..self.connections.len() {
            let Some(live) = self.live(index) else { continue };
            let suite = live.channel.established().map(|established| established.suite);
            if live.closing.is_none()
                && suite.is_some_and(|suite| !options.encryption.suites().contains(&suite))
            {
                self.end_connection(env, index, CloseReason::Done);
                count = count.saturating_add(1);
            }
        }
        count
    }

    /// The rows of `sys.dm_db_mirroring_connections`.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionView> + '_ {
        self.connections.iter().enumerate().filter_map(|(index, slot)| {
            let connection = slot.live.as_ref()?;
            Some(connection.view(ConnectionId {
                index: u16::try_from(index).ok()?,
                generation: slot.generation,
            }))
        })
    }

    /// One of them, until its [`Output::Close`] was given out.
    #[must_use]
    pub fn connection(&self, id: ConnectionId) -> Option<ConnectionView> {
        let index = self.index(id)?;
        self.live(index).map(|connection| connection.view(id))
    }

    /// The rows of `sys.database_mirroring` that are not all NULL.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView> + '_ {
        self.sessions
            .iter()
            .filter_map(|slot| slot.0.as_ref())
            .filter(|session| session.over.is_none())
            .map(Session::view)
    }

    // ---- what the parts of the endpoint share ----

    /// Takes over the caller's time; it never runs backwards here.
    fn present(&mut self, env: &Env<'_, P>) {
        self.now = self.now.max(env.now);
    }

    fn index(&self, id: ConnectionId) -> Option<usize> {
        let slot = self.connections.get(usize::from(id.index))?;
        (slot.generation == id.generation && slot.live.is_some()).then_some(usize::from(id.index))
    }

    fn id(&self, index: usize) -> ConnectionId {
        ConnectionId {
            index: u16::try_from(index).unwrap_or(u16::MAX),
            generation: self.connections.get(index).map_or(0, |slot| slot.generation),
        }
    }

    fn live(&self, index: usize) -> Option<&Connection<P>> {
        self.connections.get(index)?.live.as_ref()
    }

    fn live_mut(&mut self, index: usize) -> Option<&mut Connection<P>> {
        self.connections.get_mut(index)?.live.as_mut()
    }

    /// The connection of a session's link.
    fn linked(&self, link: u64) -> Option<usize> {
        self.index(ConnectionId::from_u64(link)?)
    }

    fn tell(&mut self, index: usize, event: ConnectionEvent) {
        let connection = self.id(index);
        self.events.push(Event::Connection { connection, event });
    }

    /// Takes a place for a connection; an unauthenticated one makes room when there is none.
    fn open(
        &mut self,
        channel: Channel<P>,
        accepted: bool,
        purpose: Purpose,
        address: crate::message::Address,
    ) -> Option<usize> {
        let now = self.now;
        let (index, slot) = self.connections.free()?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.live = Some(Connection::new(channel, accepted, purpose, address, now));
        self.clear_fragments(index);
        Some(index)
    }

    /// Begins to end a connection; the first reason stands.
    #[inline(never)]
    fn close(&mut self, index: usize, reason: CloseReason) {
        let until = self.now.after(crate::time::Duration::from_secs(2));
        let Some(connection) = self.live_mut(index) else {
            return;
        };
        if connection.closing.is_some() {
            return;
        }
        let step = connection.step(reason);
        let stands = connection.channel.established().is_some();
        let gone = matches!(
            reason,
            CloseReason::Dial(_)
                | CloseReason::Transport
                | CloseReason::Channel(
                    crate::channel::ChannelError::Truncated | crate::channel::ChannelError::ClosedInHandshake
                )
        );
        let mute = gone || connection.stage == slot::Stage::Dialing;
        connection.closing = Some(Closing {
            reason,
            goodbye: stands && connection.hello_said && !mute && reason != CloseReason::PeerClosed,
            until,
            mute,
        });
        if !mute && !matches!(reason, CloseReason::Channel(_)) && !stands {
            connection.channel.close();
        }
        self.tell(index, ConnectionEvent::Closed { step, reason });
    }

    /// Runs `step` on the session at `index`, then tells what has changed and frees the place of one that is over.
    fn with_session<R>(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        step: impl FnOnce(&mut Session, &mut Ctx<'_>) -> R,
    ) -> Option<R> {
        let slot = self.sessions.get_mut(index)?;
        let session = slot.0.as_mut()?;
        let database = session.database();
        let events = &mut self.events;
        let mut ctx = Ctx {
            now: self.now,
            own: self.config.instance,
            credit: self.config.limits.credit,
            storage: &mut *env.storage,
            events: &mut |event| events.push(Event::Session { database, event }),
        };
        let result = step(session, &mut ctx);
        session.drive(&mut ctx);
        session.show(&mut ctx);
        if session.done {
            slot.0 = None;
            self.sessions.freed();
        }
        Some(result)
    }

    fn session(&self, index: usize) -> Option<&Session> {
        self.sessions.get(index)?.0.as_ref()
    }

    fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Lends the channel of the connection at `index` what it needs. `None` when there is no identity, and then the connection
    /// is being closed.
    fn with_channel<R>(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        step: impl FnOnce(&mut Connection<P>, &mut channel::Env<'_, P>) -> R,
    ) -> Option<R> {
        let own = self.live(index).map_or(0, |live| live.own_certificate);
        let identity = match env.directory.identity_of(own) {
            Ok(identity) => identity,
            Err(error) => {
                self.close(index, CloseReason::Identity(error));
                if let Some(closing) = self
                    .live_mut(index)
                    .and_then(|connection| connection.closing.as_mut())
                {
                    closing.mute = true;
                }
                return None;
            }
        };
        let spoken = self.spoken(index);
        let expected = match spoken {
            pairing::Spoken::Mirroring => None,
            pairing::Spoken::Pairing(expected) | pairing::Spoken::Both(expected) => expected,
        };
        let stranger = PairingVerifier::<P>::new(
            identity.certificate_der,
            identity.signing_key.public_point(),
            expected,
        );
        let mirroring = Protocol {
            alpn: ALPN,
            verifier: env.directory.verifier(),
        };
        let pairing = Protocol {
            alpn: crate::pairing::ALPN,
            verifier: &stranger,
        };
        let (only_mirroring, only_pairing, both) = ([mirroring], [pairing], [mirroring, pairing]);
        let protocols: &[Protocol<'_>] = match spoken {
            pairing::Spoken::Mirroring => &only_mirroring,
            pairing::Spoken::Pairing(_) => &only_pairing,
            pairing::Spoken::Both(_) => &both,
        };
        let mut lent = channel::Env {
            now: env.unix,
            entropy: &mut *env.entropy,
            identity,
            protocols,
        };
        let live = self.live_mut(index)?;
        let result = step(live, &mut lent);
        if let Some(seen) = stranger.seen() {
            live.pairing_fingerprint = Some(seen);
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests;
