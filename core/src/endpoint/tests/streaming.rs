//! The log's flow while both are there: links, disks, seeds, properties.

use super::actions::{SECOND, reseeds, started};
use super::world::{DB, World};
use crate::session::{Reason, ReseedReason, Safety, SessionError, SessionEvent, SessionState, StorageError};
use crate::time::Duration;

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

/// Neither operator's RESUME goes on with a file that the principal refuses.
#[test]
fn a_refused_file_keeps_the_session_suspended() {
    let mut world = started(false);
    world.with(0, |e, env| e.file_refused(env, DB, true));
    world.pass(SECOND);
    let refused = SessionError::new(5173, Reason::FileRefused);
    for at in 0..2 {
        assert_eq!(world.state(at), Some(SessionState::Suspended));
    }
    assert_eq!(
        world.with(0, |e, env| e.set_suspended(env, DB, false)),
        Err(refused)
    );
    world.with(1, |e, env| e.set_suspended(env, DB, false)).unwrap();
    world.pass(SECOND);
    for at in 0..2 {
        assert_eq!(world.state(at), Some(SessionState::Suspended));
    }
    assert!(world.session_events(0).contains(&SessionEvent::ResumeRefused));
    let told = SessionEvent::PartnerRefused(refused);
    assert!(world.session_events(1).contains(&told));
    // The right file is back: the operators may resume.
    world.with(0, |e, env| e.file_refused(env, DB, false));
    world.pass(SECOND);
    assert_eq!(world.state(0), Some(SessionState::Suspended));
    world.with(1, |e, env| e.set_suspended(env, DB, false)).unwrap();
    world.pass(SECOND);
    world.assert_level(0, 1);
    // Accepted: it goes on by that word.
    world.with(0, |e, env| e.file_refused(env, DB, true));
    world.with(0, |e, env| e.lift_suspension(env, DB));
    world.pass(SECOND);
    world.assert_level(0, 1);
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
