//! The running hash of all handshake messages (RFC 8446 §4.4.1).

use crate::crypto::{HASH_LEN, Hash};

/// The type that stands for the first ClientHello after a HelloRetryRequest.
const MESSAGE_HASH: u8 = 254;

/// The hash of the handshake so far.
pub struct Transcript<H: Hash> {
    state: H,
}

impl<H: Hash> Transcript<H> {
    /// Nothing said yet.
    #[must_use]
    pub fn new() -> Self {
        Self { state: H::new() }
    }

    /// Takes in a handshake message, or a piece of one, with its four-byte header.
    pub fn add(&mut self, message: &[u8]) {
        self.state.update(message);
    }

    /// `Transcript-Hash` of all messages taken in.
    #[must_use]
    pub fn hash(&self) -> [u8; HASH_LEN] {
        self.state.clone().finish()
    }

    /// What a HelloRetryRequest does, after the first ClientHello and before itself: all that was said is replaced by a
    /// `message_hash` message, so that a server need not keep a state.
    #[must_use]
    pub fn retried(self) -> Self {
        let mut state = H::new();
        // HASH_LEN is 32: it fits the last length byte.
        state.update(&[MESSAGE_HASH, 0, 0, 32]);
        state.update(&self.state.finish());
        Self { state }
    }
}

const _: () = assert!(HASH_LEN == 32, "written out in `retried`");

impl<H: Hash> Default for Transcript<H> {
    fn default() -> Self {
        Self::new()
    }
}
