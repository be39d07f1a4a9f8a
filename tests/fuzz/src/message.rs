//! What stands in a record of `dbm/1`, and a session record as stored.

use dbmirror_core::message::codec::{HEADER_LEN, Message};
use dbmirror_core::session::{STORED_LEN_MAX, Stored};
use dbmirror_core::wire::{Reader, Writer};

/// Takes messages off the bytes until one is refused. There is one form of each message: what was decoded encodes to the bytes that
/// it came from.
pub fn message(data: &[u8]) {
    let mut from = Reader::new(data);
    let mut out = vec![0; data.len() + HEADER_LEN];
    while !from.is_empty() {
        let rest = from.peek();
        let before = from.remaining();
        match Message::decode(&mut from) {
            Ok(Some(message)) => {
                let taken = &rest[..before - from.remaining()];
                let mut to = Writer::new(&mut out);
                message.encode(&mut to).expect("room for as much as came");
                assert_eq!(to.written(), taken, "{message:?}");
            }
            Ok(None) => assert!(from.remaining() < before, "a skipped message moves on"),
            Err(_) => return,
        }
    }
}

/// A stored record is read whole, or not at all; there is one form of each in its version.
pub fn session(data: &[u8]) {
    if let Ok(stored) = Stored::decode(data) {
        let mut out = [0; STORED_LEN_MAX];
        let len = stored.encode(&mut out).expect("room for any record");
        if data[4..6] == 1_u16.to_le_bytes() {
            // Read for ever, and written in today's form.
            assert_eq!(Stored::decode(&out[..len]), Ok(stored));
        } else {
            assert_eq!(&out[..len], data);
        }
    }
}
