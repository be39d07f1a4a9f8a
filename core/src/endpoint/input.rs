//! What the driver tells: connections that come, stand, bring bytes, end.

use super::close::{CloseReason, DialError};
use super::output::{ConnectionEvent, ConnectionId};
use super::slot::{Connection, Purpose, REPLIES_BUSY, Stage};
use super::source::Source;
use super::{Endpoint, Env, Full};
use crate::PARTNER;
use crate::channel::{Channel, ChannelError, ClientOptions, Event};
use crate::crypto::Provider;
use crate::message::codec::{Message, MessageError};
use crate::message::{Address, Text};
use crate::time::Duration;
use crate::wire::Reader;

/// What [`Endpoint::handle_input`] did with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumed {
    /// Bytes at the front that are used up: drop them.
    pub bytes: usize,
    /// How many more bytes than were left must come before anything can happen; exact. With 0 and bytes left over,
    /// something has to be sent first: poll, give room, and lend the same bytes again.
    pub need: usize,
}

impl<P: Provider> Endpoint<'_, P> {
    /// A peer has connected from `source`. When there are too many that are not authenticated, the oldest of the host that
    /// holds most of them makes room: who floods displaces itself.
    ///
    /// # Errors
    /// [`Full`] when the endpoint is stopped, or no place is free and none can be freed: close the transport.
    pub fn accept(&mut self, env: &mut Env<'_, P>, source: Source) -> Result<ConnectionId, Full> {
        self.present(env);
        if !self.running {
            return Err(Full);
        }
        let strangers = self.strangers().count();
        let full = self.connections.is_full();
        if full || strangers >= usize::from(self.config.limits.unauthenticated) {
            self.evict();
        }
        let index = self
            .open(
                Channel::server_with(self.channels),
                true,
                Purpose::Sessions,
                Text::EMPTY,
            )
            .ok_or(Full)?;
        if let Some(live) = self.live_mut(index) {
            live.source = source;
        }
        self.choose_certificate(env, index, None);
        self.tell(index, ConnectionEvent::Connected);
        if let Err(error) = env.directory.identity() {
            self.close(index, CloseReason::Identity(error));
        }
        Ok(self.id(index))
    }

    /// Accepted connections that are not authenticated.
    fn strangers(&self) -> impl Iterator<Item = (usize, &Connection<P>)> {
        self.connections
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((index, slot.live.as_ref()?)))
            .filter(|(_, c)| c.accepted && c.login.is_none() && c.closing.is_none())
    }

    /// Ends the oldest stranger of the host that has most of them.
    fn evict(&mut self) {
        let of = |source: Source| self.strangers().filter(|(_, c)| c.source == source).count();
        let crowded = self.strangers().map(|(_, c)| of(c.source)).max().unwrap_or(0);
        let oldest = self
            .strangers()
            .filter(|(_, c)| of(c.source) == crowded)
            .min_by_key(|(_, c)| c.opened)
            .map(|(index, _)| index);
        if let Some(index) = oldest {
            self.close(index, CloseReason::Evicted);
        }
    }

    /// Dials `address` to see who is there; the connection is kept for `hold` once it is online, and carries no session. The
    /// events tell the steps.
    ///
    /// # Errors
    /// [`Full`] when the endpoint is stopped or no place is free.
    pub fn test_connection(
        &mut self,
        env: &mut Env<'_, P>,
        address: Address,
        hold: Duration,
    ) -> Result<ConnectionId, Full> {
        self.present(env);
        self.dial(env, address, Purpose::Probe { hold })
            .map(|index| self.id(index))
            .ok_or(Full)
    }

    /// Dials `address` so that whoever answers can use the connection for the sessions that it shares with this instance: what a
    /// witness does, which no session of its own makes dial. Without such a session the connection ends after the idle time.
    ///
    /// # Errors
    /// [`Full`] when the endpoint is stopped or no place is free.
    pub fn call(&mut self, env: &mut Env<'_, P>, address: Address) -> Result<ConnectionId, Full> {
        self.present(env);
        self.dial(env, address, Purpose::Call)
            .map(|index| self.id(index))
            .ok_or(Full)
    }

    /// Takes a place for a connection to `address`.
    pub(super) fn dial(&mut self, env: &mut Env<'_, P>, address: Address, purpose: Purpose) -> Option<usize> {
        if !self.running {
            return None;
        }
        if self.connections.is_full() {
            self.evict();
        }
        let channel = Channel::client(ClientOptions::from(self.channels));
        let index = self.open(channel, false, purpose, address)?;
        self.choose_certificate(env, index, Some(address));
        if let Err(error) = env.directory.identity() {
            self.close(index, CloseReason::Identity(error));
            self.dial_over(env, index);
        }
        Some(index)
    }

    /// The transport of a dialed connection stands.
    pub fn connected(&mut self, env: &mut Env<'_, P>, connection: ConnectionId) {
        self.present(env);
        let now = self.now;
        let Some(index) = self.index(connection) else {
            return;
        };
        let Some(live) = self.live_mut(index) else { return };
        if live.stage == Stage::Dialing && live.closing.is_none() {
            live.stage = Stage::Handshake;
            live.opened = now;
            live.last_activity = now;
            live.last_heard = now;
            self.tell(index, ConnectionEvent::Connected);
        }
    }

    /// A dialed connection could not be made.
    pub fn dial_failed(&mut self, env: &mut Env<'_, P>, connection: ConnectionId, error: DialError) {
        self.present(env);
        let Some(index) = self.index(connection) else {
            return;
        };
        self.end_connection(env, index, CloseReason::Dial(error));
    }

    /// How many bytes the driver will take for the connection now.
    pub fn set_room(&mut self, connection: ConnectionId, bytes: usize) {
        if let Some(index) = self.index(connection)
            && let Some(live) = self.live_mut(index)
        {
            live.room = bytes;
        }
    }

    /// Bytes have come: `bytes` are all that were received and not yet consumed.
    #[inline(never)]
    pub fn handle_input(
        &mut self,
        env: &mut Env<'_, P>,
        connection: ConnectionId,
        bytes: &mut [u8],
    ) -> Consumed {
        self.present(env);
        let now = self.now;
        let whole = bytes.len();
        let Some(index) = self.index(connection) else {
            return Consumed {
                bytes: whole,
                need: 0,
            };
        };
        if let Some(live) = self.live_mut(index) {
            live.receives = live.receives.saturating_add(1);
            live.last_activity = now;
        }
        let mut done = 0_usize;
        while let Some(live) = self.live(index) {
            if live.closing.is_some() {
                return Consumed {
                    bytes: whole,
                    need: 0,
                };
            }
            if live.replies.len() >= REPLIES_BUSY || live.channel.wants_write() {
                break;
            }
            let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) else {
                break;
            };
            let Some(step) = self.with_channel(env, index, |live, lent| live.channel.read(lent, rest)) else {
                break;
            };
            let step = match step {
                Ok(step) => step,
                Err(error) => {
                    self.end_connection(env, index, CloseReason::Channel(error));
                    continue;
                }
            };
            if step.consumed == 0 {
                return Consumed {
                    bytes: done,
                    need: step.need,
                };
            }
            done = done.saturating_add(step.consumed);
            if let Some(live) = self.live_mut(index) {
                let count = u64::try_from(step.consumed).unwrap_or(u64::MAX);
                live.bytes_received = live.bytes_received.saturating_add(count);
                live.last_heard = now;
            }
            match step.event {
                Event::Progress | Event::WriteFirst => {}
                Event::Data(plaintext) => self.heard_record(env, index, plaintext),
                Event::Closed => self.end_connection(env, index, CloseReason::PeerClosed),
            }
            self.check_established(env, index);
        }
        Consumed { bytes: done, need: 0 }
    }

    /// The transport has ended, all bytes before having been taken. With `error` it broke.
    pub fn handle_eof(&mut self, env: &mut Env<'_, P>, connection: ConnectionId, error: bool) {
        self.present(env);
        let Some(index) = self.index(connection) else {
            return;
        };
        let Some(live) = self.live_mut(index) else { return };
        if let Some(closing) = &mut live.closing {
            closing.mute = true;
            return;
        }
        let announced = live.said_goodbye.is_some();
        let reason = match live.channel.end_of_input() {
            Ok(()) => CloseReason::PeerClosed,
            Err(_) if announced => CloseReason::PeerClosed,
            Err(ChannelError::Truncated) if error => CloseReason::Transport,
            Err(error) => CloseReason::Channel(error),
        };
        self.end_connection(env, index, reason);
        if let Some(closing) = self.live_mut(index).and_then(|live| live.closing.as_mut()) {
            closing.mute = true;
        }
    }

    /// Closes all connections of who is denied or dropped: those for which `whom(login, certificate)` holds. Returns how
    /// many.
    pub fn revoke(&mut self, env: &mut Env<'_, P>, mut whom: impl FnMut(u32, u32) -> bool) -> usize {
        self.present(env);
        let mut count = 0_usize;
        for index in 0..self.connections.len() {
            let Some(live) = self.live(index) else { continue };
            let (Some(login), Some(certificate)) = (live.login, live.certificate) else {
                continue;
            };
            if live.closing.is_none() && whom(login, certificate) {
                self.end_connection(env, index, CloseReason::Revoked);
                count = count.saturating_add(1);
            }
        }
        count
    }

    /// Closes one connection in order, for instance a test that is over.
    pub fn disconnect(&mut self, env: &mut Env<'_, P>, connection: ConnectionId) {
        self.present(env);
        if let Some(index) = self.index(connection) {
            self.end_connection(env, index, CloseReason::Done);
        }
    }

    /// Ends a connection and lets the sessions know.
    #[inline(never)]
    pub(super) fn end_connection(&mut self, env: &mut Env<'_, P>, index: usize, reason: CloseReason) {
        if self.live(index).is_none_or(|live| live.closing.is_some()) {
            return;
        }
        self.close(index, reason);
        self.dial_over(env, index);
        let peer = self.live(index).and_then(super::slot::Connection::peer);
        if let Some(peer) = peer {
            self.arbitrate(env, peer);
        }
    }

    /// The handshake is done: the peer is authenticated.
    #[inline(never)]
    pub(super) fn check_established(&mut self, env: &mut Env<'_, P>, index: usize) {
        let now = self.now;
        let Some(live) = self.live_mut(index) else { return };
        if live.stage != Stage::Handshake || live.closing.is_some() {
            return;
        }
        let Some((peer, alpn, suite)) = live
            .channel
            .established()
            .map(|established| (established.peer, established.alpn, established.suite))
        else {
            return;
        };
        if PARTNER && alpn.as_bytes() == crate::pairing::ALPN {
            self.pairing_established(index);
            self.refuse_short_records(env, index);
            return;
        }
        live.stage = Stage::Hello;
        live.login = Some(peer.login_id);
        live.certificate = Some(peer.certificate_id);
        live.login_time = Some(now);
        live.last_heard = now;
        self.tell(
            index,
            ConnectionEvent::LoggedIn {
                login: peer.login_id,
                certificate: peer.certificate_id,
                suite,
            },
        );
        let of_login = self
            .connections
            .iter()
            .filter_map(|slot| slot.live.as_ref())
            .filter(|c| c.login == Some(peer.login_id) && c.closing.is_none())
            .count();
        if of_login > usize::from(self.config.limits.of_one_login) {
            self.end_connection(env, index, CloseReason::TooManyOfLogin);
        }
        self.refuse_short_records(env, index);
    }

    /// What came in one record.
    fn heard_record(&mut self, env: &mut Env<'_, P>, index: usize, plaintext: &[u8]) {
        // The server's side learns of its peer with the record that carries the first message.
        self.check_established(env, index);
        if self.hears_in_pieces(index) {
            self.hear_pieces(env, index, plaintext);
        } else {
            self.records_messages(env, index, plaintext);
        }
    }

    /// Whole messages: those of one record, or one that came in pieces.
    #[inline(never)]
    pub(super) fn records_messages(&mut self, env: &mut Env<'_, P>, index: usize, plaintext: &[u8]) {
        let mut from = Reader::new(plaintext);
        while !from.is_empty() {
            if self.live(index).is_none_or(|live| live.closing.is_some()) {
                return;
            }
            if self.live(index).is_some_and(Connection::is_pairing) {
                self.pairing_record(env, index, plaintext);
                return;
            }
            if let Some(live) = self.live_mut(index) {
                live.messages_received = live.messages_received.saturating_add(1);
            }
            match Message::decode(&mut from) {
                Ok(Some(message)) => self.message(env, index, &message),
                Ok(None) => {}
                Err(error @ (MessageError::Malformed { .. } | MessageError::Unknown { .. })) => {
                    self.end_connection(env, index, CloseReason::BadMessage { kind: error.kind() });
                    return;
                }
            }
        }
    }
}
