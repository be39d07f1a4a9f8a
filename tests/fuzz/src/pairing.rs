//! A pairing with somebody who does not know the code: messages and codes of any bytes.

use dbmirror_core::crypto::Hash as _;
use dbmirror_core::crypto::rustcrypto::Sha256;
use dbmirror_core::message::{InstanceId, Text};
use dbmirror_core::pairing::code::CODE_TEXT_LEN;
use dbmirror_core::pairing::message::Message;
use dbmirror_core::pairing::{Code, Exchange, Heard, Method, Own, PairingKey, Said, Side};
use dbmirror_core::secret::Secret;
use dbmirror_core::wire::{Reader, Writer};

const PEER: &[u8] = b"the certificate of the peer";

/// Both sides hear any bytes: nothing is proved, nothing is stored, the last word is a refusal or none. What is a code reads
/// back as it is shown.
pub fn pairing(data: &[u8]) {
    for side in [Side::Responder, Side::Initiator] {
        hear(side, data);
    }
    if let Ok(text) = core::str::from_utf8(data)
        && let Ok(code) = Code::parse::<Sha256>(text)
    {
        let mut shown = [0; CODE_TEXT_LEN];
        let again = Code::parse::<Sha256>(code.text::<Sha256>(&mut shown)).expect("as it is shown");
        assert_eq!(again.expose(), code.expose());
    }
}

fn hear(side: Side, data: &[u8]) {
    let own = Own {
        certificate: b"an own certificate",
        instance: InstanceId([1; 16]),
        name: Text::new("HOST").expect("a short name"),
    };
    let key = PairingKey::from_code::<Sha256>(&Code::from_bytes(Secret::new([0x5a; 16])));
    let mut exchange = Exchange::new(side, Method::Code, [9; 32], Sha256::digest(PEER));
    let mut from = Reader::new(data);
    let mut out = [0; 4_096];
    while !from.is_empty() {
        let Ok(message) = Message::decode(&mut from) else {
            return;
        };
        match exchange.hear::<Sha256>(&own, &key, &message) {
            Ok(Heard::Proved(_) | Heard::Stored) => panic!("without the code nothing is proved"),
            Ok(Heard::Nothing | Heard::Refused(_)) | Err(_) => {}
        }
        assert!(!exchange.allow(), "nothing was asked");
        let said = exchange.say::<Sha256>(&own, Some(&key), &mut Writer::new(&mut out));
        assert!(!matches!(said, Ok(Said::Last)), "nothing was stored");
    }
}
