//! What both roles of a handshake have: a state that messages move, the record keys of the moment, and the two flows of
//! messages.
//!
//! ```text
//! client                                          server
//! SendHello            ── ClientHello ──►         ExpectHello
//!                      ◄─ HelloRetryRequest ──    SendRetry          if there is no share that fits
//! SendSecondHello      ── ClientHello ──►         ExpectHello
//! ExpectHello          ◄─ ServerHello ──          SendHello
//! ExpectExtensions     ◄─ EncryptedExtensions ──  Send…
//! ExpectRequest        ◄─ CertificateRequest ──
//! ExpectCertificate    ◄─ Certificate ──
//! ExpectVerify         ◄─ CertificateVerify ──
//! ExpectFinished       ◄─ Finished ──
//! Send…                ── Certificate ──►         ExpectCertificate
//!                      ── CertificateVerify ──►   ExpectVerify
//!                      ── Finished ──►            ExpectFinished
//! Done                                            Done
//! ```
//!
//! A state either expects a message or sends one. Each is consumed by what happens to it, so nothing can happen twice.

use super::Env;
use super::assembly::{Assembly, Incoming, Tolerated};
use super::client::Client;
use super::error::ChannelError;
use super::keys::Keys;
use super::outgoing::Outgoing;
use super::server::Server;
use super::traffic::Outcome;
use crate::crypto::Provider;

/// A handshake under way. Its secrets are in [`Keys`].
pub(crate) struct Handshake<P: Provider> {
    pub(crate) state: State<P>,
    pub(crate) assembly: Assembly,
    pub(crate) outgoing: Outgoing,
    pub(crate) hellos: Hellos,
}

/// What goes along with the hellos and means nothing to their content.
pub(crate) struct Hellos {
    /// The first ClientHello has been sent or received.
    pub(crate) seen: bool,
    pub(crate) change_cipher_spec: ChangeCipherSpec,
}

/// The one meaningless change_cipher_spec that each side sends if the client gave a session id (appendix D.4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeCipherSpec {
    Unsent,
    /// Owed before the second flight, or before an alert in its place; no message of that flight is there yet.
    Due,
    Owed,
    Sent,
}

impl Hellos {
    /// Has a change_cipher_spec sent before the next message, unless one was sent before or nobody wants it.
    pub(crate) fn owe_change_cipher_spec(&mut self, session_id: &[u8]) {
        if !session_id.is_empty() && self.change_cipher_spec != ChangeCipherSpec::Sent {
            self.change_cipher_spec = ChangeCipherSpec::Owed;
        }
    }

    /// From now on an alert has a change_cipher_spec before it, unless one was sent before or nobody wants it.
    pub(crate) fn await_change_cipher_spec(&mut self, session_id: &[u8]) {
        if !session_id.is_empty() && self.change_cipher_spec == ChangeCipherSpec::Unsent {
            self.change_cipher_spec = ChangeCipherSpec::Due;
        }
    }
}

/// What a step works with besides its state.
pub(crate) struct Work<'w, P: Provider> {
    pub(crate) keys: &'w mut Keys<P>,
    pub(crate) hellos: &'w mut Hellos,
    pub(crate) outgoing: &'w mut Outgoing,
}

/// What a step took.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Hashes and ciphers.
    Cheap,
    /// One public-key operation: enough for one call.
    PublicKey,
}

#[expect(
    clippy::large_enum_variant,
    reason = "there is no heap to box on, and one state lives at a time"
)]
pub(crate) enum State<P: Provider> {
    Client(Client<P>),
    Server(Server<P>),
    /// All is checked and sent, and the keys are those of the application.
    Done(Outcome),
    /// Moved out for a step that failed.
    Taken,
}

/// Bytes of stack that are zeroed before a state moves on: more than a step's states take, less than a step on a curve.
const SCRUBBED_LEN: usize = 4_096;

/// Zeroes the stack below the caller. A state is moved as a whole, and where it has no bytes of its own it takes along what lay
/// on the stack: ciphers leave pieces of their keys there, and those must not get into a channel, where nothing wipes them.
#[inline(never)]
fn scrub() {
    core::hint::black_box(&mut [0_u8; SCRUBBED_LEN]);
}

impl<P: Provider> Handshake<P> {
    pub(crate) fn new(state: State<P>) -> Self {
        Self {
            state,
            assembly: Assembly::new(),
            outgoing: Outgoing::new(),
            hellos: Hellos {
                seen: false,
                change_cipher_spec: ChangeCipherSpec::Unsent,
            },
        }
    }

    pub(crate) fn wants_write(&self) -> bool {
        !self.outgoing.is_empty()
            || self.hellos.change_cipher_spec == ChangeCipherSpec::Owed
            || match &self.state {
                State::Client(client) => client.wants_write(),
                State::Server(server) => server.wants_write(),
                State::Done(_) | State::Taken => false,
            }
    }

    /// Whether a change_cipher_spec goes before what is protected next.
    pub(crate) fn owes_change_cipher_spec(&self) -> bool {
        matches!(
            self.hellos.change_cipher_spec,
            ChangeCipherSpec::Due | ChangeCipherSpec::Owed
        )
    }

    /// Takes the next record, message or fragment; answers how many bytes were consumed, or are needed.
    #[inline(never)]
    pub(crate) fn read(
        &mut self,
        keys: &mut Keys<P>,
        env: &mut Env<'_, P>,
        rx: &mut [u8],
    ) -> Result<(usize, usize), ChannelError> {
        let Self {
            state,
            assembly,
            outgoing,
            hellos,
        } = self;
        let tolerated = Tolerated {
            change_cipher_spec: hellos.seen,
            alert_in_clear: matches!(state, State::Server(_))
                && keys.opener.as_ref().is_some_and(|opener| opener.records() == 0),
        };
        let (place, consumed) = match assembly.next(rx, keys.opener.as_mut(), tolerated)? {
            Incoming::Need(need) => return Ok((0, need)),
            Incoming::Consumed(consumed) => return Ok((consumed, 0)),
            Incoming::Message { place, consumed } => (place, consumed),
        };
        let message = assembly.message(rx, place)?;
        scrub();
        let work = &mut Work {
            keys,
            hellos,
            outgoing,
        };
        *state = match core::mem::replace(state, State::Taken) {
            State::Client(client) => State::Client(client.on_message(work, env, message)?),
            State::Server(server) => server.on_message(work, env, message)?,
            State::Done(_) | State::Taken => return Err(ChannelError::State),
        };
        assembly.done(place);
        Ok((consumed, 0))
    }

    /// Fills `tx`, with at most one public-key operation. An error may follow bytes that are good.
    #[inline(never)]
    pub(crate) fn write(
        &mut self,
        keys: &mut Keys<P>,
        env: &mut Env<'_, P>,
        tx: &mut [u8],
    ) -> (usize, Result<(), ChannelError>) {
        let mut written: usize = 0;
        let mut cost = Cost::Cheap;
        loop {
            let certificate = env.identity.certificate_der;
            let place = tx.get_mut(written..).unwrap_or(&mut []);
            match self.outgoing.flush(keys.sealer.as_mut(), certificate, place) {
                Ok(len) => written = written.saturating_add(len),
                Err(error) => return (written, Err(error)),
            }
            if !self.outgoing.is_empty() || !self.wants_write() || cost == Cost::PublicKey {
                return (written, Ok(()));
            }
            scrub();
            match self.stage(keys, env) {
                Ok(staged) => cost = staged,
                Err(error) => return (written, Err(error)),
            }
        }
    }

    #[inline(never)]
    fn stage(&mut self, keys: &mut Keys<P>, env: &mut Env<'_, P>) -> Result<Cost, ChannelError> {
        let Self {
            state,
            outgoing,
            hellos,
            ..
        } = self;
        if hellos.change_cipher_spec == ChangeCipherSpec::Owed {
            hellos.change_cipher_spec = ChangeCipherSpec::Sent;
            outgoing.stage_change_cipher_spec();
            return Ok(Cost::Cheap);
        }
        let work = &mut Work {
            keys,
            hellos,
            outgoing,
        };
        let cost;
        (*state, cost) = match core::mem::replace(state, State::Taken) {
            State::Client(client) => client.stage(work, env)?,
            State::Server(server) => {
                let (server, cost) = server.stage(work, env)?;
                (State::Server(server), cost)
            }
            State::Done(_) | State::Taken => return Err(ChannelError::State),
        };
        Ok(cost)
    }
}
