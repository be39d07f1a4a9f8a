//! Messages and proofs of `dbm-pair/1` (`docs/pairing.md`). The samples were computed from that page by other software, not by
//! this code.
//!
//! If `frozen_*` fails, do not change the samples: an instance of the version before could no longer pair. A new form gets a new
//! version, and new samples beside these.

use dbmirror_core::crypto::Hash as _;
use dbmirror_core::crypto::rustcrypto::Sha256;
use dbmirror_core::message::{InstanceId, Text};
use dbmirror_core::pairing::message::Message;
use dbmirror_core::pairing::{Code, Exchange, Heard, Method, Own, PairingKey, Side};
use dbmirror_core::secret::Secret;
use dbmirror_core::wire::{Reader, Writer};

const SAMPLES: &str = include_str!("pairing-v1.txt");
const A: &[u8] = b"the certificate of A";
const B: &[u8] = b"the certificate of B";

fn sample(name: &str) -> Vec<u8> {
    let found = SAMPLES
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    hex::decode(found.expect("a sample of that name")).expect("hexadecimal")
}

fn own(certificate: &'static [u8]) -> Own<'static> {
    let first = certificate == A;
    Own {
        certificate,
        instance: InstanceId([if first { 0xaa } else { 0xbb }; 16]),
        name: Text::new(if first { "HOST_A" } else { "HOST_B" }).expect("a short name"),
    }
}

fn key(method: Method) -> PairingKey {
    let mut code = [0; 16];
    for (byte, n) in code.iter_mut().zip(0..) {
        *byte = n;
    }
    match method {
        Method::Code => PairingKey::from_code::<Sha256>(&Code::from_bytes(Secret::new(code))),
        Method::Fingerprint => {
            PairingKey::from_fingerprints::<Sha256>(&Sha256::digest(B), &Sha256::digest(A))
        }
    }
}

fn say(exchange: &mut Exchange, own: &Own<'_>, key: &PairingKey) -> Vec<u8> {
    let mut out = [0; 4_096];
    let mut to = Writer::new(&mut out);
    exchange.say::<Sha256>(own, Some(key), &mut to).expect("room");
    to.written().to_vec()
}

fn hear(exchange: &mut Exchange, own: &Own<'_>, key: &PairingKey, bytes: &[u8]) {
    let message = Message::decode(&mut Reader::new(bytes)).expect("a message");
    let heard = exchange.hear::<Sha256>(own, key, &message).expect("it fits");
    if matches!(heard, Heard::Proved(_) | Heard::Stored) {
        exchange.allow();
    }
}

#[test]
fn frozen_exchange_by_code() {
    let key = key(Method::Code);
    let (a, b) = (own(A), own(B));
    let mut initiator = Exchange::new(Side::Initiator, Method::Code, [7; 32], Sha256::digest(B));
    let mut responder = Exchange::new(Side::Responder, Method::Code, [7; 32], Sha256::digest(A));
    let hello = say(&mut initiator, &a, &key);
    assert_eq!(hello, sample("hello"));
    let answer = say(&mut responder, &b, &key);
    hear(&mut initiator, &a, &key, &answer);
    hear(&mut responder, &b, &key, &hello);
    assert_eq!(say(&mut initiator, &a, &key), sample("proof of the initiator"));
    hear(&mut responder, &b, &key, &sample("proof of the initiator"));
    assert_eq!(say(&mut responder, &b, &key), sample("proof of the responder"));
    hear(&mut initiator, &a, &key, &sample("proof of the responder"));
    assert_eq!(say(&mut initiator, &a, &key), sample("stored"));
    hear(&mut responder, &b, &key, &sample("stored"));
    assert_eq!(say(&mut responder, &b, &key), sample("stored"));
}

#[test]
fn frozen_proof_by_fingerprint() {
    let key = key(Method::Fingerprint);
    let a = own(A);
    let mut initiator = Exchange::new(Side::Initiator, Method::Fingerprint, [7; 32], Sha256::digest(B));
    assert_eq!(say(&mut initiator, &a, &key), sample("hello by fingerprint"));
    let mut responder = Exchange::new(Side::Responder, Method::Fingerprint, [7; 32], Sha256::digest(A));
    let answer = say(&mut responder, &own(B), &key);
    hear(&mut initiator, &a, &key, &answer);
    assert_eq!(say(&mut initiator, &a, &key), sample("proof by fingerprint"));
}

/// Round trip; every prefix and every trailing byte refused; no flipped bit panics or decodes to the same.
#[test]
fn frozen_samples_obey_the_codecs_laws() {
    for line in SAMPLES.lines() {
        let (name, bytes) = line.split_once(": ").expect("a name and bytes");
        let bytes = hex::decode(bytes).expect("hexadecimal");
        let message = Message::decode(&mut Reader::new(&bytes)).expect(name);
        let mut out = [0; 4_096];
        let mut to = Writer::new(&mut out);
        message.encode(&mut to).expect("room");
        assert_eq!(to.written(), bytes, "{name}");
        for cut in 0..bytes.len() {
            assert!(
                Message::decode(&mut Reader::new(&bytes[..cut])).is_err(),
                "{name} cut at {cut}"
            );
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                let decoded = Message::decode(&mut Reader::new(&wrong));
                assert_ne!(decoded, Ok(message), "{name}: bit {bit} of byte {at}");
            }
        }
    }
    let bytes = sample("refused");
    let refused = Message::decode(&mut Reader::new(&bytes));
    assert_eq!(refused, Ok(Message::Refused { number: 50142 }));
}
