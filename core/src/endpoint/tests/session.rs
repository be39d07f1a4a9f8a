//! One database, two members: begin, stream, break, come back, end.

use std::vec::Vec;

use super::world::{DB, World, address};
use crate::message::Text;
use crate::session::{
    EndedBy, Phase, Reason, ReseedReason, Safety, SessionEvent, SessionState, StartAsPrincipal, StorageError,
};
use crate::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn started(reversed: bool) -> World {
    let mut world = World::new(2, reversed);
    world.create(0);
    world.commit(0, 1, 40);
    world.commit(0, 2, 40);
    world.wait_for_seed(1, 0);
    world.start(0, 1);
    world.pass(SECOND);
    world
}

fn reseeds(world: &World) -> Vec<ReseedReason> {
    world
        .session_events(0)
        .iter()
        .filter_map(|event| match event {
            SessionEvent::Reseed { why, .. } => Some(*why),
            _ => None,
        })
        .collect()
}

fn start_failure(world: &World) -> Option<(u32, Reason)> {
    world.session_events(0).iter().find_map(|event| match event {
        SessionEvent::StartFailed(error) => Some((error.number, error.reason)),
        _ => None,
    })
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
        assert_eq!(view.record.sync_sequence, 0);
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
fn links_that_break_are_made_again() {
    for reversed in [false, true] {
        let mut world = started(reversed);
        for round in 0..6 {
            world.commit(0, 100 + round, 5_000);
            world.cut();
            world.run();
            world.commit(0, 200 + round, 5_000);
            world.pass(SECOND);
        }
        world.pass(Duration::from_secs(5));
        world.assert_level(0, 1);
        assert_eq!(reseeds(&world), [ReseedReason::Asked], "no further seed");
    }
}

#[test]
fn a_large_block_is_larger_than_the_credit() {
    let mut world = World::new(2, false);
    for node in &mut world.nodes {
        node.limits.credit = 40_000;
    }
    for at in 0..2 {
        world.crash(at, 0);
        world.restart(at);
    }
    world.create(0);
    world.wait_for_seed(1, 0);
    world.start(0, 1);
    world.pass(SECOND);
    world.commit(0, 9, 500_000);
    for value in 0..50 {
        world.commit(0, value, 9_000);
    }
    world.pass(SECOND);
    world.assert_level(0, 1);
}

#[test]
fn a_slow_disk_stops_the_flow_and_nothing_is_acknowledged_early() {
    let mut world = started(false);
    world.nodes[1].prompt = false;
    let before = world.view(0).unwrap().hardened_on_both;
    for value in 0..2_000 {
        world.commit(0, value, 16_000);
    }
    world.run();
    let sent: u64 = world.view(1).unwrap().streamed.sequence;
    let db = world.nodes[1].disk.db(DB);
    let unhardened: usize = db.blocks[db.hard..].iter().map(|b| b.bytes.len()).sum();
    assert!(
        unhardened <= world.nodes[1].limits.credit as usize,
        "{unhardened}"
    );
    assert!(sent < world.view(0).unwrap().end.position.sequence);
    assert_eq!(world.view(0).unwrap().hardened_on_both, before);
    world.nodes[1].prompt = true;
    world.pass(SECOND);
    world.assert_level(0, 1);
}

#[test]
fn an_unhardened_block_for_the_time_out_is_not_synchronized() {
    let mut world = started(false);
    world.nodes[1].prompt = false;
    world.commit(0, 5, 100);
    world.pass(Duration::from_secs(9));
    assert_eq!(world.state(0), Some(SessionState::Synchronized));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.state(0), Some(SessionState::Synchronizing));
    assert_eq!(world.state(1), Some(SessionState::Synchronizing));
    world.nodes[1].prompt = true;
    world.pass(SECOND);
    world.assert_level(0, 1);
}

#[test]
fn hellos_wait_for_what_an_older_binding_wrote() {
    // Story F49: a mirror whose write is still on its way says nothing of its log.
    let mut world = started(false);
    world.nodes[1].prompt = false;
    world.commit(0, 5, 100);
    world.run();
    assert_eq!(
        world.nodes[1].disk.db(DB).blocks.len(),
        1,
        "written, not hardened"
    );
    world.cut();
    world.pass(SECOND);
    assert!(!world.view(1).unwrap().bound && !world.view(0).unwrap().bound);
    world.nodes[1].prompt = true;
    world.pass(SECOND);
    world.assert_level(0, 1);
}

#[test]
fn both_dial_at_once_and_one_connection_stays() {
    for reversed in [false, true] {
        let mut world = started(reversed);
        world.crash(0, 9);
        world.crash(1, 9);
        world.run();
        world.restart(0);
        world.restart(1);
        world.pass(Duration::from_secs(10));
        world.assert_level(0, 1);
        assert_eq!(world.nodes[0].endpoint.connections().count(), 1);
        assert_eq!(world.nodes[1].endpoint.connections().count(), 1);
    }
}

#[test]
fn restarts_of_either_resume() {
    for who in 0..2 {
        let mut world = started(false);
        world.commit(0, 3, 40);
        world.pass(SECOND);
        world.nodes[0].disk.db(DB).hard = world.nodes[0].disk.db(DB).blocks.len();
        world.crash(who, 0);
        world.run();
        assert_eq!(world.state(1 - who), Some(SessionState::Disconnected));
        if who == 1 {
            world.commit(0, 4, 40);
        }
        world.restart(who);
        world.pass(Duration::from_secs(5));
        world.commit(0, 5, 40);
        world.pass(SECOND);
        world.assert_level(0, 1);
        assert_eq!(reseeds(&world).len(), 1, "only the first seed");
    }
}

#[test]
fn a_restarted_principal_takes_over_the_mirrors_tail() {
    let mut world = started(false);
    for value in 3..9 {
        world.commit(0, value, 20_000);
    }
    world.pass(SECOND);
    world.assert_level(0, 1);
    // The principal loses what its own log had not hardened; the mirror has it all.
    world.crash(0, 2);
    assert_eq!(world.content(0), [1, 2, 3, 4]);
    world.restart(0);
    assert!(!world.nodes[0].may_capture);
    world.pass(Duration::from_secs(3));
    assert!(world.nodes[0].may_capture);
    assert_eq!(world.content(0), [1, 2, 3, 4, 5, 6, 7, 8]);
    let adopted = world.session_events(0);
    assert!(
        adopted
            .iter()
            .any(|e| matches!(e, SessionEvent::TailAdopted { .. }))
    );
    world.commit(0, 9, 40);
    world.pass(SECOND);
    world.assert_level(0, 1);
    assert_eq!(reseeds(&world).len(), 1);
}

#[test]
fn without_the_mirror_the_principal_goes_on_in_a_new_timeline() {
    let mut world = started(false);
    for value in 3..9 {
        world.commit(0, value, 200);
    }
    world.pass(SECOND);
    let old = world.view(0).unwrap().end.position.timeline;
    world.crash(0, 2);
    world.crash(1, 0);
    world.restart(0);
    world.pass(Duration::from_secs(9));
    assert!(!world.nodes[0].may_capture, "the mirror may still come");
    world.pass(Duration::from_secs(2));
    assert!(world.nodes[0].may_capture);
    world.commit(0, 50, 40);
    assert_eq!(world.view(0).unwrap().end.position.timeline, old + 1);
    world.restart(1);
    world.pass(Duration::from_secs(6));
    world.assert_level(0, 1);
    assert_eq!(
        world.content(1),
        [1, 2, 3, 4, 50],
        "what the mirror held beyond gives way"
    );
    assert_eq!(reseeds(&world), [ReseedReason::Asked, ReseedReason::LeftBehind]);
}

#[test]
fn a_tail_that_cannot_be_taken_over_gives_way() {
    let mut world = started(false);
    for value in 3..9 {
        world.commit(0, value, 200);
    }
    world.pass(SECOND);
    world.crash(0, 2);
    world.nodes[0].disk.never_adopt = true;
    world.restart(0);
    world.pass(Duration::from_secs(3));
    world.commit(0, 60, 40);
    world.pass(SECOND);
    world.assert_level(0, 1);
    assert_eq!(world.content(1), [1, 2, 3, 4, 60]);
    assert!(reseeds(&world).contains(&ReseedReason::CannotAdopt));
}

#[test]
fn different_chains_at_one_position_reseed_the_mirror() {
    let mut world = started(false);
    for value in 3..6 {
        world.commit(0, value, 200);
    }
    world.pass(SECOND);
    world.crash(0, 0);
    // It opens at once and goes on by itself, which the thin session allows.
    let db = world.nodes[0].disk.db(DB);
    for value in [70, 71, 72, 73] {
        db.append(value, 40);
    }
    db.hard = db.blocks.len();
    world.restart(0);
    world.pass(Duration::from_secs(3));
    world.commit(0, 80, 40);
    world.pass(SECOND);
    world.assert_level(0, 1);
    assert_eq!(world.content(1), [1, 2, 70, 71, 72, 73, 80]);
    assert!(reseeds(&world).contains(&ReseedReason::ChainMismatch));
}

#[test]
fn a_gap_in_the_principals_log_reseeds_the_mirror() {
    let mut world = started(false);
    world.commit(0, 3, 40);
    world.pass(SECOND);
    let timeline = world.nodes[0].disk.db(DB).lose_log(99, 1234);
    let end = world.nodes[0].disk.db(DB).end();
    world
        .with(0, |e, env| e.new_timeline(env, DB, timeline, true))
        .unwrap();
    world.with(0, |e, env| e.log_grew(env, DB, end));
    world.commit(0, 100, 40);
    world.pass(SECOND);
    world.assert_level(0, 1);
    assert_eq!(world.content(1), [1, 2, 3, 99, 100]);
    assert!(reseeds(&world).contains(&ReseedReason::Gap));
    // And the same with the mirror away.
    world.crash(1, 0);
    let timeline = world.nodes[0].disk.db(DB).lose_log(101, 12345);
    let end = world.nodes[0].disk.db(DB).end();
    world
        .with(0, |e, env| e.new_timeline(env, DB, timeline, true))
        .unwrap();
    world.with(0, |e, env| e.log_grew(env, DB, end));
    world.run();
    world.restart(1);
    world.pass(Duration::from_secs(6));
    world.assert_level(0, 1);
}

#[test]
fn a_mirrors_storage_that_refuses_is_tried_again() {
    let mut world = started(false);
    world.nodes[1].disk.refuse = Some(StorageError::Full);
    for value in 3..40 {
        world.commit(0, value, 3_000);
    }
    world.pass(Duration::from_secs(3));
    let heard = world.session_events(0);
    assert!(
        heard
            .iter()
            .any(|e| matches!(e, SessionEvent::PartnerRefused(error) if error.number == 1454))
    );
    world.nodes[1].disk.refuse = None;
    world.pass(Duration::from_secs(3));
    world.assert_level(0, 1);
    // A block that does not fit its predecessor is answered by a seed.
    world.nodes[1].disk.refuse = Some(StorageError::Chain);
    world.commit(0, 41, 3_000);
    world.commit(0, 42, 3_000);
    world.pass(SECOND);
    world.nodes[1].disk.refuse = None;
    world.pass(Duration::from_secs(60));
    world.assert_level(0, 1);
    assert!(reseeds(&world).contains(&ReseedReason::ChainMismatch));
}

#[test]
fn a_seed_that_fails_is_sent_again() {
    let mut world = World::new(2, false);
    world.create(0);
    for value in 0..20_000 {
        world.commit(0, value, 8);
    }
    world.wait_for_seed(1, 0);
    world.nodes[1].disk.bad_sum = true;
    world.nodes[0].disk.slow_seed = true;
    world.start(0, 1);
    world.pass(SECOND);
    assert!(world.view(1).unwrap().bound);
    assert_eq!(world.state(1), Some(SessionState::Synchronizing));
    world.with(0, |e, env| e.seed_ready(env, DB));
    world.commit(0, 1, 8);
    world.pass(Duration::from_secs(3));
    world.assert_level(0, 1);
    assert!(
        world
            .session_events(0)
            .iter()
            .any(|e| matches!(e, SessionEvent::SeedFailed(_)))
    );
}

#[test]
fn off_on_either_side_ends_both() {
    for who in 0..2 {
        let mut world = started(false);
        let guid = world.view(0).unwrap().guid.unwrap();
        world.with(who, |e, env| e.partner_off(env, DB)).unwrap();
        world.run();
        for at in 0..2 {
            let by = if at == who {
                EndedBy::Operator
            } else {
                EndedBy::Partner
            };
            assert!(
                world.session_events(at).contains(&SessionEvent::Ended { by }),
                "{at}"
            );
            assert!(world.view(at).is_none());
            assert!(world.nodes[at].records.is_empty());
            assert!(world.nodes[at].disk.tombstones.contains_key(&guid));
        }
        world.pass(Duration::from_secs(15));
        assert_eq!(
            world.nodes[0].endpoint.connections().count(),
            0,
            "nobody needs it"
        );
    }
}

#[test]
fn off_while_the_partner_is_away_is_learnt_from_the_tombstone() {
    for who in 0..2 {
        let mut world = started(false);
        world.nodes[0].disk.db(DB).hard = 2;
        let other = 1 - who;
        world.crash(other, 9);
        world.run();
        world.with(who, |e, env| e.partner_off(env, DB)).unwrap();
        world.run();
        assert!(world.view(who).is_none());
        // The one that is off restarts too: only the tombstone is left.
        world.crash(who, 9);
        world.restart(who);
        world.restart(other);
        world.pass(Duration::from_secs(5));
        assert!(
            world
                .session_events(other)
                .contains(&SessionEvent::Ended { by: EndedBy::Partner })
        );
        assert!(world.view(other).is_none());
    }
}

#[test]
fn none_does_not_end_a_session_that_has_begun() {
    let mut world = started(false);
    world.commit(0, 3, 40);
    world.pass(SECOND);
    // The mirror loses everything, records and tombstones.
    world.crash(1, 0);
    world.nodes[1].records.clear();
    world.restart(1);
    world.pass(Duration::from_secs(5));
    assert!(world.session_events(0).contains(&SessionEvent::PartnerHasNone));
    let view = world.view(0).unwrap();
    assert_eq!(view.state, SessionState::Disconnected);
    assert_eq!(view.trouble.unwrap().reason, Reason::NotMirrored);
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
fn properties_are_the_principals() {
    let mut world = started(false);
    world
        .with(0, |e, env| e.set_safety(env, DB, Safety::Off))
        .unwrap();
    let refused = world.with(1, |e, env| e.set_safety(env, DB, Safety::Off));
    assert_eq!(refused.unwrap_err().number, 1470);
    world.with(0, |e, env| e.set_timeout(env, DB, 3)).unwrap();
    assert_eq!(
        world
            .with(0, |e, env| e.set_timeout(env, DB, 40_000))
            .unwrap_err()
            .number,
        1476
    );
    world.run();
    for at in 0..2 {
        let view = world.view(at).unwrap();
        assert_eq!(
            (view.safety, view.safety_sequence, view.timeout),
            (Safety::Off, 2, 5)
        );
    }
    // What is set while the mirror is away reaches it.
    world.crash(1, 0);
    world.run();
    world
        .with(0, |e, env| e.set_safety(env, DB, Safety::Full))
        .unwrap();
    world.run();
    world.restart(1);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.view(1).unwrap().safety, Safety::Full);
    assert_eq!(world.view(1).unwrap().safety_sequence, 3);
}

#[test]
fn suspended_stays_so_across_restarts_until_resumed() {
    let mut world = started(false);
    world.with(1, |e, env| e.set_suspended(env, DB, true)).unwrap();
    world.run();
    assert_eq!(world.state(0), Some(SessionState::Suspended));
    assert_eq!(world.state(1), Some(SessionState::Suspended));
    world.commit(0, 3, 40);
    world.nodes[0].disk.db(DB).hard = 3;
    world.pass(SECOND);
    assert_eq!(world.content(1), [1, 2]);
    world.crash(0, 9);
    world.crash(1, 9);
    world.restart(0);
    world.restart(1);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.state(1), Some(SessionState::Suspended));
    assert_eq!(world.content(1), [1, 2]);
    world.with(0, |e, env| e.set_suspended(env, DB, false)).unwrap();
    world.pass(SECOND);
    world.assert_level(0, 1);
    assert_eq!(world.content(1), [1, 2, 3]);
}

#[test]
fn a_partner_whose_storage_stands_still_counts_as_lost() {
    let mut world = started(false);
    world.nodes[1].disk.stuck = Duration::from_secs(11);
    world.pass(Duration::from_secs(3));
    assert_eq!(world.state(0), Some(SessionState::Disconnected));
    assert!(world.session_events(0).contains(&SessionEvent::TimedOut));
    world.nodes[1].disk.stuck = Duration::ZERO;
    world.pass(Duration::from_secs(3));
    world.assert_level(0, 1);
}

#[test]
fn a_frozen_link_is_given_up_and_made_again() {
    let mut world = started(false);
    for pipe in &mut world.pipes {
        pipe.frozen = true;
    }
    world.commit(0, 3, 40);
    world.pass(Duration::from_secs(25));
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
