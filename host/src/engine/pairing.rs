//! Pairing: a window that a statement holds open, or an attempt that one makes, and what they come to (`docs/pairing.md`).
//!
//! The engine decides nothing here. It tells the statement that waits who has proved itself, and the statement, which runs
//! with its operator's rights, says whether the catalog takes the peer and stores it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use dbmirror_core::endpoint::{CloseReason, ConnectionId, PairingError, PairingEvent, PairingSecret};
use dbmirror_core::pairing::Refusal;

use super::run::{Handle, Instance};
use super::statements::{not_started, parse_address};
use super::{EngineError, Guid};

/// A peer that has proved itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedPeer {
    /// Its certificate.
    pub certificate: Vec<u8>,
    /// Its instance id.
    pub instance_id: Guid,
    /// Its name for itself.
    pub name: String,
    /// Where it connects from, or where it was dialed.
    pub address: String,
}

/// What a window or an attempt has come to.
#[derive(Debug)]
pub enum PairingNews {
    /// The transport of the attempt stands.
    Connected(String),
    /// The peer proved itself: would the catalog take it? [`Pairing::answer`].
    Check(PairingId, ProvedPeer),
    /// Store it durably, then [`Pairing::answer`].
    Store(PairingId, ProvedPeer),
    /// Both sides have stored.
    Done,
    /// The attempt has failed, or somebody's try at the window, which stays open.
    Failed(EngineError),
}

/// Which exchange a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairingId(ConnectionId);

/// A window or an attempt. It ends when this is dropped.
pub struct Pairing {
    handle: Handle,
    news: Receiver<PairingNews>,
    attempt: Option<ConnectionId>,
}

/// Who waits for news in the loop.
#[derive(Default)]
pub(super) struct Waiting {
    window: Option<Sender<PairingNews>>,
    attempt: Option<(ConnectionId, Sender<PairingNews>)>,
}

impl Waiting {
    fn of(&self, connection: ConnectionId, accepted: bool) -> Option<&Sender<PairingNews>> {
        if accepted {
            return self.window.as_ref();
        }
        self.attempt
            .as_ref()
            .filter(|(id, _)| *id == connection)
            .map(|(_, sender)| sender)
    }
}

impl Pairing {
    /// The next news. Nothing within `wait` is `Ok(None)`.
    ///
    /// # Errors
    /// 1415 when the engine has ended.
    pub fn next(&self, wait: Duration) -> Result<Option<PairingNews>, EngineError> {
        match self.news.recv_timeout(wait) {
            Ok(news) => Ok(Some(news)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(EngineError::new(
                1415,
                "The operation failed: the instance's engine has ended.",
            )),
        }
    }

    /// Answers a question: done, or refused with a message number, which the peer is told.
    pub fn answer(&self, id: PairingId, answer: Result<(), u32>) {
        self.handle.run(move |i| {
            let now = i.now();
            i.endpoint.answer_pairing(&mut i.world.env_at(now), id.0, answer);
        });
    }
}

impl Drop for Pairing {
    fn drop(&mut self) {
        let attempt = self.attempt;
        self.handle.run(move |i| {
            let now = i.now();
            match attempt {
                None => {
                    i.world.pairing.window = None;
                    i.endpoint.close_pairing(&mut i.world.env_at(now));
                }
                Some(id) => {
                    if i.world
                        .pairing
                        .attempt
                        .as_ref()
                        .is_some_and(|(own, _)| *own == id)
                    {
                        i.world.pairing.attempt = None;
                    }
                    i.endpoint.disconnect(&mut i.world.env_at(now), id);
                }
            }
        });
    }
}

/// Opens the window.
pub(super) fn open(handle: &Handle, secret: PairingSecret, span: Duration) -> Result<Pairing, EngineError> {
    let (sender, news) = channel();
    let span =
        dbmirror_core::time::Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
    handle.ask(move |i| {
        let now = i.now();
        i.endpoint
            .open_pairing(&mut i.world.env_at(now), &secret, span)
            .map_err(refused)?;
        i.world.pairing.window = Some(sender);
        Ok::<(), EngineError>(())
    })??;
    Ok(Pairing {
        handle: handle.clone(),
        news,
        attempt: None,
    })
}

/// Dials the window of another instance.
pub(super) fn dial(handle: &Handle, address: &str, secret: PairingSecret) -> Result<Pairing, EngineError> {
    let target = parse_address(address)?;
    let (sender, news) = channel();
    let id = handle.ask(move |i| {
        let now = i.now();
        let id = i
            .endpoint
            .pair(&mut i.world.env_at(now), target, &secret)
            .map_err(refused)?;
        i.world.pairing.attempt = Some((id, sender));
        Ok::<_, EngineError>(id)
    })??;
    Ok(Pairing {
        handle: handle.clone(),
        news,
        attempt: Some(id),
    })
}

fn refused(error: PairingError) -> EngineError {
    match error {
        PairingError::NotAvailable => not_started(),
        PairingError::Busy => EngineError::new(
            50146,
            "Another pairing of this kind is under way on this instance. Wait for its end, or end its statement.",
        ),
        PairingError::Full => EngineError::new(
            1418,
            "No more connections can be opened: the endpoint is full. Try again.",
        ),
    }
}

impl Instance<'_> {
    /// The transport of an attempt stands.
    pub(super) fn pairing_connected(&self, id: ConnectionId, to: &str) {
        if let Some(waiting) = self.world.pairing.of(id, false) {
            let _ = waiting.send(PairingNews::Connected(to.to_owned()));
        }
    }

    /// A pairing has come a step further.
    pub(super) fn pairing_event(
        &mut self,
        id: ConnectionId,
        event: PairingEvent,
        accepted: bool,
        address: &str,
    ) {
        let peer = self.endpoint.pairing_peer(id).map(|peer| ProvedPeer {
            certificate: peer.certificate.to_vec(),
            instance_id: peer.instance.0,
            name: peer.name.as_str().to_owned(),
            address: address.to_owned(),
        });
        let news = match (event, peer) {
            (PairingEvent::Done, _) => Some(PairingNews::Done),
            (PairingEvent::Check, Some(peer)) => Some(PairingNews::Check(PairingId(id), peer)),
            (PairingEvent::Store, Some(peer)) => Some(PairingNews::Store(PairingId(id), peer)),
            (PairingEvent::Check | PairingEvent::Store, None) => None,
        };
        let sent = news.and_then(|news| self.world.pairing.of(id, accepted)?.send(news).ok());
        if sent.is_none() && event != PairingEvent::Done {
            // Nobody holds the window any more.
            let now = self.now();
            let number = Refusal::NotOpen.number();
            self.endpoint
                .answer_pairing(&mut self.world.env_at(now), id, Err(number));
        }
    }

    /// A connection that was for pairing has ended.
    pub(super) fn pairing_closed(&mut self, id: ConnectionId, accepted: bool, number: i32, text: &str) {
        if let Some(waiting) = self.world.pairing.of(id, accepted) {
            let _ = waiting.send(PairingNews::Failed(EngineError::new(number, text)));
        }
    }
}

/// Why a pairing came to nothing, in words.
pub(super) fn explain(refusal: Refusal, by_peer: bool, peer: &str) -> String {
    let what = match (refusal, by_peer) {
        (Refusal::NotOpen, true) => {
            "no pairing window is open there any more. Have its operator open one, and use the new code"
        }
        (Refusal::NotOpen, false) => "no pairing window is open here any more",
        (Refusal::TooManyTries, true) => {
            "too many codes were tried there within a minute. Wait a minute; if it was not you, somebody is guessing"
        }
        (Refusal::TooManyTries, false) => {
            "too many codes were tried within a minute: it was not even looked at"
        }
        (Refusal::WrongProof, true) => {
            "it does not accept the proof: the code is not the one that is shown there, or somebody sits between the two"
        }
        (Refusal::WrongProof, false) => {
            "its proof does not fit: it has another code, or somebody sits between the two. Nothing was stored"
        }
        (Refusal::OtherMethod, _) => {
            "one side was given a code and the other a fingerprint. Use the same on both"
        }
        (Refusal::AnotherPeer, true) => "its code was already used by another instance",
        (Refusal::AnotherPeer, false) => "the code was already proved by another instance",
        (Refusal::OwnInstance, _) => {
            "both ends are one instance, or have the id of one. Name the partner's address"
        }
        (Refusal::NoCommonVersion, _) => "the two speak no common version of pairing",
        (Refusal::Declined(15232), true) => {
            "it knows this instance's certificate or key under another login. DROP CERTIFICATE there, or use that login"
        }
        (Refusal::Declined(15025), true) => {
            "a login of the name that it would use stands for another certificate there. See the error log there"
        }
        (Refusal::Declined(number), true) => {
            return format!(
                "Pairing with {peer} failed: it could not take this instance in (message {number}); see the error log there."
            );
        }
        (Refusal::Declined(number), false) => {
            return format!("Pairing with {peer} failed: it could not be taken in here (message {number}).");
        }
        _ => "a message was malformed or came out of turn; the two may run versions that do not fit",
    };
    format!("Pairing with {peer} failed: {what}.")
}

/// How the end of a pairing's connection is told.
pub(super) fn closed(reason: CloseReason, peer: &str) -> Option<(i32, String)> {
    use dbmirror_core::channel::{Alert, ChannelError, PeerRefusal};
    Some(match reason {
        CloseReason::Pairing { refusal, by_peer } => (
            i32::try_from(refusal.number()).unwrap_or(1434),
            explain(refusal, by_peer, peer),
        ),
        CloseReason::Channel(
            ChannelError::PeerAlert(Alert::NoApplicationProtocol) | ChannelError::NoCommonProtocol,
        ) => (
            50140,
            format!(
                "Pairing with {peer} failed: no pairing window is open there, or it is no endpoint of dbmirror. Have its operator run \
                 `dbmirror pair --open`."
            ),
        ),
        CloseReason::Channel(ChannelError::PeerRefused(PeerRefusal::Unknown)) => (
            50142,
            format!(
                "Pairing with {peer} failed: its certificate does not have the fingerprint that was given, or is none that can be used. \
                 Nothing was stored."
            ),
        ),
        CloseReason::PeerClosed
        | CloseReason::Idle
        | CloseReason::Transport
        | CloseReason::Channel(ChannelError::Truncated) => (
            50145,
            format!(
                "Pairing with {peer} broke off before both sides had stored. Run it again: what is there is left as it is."
            ),
        ),
        _ => return None,
    })
}
