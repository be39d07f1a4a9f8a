//! Members that come back, with logs that agree or do not.

use super::actions::{SECOND, reseeds, started};
use super::world::{DB, World};
use crate::session::{ReseedReason, SessionEvent, SessionState};
use crate::time::Duration;

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

/// Seed 1234 of the simulator: a block of the tail was damaged on the mirror, and its principal waited for it for ever.
#[test]
fn a_tail_that_cannot_be_read_is_refused_and_the_mirror_is_seeded() {
    let mut world = started(false);
    for value in 3..9 {
        world.commit(0, value, 200);
    }
    world.pass(SECOND);
    world.crash(0, 2);
    let db = world.nodes[1].disk.db(DB);
    let damaged = db.end().position.sequence - 1;
    db.blocks.retain(|block| block.position.sequence != damaged);
    db.hard = db.blocks.len();
    world.restart(0);
    world.pass(Duration::from_secs(3));
    assert!(world.view(0).unwrap().serves);
    assert_eq!(reseeds(&world).last(), Some(&ReseedReason::ChainMismatch));
    world.commit(0, 50, 40);
    world.pass(SECOND);
    world.assert_level(0, 1);
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
fn equal_logs_are_not_level_before_the_file_was_looked_at() {
    let mut world = started(false);
    world.assert_level(0, 1);
    world.nodes[0].disk.db(DB).hard = world.nodes[0].disk.db(DB).blocks.len();
    world.crash(0, 0);
    world.nodes[0].catches_up = false;
    world.restart(0);
    world.pass(Duration::from_secs(5));
    assert!(world.nodes[0].may_capture);
    assert_eq!(
        world.view(0).unwrap().end.position,
        world.view(1).unwrap().end.position
    );
    for at in 0..2 {
        assert_eq!(world.state(at), Some(SessionState::Synchronizing));
    }
    // What was committed while the daemon was down is found: the report comes before the block is durable.
    let end = world.nodes[0].disk.db(DB).append(3, 40);
    world.with(0, |e, env| e.caught_up(env, DB, Some(end.position)));
    world.pass(SECOND);
    assert_eq!(world.state(0), Some(SessionState::Synchronizing));
    world.with(0, |e, env| e.log_grew(env, DB, end));
    world.pass(SECOND);
    world.assert_level(0, 1);
    // A capture that stops takes the word back, and one that goes on gives it again.
    world.with(0, |e, env| e.caught_up(env, DB, None));
    world.pass(SECOND);
    for at in 0..2 {
        assert_eq!(world.state(at), Some(SessionState::Synchronizing));
    }
    world.with(0, |e, env| e.caught_up(env, DB, Some(end.position)));
    world.pass(SECOND);
    world.assert_level(0, 1);
}

/// What was known of the file before a session began is not known of that session.
#[test]
fn a_new_session_is_not_level_before_the_file_was_looked_at() {
    let mut world = World::new(2, false);
    world.create(0);
    world.commit(0, 1, 40);
    world.nodes[0].catches_up = false;
    world.wait_for_seed(1, 0);
    world.start(0, 1);
    world.pass(Duration::from_secs(3));
    assert_eq!(
        world.view(0).unwrap().end.position,
        world.view(1).unwrap().end.position
    );
    for at in 0..2 {
        assert_eq!(world.state(at), Some(SessionState::Synchronizing));
    }
    let end = world.nodes[0].disk.db(DB).end();
    world.with(0, |e, env| e.caught_up(env, DB, Some(end.position)));
    world.pass(SECOND);
    world.assert_level(0, 1);
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
