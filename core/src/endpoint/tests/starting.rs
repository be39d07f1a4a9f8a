//! How sessions begin, and how a start fails.

use std::vec::Vec;

use super::actions::{SECOND, reseeds, start_failure, started};
use super::world::{DB, World, address};
use crate::message::Text;
use crate::session::{Phase, Reason, ReseedReason, SessionEvent, SessionState, StartAsPrincipal};
use crate::time::Duration;

#[test]
fn a_restored_copy_goes_on_without_a_seed() {
    let mut world = World::new(2, false);
    world.create(0);
    world.commit(0, 1, 40);
    world.commit(0, 2, 40);
    world.wait_with_copy(1, 0);
    world.commit(0, 3, 40);
    world.start(0, 1);
    world.commit(0, 4, 40);
    world.pass(SECOND);
    world.assert_level(0, 1);
    assert_eq!(reseeds(&world), []);
    assert_eq!(world.content(1), [1, 2, 3, 4]);
    let stored = world.view(1).unwrap();
    assert_eq!(stored.end.position.timeline, 2, "the session began a timeline");
}

#[test]
fn a_start_that_cannot_be_names_why_and_leaves_nothing() {
    // The wrong order: nobody waits.
    let mut world = World::new(2, false);
    world.create(0);
    for (reason, number) in [
        (Reason::NoDatabase, 1448),
        (Reason::NotRestoring, 1464),
        (Reason::NotWaiting, 1416),
        (Reason::AlreadyMirrored, 1460),
    ] {
        world.nodes[0].events.clear();
        world.nodes[1].book.not_waiting = reason;
        world.start(0, 1);
        assert_eq!(start_failure(&world), Some((number, reason)));
        assert!(world.view(0).is_none() && world.nodes[0].records.is_empty());
    }
    // A closed port.
    world.pass(Duration::from_secs(15));
    world.nodes[0].events.clear();
    world.refused = true;
    world.start(0, 1);
    assert_eq!(start_failure(&world), Some((1418, Reason::Unreachable)));
    world.refused = false;
    // Itself.
    world.nodes[0].events.clear();
    world.start(0, 0);
    assert_eq!(start_failure(&world), Some((1452, Reason::OwnInstance)));
    // The mirror's operator gave another address: it cannot dial back.
    world.nodes[0].events.clear();
    world.wait_for_seed(1, 7);
    world.start(0, 1);
    assert_eq!(start_failure(&world), Some((1418, Reason::CannotDialBack)));
    assert!(world.view(1).unwrap().guid.is_none(), "it still waits");
    world.with(1, |e, env| e.partner_off(env, DB)).unwrap();
    world.run();
    assert!(world.view(1).is_none() && world.nodes[1].records.is_empty());
    // Another family.
    world.nodes[0].events.clear();
    world.wait_with_copy(1, 0);
    let db = world.nodes[0].disk.db(DB);
    db.begin_timeline(3);
    let command = StartAsPrincipal {
        database: DB,
        name: Text::new("x").unwrap(),
        partner: address(1),
        family: crate::message::FamilyGuid([8; 16]),
        end: db.end(),
        timelines: db.timelines,
    };
    world
        .with(0, |e, env| e.start_as_principal(env, &command))
        .unwrap();
    world.run();
    assert_eq!(start_failure(&world), Some((1407, Reason::OtherFamily)));
    // Twice.
    world.start(0, 1);
    world.pass(SECOND);
    assert_eq!(world.view(0).unwrap().phase, Phase::Established);
    let again = world.with(0, |e, env| e.start_as_principal(env, &command));
    assert_eq!(again.unwrap_err().number, 1405);
}

#[test]
fn a_copy_off_the_principals_log_is_refused_and_waits_again() {
    let mut world = World::new(2, false);
    world.create(0);
    world.commit(0, 1, 40);
    world.wait_with_copy(1, 0);
    // The principal's history goes another way from there.
    let db = world.nodes[0].disk.db(DB);
    db.blocks.clear();
    db.append(5, 40);
    db.append(6, 40);
    world.start(0, 1);
    world.pass(SECOND);
    assert_eq!(start_failure(&world), Some((1412, Reason::OffHistory)));
    assert!(world.view(0).is_none());
    assert!(world.view(1).unwrap().guid.is_none());
    assert_eq!(world.view(1).unwrap().phase, Phase::Waiting);
    assert!(world.session_events(1).contains(&SessionEvent::WaitsAgain));
    // One whose beginning the principal's log does not hold any more.
    world.nodes[0].events.clear();
    let db = world.nodes[0].disk.db(DB);
    db.lose_log(7, 70);
    let mut old = db.clone();
    old.timelines = old.timelines.until(1);
    world.nodes[1].disk.db(DB).timelines = old.timelines;
    world.start(0, 1);
    world.pass(SECOND);
    assert!(matches!(start_failure(&world), Some((1408 | 1412, _))));
}

#[test]
fn a_principal_that_dies_within_the_start_leaves_a_mirror_that_waits() {
    let mut world = World::new(2, true);
    world.create(0);
    world.wait_for_seed(1, 0);
    world.nodes[0].prompt = false;
    world.start(0, 1);
    assert!(world.view(1).unwrap().guid.is_some(), "durable on the mirror");
    assert!(world.nodes[0].records.is_empty());
    world.crash(0, 0);
    world.nodes[0].prompt = true;
    world.restart(0);
    world.pass(Duration::from_secs(8));
    assert!(world.view(1).unwrap().guid.is_none(), "{:?}", world.view(1));
    assert_eq!(world.view(1).unwrap().phase, Phase::Waiting);
    world.start(0, 1);
    world.pass(Duration::from_secs(3));
    world.assert_level(0, 1);
}

#[test]
fn a_second_database_shares_the_connection() {
    let mut world = started(false);
    // Another session of the same pair begins while the first is bound.
    world.nodes[0].events.clear();
    let other = crate::session::DatabaseId(6);
    let mut db = super::disk::Db::default();
    db.begin_timeline(5);
    db.append(1, 40);
    world.nodes[0].disk.dbs.insert(other, db);
    world.nodes[1].disk.dbs.insert(other, super::disk::Db::default());
    let wait = crate::session::WaitAsMirror {
        database: other,
        name: Text::new("y").unwrap(),
        partner: address(0),
        copy: None,
    };
    world.with(1, |e, env| e.wait_as_mirror(env, &wait)).unwrap();
    let db = world.nodes[0].disk.db(other);
    let start = StartAsPrincipal {
        database: other,
        name: Text::new("y").unwrap(),
        partner: address(1),
        family: crate::message::FamilyGuid([4; 16]),
        end: db.end(),
        timelines: db.timelines,
    };
    world.with(0, |e, env| e.start_as_principal(env, &start)).unwrap();
    world.pass(SECOND);
    for at in 0..2 {
        let states: Vec<_> = world.nodes[at].endpoint.sessions().map(|s| s.state).collect();
        assert_eq!(states, [SessionState::Synchronized; 2]);
        let unbound = world
            .session_events(at)
            .contains(&SessionEvent::State(SessionState::Disconnected));
        assert!(!unbound, "the first session was not moved");
    }
    world.pass(Duration::from_secs(10));
    assert_eq!(world.nodes[0].endpoint.connections().count(), 1);
    world.assert_level(0, 1);
}

#[test]
fn a_cut_after_any_transmit_converges() {
    // The whole start, seed and stream, cut once at each transmit.
    let run = |cut: Option<u64>| {
        let mut world = World::new(2, cut.is_some_and(|n| n % 2 == 0));
        world.create(0);
        for value in 0..4_000 {
            world.commit(0, value, 8);
        }
        world.wait_for_seed(1, 0);
        world.cut_after = cut;
        world.start(0, 1);
        world.pass(SECOND);
        for value in 0..3 {
            world.commit(0, 7_000 + value, 20_000);
            world.pass(Duration::from_millis(300));
        }
        world.pass(Duration::from_secs(7));
        if world.view(0).is_none() {
            // The start itself failed, and said so: nothing may be left of it.
            assert!(start_failure(&world).is_some());
            assert!(
                world.view(1).unwrap().guid.is_none(),
                "cut {cut:?}: {:?}",
                world.view(1)
            );
            return None;
        }
        if world.state(0) != Some(SessionState::Synchronized) {
            std::println!("cut {cut:?}");
            for at in 0..2 {
                std::println!("{:?}", world.view(at));
                for connection in world.nodes[at].endpoint.connections() {
                    std::println!("  {connection:?}");
                }
                for event in &world.nodes[at].events {
                    std::println!("  {event:?}");
                }
            }
        }
        world.assert_level(0, 1);
        Some(world.transmits)
    };
    let whole = run(None).expect("without a cut it starts");
    for cut in 1..=whole.min(140) {
        run(Some(cut));
    }
}

#[test]
fn a_seeded_session_becomes_level_whoever_has_the_lower_id() {
    for reversed in [false, true] {
        let mut world = started(reversed);
        world.assert_level(0, 1);
        assert_eq!(reseeds(&world), [ReseedReason::Asked]);
        assert_eq!(world.content(1), [1, 2]);
        for value in 3..40 {
            world.commit(0, value, 300);
        }
        world.pass(SECOND);
        world.assert_level(0, 1);
        let view = world.view(1).unwrap();
        assert_eq!(view.record.role_sequence, 1);
        assert_eq!(view.record.sync_sequence, 1);
        assert_eq!(view.record.sync, crate::message::Sync::Sync);
        assert_eq!(view.record.owner, world.nodes[0].id);
        assert_eq!(view.guid, world.view(0).unwrap().guid);
        world.pass(Duration::from_secs(20));
        assert_eq!(
            world.nodes[0].endpoint.connections().count(),
            1,
            "one connection for the pair"
        );
        assert_eq!(world.nodes[1].endpoint.connections().count(), 1);
    }
}
