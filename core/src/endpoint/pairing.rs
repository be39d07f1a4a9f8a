//! Pairing on the endpoint's own port (`docs/pairing.md`): which connections may speak [`crate::pairing::ALPN`], and what they
//! come to. `dbm/1` and its verifier know nothing of it.

use super::close::CloseReason;
use super::output::{ConnectionId, Event, PairingEvent};
use super::slot::{Purpose, Stage};
use super::{Endpoint, Env};
use crate::PARTNER;
use crate::cert::CERTIFICATE_LEN_MAX;
use crate::crypto::{HASH_LEN, Hash, Provider};
use crate::message::{Address, InstanceId, InstanceName};
use crate::pairing::message::Message;
use crate::pairing::tries::{Tries, WINDOW};
use crate::pairing::{
    Code, EXPORTER_LABEL, EXPORTER_LEN, Exchange, Heard, Method, Own, PairingKey, Refusal, Said, Side,
};
use crate::time::{Duration, Instant};
use crate::wire::{self, Full, Reader, Writer};

/// From the handshake's end to the last word.
pub(super) const PAIRING: Duration = Duration::from_secs(30);

/// Place for the pairings of one endpoint: one window and one attempt at a time. An endpoint that is lent none
/// ([`Endpoint::with_pairing`]) never answers.
#[derive(Default)]
pub struct PairingPlace {
    window: Option<Party>,
    attempt: Option<Party>,
}

#[cfg(test)]
impl PairingPlace {
    /// Whether no key lies here.
    pub(super) const fn is_empty(&self) -> bool {
        self.window.is_none() && self.attempt.is_none()
    }
}

/// What an operator was told of the other side.
pub enum Secret {
    /// The one-time code.
    Code(Code),
    /// SHA-256 of the other side's certificate.
    Fingerprint([u8; HASH_LEN]),
}

/// A peer that proved itself.
#[derive(Clone, Copy, Debug)]
pub struct PairingPeer<'a> {
    /// Its certificate.
    pub certificate: &'a [u8],
    /// Its instance id.
    pub instance: InstanceId,
    /// Its name for itself.
    pub name: InstanceName,
}

/// Why a window or an attempt cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingError {
    /// The endpoint is stopped, has no certificate, or no place for pairings.
    NotAvailable,
    /// Another one is under way.
    Busy,
    /// No place for another connection.
    Full,
}

/// A window, or an attempt.
struct Party {
    key: PairingKey,
    expected: Option<[u8; HASH_LEN]>,
    until: Instant,
    tries: Tries,
    met: Option<Met>,
}

/// Who has proved itself to it.
struct Met {
    on: ConnectionId,
    fingerprint: [u8; HASH_LEN],
    certificate: [u8; CERTIFICATE_LEN_MAX],
    length: usize,
    instance: InstanceId,
    name: InstanceName,
}

impl Party {
    const fn method(&self) -> Method {
        match self.expected {
            None => Method::Code,
            Some(_) => Method::Fingerprint,
        }
    }
}

/// Which protocols a connection may speak, and whom pairing expects.
#[derive(Clone, Copy)]
pub(super) enum Spoken {
    Mirroring,
    Pairing(Option<[u8; HASH_LEN]>),
    Both(Option<[u8; HASH_LEN]>),
}

impl<'a, P: Provider> Endpoint<'a, P> {
    /// The same endpoint, able to pair.
    #[must_use]
    pub const fn with_pairing(mut self, place: &'a mut PairingPlace) -> Self {
        self.pairing = Some(place);
        self
    }

    /// Opens the window: for `span`, of at most ten minutes, who knows `secret` may pair, once.
    ///
    /// # Errors
    /// [`PairingError`].
    pub fn open_pairing(
        &mut self,
        env: &mut Env<'_, P>,
        secret: &Secret,
        span: Duration,
    ) -> Result<(), PairingError> {
        self.present(env);
        let until = self.now.after(span.min(WINDOW));
        let now = self.now;
        let party = self.party(env, secret, until)?;
        let place = self.pairing.as_mut().ok_or(PairingError::NotAvailable)?;
        if place.window.as_ref().is_some_and(|window| window.until > now) {
            return Err(PairingError::Busy);
        }
        place.window = Some(party);
        Ok(())
    }

    /// Closes the window. Who is in the middle of a pairing through it is refused.
    pub fn close_pairing(&mut self, env: &mut Env<'_, P>) {
        self.present(env);
        if let Some(place) = self.pairing.as_mut() {
            place.window = None;
        }
        for index in 0..self.connections.len() {
            if let Some(live) = self.live_mut(index)
                && live.accepted
                && let Some(exchange) = &mut live.pairing
            {
                exchange.refuse(Refusal::NotOpen);
            }
        }
    }

    /// Dials `address`, where an operator holds a window open, to pair.
    ///
    /// # Errors
    /// [`PairingError`].
    pub fn pair(
        &mut self,
        env: &mut Env<'_, P>,
        address: Address,
        secret: &Secret,
    ) -> Result<ConnectionId, PairingError> {
        self.present(env);
        let until = self.now.after(WINDOW);
        let party = self.party(env, secret, until)?;
        let under_way = self
            .connections
            .iter()
            .filter_map(|slot| slot.live.as_ref())
            .any(|live| live.purpose == Purpose::Pair);
        let place = self.pairing.as_mut().ok_or(PairingError::NotAvailable)?;
        if under_way {
            return Err(PairingError::Busy);
        }
        place.attempt = Some(party);
        let index = self.dial(env, address, Purpose::Pair).ok_or(PairingError::Full)?;
        Ok(self.id(index))
    }

    fn party(&self, env: &Env<'_, P>, secret: &Secret, until: Instant) -> Result<Party, PairingError> {
        if !self.running {
            return Err(PairingError::NotAvailable);
        }
        let identity = env.directory.identity().map_err(|_| PairingError::NotAvailable)?;
        let (key, expected) = match secret {
            Secret::Code(code) => (PairingKey::from_code::<P::Sha256>(code), None),
            Secret::Fingerprint(peer) => {
                let own = P::Sha256::digest(identity.certificate_der);
                (
                    PairingKey::from_fingerprints::<P::Sha256>(&own, peer),
                    Some(*peer),
                )
            }
        };
        Ok(Party {
            key,
            expected,
            until,
            tries: Tries::default(),
            met: None,
        })
    }

    /// Who proved itself on that connection.
    #[must_use]
    pub fn pairing_peer(&self, connection: ConnectionId) -> Option<PairingPeer<'_>> {
        let index = self.index(connection)?;
        let met = self.side(self.live(index)?.accepted)?.met.as_ref()?;
        (met.on == connection).then_some(())?;
        Some(PairingPeer {
            certificate: met.certificate.get(..met.length)?,
            instance: met.instance,
            name: met.name,
        })
    }

    /// Answers [`PairingEvent::Check`] and [`PairingEvent::Store`]: it is done, or refused with a message number, which the
    /// peer is told.
    pub fn answer_pairing(
        &mut self,
        env: &mut Env<'_, P>,
        connection: ConnectionId,
        answer: Result<(), u32>,
    ) {
        self.present(env);
        let Some(index) = self.index(connection) else {
            return;
        };
        let Some(exchange) = self.live_mut(index).and_then(|live| live.pairing.as_mut()) else {
            return;
        };
        match answer {
            Ok(()) => {
                exchange.allow();
            }
            Err(number) => exchange.refuse(Refusal::Declined(number)),
        }
    }

    // ---- for the rest of the endpoint ----

    /// The window for accepted connections, the attempt for dialed ones; none whose time is over.
    fn side(&self, accepted: bool) -> Option<&Party> {
        let place = self.pairing.as_ref()?;
        let party = if accepted { &place.window } else { &place.attempt };
        party.as_ref().filter(|party| party.until > self.now)
    }

    fn side_mut(&mut self, accepted: bool) -> Option<&mut Party> {
        let now = self.now;
        let place = self.pairing.as_mut()?;
        let party = if accepted {
            &mut place.window
        } else {
            &mut place.attempt
        };
        party.as_mut().filter(|party| party.until > now)
    }

    /// An attempt is over: its key goes with it.
    pub(super) fn forget_attempt(&mut self, index: usize) {
        let over = self.live(index).is_some_and(|live| live.purpose == Purpose::Pair);
        if let (true, Some(place)) = (over, self.pairing.as_mut()) {
            place.attempt = None;
        }
    }

    /// A window whose time is over answers nobody any more; its key is of no use.
    pub(super) fn forget_expired_window(&mut self) {
        let now = self.now;
        if let Some(place) = self.pairing.as_mut()
            && place.window.as_ref().is_some_and(|window| window.until <= now)
        {
            place.window = None;
        }
    }

    /// What may be spoken on the connection at `index`.
    pub(super) fn spoken(&self, index: usize) -> Spoken {
        let Some(live) = self.live(index).filter(|_| PARTNER) else {
            return Spoken::Mirroring;
        };
        match (live.accepted, live.purpose, self.side(live.accepted)) {
            (true, _, Some(window)) => Spoken::Both(window.expected),
            (false, Purpose::Pair, party) => Spoken::Pairing(party.and_then(|attempt| attempt.expected)),
            _ => Spoken::Mirroring,
        }
    }

    /// The channel of a pairing stands.
    pub(super) fn pairing_established(&mut self, index: usize) {
        let now = self.now;
        let Some(live) = self.live(index) else { return };
        let (accepted, fingerprint) = (live.accepted, live.pairing_fingerprint);
        let mut exporter = [0; EXPORTER_LEN];
        let exported = live.channel.export(EXPORTER_LABEL, &[], &mut exporter).is_ok();
        let method = self.side(accepted).map(Party::method);
        let side = if accepted {
            Side::Responder
        } else {
            Side::Initiator
        };
        let Some(live) = self.live_mut(index) else { return };
        live.stage = Stage::Pairing;
        live.probe = true;
        live.login_time = Some(now);
        live.last_heard = now;
        let mut exchange = Exchange::new(
            side,
            method.unwrap_or(Method::Code),
            exporter,
            fingerprint.unwrap_or_default(),
        );
        if !exported || fingerprint.is_none() || method.is_none() {
            exchange.refuse(Refusal::NotOpen);
        }
        live.pairing = Some(exchange);
    }

    /// The messages of one record.
    pub(super) fn pairing_record(&mut self, env: &mut Env<'_, P>, index: usize, plaintext: &[u8]) {
        let mut from = Reader::new(plaintext);
        while !from.is_empty() {
            let Some(live) = self.live_mut(index) else { return };
            if live.closing.is_some() {
                return;
            }
            live.messages_received = live.messages_received.saturating_add(1);
            match Message::decode(&mut from) {
                Ok(message) => self.pairing_message(env, index, &message),
                Err(_) => {
                    if let Some(exchange) = live.pairing.as_mut() {
                        exchange.refuse(Refusal::BadMessage);
                    }
                    return;
                }
            }
        }
    }

    fn pairing_message(&mut self, env: &mut Env<'_, P>, index: usize, message: &Message<'_>) {
        let now = self.now;
        let connection = self.id(index);
        let Some(live) = self.live(index) else { return };
        let (accepted, source) = (live.accepted, live.source);
        let Some(mut exchange) = live.pairing else { return };
        let Ok(identity) = env.directory.identity() else {
            return;
        };
        let own = self.pairing_own(identity.certificate_der);
        let Some(party) = self.side_mut(accepted) else {
            self.refuse_pairing(index, Refusal::NotOpen);
            return;
        };
        if accepted && matches!(message, Message::Proof { .. }) && !party.tries.allow(source.0, now) {
            self.refuse_pairing(index, Refusal::TooManyTries);
            return;
        }
        let heard = exchange.hear::<P::Sha256>(&own, &party.key, message);
        let mut event = None;
        match heard {
            Err(_) | Ok(Heard::Nothing) => {}
            Ok(Heard::Proved(certificate)) => {
                let other = party
                    .met
                    .as_ref()
                    .is_some_and(|met| met.fingerprint != *exchange.peer_fingerprint());
                match Met::new(connection, certificate, &exchange) {
                    Some(met) if !other => {
                        party.met = Some(met);
                        event = Some(if accepted {
                            PairingEvent::Check
                        } else {
                            PairingEvent::Store
                        });
                    }
                    _ => exchange.refuse(Refusal::AnotherPeer),
                }
            }
            Ok(Heard::Stored) => {
                event = Some(if accepted {
                    PairingEvent::Store
                } else {
                    PairingEvent::Done
                });
            }
            Ok(Heard::Refused(refusal)) => {
                let reason = CloseReason::Pairing {
                    refusal,
                    by_peer: true,
                };
                self.end_pairing(env, index, reason);
                return;
            }
        }
        if let Some(live) = self.live_mut(index) {
            if let Some((instance, name)) = exchange.peer() {
                live.instance = instance;
                live.name = name;
            }
            live.pairing = Some(exchange);
        }
        if let Some(event) = event {
            self.events.push(Event::Pairing { connection, event });
            if event == PairingEvent::Done {
                self.end_pairing(env, index, CloseReason::Done);
            }
        }
    }

    fn refuse_pairing(&mut self, index: usize, refusal: Refusal) {
        if let Some(exchange) = self.live_mut(index).and_then(|live| live.pairing.as_mut()) {
            exchange.refuse(refusal);
        }
    }

    /// Closes in order; what is left to say is said first.
    fn end_pairing(&mut self, env: &mut Env<'_, P>, index: usize, reason: CloseReason) {
        if let Some(live) = self.live_mut(index) {
            live.channel.close();
        }
        self.end_connection(env, index, reason);
    }

    fn pairing_own<'c>(&self, certificate: &'c [u8]) -> Own<'c> {
        Own {
            certificate,
            instance: self.config.instance,
            name: self.config.name,
        }
    }

    /// Whether the pairing on that connection has something to say.
    pub(super) fn say_of_pairing(
        &mut self,
        env: &mut Env<'_, P>,
        index: usize,
        to: &mut Writer<'_>,
    ) -> Result<Said, Full> {
        let Some(live) = self.live(index) else {
            return Ok(Said::Nothing);
        };
        let (accepted, closing) = (live.accepted, live.closing.is_some());
        let (Some(mut exchange), false) = (live.pairing, closing) else {
            return Ok(Said::Nothing);
        };
        let Ok(identity) = env.directory.identity() else {
            return Ok(Said::Nothing);
        };
        let own = self.pairing_own(identity.certificate_der);
        let key = self.side(accepted).map(|party| &party.key);
        if key.is_none() {
            exchange.refuse(Refusal::NotOpen);
        }
        let said = exchange.say::<P::Sha256>(&own, key, to)?;
        if let Some(live) = self.live_mut(index) {
            live.pairing = Some(exchange);
        }
        Ok(said)
    }

    /// What was said is on its way; after the last word the connection ends.
    pub(super) fn pairing_said(&mut self, env: &mut Env<'_, P>, index: usize, said: Said) {
        match said {
            Said::Nothing | Said::Messages => {}
            Said::Last => {
                let connection = self.id(index);
                // The one success.
                if let Some(place) = self.pairing.as_mut() {
                    place.window = None;
                }
                self.events.push(Event::Pairing {
                    connection,
                    event: PairingEvent::Done,
                });
                self.end_pairing(env, index, CloseReason::Done);
            }
            Said::Refused(refusal) => {
                let reason = CloseReason::Pairing {
                    refusal,
                    by_peer: false,
                };
                self.end_pairing(env, index, reason);
            }
        }
    }
}

impl Met {
    fn new(on: ConnectionId, certificate: &[u8], exchange: &Exchange) -> Option<Self> {
        let (instance, name) = exchange.peer()?;
        let mut place = [0; CERTIFICATE_LEN_MAX];
        let length = wire::copy(&mut place, certificate)?;
        Some(Self {
            on,
            fingerprint: *exchange.peer_fingerprint(),
            certificate: place,
            length,
            instance,
            name,
        })
    }
}
