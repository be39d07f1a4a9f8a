//! Codes, proofs, and two sides that are told the truth or not.

use std::string::{String, ToString as _};
use std::vec::Vec;

use super::code::{CODE_TEXT_LEN, Code, CodeError};
use super::exchange::{Exchange, Heard, Own, Said, Side};
use super::message::{MESSAGE_LEN_MAX, Message, VERSION};
use super::proof::PairingKey;
use super::tries::{SOURCES_MAX, SPAN, TRIES_MAX, Tries};
use super::{Method, Refusal};
use crate::crypto::Hash as _;
use crate::crypto::rustcrypto::Sha256;
use crate::message::{InstanceId, Text};
use crate::secret::Secret;
use crate::time::{Duration, Instant};
use crate::wire::{Reader, Writer};

fn code(byte: u8) -> Code {
    Code::from_bytes(Secret::new([byte; 16]))
}

fn text(code: &Code) -> String {
    code.text::<Sha256>(&mut [0; CODE_TEXT_LEN]).to_string()
}

#[test]
fn a_code_is_read_as_it_was_shown() {
    for byte in [0, 1, 0x5a, 0xff] {
        let shown = text(&code(byte));
        assert_eq!(shown.len(), CODE_TEXT_LEN);
        let read = Code::parse::<Sha256>(&shown).unwrap();
        assert_eq!(read.expose(), &[byte; 16]);
        let sloppy = shown
            .to_lowercase()
            .replace('-', " ")
            .replace('0', "o")
            .replace('1', "l");
        assert_eq!(Code::parse::<Sha256>(&sloppy).unwrap().expose(), &[byte; 16]);
    }
    let mut counting = [0; 16];
    for (n, byte) in counting.iter_mut().enumerate() {
        *byte = n as u8;
    }
    let shown = text(&Code::from_bytes(Secret::new(counting)));
    assert_eq!(shown, FROZEN_CODE);
    assert_eq!(Code::parse::<Sha256>(&shown).unwrap().expose(), &counting);
}

/// The bytes 0 to 15. If this fails, codes of another version could no longer be read: do not change it.
const FROZEN_CODE: &str = "000G4-0R40M-30E20-9185G-R38E1-ZQMWZ";

#[test]
fn a_mistyped_code_is_found_out() {
    let shown = text(&code(0x5a));
    for at in 0..shown.len() {
        if shown.as_bytes()[at] == b'-' {
            continue;
        }
        let mut wrong = shown.clone().into_bytes();
        wrong[at] = if wrong[at] == b'7' { b'8' } else { b'7' };
        let wrong = String::from_utf8(wrong).unwrap();
        assert_eq!(
            Code::parse::<Sha256>(&wrong).err(),
            Some(CodeError::Check),
            "{wrong}"
        );
    }
    for (wrong, error) in [
        ("", CodeError::Length),
        (&shown[..34], CodeError::Length),
        ("U0000-00000-00000-00000-00000-00000", CodeError::Character),
        ("é0000-00000-00000-00000-00000-00000", CodeError::Character),
    ] {
        assert_eq!(Code::parse::<Sha256>(wrong).err(), Some(error), "{wrong}");
    }
    let long = [shown.as_str(), "0"].concat();
    assert_eq!(Code::parse::<Sha256>(&long).err(), Some(CodeError::Length));
    let longer = [shown.as_str(), shown.as_str()].concat();
    assert_eq!(Code::parse::<Sha256>(&longer).err(), Some(CodeError::Length));
}

/// One side with all that it was told.
struct Party {
    exchange: Exchange,
    key: PairingKey,
    certificate: Vec<u8>,
    instance: InstanceId,
}

const ALICE: &[u8] = b"the certificate of A";
const BOB: &[u8] = b"the certificate of B";
const MALLORY: &[u8] = b"the certificate of M";

impl Party {
    fn new(side: Side, own: &[u8], peer: &[u8], exporter: u8, code_byte: u8) -> Self {
        Self {
            exchange: Exchange::new(side, Method::Code, [exporter; 32], Sha256::digest(peer)),
            key: PairingKey::from_code::<Sha256>(&code(code_byte)),
            certificate: own.to_vec(),
            instance: InstanceId([own[own.len() - 1]; 16]),
        }
    }

    fn say(&mut self) -> (Said, Vec<u8>) {
        let own = Own {
            certificate: &self.certificate,
            instance: self.instance,
            name: Text::new("HOST").unwrap(),
        };
        let mut buf = std::vec![0; MESSAGE_LEN_MAX];
        let mut to = Writer::new(&mut buf);
        let said = self
            .exchange
            .say::<Sha256>(&own, Some(&self.key), &mut to)
            .unwrap();
        let len = to.len();
        buf.truncate(len);
        (said, buf)
    }

    /// What all messages of a record came to.
    fn hear(&mut self, record: &[u8]) -> Vec<Result<String, Refusal>> {
        let own = Own {
            certificate: &self.certificate,
            instance: self.instance,
            name: Text::new("HOST").unwrap(),
        };
        let mut from = Reader::new(record);
        let mut heard = Vec::new();
        while !from.is_empty() {
            let message = Message::decode(&mut from).unwrap();
            heard.push(
                self.exchange
                    .hear::<Sha256>(&own, &self.key, &message)
                    .map(|heard| match heard {
                        Heard::Nothing => String::new(),
                        Heard::Proved(certificate) => {
                            std::format!("proved {}", String::from_utf8_lossy(certificate))
                        }
                        Heard::Stored => "stored".into(),
                        Heard::Refused(refusal) => std::format!("refused {}", refusal.number()),
                    }),
            );
        }
        heard
    }
}

fn honest() -> (Party, Party) {
    (
        Party::new(Side::Initiator, ALICE, BOB, 7, 1),
        Party::new(Side::Responder, BOB, ALICE, 7, 1),
    )
}

fn greet(a: &mut Party, b: &mut Party) {
    let (_, hello_a) = a.say();
    let (_, hello_b) = b.say();
    assert_eq!(b.hear(&hello_a), [Ok(String::new())]);
    assert_eq!(a.hear(&hello_b), [Ok(String::new())]);
}

#[test]
fn two_that_hold_the_same_code_store_each_other_in_turn() {
    let (mut a, mut b) = honest();
    greet(&mut a, &mut b);
    assert_eq!(
        b.say(),
        (Said::Nothing, Vec::new()),
        "nothing is proved to a stranger"
    );
    let (_, proof_a) = a.say();
    assert_eq!(b.hear(&proof_a), [Ok("proved the certificate of A".into())]);
    assert_eq!(
        b.say(),
        (Said::Nothing, Vec::new()),
        "the catalog was not asked yet"
    );
    assert!(b.exchange.allow());
    let (_, proof_b) = b.say();
    assert_eq!(a.hear(&proof_b), [Ok("proved the certificate of B".into())]);
    assert_eq!(a.say(), (Said::Nothing, Vec::new()), "nothing is stored yet");
    assert!(a.exchange.allow());
    let (said, stored) = a.say();
    assert_eq!(said, Said::Messages);
    assert_eq!(b.hear(&stored), [Ok("stored".into())]);
    assert!(b.exchange.allow());
    let (said, stored) = b.say();
    assert_eq!(said, Said::Last);
    assert_eq!(a.hear(&stored), [Ok("stored".into())]);
    assert!(!a.exchange.allow(), "nothing more is asked");
    assert_eq!(a.exchange.peer().map(|(id, _)| id), Some(InstanceId([b'B'; 16])));
}

#[test]
fn another_code_proves_nothing_and_learns_nothing() {
    let (_, mut b) = honest();
    let mut a = Party::new(Side::Initiator, ALICE, BOB, 7, 2);
    greet(&mut a, &mut b);
    let (_, proof) = a.say();
    assert_eq!(b.hear(&proof), [Err(Refusal::WrongProof)]);
    let (said, refused) = b.say();
    assert_eq!(said, Said::Refused(Refusal::WrongProof));
    assert_eq!(
        refused,
        [4, 0, 0, 0, 4, 0, 0, 0, 0xde, 0xc3, 0, 0],
        "a number and nothing else"
    );
    assert_eq!(a.hear(&refused), [Ok("refused 50142".into())]);
    assert!(!b.exchange.allow());
    // It stays refused.
    assert_eq!(b.hear(&proof), [Err(Refusal::WrongProof)]);
}

/// M has a channel with each, with keys of its own, and passes on what it hears, word for word.
#[test]
fn a_man_in_the_middle_passes_nothing_on() {
    let mut a = Party::new(Side::Initiator, ALICE, MALLORY, 8, 1);
    let mut b = Party::new(Side::Responder, BOB, MALLORY, 9, 1);
    greet(&mut a, &mut b);
    let (_, proof) = a.say();
    // A's certificate is not the one that M's channel with B was made with.
    assert_eq!(b.hear(&proof), [Err(Refusal::WrongProof)]);

    // With its own certificate in the message instead: the MAC is over A's.
    let mut b = Party::new(Side::Responder, BOB, MALLORY, 9, 1);
    let (_, hello) = Party::new(Side::Initiator, ALICE, MALLORY, 8, 1).say();
    b.hear(&hello);
    let mut mended = proof[..8 + 32].to_vec();
    mended.extend_from_slice(MALLORY);
    mended[0] = (32 + MALLORY.len()) as u8;
    assert_eq!(b.hear(&mended), [Err(Refusal::WrongProof)]);

    // Even with one certificate on both channels, which it could only have with A's key, the exporters differ.
    let mut a = Party::new(Side::Initiator, ALICE, BOB, 8, 1);
    let mut b = Party::new(Side::Responder, BOB, ALICE, 9, 1);
    greet(&mut a, &mut b);
    let (_, proof) = a.say();
    assert_eq!(b.hear(&proof), [Err(Refusal::WrongProof)]);
}

#[test]
fn a_proof_is_worth_nothing_on_another_channel_or_from_the_other_side() {
    let (mut a, mut b) = honest();
    greet(&mut a, &mut b);
    let (_, proof_a) = a.say();
    b.hear(&proof_a);
    b.exchange.allow();
    let (_, proof_b) = b.say();
    // Replayed into a later channel between the same two.
    for record in [&proof_a, &proof_b] {
        let (mut a, mut b) = (
            Party::new(Side::Initiator, ALICE, BOB, 70, 1),
            Party::new(Side::Responder, BOB, ALICE, 70, 1),
        );
        greet(&mut a, &mut b);
        assert_eq!(b.hear(record), [Err(Refusal::WrongProof)]);
    }
    // Reflected: A's own proof, as if B had said it; here even B's certificate stands in it.
    let mut reflected = proof_a[..8 + 32].to_vec();
    reflected.extend_from_slice(BOB);
    assert_eq!(a.hear(&proof_a), [Err(Refusal::WrongProof)]);
    let (mut a, mut b) = honest();
    greet(&mut a, &mut b);
    a.say();
    assert_eq!(a.hear(&reflected), [Err(Refusal::WrongProof)]);
}

#[test]
fn what_comes_out_of_turn_ends_it() {
    let mut proof = [0; 64];
    let len = {
        let mut to = Writer::new(&mut proof);
        let message = Message::Proof {
            mac: [0; 32],
            certificate: ALICE,
        };
        message.encode(&mut to).unwrap();
        to.len()
    };
    let stored = [0, 0, 0, 0, 3, 0, 0, 0];
    // Before HELLO.
    for record in [&proof[..len], &stored[..]] {
        let (_, mut b) = honest();
        assert_eq!(b.hear(record), [Err(Refusal::BadMessage)]);
    }
    // STORED before anything is proved; HELLO twice; a proof before the initiator gave its own.
    let (mut a, mut b) = honest();
    greet(&mut a, &mut b);
    assert_eq!(b.hear(&stored), [Err(Refusal::BadMessage)]);
    assert_eq!(a.hear(&proof[..len]), [Err(Refusal::BadMessage)]);
    let (mut a, mut b) = honest();
    let (_, hello) = a.say();
    b.hear(&hello);
    assert_eq!(b.hear(&hello), [Err(Refusal::BadMessage)]);
    // A proof twice, STORED twice.
    let (mut a, mut b) = honest();
    greet(&mut a, &mut b);
    let (_, proof) = a.say();
    b.hear(&proof);
    assert_eq!(b.hear(&proof), [Err(Refusal::BadMessage)]);
}

#[test]
fn hellos_that_do_not_fit() {
    for (hello, refusal) in [
        ((2, 3, 1, [1; 16], "X"), Refusal::NoCommonVersion),
        ((0, 0, 1, [1; 16], "X"), Refusal::NoCommonVersion),
        ((1, 9, 2, [1; 16], "X"), Refusal::OtherMethod),
        ((1, 1, 1, [b'B'; 16], "X"), Refusal::OwnInstance),
        ((1, 1, 1, [0; 16], "X"), Refusal::BadMessage),
        ((1, 1, 1, [1; 16], ""), Refusal::BadMessage),
    ] {
        let (version_min, version_max, method, instance, name) = hello;
        let message = Message::Hello {
            version_min,
            version_max,
            method,
            instance: InstanceId(instance),
            name: Text::new(name).unwrap(),
        };
        let mut buf = [0; 64];
        let mut to = Writer::new(&mut buf);
        message.encode(&mut to).unwrap();
        let len = to.len();
        let (_, mut b) = honest();
        assert_eq!(b.hear(&buf[..len]), [Err(refusal)], "{hello:?}");
    }
    assert_eq!(VERSION, 1);
}

#[test]
fn five_tries_a_minute() {
    let mut tries = Tries::default();
    let start = Instant::from_micros(5);
    for n in 0..TRIES_MAX as u64 {
        assert!(tries.allow(7, start.after(Duration::from_secs(n))));
    }
    assert!(!tries.allow(7, start.after(Duration::from_secs(59))));
    // The first one is a minute old; the second is not.
    assert!(tries.allow(7, start.after(SPAN)));
    assert!(!tries.allow(7, start.after(SPAN)));
    assert!(tries.allow(7, start.after(Duration::from_secs(61))));
}

#[test]
fn who_guesses_keeps_nobody_else_out() {
    let mut tries = Tries::default();
    let start = Instant::from_micros(5);
    for _ in 0..100 {
        tries.allow(0, start);
    }
    assert!(!tries.allow(0, start));
    for source in 1..SOURCES_MAX as u64 {
        for _ in 0..TRIES_MAX {
            assert!(tries.allow(source, start));
        }
        assert!(!tries.allow(source, start));
    }
    // More places than are watched: nobody new for a minute, whoever he is.
    assert!(!tries.allow(99, start));
    assert!(tries.allow(99, start.after(SPAN)));
    assert!(tries.allow(0, start.after(SPAN)));
}

#[test]
fn every_refusal_survives_the_wire() {
    for refusal in [
        Refusal::NotOpen,
        Refusal::TooManyTries,
        Refusal::WrongProof,
        Refusal::OtherMethod,
        Refusal::AnotherPeer,
        Refusal::OwnInstance,
        Refusal::NoCommonVersion,
        Refusal::BadMessage,
        Refusal::Declined(15232),
    ] {
        assert_eq!(Refusal::from_number(refusal.number()), refusal);
    }
}

/// Any bytes: an answer, no panic, and nothing is believed.
#[test]
fn any_bytes_are_survived_and_prove_nothing() {
    let (mut a, mut b) = honest();
    greet(&mut a, &mut b);
    let (_, proof) = a.say();
    for at in 0..proof.len() {
        for flip in [1, 0x80] {
            let mut wrong = proof.clone();
            wrong[at] ^= flip;
            let (mut c, mut d) = honest();
            greet(&mut c, &mut d);
            let own = Own {
                certificate: BOB,
                instance: InstanceId([b'B'; 16]),
                name: Text::EMPTY,
            };
            let mut from = Reader::new(&wrong);
            while let Ok(message) = Message::decode(&mut from) {
                let heard = d.exchange.hear::<Sha256>(&own, &d.key, &message);
                assert!(!matches!(heard, Ok(Heard::Proved(_))), "bit {flip} of byte {at}");
                if from.is_empty() {
                    break;
                }
            }
        }
    }
    for cut in 0..proof.len() {
        assert!(Message::decode(&mut Reader::new(&proof[..cut])).is_err());
    }
}
