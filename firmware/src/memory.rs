//! Every buffer of the appliance, in one value: a board places it in its RAM, and its size is known at compile time.
//!
//! Places for connections follow `docs/appliance.md`: [`STRANGERS`] for who has not proved anything yet, and [`OF_A_PEER`] for each
//! login that may come, which nobody else can take.

use dbmirror_adapters::device::Slot;
use dbmirror_core::channel::RecordSizeLimit;
use dbmirror_core::endpoint::{ConnectionSlot, Event, SEND_LEN_MIN};
use dbmirror_core::witness::WitnessSlot;
use heapless::Vec;
use smoltcp::iface::SocketStorage;

use crate::Crypto;

/// Logins for which places are reserved.
pub const LOGINS: usize = 2;
/// Connections of one login: the one in use, and the one that follows it.
pub const OF_A_PEER: usize = 2;
/// Connections that are not authenticated.
pub const STRANGERS: usize = 2;
/// All connections. One more, so that a newcomer finds a place while an older stranger is sent away.
pub const CONNECTIONS: usize = LOGINS * OF_A_PEER + STRANGERS + 1;
/// Sessions that the device can be the witness of.
pub const SESSIONS: usize = 16;
/// Bytes of a socket's receive buffer. Small enough that all of them together do not fill a network card.
pub const SOCKET_RECEIVE_LEN: usize = 2048;
/// Bytes of its send buffer: the longest that a witness says is an answer of some hundred bytes, and the channel cuts its own messages.
pub const SOCKET_SEND_LEN: usize = 1024;
/// The longest record that the device takes: a whole control message fits, and so does the first message of a client that offers
/// more than this device knows.
pub const RECORD_LIMIT: u16 = 2_049;
/// A record of that length as received (`RecordSizeLimit::receive_len`, which a test compares).
pub const RECEIVE_LEN: usize = RECORD_LIMIT as usize + 5 + 32;
/// What is sent, one record at a time.
pub const SEND_LEN: usize = SEND_LEN_MIN;
/// Events between two turns of the loop.
pub const EVENTS: usize = 16;

/// The limit as the channel takes it.
#[must_use]
pub fn record_size_limit() -> RecordSizeLimit {
    RecordSizeLimit::new(RECORD_LIMIT).unwrap_or_default()
}

/// Every buffer of the appliance.
pub struct Memory<'m> {
    pub(crate) connections: Vec<ConnectionSlot<Crypto>, CONNECTIONS>,
    pub(crate) witnessed: Vec<WitnessSlot, SESSIONS>,
    pub(crate) events: Vec<Option<Event>, EVENTS>,
    pub(crate) slots: Vec<Slot<'m>, CONNECTIONS>,
    pub(crate) sockets: Vec<SocketStorage<'m>, CONNECTIONS>,
    pub(crate) receive: [[u8; RECEIVE_LEN]; CONNECTIONS],
    pub(crate) receive_rings: [[u8; SOCKET_RECEIVE_LEN]; CONNECTIONS],
    pub(crate) send_rings: [[u8; SOCKET_SEND_LEN]; CONNECTIONS],
    pub(crate) send: [u8; SEND_LEN],
}

impl Memory<'_> {
    /// Nothing in it yet, and nothing but zeros: it takes no room in flash.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            connections: Vec::new(),
            witnessed: Vec::new(),
            events: Vec::new(),
            slots: Vec::new(),
            sockets: Vec::new(),
            receive: [[0; RECEIVE_LEN]; CONNECTIONS],
            receive_rings: [[0; SOCKET_RECEIVE_LEN]; CONNECTIONS],
            send_rings: [[0; SOCKET_SEND_LEN]; CONNECTIONS],
            send: [0; SEND_LEN],
        }
    }
}

impl Default for Memory<'_> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_limit_has_room() {
        assert_eq!(record_size_limit().get(), RECORD_LIMIT);
        assert!(RECEIVE_LEN >= record_size_limit().receive_len());
    }
}
