//! The running hash of all handshake messages (RFC 8446 §4.4.1).

use super::digest::{Digest, HashAlgorithm};
use super::error::ChannelError;
use crate::crypto::{Hash, Provider};

/// The type that stands for the first ClientHello after a HelloRetryRequest.
const MESSAGE_HASH: u8 = 254;

/// The hash of the handshake so far. A client does not know which hash it will be before the server has chosen a suite:
/// until then it keeps every one that its provider has.
pub struct Transcript<P: Provider>(State<P>);

enum State<P: Provider> {
    Undecided(P::Sha256, P::Sha384),
    Sha256(P::Sha256),
    Sha384(P::Sha384),
}

impl<P: Provider> Transcript<P> {
    /// Nothing said yet.
    #[must_use]
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Self(match algorithm {
            HashAlgorithm::Sha256 => State::Sha256(P::Sha256::new()),
            HashAlgorithm::Sha384 => State::Sha384(P::Sha384::new()),
        })
    }

    /// Nothing said yet, and the hash not known.
    #[must_use]
    pub fn undecided() -> Self {
        Self(State::Undecided(P::Sha256::new(), P::Sha384::new()))
    }

    /// The suite has been chosen, and its hash with it.
    ///
    /// # Errors
    /// [`ChannelError::State`] when another one was decided on before.
    pub fn decide(self, algorithm: HashAlgorithm) -> Result<Self, ChannelError> {
        Ok(Self(match (self.0, algorithm) {
            (State::Undecided(state, _) | State::Sha256(state), HashAlgorithm::Sha256) => {
                State::Sha256(state)
            }
            (State::Undecided(_, state) | State::Sha384(state), HashAlgorithm::Sha384) => {
                State::Sha384(state)
            }
            (State::Sha256(_) | State::Sha384(_), _) => return Err(ChannelError::State),
        }))
    }

    /// Takes in a handshake message, or a piece of one, with its four-byte header.
    pub fn add(&mut self, message: &[u8]) {
        match &mut self.0 {
            State::Undecided(sha256, sha384) => {
                sha256.update(message);
                sha384.update(message);
            }
            State::Sha256(state) => state.update(message),
            State::Sha384(state) => state.update(message),
        }
    }

    /// `Transcript-Hash` of all messages taken in. Nothing depends on it before the hash is decided on; it is SHA-256 then.
    #[must_use]
    pub fn hash(&self) -> Digest {
        match &self.0 {
            State::Undecided(state, _) | State::Sha256(state) => Digest::of_sha256(&state.clone().finish()),
            State::Sha384(state) => Digest::of_sha384(state.clone().finish()),
        }
    }

    /// What a HelloRetryRequest does, after the first ClientHello and before itself: all that was said is replaced by a
    /// `message_hash` message, so that a server need not keep a state.
    #[must_use]
    pub fn retried(self) -> Self {
        Self(match self.0 {
            State::Undecided(sha256, sha384) => State::Undecided(replaced(sha256), replaced(sha384)),
            State::Sha256(state) => State::Sha256(replaced(state)),
            State::Sha384(state) => State::Sha384(replaced(state)),
        })
    }
}

/// A state that begins with the `message_hash` of `state`.
fn replaced<H: Hash<LEN>, const LEN: usize>(state: H) -> H {
    const { assert!(LEN < 256, "it fits the last length byte") };
    let len = u8::try_from(LEN).unwrap_or(u8::MAX);
    let mut replaced = H::new();
    replaced.update(&[MESSAGE_HASH, 0, 0, len]);
    replaced.update(&state.finish());
    replaced
}
