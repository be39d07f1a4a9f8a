//! What comes while something else is still under way: a seed within a seed, a role before its fence, undoing that outlasts what asked
//! for it. Each was a seed of the simulator.

use super::actions::{SECOND, reseeds, started};
use super::world::{DB, World};
use crate::endpoint::{ConnectionEvent, Event};
use crate::message::{ForkId, Timeline};
use crate::session::{ReseedReason, Role, SessionEvent, StorageError, Stored};
use crate::time::Duration;

const P: usize = 0;
const M: usize = 1;

fn heard(world: &World, at: usize, wanted: impl Fn(&SessionEvent) -> bool) -> bool {
    world.session_events(at).iter().any(wanted)
}

fn gap(world: &mut World, value: u64, fork: u64) {
    let timeline = world.nodes[P].disk.db(DB).lose_log(value, fork);
    let end = world.nodes[P].disk.db(DB).end();
    world
        .with(P, |e, env| e.new_timeline(env, DB, timeline, true))
        .unwrap();
    world.with(P, |e, env| e.log_grew(env, DB, end));
}

fn closed(world: &World) -> usize {
    let events = world.nodes.iter().flat_map(|node| &node.events);
    let closed = |event: &&Event| {
        matches!(
            event,
            Event::Connection {
                event: ConnectionEvent::Closed { .. },
                ..
            }
        )
    };
    events.filter(closed).count()
}

/// Service is forced on `at` while the two do not hear each other; they do not when this returns.
fn force_apart(world: &mut World, at: usize) {
    world.block(P, M, true);
    world.pass(SECOND);
    world.with(at, |e, env| e.force_service(env, DB)).unwrap();
    world.pass(SECOND);
}

/// Seeds 10910 and 12476: the second seed came while the first was being put in the database's place. The mirror dropped it, and its
/// principal waited for ever to hear that it was there.
#[test]
fn a_seed_that_begins_while_another_is_installed_is_made_up_for() {
    for steps in 0..14 {
        let mut world = started(false);
        // Both have dialed; the surplus goes first.
        world.pass(Duration::from_secs(5));
        let before = closed(&world);
        world.nodes[M].prompt = false;
        gap(&mut world, 99, 1234);
        world.run();
        gap(&mut world, 100, 12345);
        // The first is there before, between, or after the pieces of the second.
        for _ in 0..steps {
            world.poll(P);
            world.deliver();
        }
        world.nodes[M].prompt = true;
        world.pass(SECOND);
        world.commit(P, 101, 40);
        world.pass(SECOND);
        world.assert_level(P, M);
        assert_eq!(world.content(M), [1, 2, 99, 100, 101], "after {steps} steps");
        assert_eq!(closed(&world), before, "after {steps} steps");
    }
}

/// Seed 80329: redo of the old copy fails, late, while a whole seed is being put in its place. That was taken for a failure of the seed: the
/// session went by the old log, and the seed was there.
#[test]
fn a_redo_that_fails_late_leaves_the_seed_alone() {
    for installing in [false, true] {
        let mut world = started(false);
        world.pass(Duration::from_secs(5));
        world.nodes[M].prompt = false;
        gap(&mut world, 99, 1234);
        if installing {
            world.run();
        } else {
            world.poll(P);
            world.deliver();
        }
        world.with(M, |e, env| e.redo_failed(env, DB, StorageError::Corrupt));
        world.nodes[M].prompt = true;
        world.pass(Duration::from_secs(4));
        let events = world.session_events(M);
        let failed = |event: &SessionEvent| matches!(event, SessionEvent::SeedFailed(_));
        let installed = |event: &SessionEvent| matches!(event, SessionEvent::SeedDone { .. });
        assert!(!events.iter().any(failed) && events.iter().any(installed));
        assert!(!world.view(M).unwrap().incomplete);
        world.commit(P, 101, 40);
        world.pass(SECOND);
        world.assert_level(P, M);
        assert_eq!(world.content(M), [1, 2, 99, 101]);
    }
}

/// Seeds 11622, 12483 and 1795354083356992: the mirror's tail broke off, and the blocks of it that had come were still on their way into the
/// log. That the log may go on was said once they were there, which nobody did: the principal never said another hello.
#[test]
fn a_tail_that_breaks_off_lets_the_log_go_on_once_what_came_is_durable() {
    let mut world = started(false);
    for value in 3..9 {
        world.commit(P, value, 200);
    }
    world.pass(SECOND);
    world.crash(P, 2);
    let db = world.nodes[M].disk.db(DB);
    let damaged = db.end().position.sequence - 1;
    db.blocks.retain(|block| block.position.sequence != damaged);
    db.hard = db.blocks.len();
    world.nodes[P].prompt = false;
    world.restart(P);
    world.pass(Duration::from_secs(3));
    assert_eq!(reseeds(&world).last(), Some(&ReseedReason::ChainMismatch));
    assert!(
        !world.nodes[P].may_capture,
        "blocks are on their way into the log"
    );
    world.nodes[P].prompt = true;
    world.pass(SECOND);
    assert!(world.nodes[P].may_capture && world.view(P).unwrap().serves);
    world.cut();
    world.pass(Duration::from_secs(5));
    world.commit(P, 50, 40);
    world.pass(SECOND);
    world.assert_level(P, M);
}

/// Seeds 10454 and 13632: a principal yields, and has the role back before its writers were shut out. That nobody waits for any more; its
/// hello did.
#[test]
fn a_role_that_is_back_before_the_fence_stands_says_hello() {
    let mut world = started(false);
    force_apart(&mut world, M);
    world.nodes[P].fences = false;
    world.block(P, M, false);
    world.pass(Duration::from_secs(8));
    assert_eq!(world.view(P).unwrap().role, Role::Mirror);
    force_apart(&mut world, P);
    assert!(world.view(P).unwrap().serves);
    world.block(P, M, false);
    world.pass(Duration::from_secs(8));
    assert_eq!(world.view(M).unwrap().role, Role::Mirror);
    world.with(P, |e, env| e.set_suspended(env, DB, false)).unwrap();
    world.pass(Duration::from_secs(5));
    world.assert_level(P, M);
}

/// Seed 12519: the seed that was to take the place of undoing was refused, the host went on undoing, and the session went by a log that was
/// not there any more.
#[test]
fn a_seed_that_is_refused_takes_the_place_of_nothing() {
    let mut world = started(false);
    for value in 3..9 {
        world.commit(P, value, 200);
    }
    world.pass(SECOND);
    world.crash(P, 2);
    world.crash(M, 0);
    world.restart(P);
    world.pass(Duration::from_secs(12));
    world.nodes[M].rewinds = true;
    world.nodes[M].rewinds_late = true;
    world.nodes[M].disk.refuse = Some(StorageError::Full);
    world.restart(M);
    world.pass(Duration::from_secs(8));
    assert!(heard(&world, M, |e| matches!(e, SessionEvent::Rewind { .. })));
    // A principal waits ten minutes for its mirror to undo.
    world.pass(Duration::from_secs(610));
    assert!(heard(&world, M, |e| matches!(e, SessionEvent::SeedFailed(_))));
    world.undo_now(M);
    world.run();
    assert_eq!(world.view(M).unwrap().end, world.nodes[M].disk.db(DB).end());
    world.nodes[M].disk.refuse = None;
    world.pass(Duration::from_secs(40));
    world.commit(P, 50, 40);
    world.pass(SECOND);
    world.assert_level(P, M);
}

/// Seed 20692: an old principal had begun a timeline, with nothing in it, when it yielded to one with a timeline of the same number. As a mirror it
/// took that one's blocks for blocks of its own, and undid them, acknowledged as they were, when it looked at its owner's hello again.
#[test]
fn a_timeline_that_was_begun_and_given_up_is_not_the_owners() {
    let mut world = started(false);
    world.commit(P, 3, 40);
    world.pass(SECOND);
    world.crash(P, 9);
    world.pass(SECOND);
    world.block(P, M, true);
    world.with(M, |e, env| e.force_service(env, DB)).unwrap();
    world.pass(SECOND);
    world.restart(P);
    world.pass(Duration::from_secs(12));
    let number = |world: &World, at: usize| {
        let timelines = world.nodes[at].endpoint.timelines(DB).unwrap();
        timelines.last().unwrap()
    };
    assert_eq!(number(&world, P).number, number(&world, M).number);
    assert_ne!(number(&world, P).fork, number(&world, M).fork);
    world.block(P, M, false);
    world.pass(Duration::from_secs(8));
    world.with(M, |e, env| e.set_suspended(env, DB, false)).unwrap();
    world.commit(M, 70, 40);
    world.pass(Duration::from_secs(2));
    world.assert_level(M, P);
    let stored = Stored::decode(&world.nodes[P].records[&DB]).unwrap();
    assert_eq!(stored.timelines.last(), Some(number(&world, M)));
    world.cut();
    world.pass(Duration::from_secs(5));
    world.assert_level(M, P);
    assert!(!heard(&world, P, |e| matches!(e, SessionEvent::Rewind { .. })));
}

/// Seed 60138: service was forced on a mirror that had been left behind for long, and it died before its timeline was begun. When it came back its
/// old principal was there, with blocks in that very timeline and in later ones, and nothing to be undone before RESUME: the new owner
/// opened and went on in the same timeline.
#[test]
fn an_owner_without_a_timeline_begins_one_where_its_mirror_went_on() {
    let mut world = started(false);
    world.commit(P, 3, 40);
    world.pass(SECOND);
    world.with(P, |e, env| e.set_suspended(env, DB, true)).unwrap();
    world.commit(P, 4, 40);
    world.pass(SECOND);
    world.block(P, M, true);
    world.crash(P, 9);
    world.restart(P);
    world.pass(Duration::from_secs(12));
    world.commit(P, 5, 40);
    world.pass(SECOND);
    world.nodes[M].prompt = false;
    world.with(M, |e, env| e.force_service(env, DB)).unwrap();
    world.run();
    world.confirm_records(M);
    world.crash(M, 9);
    world.nodes[M].prompt = true;
    let end = world.nodes[M].disk.db(DB).end();
    world.restart(M);
    world.block(P, M, false);
    world.pass(Duration::from_secs(8));
    assert_eq!(world.view(P).unwrap().role, Role::Mirror);
    assert!(world.view(M).unwrap().serves);
    world.commit(M, 70, 40);
    world.pass(SECOND);
    let ours = world.nodes[M].disk.db(DB).end();
    assert_eq!(ours.position.sequence, end.position.sequence + 1);
    assert!(ours.position.timeline > end.position.timeline);
    let old = world.nodes[P].disk.db(DB);
    assert!(
        old.blocks
            .iter()
            .any(|block| block.position.sequence == ours.position.sequence)
    );
    assert!(old.blocks.iter().all(|block| block.position != ours.position));
    world.with(M, |e, env| e.set_suspended(env, DB, false)).unwrap();
    world.pass(Duration::from_secs(5));
    world.assert_level(M, P);
}

/// Seed 60054: the capture of a principal began anew, in a new timeline, while its disk hung and it yielded. The session refused the timeline that
/// the log lay in.
#[test]
fn a_timeline_that_is_begun_while_the_role_is_yielded_is_known_as_a_fork() {
    let mut world = started(false);
    force_apart(&mut world, M);
    world.nodes[P].fences = false;
    world.block(P, M, false);
    world.pass(Duration::from_secs(8));
    assert_eq!(world.view(P).unwrap().role, Role::Mirror);
    gap(&mut world, 99, 1234);
    world.nodes[P].fences = true;
    world.with(P, |e, env| e.fenced(env, DB));
    world.pass(SECOND);
    let known = world.nodes[P].endpoint.timelines(DB).unwrap().last().unwrap();
    assert_eq!(known.fork, ForkId(1234));
    let later = Timeline {
        number: known.number + 1,
        ..known
    };
    let refused = world.with(P, |e, env| e.new_timeline(env, DB, later, false));
    assert_eq!(refused.unwrap_err().number, 1416, "its writers are shut out");
    world.with(M, |e, env| e.set_suspended(env, DB, false)).unwrap();
    world.commit(M, 70, 40);
    world.pass(Duration::from_secs(5));
    assert!(heard(&world, P, |e| matches!(e, SessionEvent::Rewind { .. })));
    world.assert_level(M, P);
}

/// Seed 8308: the same after the writers were shut out, while the record that gives the role away was not durable for want of a storage. The
/// session took the timeline, and not what the log had grown to in it.
#[test]
fn a_log_that_grows_before_the_change_of_role_is_told_is_gone_by() {
    let mut world = started(false);
    force_apart(&mut world, M);
    world.nodes[P].prompt = false;
    world.block(P, M, false);
    world.pass(Duration::from_secs(8));
    let changed = |world: &World| heard(world, P, |e| matches!(e, SessionEvent::RoleChanged { .. }));
    assert_eq!(world.view(P).unwrap().role, Role::Mirror);
    assert!(!changed(&world), "that is not durable");
    gap(&mut world, 99, 1234);
    let end = world.nodes[P].disk.db(DB).end();
    assert_eq!(world.view(P).unwrap().end, end);
    world.nodes[P].prompt = true;
    world.pass(SECOND);
    assert!(changed(&world));
    let known = world.nodes[P].endpoint.timelines(DB).unwrap().last().unwrap();
    assert_eq!((known.fork, known.number), (ForkId(1234), end.position.timeline));
    let mut later = end;
    later.position.sequence += 1;
    world.with(P, |e, env| e.log_grew(env, DB, later));
    assert_eq!(world.view(P).unwrap().end, end, "it is a mirror's from here on");
    world.with(M, |e, env| e.set_suspended(env, DB, false)).unwrap();
    world.commit(M, 70, 40);
    world.pass(Duration::from_secs(5));
    assert!(heard(&world, P, |e| matches!(e, SessionEvent::Rewind { .. })));
    world.assert_level(M, P);
}
