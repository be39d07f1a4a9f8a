//! Pairing between endpoints: the window, the tries, and who gets nothing.

use std::vec::Vec;

use super::world::{World, address};
use crate::cert::{CERTIFICATE_LEN_MAX, Request, issue};
use crate::channel::{Alert, ChannelError, PeerRefusal};
use crate::crypto::Hash as _;
use crate::crypto::rustcrypto::{RustCrypto, Sha256};
use crate::endpoint::{
    CloseReason, ConnectionEvent, ConnectionId, Event, PairingError, PairingEvent, PairingSecret,
};
use crate::pairing::{Code, Refusal};
use crate::secret::Secret;
use crate::time::{Duration, UnixSeconds};

/// Instances with real certificates that know nobody.
pub fn strangers(n: usize) -> World {
    let mut world = World::new(n, false);
    for node in &mut world.nodes {
        let mut der = [0; CERTIFICATE_LEN_MAX];
        let request = Request {
            subject: "HOST",
            not_before: UnixSeconds(1_600_000_000),
            not_after: UnixSeconds(1_800_000_000),
        };
        let len = issue::<RustCrypto>(&request, &node.book.key, &mut node.dice, &mut der).unwrap();
        node.book.certificate = der[..len].to_vec();
        node.book.pins.clear();
    }
    world
}

pub fn code(byte: u8) -> PairingSecret {
    PairingSecret::Code(Code::from_bytes(Secret::new([byte; 16])))
}

fn fingerprint(world: &World, node: usize) -> PairingSecret {
    PairingSecret::Fingerprint(Sha256::digest(&world.nodes[node].book.certificate))
}

pub fn open(world: &mut World, node: usize, secret: &PairingSecret) {
    world
        .with(node, |e, env| {
            e.open_pairing(env, secret, Duration::from_secs(600))
        })
        .unwrap();
}

/// Dials and runs until nothing moves without an answer.
pub fn dial(world: &mut World, from: usize, to: usize, secret: &PairingSecret) -> ConnectionId {
    let id = world
        .with(from, |e, env| e.pair(env, address(to), secret))
        .unwrap();
    world.run();
    id
}

/// What pairing told a node since the last look.
fn told(world: &mut World, node: usize) -> Vec<(ConnectionId, PairingEvent)> {
    let events = std::mem::take(&mut world.nodes[node].events);
    events
        .into_iter()
        .filter_map(|event| match event {
            Event::Pairing { connection, event } => Some((connection, event)),
            other => {
                world.nodes[node].events.push(other);
                None
            }
        })
        .collect()
}

/// How the last connection of a node ended.
fn ended(world: &World, node: usize) -> Option<CloseReason> {
    world.nodes[node]
        .events
        .iter()
        .rev()
        .find_map(|event| match event {
            Event::Connection {
                event: ConnectionEvent::Closed { reason, .. },
                ..
            } => Some(*reason),
            _ => None,
        })
}

/// Answers a question that must have come, and gives the certificate it was about.
fn answer(world: &mut World, node: usize, expected: PairingEvent, answer: Result<(), u32>) -> Vec<u8> {
    let asked = told(world, node);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].1, expected);
    let certificate = world.nodes[node]
        .endpoint
        .pairing_peer(asked[0].0)
        .unwrap()
        .certificate
        .to_vec();
    world.with(node, |e, env| e.answer_pairing(env, asked[0].0, answer));
    world.run();
    certificate
}

fn refused_here(refusal: Refusal) -> Option<CloseReason> {
    Some(CloseReason::Pairing {
        refusal,
        by_peer: false,
    })
}

fn refused_there(refusal: Refusal) -> Option<CloseReason> {
    Some(CloseReason::Pairing {
        refusal,
        by_peer: true,
    })
}

/// The whole of a pairing from node 0 to the window of node 1.
pub fn complete(world: &mut World) {
    let (a, b) = (
        world.nodes[0].book.certificate.clone(),
        world.nodes[1].book.certificate.clone(),
    );
    assert!(
        told(world, 0).is_empty(),
        "nothing is stored before the other is verified"
    );
    assert_eq!(answer(world, 1, PairingEvent::Check, Ok(())), a);
    assert!(told(world, 1).is_empty());
    assert_eq!(answer(world, 0, PairingEvent::Store, Ok(())), b);
    assert_eq!(answer(world, 1, PairingEvent::Store, Ok(())), a);
    for node in 0..2 {
        let done = told(world, node);
        assert!(matches!(done[..], [(_, PairingEvent::Done)]), "{node}: {done:?}");
        assert!(ended(world, node).unwrap().is_orderly());
        assert_eq!(world.nodes[node].endpoint.connections().count(), 0);
        let logged_in = world.nodes[node].events.iter().any(|event| {
            matches!(
                event,
                Event::Connection {
                    event: ConnectionEvent::LoggedIn { .. },
                    ..
                }
            )
        });
        assert!(!logged_in, "pairing gives nobody a login");
    }
}

#[test]
fn a_code_pairs_once() {
    let mut world = strangers(2);
    open(&mut world, 1, &code(1));
    dial(&mut world, 0, 1, &code(1));
    complete(&mut world);
    // The same code again, with the window gone: not even the protocol is spoken.
    dial(&mut world, 0, 1, &code(1));
    let alert = ChannelError::PeerAlert(Alert::NoApplicationProtocol);
    assert_eq!(ended(&world, 0), Some(CloseReason::Channel(alert)));
    assert!(told(&mut world, 1).is_empty());
}

/// A key outlives neither its window nor its attempt.
#[test]
fn keys_go_with_what_they_were_for() {
    let mut world = strangers(2);
    let empty = |world: &World, node: usize| world.nodes[node].endpoint.pairing.as_ref().unwrap().is_empty();
    open(&mut world, 1, &code(1));
    dial(&mut world, 0, 1, &code(2));
    assert_eq!(ended(&world, 0), refused_there(Refusal::WrongProof));
    assert!(empty(&world, 0) && !empty(&world, 1));
    dial(&mut world, 0, 1, &code(1));
    assert!(!empty(&world, 0));
    complete(&mut world);
    assert!(empty(&world, 0) && empty(&world, 1));
    open(&mut world, 1, &code(1));
    world.pass(Duration::from_secs(601));
    world.with(1, |e, env| e.handle_timeout(env));
    assert!(empty(&world, 1));
}

#[test]
fn fingerprints_pair_too_and_a_wrong_one_does_not() {
    let mut world = strangers(3);
    let (of_a, of_b, of_c) = (
        fingerprint(&world, 0),
        fingerprint(&world, 1),
        fingerprint(&world, 2),
    );
    open(&mut world, 1, &of_a);
    dial(&mut world, 0, 1, &of_b);
    complete(&mut world);
    // The window waits for C, and A comes.
    open(&mut world, 1, &of_c);
    dial(&mut world, 0, 1, &of_b);
    let unknown = ChannelError::PeerRefused(PeerRefusal::Unknown);
    assert_eq!(ended(&world, 1), Some(CloseReason::Channel(unknown)));
    // A looks for C, and B answers.
    dial(&mut world, 0, 1, &of_c);
    assert_eq!(ended(&world, 0), Some(CloseReason::Channel(unknown)));
    assert!(told(&mut world, 0).is_empty() && told(&mut world, 1).is_empty());
}

#[test]
fn a_code_on_one_side_and_a_fingerprint_on_the_other() {
    let mut world = strangers(2);
    let of_b = fingerprint(&world, 1);
    open(&mut world, 1, &code(1));
    dial(&mut world, 0, 1, &of_b);
    let either = [ended(&world, 0), ended(&world, 1)];
    assert!(either.contains(&refused_here(Refusal::OtherMethod)), "{either:?}");
    assert!(told(&mut world, 0).is_empty() && told(&mut world, 1).is_empty());
}

#[test]
fn without_a_window_the_protocol_is_not_spoken() {
    let mut world = strangers(2);
    let alert = Some(CloseReason::Channel(ChannelError::PeerAlert(
        Alert::NoApplicationProtocol,
    )));
    dial(&mut world, 0, 1, &code(1));
    assert_eq!(ended(&world, 0), alert);
    // Expired.
    open(&mut world, 1, &code(1));
    world.pass(Duration::from_secs(601));
    dial(&mut world, 0, 1, &code(1));
    assert_eq!(ended(&world, 0), alert);
    // Closed.
    open(&mut world, 1, &code(1));
    world.with(1, |e, env| e.close_pairing(env));
    dial(&mut world, 0, 1, &code(1));
    assert_eq!(ended(&world, 0), alert);
    assert!(told(&mut world, 1).is_empty());
}

#[test]
fn a_window_that_closes_in_the_middle_stores_nothing() {
    let mut world = strangers(2);
    open(&mut world, 1, &code(1));
    dial(&mut world, 0, 1, &code(1));
    assert!(matches!(told(&mut world, 1)[..], [(_, PairingEvent::Check)]));
    world.with(1, |e, env| e.close_pairing(env));
    world.run();
    assert_eq!(ended(&world, 1), refused_here(Refusal::NotOpen));
    assert_eq!(ended(&world, 0), refused_there(Refusal::NotOpen));
    assert!(told(&mut world, 0).is_empty());
}

#[test]
fn six_wrong_codes_and_the_right_one_after_a_minute() {
    let mut world = strangers(2);
    open(&mut world, 1, &code(1));
    for n in 0..6 {
        dial(&mut world, 0, 1, &code(2 + n));
        let refusal = if n < 5 {
            Refusal::WrongProof
        } else {
            Refusal::TooManyTries
        };
        assert_eq!(ended(&world, 0), refused_there(refusal), "try {n}");
        assert_eq!(ended(&world, 1), refused_here(refusal), "try {n}");
    }
    // Even the right one, within the minute.
    dial(&mut world, 0, 1, &code(1));
    assert_eq!(ended(&world, 0), refused_there(Refusal::TooManyTries));
    assert!(told(&mut world, 0).is_empty() && told(&mut world, 1).is_empty());
    world.pass(Duration::from_secs(61));
    dial(&mut world, 0, 1, &code(1));
    complete(&mut world);
}

#[test]
fn somebody_elses_wrong_codes_do_not_keep_the_right_one_out() {
    let mut world = strangers(3);
    open(&mut world, 1, &code(1));
    for n in 0..7 {
        dial(&mut world, 2, 1, &code(2 + n));
    }
    assert_eq!(ended(&world, 2), refused_there(Refusal::TooManyTries));
    dial(&mut world, 0, 1, &code(1));
    complete(&mut world);
}

#[test]
fn a_proved_code_belongs_to_who_proved_it() {
    let mut world = strangers(3);
    open(&mut world, 1, &code(1));
    dial(&mut world, 0, 1, &code(1));
    assert!(matches!(told(&mut world, 1)[..], [(_, PairingEvent::Check)]));
    dial(&mut world, 2, 1, &code(1));
    assert_eq!(ended(&world, 2), refused_there(Refusal::AnotherPeer));
    assert!(told(&mut world, 1).is_empty() && told(&mut world, 2).is_empty());
}

#[test]
fn a_catalog_that_declines_is_told_to_the_other_side() {
    for who in [1, 0] {
        let mut world = strangers(2);
        open(&mut world, 1, &code(1));
        dial(&mut world, 0, 1, &code(1));
        if who == 0 {
            answer(&mut world, 1, PairingEvent::Check, Ok(()));
            answer(&mut world, 0, PairingEvent::Store, Err(15232));
        } else {
            answer(&mut world, 1, PairingEvent::Check, Err(15232));
        }
        assert_eq!(ended(&world, who), refused_here(Refusal::Declined(15232)));
        assert_eq!(ended(&world, 1 - who), refused_there(Refusal::Declined(15232)));
        assert!(told(&mut world, 0).is_empty() && told(&mut world, 1).is_empty());
    }
}

/// The link breaks after the first side has stored: the window still stands, and the same two finish.
#[test]
fn what_broke_between_both_sides_is_run_again() {
    let mut world = strangers(2);
    open(&mut world, 1, &code(1));
    dial(&mut world, 0, 1, &code(1));
    answer(&mut world, 1, PairingEvent::Check, Ok(()));
    assert!(matches!(told(&mut world, 0)[..], [(_, PairingEvent::Store)]));
    world.cut();
    world.run();
    assert_eq!(world.nodes[0].endpoint.connections().count(), 0);
    dial(&mut world, 0, 1, &code(1));
    complete(&mut world);
}

#[test]
fn an_instance_does_not_pair_with_itself() {
    // Another certificate, the same instance id.
    let mut world = strangers(2);
    let mut other = World::new(2, true);
    assert_eq!(other.nodes[0].id, world.nodes[1].id);
    std::mem::swap(&mut other.nodes[0].endpoint, &mut world.nodes[0].endpoint);
    open(&mut world, 1, &code(1));
    dial(&mut world, 0, 1, &code(1));
    let either = [ended(&world, 0), ended(&world, 1)];
    assert!(either.contains(&refused_here(Refusal::OwnInstance)), "{either:?}");

    // The same certificate.
    let mut world = strangers(2);
    world.nodes[0].book.certificate = world.nodes[1].book.certificate.clone();
    let mut other = strangers(2);
    std::mem::swap(&mut world.nodes[0].book.key, &mut other.nodes[1].book.key);
    open(&mut world, 1, &code(1));
    dial(&mut world, 0, 1, &code(1));
    let own = ChannelError::PeerRefused(PeerRefusal::OwnCertificate);
    assert_eq!(ended(&world, 0), Some(CloseReason::Channel(own)));
}

#[test]
fn one_window_and_one_attempt_at_a_time() {
    let mut world = strangers(2);
    open(&mut world, 1, &code(1));
    let again = world.with(1, |e, env| e.open_pairing(env, &code(2), Duration::from_secs(9)));
    assert_eq!(again, Err(PairingError::Busy));
    dial(&mut world, 0, 1, &code(1));
    let again = world.with(0, |e, env| e.pair(env, address(1), &code(1)).map(drop));
    assert_eq!(again, Err(PairingError::Busy));
    world.nodes[0].book.has_identity = false;
    let without = world.with(0, |e, env| e.open_pairing(env, &code(2), Duration::from_secs(9)));
    assert_eq!(without, Err(PairingError::NotAvailable));
    // Who never answers is not waited for.
    world.nodes[0].book.has_identity = true;
    world.pass(Duration::from_secs(31));
    assert_eq!(world.nodes[0].endpoint.connections().count(), 0);
    assert_eq!(world.nodes[1].endpoint.connections().count(), 0);
}
