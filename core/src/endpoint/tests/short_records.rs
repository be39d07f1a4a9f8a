//! Peers that take only short records: what does not fit in one goes over several.

use super::actions::{SECOND, started};
use super::pairing::{code, complete, dial, open, strangers};
use super::strangers::Raw;
use super::world::World;
use crate::channel::{HEAD_ROOM, RecordSizeLimit, ServerOptions, TAIL_ROOM};
use crate::endpoint::{CloseReason, ConnectionEvent, Event};
use crate::message::codec::{CONTROL_LEN_MAX, Hello, Message};
use crate::message::{InstanceId, Text};
use crate::session::SessionState;
use crate::time::Duration;
use crate::wire::Writer;

/// Has a node take records of `limit` bytes from now on.
fn take_only(world: &mut World, node: usize, limit: u16) {
    let options = ServerOptions {
        record_size_limit: RecordSizeLimit::new(limit).unwrap(),
        ..ServerOptions::default()
    };
    world.with(node, |e, env| e.set_channels(env, options));
}

/// Limits of two sides: the smallest, one that holds some messages and not others, the last that needs pieces and the first that
/// does not.
const LIMITS: [(u16, u16); 7] = [
    (64, 64),
    (64, 16_385),
    (16_385, 64),
    (200, 1_000),
    (1_536, 1_536),
    (1_537, 1_537),
    (1_537, 64),
];

#[test]
fn a_session_lives_over_records_of_any_size() {
    assert_eq!(CONTROL_LEN_MAX, 1_536);
    for (one, other) in LIMITS {
        let mut world = World::new(2, one % 2 == 0);
        take_only(&mut world, 0, one);
        take_only(&mut world, 1, other);
        world.create(0);
        world.wait_for_seed(1, 0);
        world.start(0, 1);
        world.pass(SECOND);
        for value in 0..5 {
            world.commit(0, value, 5_000);
        }
        world.pass(SECOND);
        world.assert_level(0, 1);
        assert_eq!(world.state(0), Some(SessionState::Synchronized), "{one} {other}");
        // And again over another connection, with what is left of the first forgotten.
        world.commit(0, 9, 9_000);
        world.cut();
        world.run();
        world.commit(0, 10, 9_000);
        world.pass(Duration::from_secs(5));
        world.assert_level(0, 1);
        for node in &world.nodes {
            let bad = |event: &Event| {
                matches!(event, Event::Connection { event: ConnectionEvent::Closed { reason, .. }, .. }
                    if !reason.is_orderly() && *reason != CloseReason::Transport
                        && *reason != CloseReason::Channel(crate::channel::ChannelError::Truncated))
            };
            let bad = node.events.iter().find(|event| bad(event));
            assert_eq!(bad, None, "{one} {other}");
        }
    }
}

/// Every record on the way is within what its receiver takes.
#[test]
fn no_record_is_longer_than_its_receiver_takes() {
    let mut world = World::new(2, false);
    take_only(&mut world, 0, 64);
    take_only(&mut world, 1, 64);
    world.create(0);
    world.wait_for_seed(1, 0);
    world.start(0, 1);
    world.commit(0, 1, 5_000);
    world.pass(SECOND);
    world.assert_level(0, 1);
    let (mut longest, mut from) = (0, &world.wire[..]);
    while let [kind, 3, _, high, low, rest @ ..] = from {
        let len = usize::from(*high) << 8 | usize::from(*low);
        if *kind == 23 {
            longest = longest.max(len);
        }
        from = &rest[len..];
    }
    assert!(from.is_empty(), "records and nothing else");
    assert_eq!(longest, 64 + 16, "full ones, and none beyond");
}

#[test]
fn two_pair_over_records_of_any_size() {
    for (one, other) in [(64, 64), (64, 16_385), (2_049, 2_343), (2_344, 2_345)] {
        let mut world = strangers(2);
        take_only(&mut world, 0, one);
        take_only(&mut world, 1, other);
        open(&mut world, 1, &code(1));
        dial(&mut world, 0, 1, &code(1));
        complete(&mut world);
    }
}

#[test]
fn goodbye_comes_whole_behind_what_waits() {
    let mut world = started(false);
    world.with(1, |e, env| e.set_running(env, false));
    take_only(&mut world, 1, 64);
    world.run();
    world.with(1, |e, env| e.set_running(env, true));
    world.pass(Duration::from_secs(3));
    world.commit(0, 3, 4_000);
    world.with(0, |e, env| e.set_running(env, false));
    world.run();
    let closed = world.nodes[1].events.iter().rev().find_map(|event| match event {
        Event::Connection {
            event: ConnectionEvent::Closed { reason, .. },
            ..
        } => Some(*reason),
        _ => None,
    });
    assert_eq!(closed, Some(CloseReason::PeerClosed));
}

/// One record of any bytes.
fn say(raw: &mut Raw, world: &mut World, bytes: &[u8]) {
    let mut buf = std::vec![0; HEAD_ROOM];
    buf.extend(bytes);
    buf.extend([0; TAIL_ROOM]);
    raw.say_bytes(world, buf, bytes.len());
}

/// A message that says it is longer than any is refused by its header; nothing is kept of it.
#[test]
fn a_message_beyond_all_bounds_is_refused_by_its_header() {
    for (len, refused) in [(1_528_u32, false), (1_529, true), (u32::MAX, true)] {
        let mut world = World::new(3, false);
        take_only(&mut world, 0, 64);
        let mut raw = Raw::dial(&mut world, 0);
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            capabilities: 0,
            instance: InstanceId([9; 16]),
            boot: 1,
            probe: false,
            name: Text::new("A_STRANGER_WITH_A_NAME_THAT_FILLS_MORE_THAN_ONE_RECORD").unwrap(),
        };
        let mut buf = [0; 256];
        let mut to = Writer::new(&mut buf);
        Message::from(hello).encode(&mut to).unwrap();
        assert!(to.len() > 63);
        for piece in to.written().chunks(63) {
            say(&mut raw, &mut world, piece);
        }
        assert!(raw.stands(&world));
        let mut header = len.to_le_bytes().to_vec();
        header.extend(0x8fff_u16.to_le_bytes());
        header.extend([0, 0]);
        for byte in header {
            say(&mut raw, &mut world, &[byte]);
        }
        assert_eq!(raw.stands(&world), !refused, "{len}");
        if !refused {
            for _ in 0..1_528 / 8 {
                say(&mut raw, &mut world, &[7; 8]);
            }
            assert!(raw.stands(&world), "optional, unknown, skipped");
            say(&mut raw, &mut world, &[1, 0, 0, 0, 1, 0, 0, 0, 0]);
            assert!(!raw.stands(&world), "and what follows is the next message");
        }
    }
}

#[test]
fn without_a_place_the_connection_is_refused() {
    let mut world = World::new(2, false);
    world.nodes[0].endpoint.fragments = &mut [];
    take_only(&mut world, 1, 1_536);
    world.create(0);
    world.wait_for_seed(1, 0);
    let connected = |world: &World| {
        world.nodes[0].events.iter().any(|event| {
            matches!(
                event,
                Event::Connection {
                    event: ConnectionEvent::Closed {
                        reason: CloseReason::ShortRecords,
                        ..
                    },
                    ..
                }
            )
        })
    };
    world.start(0, 1);
    world.pass(SECOND);
    assert!(connected(&world));
    assert_eq!(CloseReason::ShortRecords.number(), 28040);
}
