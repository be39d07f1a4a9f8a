//! Certificates are replaced over connections that stand; and what must not be taken for a successor.

use std::vec::Vec;

use super::actions::{SECOND, started};
use super::strangers::Raw;
use super::world::{Dice, World, address};
use crate::cert::{self, Request};
use crate::channel::Role;
use crate::crypto::rustcrypto::{RustCrypto, Sha256, SigningKey};
use crate::crypto::{Hash as _, Provider, SIGNATURE_LEN_MAX, SigningKey as _};
use crate::endpoint::{
    CloseReason, ConnectionEvent, Event, SUCCESSION, SUCCESSOR_EXPORTER, SUCCESSOR_LEN_MAX, successor_proof,
};
use crate::message::codec::{CertificateAnswer, Message, Retired, Successor};
use crate::message::{InstanceId, Signature};
use crate::secret::Secret;
use crate::session::{Reason, SessionError};
use crate::time::{Duration, UnixSeconds};
use crate::wire::Reader;

/// The calendar of the world.
const NOW: i64 = 1_700_000_000;

fn key(n: u8) -> SigningKey {
    let mut scalar = [9; 32];
    scalar[31] = n;
    SigningKey::from_scalar(&Secret::new(scalar)).unwrap()
}

fn certificate(key: &SigningKey, from: i64, to: i64) -> Vec<u8> {
    let request = Request {
        subject: "HOST_0 mirroring identity 2",
        not_before: UnixSeconds(from),
        not_after: UnixSeconds(to),
    };
    let mut der = [0; cert::CERTIFICATE_LEN_MAX];
    let len = cert::issue::<RustCrypto>(&request, key, &mut Dice(3), &mut der).unwrap();
    der[..len].to_vec()
}

fn good(n: u8) -> Vec<u8> {
    certificate(&key(n), NOW - 300, NOW + 1_000_000)
}

/// Node `at` has a successor, number 2, and tells of it under `notice`.
fn with_successor(world: &mut World, at: usize, notice: u64) -> Vec<u8> {
    let der = good(42);
    world.nodes[at].book.others.push((2, key(42), der.clone()));
    world.nodes[at].book.notices.push((notice, Ok(2)));
    der
}

/// A session that has come to rest on one connection.
fn settled(reversed: bool) -> World {
    let mut world = started(reversed);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.nodes[0].endpoint.connections().count(), 1);
    world
}

fn answers(world: &World, at: usize) -> Vec<(u64, Option<SessionError>)> {
    world.nodes[at]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Connection {
                event: ConnectionEvent::CertificateAnswered { number, refusal },
                ..
            } => Some((*number, *refusal)),
            _ => None,
        })
        .collect()
}

fn refusals(world: &World, at: usize) -> Vec<SessionError> {
    world.nodes[at]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Connection {
                event: ConnectionEvent::CertificateRefused { refusal },
                ..
            } => Some(*refusal),
            _ => None,
        })
        .collect()
}

fn closed(world: &World, at: usize) -> usize {
    let is_end = |event: &&Event| {
        matches!(
            event,
            Event::Connection {
                event: ConnectionEvent::Closed { .. },
                ..
            }
        )
    };
    world.nodes[at].events.iter().filter(is_end).count()
}

#[test]
fn a_successor_crosses_and_is_answered_only_when_it_is_stored() {
    for (reversed, from) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let mut world = settled(reversed);
        let to = 1 - from;
        let before = (closed(&world, 0), closed(&world, 1));
        let der = with_successor(&mut world, from, 7);
        world.pass(SECOND);
        let told = world.nodes[to].book.told.borrow().clone();
        assert!(!told.is_empty(), "told");
        for told in &told {
            assert_eq!((told.number, &told.der), (7, &der));
            assert_eq!(told.login, 100 + from as u32);
            assert_eq!(told.certificate, 200 + from as u32);
            assert_eq!(told.instance, world.nodes[from].id);
        }
        assert_eq!(answers(&world, from), [], "it is not stored yet");
        for told in &told {
            world.with(to, |e, env| e.answer_certificate(env, told.connection, 7, Ok(())));
            world.with(to, |e, env| e.answer_certificate(env, told.connection, 7, Ok(())));
        }
        world.pass(SECOND);
        assert!(
            answers(&world, from).iter().all(|answer| *answer == (7, None)),
            "{:?}",
            answers(&world, from)
        );
        assert_eq!(answers(&world, from).len(), told.len(), "one answer each");
        assert_eq!(
            (closed(&world, 0), closed(&world, 1)),
            before,
            "nothing was closed"
        );
        world.commit(0, 3, 40);
        world.pass(SECOND);
        world.assert_level(0, 1);
    }
}

#[test]
fn what_is_not_answered_is_said_again_on_the_next_connection_and_not_before() {
    let mut world = settled(false);
    with_successor(&mut world, 0, 7);
    world.pass(SECOND);
    world.pass(SECOND);
    let count = |world: &World| world.nodes[1].book.told.borrow().len();
    let first = count(&world);
    assert_eq!(first, 1, "once on the one connection");
    world.cut();
    world.pass(SECOND);
    world.pass(SECOND);
    assert!(count(&world) > first);
    // It is answered there: the directory has nothing more to tell.
    world.nodes[0].book.notices.clear();
    let told = count(&world);
    world.cut();
    world.pass(SECOND);
    assert_eq!(count(&world), told);
}

#[test]
fn notices_come_one_after_the_other() {
    let mut world = settled(false);
    let der = with_successor(&mut world, 0, 7);
    world.nodes[0].book.notices.push((8, Err([5; 32])));
    world.pass(SECOND);
    let told = world.nodes[1].book.told.borrow().clone();
    assert!(told.iter().all(|told| told.der == der), "the second waits");
    let connection = told[0].connection;
    world.with(1, |e, env| e.answer_certificate(env, connection, 7, Ok(())));
    world.pass(SECOND);
    let told = world.nodes[1].book.told.borrow().clone();
    let second = told.iter().find(|told| told.number == 8).unwrap();
    assert_eq!(second.der, [5; 32]);
    let refusal = SessionError::new(15232, Reason::SuccessorPending);
    world.with(1, |e, env| {
        e.answer_certificate(env, second.connection, 8, Err(refusal));
    });
    world.pass(SECOND);
    assert_eq!(answers(&world, 0), [(7, None), (8, Some(refusal))]);
}

#[test]
fn a_directory_that_takes_none_says_so_at_once() {
    let mut world = settled(false);
    let refusal = SessionError::new(15232, Reason::CertificateOfAnother);
    world.nodes[1].book.refuses = Some(refusal);
    with_successor(&mut world, 0, 7);
    world.pass(SECOND);
    assert_eq!(answers(&world, 0)[0], (7, Some(refusal)));
    assert_eq!(refusals(&world, 1), [], "the directory knows itself");
}

#[test]
fn a_handshake_stays_with_the_certificate_that_it_began_with() {
    let mut world = World::new(2, false);
    let der = good(42);
    world.nodes[0].book.others.push((2, key(42), der.clone()));
    let pin = (der, key(42).public_point(), 100, 250, true);
    world.nodes[1].book.pins.push(pin);
    for (chosen, shown) in [(0, 200), (2, 250)] {
        let id = world
            .with(0, |e, env| e.test_connection(env, address(1), SECOND))
            .unwrap();
        // It has been dialed, and nothing has been said.
        assert_eq!(
            world.nodes[0].endpoint.connection(id).unwrap().own_certificate,
            chosen
        );
        world.nodes[0].book.chosen = 2;
        world.run();
        let view = world.nodes[1].endpoint.connections().next().unwrap();
        assert_eq!(view.certificate, Some(shown));
        let own = world.nodes[0].endpoint.connection(id).unwrap();
        assert_eq!(own.own_certificate, chosen);
        assert!(own.instance.is_some(), "online");
        world.pass(SECOND);
        world.pass(SECOND);
        assert_eq!(world.nodes[0].endpoint.connections().count(), 0);
    }
}

#[test]
fn a_connection_lives_on_when_its_certificate_is_replaced_and_dropped() {
    let mut world = settled(false);
    let before = (closed(&world, 0), closed(&world, 1));
    let key2 = key(42);
    let der = good(42);
    world.nodes[1]
        .book
        .pins
        .push((der.clone(), key2.public_point(), 100, 250, true));
    world.nodes[0].book.key = key2;
    world.nodes[0].book.certificate = der;
    for value in 10..20 {
        world.commit(0, value, 60);
        world.pass(SECOND);
    }
    world.assert_level(0, 1);
    assert_eq!((closed(&world, 0), closed(&world, 1)), before);
    // The next handshake is made with the new one.
    world.cut();
    world.pass(SECOND);
    world.pass(SECOND);
    world.assert_level(0, 1);
    let shown: Vec<_> = world.nodes[1]
        .endpoint
        .connections()
        .map(|c| c.certificate)
        .collect();
    assert!(shown.contains(&Some(250)), "{shown:?}");
}

// ---- attacks: node 2's certificate, spoken for by hand ----

struct Attack {
    world: World,
    raw: Raw,
}

const CLAIMED: InstanceId = InstanceId([3; 16]);

fn attack() -> Attack {
    let mut world = World::new(3, false);
    let raw = connect(&mut world);
    Attack { world, raw }
}

fn connect(world: &mut World) -> Raw {
    let mut raw = Raw::dial(world, 0);
    raw.hello_that_can(world, CLAIMED, SUCCESSION);
    raw
}

impl Attack {
    /// A signature over the proof that `change` may spoil, by key `by`.
    fn sign(&self, number: u64, der: &[u8], by: u8, role: Role, from: InstanceId) -> Signature {
        let mut exporter = [0; 32];
        self.raw
            .channel
            .export(SUCCESSOR_EXPORTER, &[], &mut exporter)
            .unwrap();
        let to = self.world.nodes[0].id;
        let proof =
            successor_proof::<<RustCrypto as Provider>::Sha256>(role, &exporter, from, to, number, der);
        let mut out = [0; SIGNATURE_LEN_MAX];
        let len = key(by).sign(&proof, &mut Dice(5), &mut out).unwrap();
        Signature::new(&out[..len]).unwrap()
    }

    fn offer(&mut self, number: u64, signature: Signature, certificate: &[u8]) {
        let message = Successor {
            number,
            signature,
            certificate,
        };
        self.raw.say(&mut self.world, &message.into());
    }

    fn stored(&self) -> usize {
        self.world.nodes[0].book.told.borrow().len()
    }

    /// The answers heard so far.
    fn answers(&self) -> Vec<(u64, u32, Reason)> {
        let mut out = Vec::new();
        for record in &self.raw.heard {
            let mut from = Reader::new(record);
            while !from.is_empty() {
                if let Ok(Some(Message::CertificateAnswer(answer))) = Message::decode(&mut from) {
                    out.push((answer.number, answer.message, Reason::from_code(answer.reason)));
                }
            }
        }
        out
    }
}

#[test]
fn the_right_proof_is_taken() {
    let mut a = attack();
    let der = good(42);
    let signature = a.sign(1, &der, 42, Role::Client, CLAIMED);
    a.offer(1, signature, &der);
    assert_eq!(a.stored(), 1);
    let told = a.world.nodes[0].book.told.borrow()[0].clone();
    assert_eq!((told.login, told.certificate, told.instance), (102, 202, CLAIMED));
    a.world
        .with(0, |e, env| e.answer_certificate(env, told.connection, 1, Ok(())));
    a.raw.pump(&mut a.world);
    assert_eq!(a.answers(), [(1, 0, Reason::Unknown)]);
}

#[test]
fn a_successor_without_its_own_keys_signature_is_refused() {
    let mut a = attack();
    let der = good(42);
    let other_role = a.sign(1, &der, 42, Role::Server, CLAIMED);
    let other_key = a.sign(1, &der, 43, Role::Client, CLAIMED);
    let other_instance = a.sign(1, &der, 42, Role::Client, InstanceId([1; 16]));
    let other_number = a.sign(2, &der, 42, Role::Client, CLAIMED);
    let other_certificate = a.sign(1, &good(44), 42, Role::Client, CLAIMED);
    let noise = Signature::new(&[0x30; 70]).unwrap();
    for signature in [
        other_role,
        other_key,
        other_instance,
        other_number,
        other_certificate,
        noise,
    ] {
        a.offer(1, signature, &der);
    }
    assert_eq!(a.stored(), 0);
    assert_eq!(a.answers(), [(1, 28038, Reason::BadProof); 6]);
    assert_eq!(refusals(&a.world, 0).len(), 6, "each is told");
    assert!(a.raw.stands(&a.world), "the connection is not to blame");
}

#[test]
fn a_proof_from_another_connection_is_refused() {
    let mut a = attack();
    let der = good(42);
    let signature = a.sign(1, &der, 42, Role::Client, CLAIMED);
    a.raw = connect(&mut a.world);
    a.offer(1, signature, &der);
    assert_eq!(a.stored(), 0);
    assert_eq!(a.answers(), [(1, 28038, Reason::BadProof)]);
}

#[test]
fn a_proof_that_is_sent_back_is_refused() {
    let mut a = attack();
    let der = with_successor(&mut a.world, 0, 9);
    a.raw.pump(&mut a.world);
    let mut offers = Vec::new();
    for record in &a.raw.heard {
        let mut from = Reader::new(record);
        while !from.is_empty() {
            if let Ok(Some(Message::Successor(offer))) = Message::decode(&mut from) {
                assert_eq!(offer.certificate, der);
                offers.push((offer.number, offer.signature));
            }
        }
    }
    assert_eq!(offers.len(), 1);
    let (number, signature) = offers[0];
    a.offer(number, signature, &der);
    assert_eq!(a.stored(), 0);
    assert_eq!(a.answers(), [(9, 28038, Reason::BadProof)]);
}

#[test]
fn what_is_no_usable_certificate_is_refused() {
    let mut a = attack();
    let expired = certificate(&key(42), NOW - 1_000, NOW - 1);
    let early = certificate(&key(42), NOW + 1, NOW + 1_000);
    let mut long = good(42);
    long.resize(SUCCESSOR_LEN_MAX + 1, 0);
    let mut trailing = good(42);
    trailing.push(0);
    for der in [expired, early, long, trailing, Vec::new(), std::vec![0x30; 300]] {
        let signature = a.sign(1, &der, 42, Role::Client, CLAIMED);
        a.offer(1, signature, &der);
    }
    assert_eq!(a.stored(), 0);
    assert_eq!(a.answers(), [(1, 28035, Reason::BadCertificate); 6]);
}

#[test]
fn without_a_clock_only_the_end_of_a_successor_is_judged() {
    let mut a = attack();
    for node in &mut a.world.nodes {
        node.book.has_clock = false;
    }
    let expired = certificate(&key(42), NOW - 1_000, NOW - 1);
    let early = certificate(&key(43), NOW + 1, NOW + 1_000);
    for (number, by, der) in [(1, 42, expired), (2, 43, early)] {
        let signature = a.sign(number, &der, by, Role::Client, CLAIMED);
        a.offer(number, signature, &der);
    }
    assert_eq!(a.stored(), 1);
    assert_eq!(a.answers(), [(1, 28035, Reason::BadCertificate)]);
}

#[test]
fn one_at_a_time_on_a_connection() {
    let mut a = attack();
    for (number, by) in [(1, 42), (2, 43), (3, 44)] {
        let der = good(by);
        let signature = a.sign(number, &der, by, Role::Client, CLAIMED);
        a.offer(number, signature, &der);
    }
    let retired = Retired {
        number: 4,
        digest: [1; 32],
    };
    a.raw.say(&mut a.world, &retired.into());
    assert_eq!(a.stored(), 1, "the first is being stored");
    assert_eq!(
        a.answers(),
        [
            (2, 1404, Reason::Busy),
            (3, 1404, Reason::Busy),
            (4, 1404, Reason::Busy)
        ]
    );
}

#[test]
fn refused_offers_end_the_connection_after_a_while() {
    let mut a = attack();
    let noise = Signature::new(&[0x30; 70]).unwrap();
    for _ in 0..300 {
        if a.raw.stands(&a.world) {
            a.offer(1, noise, &[]);
        }
    }
    assert!(!a.raw.stands(&a.world));
    assert!(a.answers().len() <= 257);
}

#[test]
fn an_answer_to_nothing_ends_the_connection() {
    let mut a = attack();
    let answer = CertificateAnswer {
        number: 1,
        message: 0,
        reason: 0,
    };
    a.raw.say(&mut a.world, &answer.into());
    assert!(!a.raw.stands(&a.world));
    let bad = a.world.nodes[0].events.iter().any(|event| {
        matches!(
            event,
            Event::Connection {
                event: ConnectionEvent::Closed {
                    reason: CloseReason::BadMessage { kind: 0x0008 },
                    ..
                },
                ..
            }
        )
    });
    assert!(bad);
    assert_eq!(answers(&a.world, 0), []);
}

#[test]
fn who_does_not_know_of_it_is_not_told() {
    let mut world = World::new(3, false);
    with_successor(&mut world, 0, 9);
    let mut raw = Raw::dial(&mut world, 0);
    raw.hello(&mut world, CLAIMED);
    raw.pump(&mut world);
    for record in &raw.heard {
        let mut from = Reader::new(record);
        while !from.is_empty() {
            assert!(!matches!(
                Message::decode(&mut from),
                Ok(Some(Message::Successor(_)))
            ));
        }
    }
}

/// A machine of other hands must come to the same bytes.
#[test]
fn frozen_proof() {
    let proof = successor_proof::<Sha256>(
        Role::Server,
        &[0xe1; 32],
        InstanceId([0xaa; 16]),
        InstanceId([0xbb; 16]),
        0x0102_0304_0506_0708,
        b"certificate",
    );
    let mut expected = b"dbmirror dbm/1 successor v1\0\x01".to_vec();
    expected.extend([0xe1; 32]);
    expected.extend([0xaa; 16]);
    expected.extend([0xbb; 16]);
    expected.extend([8, 7, 6, 5, 4, 3, 2, 1]);
    expected.extend(Sha256::digest(b"certificate"));
    assert_eq!(proof.as_slice(), expected);
}
