//! Pairing: a window that a statement holds open, or an attempt that one makes, and what they come to (`docs/pairing.md`).
//!
//! The engine decides nothing here. It tells the statement that waits who has proved itself, and the statement, which runs
//! with its operator's rights, says whether the catalog takes the peer and stores it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    unread: Arc<AtomicUsize>,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    /// A window, by its number: another statement may have opened the next one since this one's time was over.
    Window(u64),
    Attempt(ConnectionId),
}

/// Failures that may wait to be read. Anybody on the network causes them, and the statement may be busy; the log and
/// `sys.dm_dbmirror_errors` have those that are left out here.
const UNREAD_MAX: usize = 64;

/// The loop's end of the news.
struct Teller {
    sender: Sender<PairingNews>,
    unread: Arc<AtomicUsize>,
}

impl Teller {
    fn new() -> (Self, Receiver<PairingNews>, Arc<AtomicUsize>) {
        let (sender, news) = channel();
        let unread = Arc::new(AtomicUsize::new(0));
        let teller = Self {
            sender,
            unread: Arc::clone(&unread),
        };
        (teller, news, unread)
    }

    /// Whether somebody may still read it.
    fn tell(&self, news: PairingNews) -> bool {
        // All others need the code, and are few.
        let may_be_left_out = matches!(news, PairingNews::Failed(_));
        if may_be_left_out && self.unread.load(Ordering::Relaxed) >= UNREAD_MAX {
            return true;
        }
        self.unread.fetch_add(1, Ordering::Relaxed);
        self.sender.send(news).is_ok()
    }
}

/// Who waits for news in the loop.
#[derive(Default)]
pub(super) struct Waiting {
    /// How many windows there have been.
    windows: u64,
    window: Option<(u64, Teller)>,
    attempt: Option<(ConnectionId, Teller)>,
}

impl Waiting {
    fn of(&self, connection: ConnectionId, accepted: bool) -> Option<&Teller> {
        if accepted {
            return self.window.as_ref().map(|(_, teller)| teller);
        }
        self.attempt
            .as_ref()
            .filter(|(id, _)| *id == connection)
            .map(|(_, teller)| teller)
    }

    /// A new window's number.
    fn open(&mut self, teller: Teller) -> u64 {
        self.windows = self.windows.wrapping_add(1);
        self.window = Some((self.windows, teller));
        self.windows
    }

    /// Whether the window of that number was the one that is there; it is none any more then.
    fn close(&mut self, number: u64) -> bool {
        self.window.take_if(|(open, _)| *open == number).is_some()
    }
}

impl Pairing {
    /// The next news. Nothing within `wait` is `Ok(None)`.
    ///
    /// # Errors
    /// 1415 when the engine has ended.
    pub fn next(&self, wait: Duration) -> Result<Option<PairingNews>, EngineError> {
        match self.news.recv_timeout(wait) {
            Ok(news) => {
                self.unread.fetch_sub(1, Ordering::Relaxed);
                Ok(Some(news))
            }
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
        let what = self.what;
        self.handle.run(move |i| {
            let now = i.now();
            match what {
                What::Window(number) => {
                    if i.world.pairing.close(number) {
                        i.endpoint.close_pairing(&mut i.world.env_at(now));
                    }
                }
                What::Attempt(id) => {
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
    let (teller, news, unread) = Teller::new();
    let span =
        dbmirror_core::time::Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
    let number = handle.ask(move |i| {
        let now = i.now();
        i.endpoint
            .open_pairing(&mut i.world.env_at(now), &secret, span)
            .map_err(refused)?;
        Ok::<_, EngineError>(i.world.pairing.open(teller))
    })??;
    Ok(Pairing {
        handle: handle.clone(),
        news,
        unread,
        what: What::Window(number),
    })
}

/// Dials the window of another instance.
pub(super) fn dial(handle: &Handle, address: &str, secret: PairingSecret) -> Result<Pairing, EngineError> {
    let target = parse_address(address)?;
    let (teller, news, unread) = Teller::new();
    let id = handle.ask(move |i| {
        let now = i.now();
        let id = i
            .endpoint
            .pair(&mut i.world.env_at(now), target, &secret)
            .map_err(refused)?;
        i.world.pairing.attempt = Some((id, teller));
        Ok::<_, EngineError>(id)
    })??;
    Ok(Pairing {
        handle: handle.clone(),
        news,
        unread,
        what: What::Attempt(id),
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
            waiting.tell(PairingNews::Connected(to.to_owned()));
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
        let sent = match (news, self.world.pairing.of(id, accepted)) {
            (Some(news), Some(waiting)) => waiting.tell(news),
            _ => false,
        };
        if !sent && event != PairingEvent::Done {
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
            waiting.tell(PairingNews::Failed(EngineError::new(number, text)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_closed_by_its_own_statement_only() {
        let mut waiting = Waiting::default();
        let first = waiting.open(Teller::new().0);
        // Its time was over, and another statement has opened the next one.
        let second = waiting.open(Teller::new().0);
        assert!(!waiting.close(first));
        assert!(waiting.window.is_some());
        assert!(waiting.close(second));
        assert!(waiting.window.is_none() && !waiting.close(second));
    }

    #[test]
    fn failures_that_nobody_reads_do_not_pile_up_and_keep_nothing_else_out() {
        let (teller, news, unread) = Teller::new();
        for _ in 0..10_000 {
            assert!(teller.tell(PairingNews::Failed(EngineError::new(50142, "wrong"))));
        }
        assert_eq!(unread.load(Ordering::Relaxed), UNREAD_MAX);
        assert!(teller.tell(PairingNews::Done));
        assert_eq!(news.try_iter().count(), UNREAD_MAX + 1);
        drop(news);
        assert!(!teller.tell(PairingNews::Done));
    }
}
