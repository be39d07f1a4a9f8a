//! Stage A: connections without sessions.

use std::vec::Vec;

use super::world::{World, address};
use crate::channel::{ChannelError, PeerRefusal};
use crate::endpoint::{
    CloseReason, ConnectionEvent, ConnectionState, DialError, Event, LoginState, Source, Step,
};
use crate::time::Duration;

fn closes(world: &World, at: usize) -> Vec<(Step, CloseReason)> {
    world.nodes[at]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Connection {
                event: ConnectionEvent::Closed { step, reason },
                ..
            } => Some((*step, *reason)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_held_test_is_online_on_both_sides_and_ends_in_order() {
    let mut world = World::new(2, false);
    world
        .with(0, |e, env| {
            e.test_connection(env, address(1), Duration::from_secs(30))
        })
        .unwrap();
    world.run();
    for at in 0..2 {
        let views: Vec<_> = world.nodes[at].endpoint.connections().collect();
        assert_eq!(views.len(), 1);
        assert_eq!(views[0].state, ConnectionState::LoggedIn);
        assert_eq!(views[0].login_state, LoginState::Online);
        assert_eq!(views[0].accepted, at == 1);
        assert_eq!(views[0].login, Some(101 - at as u32));
        assert_eq!(views[0].instance, Some(world.nodes[1 - at].id));
        assert!(views[0].bytes_sent > 0 && views[0].messages_received >= 1);
    }
    world.pass(Duration::from_secs(25));
    assert_eq!(world.nodes[1].endpoint.connections().count(), 1, "pings keep it");
    world.pass(Duration::from_secs(6));
    assert_eq!(world.nodes[0].endpoint.connections().count(), 0);
    assert_eq!(world.nodes[1].endpoint.connections().count(), 0);
    assert_eq!(closes(&world, 0), [(Step::Online, CloseReason::Done)]);
    assert_eq!(closes(&world, 1), [(Step::Online, CloseReason::PeerClosed)]);
}

#[test]
fn a_login_without_connect_is_refused_with_its_ids() {
    let mut world = World::new(2, false);
    world.nodes[1].book.pins[0].4 = false;
    world
        .with(0, |e, env| e.test_connection(env, address(1), Duration::ZERO))
        .unwrap();
    world.run();
    let refused = CloseReason::Channel(ChannelError::PeerRefused(PeerRefusal::NoConnect {
        login_id: 100,
        certificate_id: 200,
    }));
    assert_eq!(closes(&world, 1), [(Step::Login, refused)]);
    assert_eq!(refused.number(), 28034);
    assert_eq!(refused.refused_ids(), (Some(100), Some(200)));
    let (_, reason) = closes(&world, 0)[0];
    assert!(
        matches!(reason, CloseReason::Channel(ChannelError::PeerAlert(_))),
        "{reason:?}"
    );
    assert_eq!(reason.number(), 28047);
}

#[test]
fn an_unknown_certificate_is_refused() {
    let mut world = World::new(2, false);
    world.nodes[1].book.pins.clear();
    world
        .with(0, |e, env| e.test_connection(env, address(1), Duration::ZERO))
        .unwrap();
    world.run();
    let (step, reason) = closes(&world, 1)[0];
    assert_eq!(step, Step::Certificate);
    assert_eq!(reason.number(), 28035);
}

#[test]
fn without_identity_nobody_is_let_in() {
    let mut world = World::new(2, false);
    world.nodes[1].book.has_identity = false;
    world
        .with(0, |e, env| e.test_connection(env, address(1), Duration::ZERO))
        .unwrap();
    world.run();
    assert_eq!(closes(&world, 1)[0].1.number(), 28036);
    assert_eq!(closes(&world, 0)[0].1.number(), 28028);
}

#[test]
fn a_dial_that_fails_is_told() {
    let mut world = World::new(2, false);
    world.refused = true;
    world
        .with(0, |e, env| e.test_connection(env, address(1), Duration::ZERO))
        .unwrap();
    world.run();
    assert_eq!(
        closes(&world, 0),
        [(Step::Connect, CloseReason::Dial(DialError::Refused))]
    );
    assert_eq!(world.nodes[0].endpoint.connections().count(), 0);
}

#[test]
fn a_dial_to_oneself_is_refused() {
    let mut world = World::new(2, false);
    world
        .with(0, |e, env| e.test_connection(env, address(0), Duration::ZERO))
        .unwrap();
    world.run();
    assert!(
        closes(&world, 0).iter().any(|(_, reason)| *reason
            == CloseReason::Channel(ChannelError::PeerRefused(PeerRefusal::OwnCertificate)))
    );
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let mut world = World::new(2, false);
    let stranger = world.with(1, |e, env| e.accept(env, Source(7))).unwrap();
    world.run();
    let mut bytes = *b"GET / HTTP/1.1\r\n\r\n";
    let consumed = world.with(1, |e, env| e.handle_input(env, stranger, &mut bytes));
    assert_eq!(consumed.bytes, bytes.len());
    assert_eq!(closes(&world, 1).len(), 0, "told when polled");
    world.nodes[1].endpoint.set_room(stranger, 10_000);
    let node = &mut world.nodes[1];
    let mut sent = 0;
    let mut buf = std::vec![0; super::super::SEND_LEN];
    loop {
        let mut env = super::super::Env {
            now: world.now,
            unix: crate::time::UnixSeconds(0),
            entropy: &mut node.dice,
            directory: &node.book,
            storage: &mut node.disk,
        };
        match node.endpoint.poll_output(&mut env, &mut buf) {
            super::super::Output::Transmit { bytes, .. } => sent += bytes.len(),
            super::super::Output::Close { reason, .. } => assert_eq!(reason.number(), 28040),
            super::super::Output::Wait(_) => break,
            super::super::Output::Event(event) => node.events.push(event),
            _ => {}
        }
    }
    assert!(sent > 0, "an alert");
    assert_eq!(node.endpoint.connections().count(), 0);
    world
        .with(0, |e, env| {
            e.test_connection(env, address(1), Duration::from_secs(1))
        })
        .unwrap();
    world.run();
    assert_eq!(world.nodes[1].endpoint.connections().count(), 1);
}

#[test]
fn a_flood_from_one_host_leaves_the_others_their_places() {
    let mut world = World::new(2, false);
    let partner = world.with(1, |e, env| e.accept(env, Source(1))).unwrap();
    world.pass(Duration::from_millis(1));
    for _ in 0..40 {
        let _ = world.with(1, |e, env| e.accept(env, Source(7)));
        world.poll(1);
    }
    assert!(
        world.nodes[1]
            .endpoint
            .connections()
            .any(|view| view.connection == partner),
        "the oldest of all, but not of the host that floods"
    );
    let evicted = closes(&world, 1);
    assert!(evicted.len() > 10);
    assert!(
        evicted
            .iter()
            .all(|close| *close == (Step::Tls, CloseReason::Evicted))
    );
}

#[test]
fn a_stranger_that_stalls_is_closed_and_the_oldest_makes_room() {
    let mut world = World::new(2, false);
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(world.with(1, |e, env| e.accept(env, Source(7))).unwrap());
    }
    assert_eq!(world.nodes[1].endpoint.connections().count(), 12, "all places");
    // The next one is let in once the oldest has gone.
    assert!(world.with(1, |e, env| e.accept(env, Source(7))).is_err());
    world.poll(1);
    assert_eq!(closes(&world, 1), [(Step::Tls, CloseReason::Evicted)]);
    world.with(1, |e, env| e.accept(env, Source(7))).unwrap();
    world.pass(Duration::from_secs(11));
    assert_eq!(world.nodes[1].endpoint.connections().count(), 0);
    assert!(
        closes(&world, 1)
            .iter()
            .any(|(_, reason)| *reason == CloseReason::HandshakeTimeout)
    );
}

#[test]
fn denied_logins_are_closed_at_once() {
    let mut world = World::new(2, false);
    world
        .with(0, |e, env| {
            e.test_connection(env, address(1), Duration::from_secs(60))
        })
        .unwrap();
    world.run();
    let count = world.with(1, |e, env| e.revoke(env, |login, _| login == 100));
    assert_eq!(count, 1);
    world.run();
    assert_eq!(world.nodes[1].endpoint.connections().count(), 0);
    assert_eq!(closes(&world, 1), [(Step::Online, CloseReason::Revoked)]);
}

#[test]
fn a_frozen_link_is_found_by_its_silence() {
    let mut world = World::new(2, false);
    world
        .with(0, |e, env| {
            e.test_connection(env, address(1), Duration::from_secs(60))
        })
        .unwrap();
    world.run();
    world.pipes[0].frozen = true;
    world.pass(Duration::from_secs(13));
    assert_eq!(closes(&world, 0), [(Step::Online, CloseReason::Idle)]);
    assert_eq!(closes(&world, 1), [(Step::Online, CloseReason::Idle)]);
}

/// What node 1 was told of the time, so far.
fn times(world: &World) -> Vec<i64> {
    world.nodes[1]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Connection {
                event: ConnectionEvent::TimeTold { unix },
                ..
            } => Some(unix.0),
            _ => None,
        })
        .collect()
}

#[test]
fn who_has_a_clock_tells_the_time_once_a_day() {
    let mut world = World::new(2, false);
    world.nodes[0].endpoint.clock = true;
    world
        .with(0, |e, env| {
            e.test_connection(env, address(1), Duration::from_secs(200_000))
        })
        .unwrap();
    world.run();
    assert_eq!(times(&world), [1_700_000_000]);
    world.pass(Duration::from_secs(3_600));
    assert_eq!(times(&world).len(), 1);
    // A connection that seems to have stood for a day.
    for slot in world.nodes[0].endpoint.connections.iter_mut() {
        if let Some(live) = &mut slot.live {
            live.next_time = world.now;
        }
    }
    world.pass(Duration::from_secs(2));
    assert_eq!(times(&world).len(), 2);
    // Said again within the hour: not listened to.
    for slot in world.nodes[0].endpoint.connections.iter_mut() {
        if let Some(live) = &mut slot.live {
            live.next_time = world.now;
        }
    }
    world.pass(Duration::from_secs(2));
    assert_eq!(times(&world).len(), 2);
    assert!(
        !world.nodes[0].events.iter().any(|event| matches!(
            event,
            Event::Connection {
                event: ConnectionEvent::TimeTold { .. },
                ..
            }
        )),
        "who has no clock says nothing"
    );
}

/// What a witness does on a device: nobody there has a session with the address, and yet the peer may want the connection.
#[test]
fn a_call_stays_for_the_idle_time_whether_anybody_needs_it_or_not() {
    let mut world = World::new(2, false);
    world.with(0, |e, env| e.call(env, address(1))).unwrap();
    world.run();
    world.pass(Duration::from_secs(8));
    for at in 0..2 {
        assert_eq!(closes(&world, at), [], "node {at}");
        let views: Vec<_> = world.nodes[at].endpoint.connections().collect();
        assert_eq!(views.len(), 1);
        assert!(!views[0].probe, "sessions may use it");
    }
    world.pass(Duration::from_secs(8));
    assert_eq!(world.nodes[0].endpoint.connections().count(), 0);
    assert_eq!(world.nodes[1].endpoint.connections().count(), 0);
    for at in 0..2 {
        assert!(
            closes(&world, at).iter().all(|(_, reason)| reason.is_orderly()),
            "{:?}",
            closes(&world, at)
        );
    }
}
