//! Members that find that blocks they had hardened are gone (`docs/safety.md` R6).

use super::actions::{SECOND, started};
use super::world::{DB, World};
use crate::message::Sync;
use crate::session::{Role, SessionError, SessionEvent, SessionState, StorageError, Stored};
use crate::time::Duration;

const P: usize = 0;
const M: usize = 1;

fn incomplete(world: &World, at: usize) -> bool {
    world.view(at).unwrap().incomplete
}

/// The mirror dies, and its log has lost its last `count` hardened blocks when it comes back.
fn dies_and_loses(world: &mut World, count: u64) {
    world.crash(M, 9);
    let db = world.nodes[M].disk.db(DB);
    let end = db.end().position.sequence;
    db.rewind(end - count).unwrap();
    world.nodes[M].lost = true;
}

fn heard(world: &World, at: usize, wanted: impl Fn(&SessionEvent) -> bool) -> bool {
    world.session_events(at).iter().any(wanted)
}

fn force(world: &mut World, at: usize) -> Result<(), SessionError> {
    world.with(at, |e, env| e.force_service(env, DB))
}

/// FAILOVER is durable on the old principal, its message is lost, and the mirror comes back without blocks that it had hardened: the hello
/// that repairs the message names it the owner of a log that it does not have (seed 312 of the simulator; docs/decisions/0006, 12).
#[test]
fn a_mirror_that_lost_hardened_blocks_declines_the_role_and_it_is_taken_back() {
    let mut given = 0;
    for cut in 1..24 {
        let mut world = started(cut % 2 == 0);
        for value in 0..5 {
            world.commit(P, 100 + value, 40);
        }
        world.pass(SECOND);
        let before = world.view(P).unwrap();
        assert_eq!(before.acknowledged, before.end.position);
        world.cut_after = Some(world.transmits + cut);
        world.with(P, |e, env| e.failover(env, DB)).unwrap();
        while world.cut_after.is_some() && world.view(M).unwrap().role == Role::Mirror && world.deliver() {}
        dies_and_loses(&mut world, 3);
        world.run();
        let gave = world.view(P).unwrap().role == Role::Mirror;
        if Stored::decode(&world.nodes[M].records[&DB]).unwrap().role == Role::Principal {
            continue;
        }
        given += u32::from(gave);
        world.restart(M);
        world.pass(Duration::from_secs(8));
        assert!(heard(&world, M, |e| matches!(e, SessionEvent::LogLost { .. })));
        let (p, m) = (world.view(P).unwrap(), world.view(M).unwrap());
        assert!(p.serves && !m.serves, "cut {cut}: {p:?} {m:?}");
        assert_eq!(p.record.role_sequence, if gave { 3 } else { 1 }, "cut {cut}");
        assert!(p.end.position.sequence >= before.end.position.sequence);
        assert!(!m.incomplete && heard(&world, M, |e| matches!(e, SessionEvent::LogWhole)));
        world.commit(P, 50, 40);
        world.pass(SECOND);
        world.assert_level(P, M);
        assert_eq!(world.view(M).unwrap().record.sync, Sync::Sync);
    }
    assert!(given > 0, "FAILOVER was durable in none of them");
}

/// The mark is durable before anything is said, and outlives restarts at which nothing is found.
#[test]
fn what_was_lost_is_remembered_until_the_mirror_is_level() {
    let mut world = started(false);
    world.commit(P, 7, 40);
    world.pass(SECOND);
    world.block(P, M, true);
    dies_and_loses(&mut world, 1);
    world.restart(M);
    world.pass(SECOND);
    let stored = Stored::decode(&world.nodes[M].records[&DB]).unwrap();
    assert!(stored.incomplete);
    world.crash(M, 9);
    world.nodes[M].lost = false;
    world.restart(M);
    world.pass(SECOND);
    assert!(incomplete(&world, M));
    // Equal SYNC records stand, but they do not make a log whole: the missing block does.
    world.nodes[M].prompt = false;
    world.block(P, M, false);
    world.pass(SECOND);
    assert!(incomplete(&world, M));
    world.nodes[M].prompt = true;
    world.pass(SECOND);
    assert!(!incomplete(&world, M));
    assert_eq!(world.view(M).unwrap().state, SessionState::Synchronized);
    let stored = Stored::decode(&world.nodes[M].records[&DB]).unwrap();
    assert!(!stored.incomplete);
}

/// Where the principal is gone for good only its operator opens the mirror, which then says that something may be lost.
#[test]
fn only_force_opens_a_mirror_that_lost_blocks_and_it_reports_the_loss() {
    let mut world = started(false);
    world.commit(P, 7, 40);
    world.pass(SECOND);
    let full = world.view(M).unwrap().end.position;
    world.crash(P, 9);
    dies_and_loses(&mut world, 1);
    world.restart(M);
    world.pass(Duration::from_secs(30));
    assert!(!world.view(M).unwrap().serves && incomplete(&world, M));
    force(&mut world, M).unwrap();
    world.pass(SECOND);
    let view = world.view(M).unwrap();
    assert!(view.serves && view.record.forced && !view.incomplete);
    assert!(heard(&world, M, |e| matches!(
        e,
        SessionEvent::Forced { common, loss_possible: true } if common.sequence < full.sequence
    )));
}

/// Seed 20957 of the simulator: a principal's log had lost blocks when it came back. Its file had what they brought, and the log was about to be
/// made anew from it; but it yielded first, as a mirror went by its log, and was given the role again. Now it declines that.
#[test]
fn a_principal_whose_log_lost_blocks_is_incomplete_once_it_yields() {
    for yields in [false, true] {
        let mut world = started(false);
        for value in 3..9 {
            world.commit(P, value, 40);
        }
        world.pass(SECOND);
        world.crash(P, 9);
        let db = world.nodes[P].disk.db(DB);
        let end = db.end().position.sequence;
        db.rewind(end - 3).unwrap();
        world.nodes[P].lost = true;
        world.pass(SECOND);
        if yields {
            force(&mut world, M).unwrap();
            world.pass(SECOND);
        }
        world.restart(P);
        world.pass(Duration::from_secs(5));
        let stored = Stored::decode(&world.nodes[P].records[&DB]).unwrap();
        assert_eq!(stored.incomplete, yields);
        assert_eq!(
            heard(&world, P, |e| matches!(e, SessionEvent::LogLost { .. })),
            yields
        );
        if yields {
            world.with(M, |e, env| e.set_suspended(env, DB, false)).unwrap();
        }
        world.pass(Duration::from_secs(3));
        let (owner, mirror) = if yields { (M, P) } else { (P, M) };
        world.commit(owner, 50, 40);
        world.pass(SECOND);
        world.assert_level(owner, mirror);
        assert!(!incomplete(&world, P));
        assert_eq!(world.content(mirror), [1, 2, 3, 4, 5, 6, 7, 8, 50]);
    }
}

/// Seed 12247 of the simulator, as far as it is the session's business: a hardened block that is damaged when it is to be redone is as good as gone.
#[test]
fn what_cannot_be_redone_makes_a_mirror_incomplete_until_it_is_seeded() {
    let mut world = started(false);
    world.commit(P, 7, 40);
    world.pass(SECOND);
    world.block(P, M, true);
    world.pass(SECOND);
    world.with(M, |e, env| e.redo_failed(env, DB, StorageError::Corrupt));
    world.pass(SECOND);
    let stored = Stored::decode(&world.nodes[M].records[&DB]).unwrap();
    assert!(stored.incomplete && stored.wants_seed);
    world.block(P, M, false);
    world.pass(Duration::from_secs(6));
    assert!(heard(&world, M, |e| matches!(e, SessionEvent::LogWhole)));
    let stored = Stored::decode(&world.nodes[M].records[&DB]).unwrap();
    assert!(!stored.incomplete && !stored.wants_seed);
    world.commit(P, 50, 40);
    world.pass(SECOND);
    world.assert_level(P, M);
}
