//! Groups of three: the witness is set, changed, removed; the mirror takes over; who may serve (`docs/safety.md` R3, R5, R8).

use super::actions::SECOND;
use super::world::{DB, World, address};
use crate::endpoint::ConnectionId;
use crate::message::Sync;
use crate::session::{
    EndedBy, Fence, Reason, Role, RoleChange, SessionError, SessionEvent, SessionState, WitnessState,
};
use crate::time::Duration;

const W: usize = 2;

fn after(world: &mut World, seconds: u64) {
    world.pass(Duration::from_secs(seconds));
}

/// A level group: node 0 is the principal, 1 the mirror, 2 the witness.
fn group(reversed: bool) -> World {
    let mut world = grown(3, reversed);
    world
        .with(0, |e, env| e.set_witness(env, DB, address(W)))
        .unwrap();
    after(&mut world, 3);
    assert!(world.session_events(0).contains(&SessionEvent::WitnessChanged));
    world.assert_level(0, 1);
    all_sync(&world);
    world
}

fn grown(nodes: usize, reversed: bool) -> World {
    let mut world = World::new(nodes, reversed);
    world.create(0);
    world.commit(0, 1, 40);
    world.commit(0, 2, 40);
    world.wait_for_seed(1, 0);
    world.start(0, 1);
    world.pass(SECOND);
    for node in &mut world.nodes {
        node.rewinds = true;
    }
    world
}

fn record(world: &World, at: usize) -> crate::message::Record {
    world.view(at).unwrap().record
}

/// What the witness holds.
fn held(world: &World) -> crate::message::Record {
    world.nodes[W]
        .endpoint
        .witnesses()
        .next()
        .unwrap()
        .record
        .unwrap()
}

fn all_sync(world: &World) {
    for record in [record(world, 0), record(world, 1), held(world)] {
        assert_eq!(record.sync, Sync::Sync, "{record:?}");
        assert_eq!(record.compare(&held(world)), core::cmp::Ordering::Equal);
    }
}

fn serving(world: &World) -> std::vec::Vec<usize> {
    (0..2)
        .filter(|at| world.nodes[*at].up && world.view(*at).is_some_and(|v| v.serves))
        .collect()
}

fn acknowledged(world: &World, at: usize) -> u64 {
    world.nodes[at].endpoint.acknowledged_to(DB).sequence
}

fn tried(result: Result<(), SessionError>) -> u32 {
    result.map_or_else(|error| error.number, |()| 0)
}

/// Whether the connection between two nodes is up.
fn link(world: &mut World, one: usize, other: usize, up: bool) {
    world.block(one, other, !up);
}

#[test]
fn a_witness_is_set_and_all_three_record_sync() {
    for reversed in [false, true] {
        let world = group(reversed);
        for at in 0..2 {
            let witness = world.view(at).unwrap().witness.unwrap();
            assert_eq!(witness.state, WitnessState::Connected);
            assert_eq!(witness.instance, world.nodes[W].id);
            assert!(!witness.pending);
        }
        assert!(world.view(1).unwrap().may_take_over);
        assert_eq!(world.nodes[W].endpoint.witnesses().count(), 1);
    }
}

#[test]
fn who_cannot_be_a_witness_is_refused() {
    let mut world = grown(3, false);
    let set = |world: &mut World, at: usize, witness: usize| {
        tried(world.with(at, |e, env| e.set_witness(env, DB, address(witness))))
    };
    assert_eq!(set(&mut world, 1, W), 1470);
    assert_eq!(set(&mut world, 0, 1), 1429);
    assert_eq!(tried(world.with(0, |e, env| e.witness_off(env, DB))), 1439);
    world.crash(W, 0);
    assert_eq!(set(&mut world, 0, W), 0);
    assert_eq!(set(&mut world, 0, W), 1404, "one at a time");
    after(&mut world, 12);
    let refused = world.session_events(0).into_iter().find_map(|e| match e {
        SessionEvent::WitnessRefused(error) => Some(error.number),
        _ => None,
    });
    assert_eq!(refused, Some(1456), "it could not be reached");
    world.restart(W);
    assert_eq!(set(&mut world, 0, W), 0);
    after(&mut world, 15);
    all_sync(&world);
    assert_eq!(set(&mut world, 0, W), 1446);
    world.crash(1, 9);
    after(&mut world, 2);
    assert_eq!(set(&mut world, 0, 1), 1429);
}

#[test]
fn the_mirror_takes_over_when_the_principal_dies() {
    for reversed in [false, true] {
        let mut world = group(reversed);
        for value in 3..6 {
            world.commit(0, value, 200);
        }
        after(&mut world, 1);
        world.crash(0, 9);
        // A hard error: within two round trips after the reconnect failed (R9 waits half a second at most).
        after(&mut world, 2);
        assert_eq!(serving(&world), [1]);
        let view = world.view(1).unwrap();
        assert_eq!((view.record.role_sequence, view.record.sync), (2, Sync::Unsync));
        assert!(world.session_events(1).iter().any(|e| matches!(
            e,
            SessionEvent::RoleChanged {
                role: Role::Principal,
                role_sequence: 2,
                why: RoleChange::TakeOver,
                ..
            }
        )));
        world.commit(1, 50, 40);
        after(&mut world, 1);
        assert_eq!(
            acknowledged(&world, 1),
            world.view(1).unwrap().end.position.sequence,
            "exposed, confirmed by the witness"
        );
        world.restart(0);
        after(&mut world, 8);
        assert_eq!(serving(&world), [1]);
        world.assert_level(1, 0);
        assert_eq!(world.content(0), [1, 2, 3, 4, 5, 50]);
        all_sync(&world);
        // And back.
        world.with(1, |e, env| e.failover(env, DB)).unwrap();
        after(&mut world, 5);
        assert_eq!(serving(&world), [0]);
        world.commit(0, 51, 40);
        after(&mut world, 1);
        world.assert_level(0, 1);
        all_sync(&world);
    }
}

/// Reference §11.7, the first of its two scenarios: A dies, B takes over, B dies, A returns and reaches W.
#[test]
fn an_old_principal_that_reaches_only_the_witness_does_not_serve() {
    let mut world = group(false);
    world.crash(0, 9);
    after(&mut world, 2);
    assert_eq!(serving(&world), [1]);
    world.commit(1, 5, 40);
    after(&mut world, 1);
    world.nodes[1].disk.db(DB).hard = world.nodes[1].disk.db(DB).blocks.len();
    world.crash(1, 9);
    world.restart(0);
    after(&mut world, 15);
    assert!(serving(&world).is_empty());
    assert_eq!(world.view(0).unwrap().role, Role::Mirror);
    world.restart(1);
    after(&mut world, 8);
    assert_eq!(serving(&world), [1]);
    world.commit(1, 6, 40);
    after(&mut world, 1);
    world.assert_level(1, 0);
}

/// The second: W is lost, then the link between the partners; the principal reaches W and serves.
#[test]
fn a_principal_without_quorum_stops_and_serves_again_with_the_witness() {
    let mut world = group(false);
    world.crash(W, 0);
    after(&mut world, 2);
    assert_eq!(serving(&world), [0]);
    link(&mut world, 0, 1, false);
    after(&mut world, 3);
    assert!(serving(&world).is_empty(), "no quorum");
    assert!(
        world
            .session_events(0)
            .contains(&SessionEvent::Fence(Fence::NoQuorum))
    );
    let before = acknowledged(&world, 0);
    world.commit(0, 9, 40);
    after(&mut world, 1);
    assert_eq!(acknowledged(&world, 0), before, "and acknowledges nothing");
    world.restart(W);
    after(&mut world, 10);
    // The witness still says SYNC, which the mirror's record equals: whoever is heard first goes on, and never both.
    assert_eq!(serving(&world).len(), 1);
    link(&mut world, 0, 1, true);
    after(&mut world, 20);
    let at = serving(&world)[0];
    world.commit(at, 10, 40);
    after(&mut world, 2);
    world.assert_level(at, 1 - at);
    all_sync(&world);
}

/// FAILOVER is given up while both links have just died: whoever was shut out for it stays so until it is known that the mirror has not
/// taken the role, which it has (simulator, seeds 65117 and 66343).
#[test]
fn failover_that_is_given_up_without_quorum_keeps_writers_out() {
    let mut world = group(false);
    world.nodes[0].fences = false;
    world.with(0, |e, env| e.failover(env, DB)).unwrap();
    world.pass(Duration::from_millis(9_800));
    assert_eq!(world.state(0), Some(SessionState::PendingFailover));
    for other in [1, W] {
        link(&mut world, 0, other, false);
    }
    let before = world.session_events(0).len();
    world.pass(Duration::from_millis(400));
    let lets_in = |events: &[SessionEvent]| {
        let mut serving = events
            .iter()
            .filter(|event| matches!(event, SessionEvent::Serving { .. }));
        serving.next().is_some()
    };
    let given_up = |event: &SessionEvent| matches!(event, SessionEvent::FailoverFailed(_));
    let events = world.session_events(0);
    assert!(events[before..].iter().any(given_up), "{events:?}");
    assert!(!lets_in(&events[before..]));
    assert!(!world.view(0).unwrap().serves);
    after(&mut world, 12);
    let events = world.session_events(0);
    assert!(events[before..].contains(&SessionEvent::Fence(Fence::NoQuorum)));
    assert!(!lets_in(&events[before..]));
    assert_eq!(serving(&world), [1]);
    world.nodes[0].fences = true;
    for other in [1, W] {
        link(&mut world, 0, other, true);
    }
    after(&mut world, 20);
    assert!(!lets_in(&world.session_events(0)[before..]));
    world.commit(1, 10, 40);
    after(&mut world, 2);
    world.assert_level(1, 0);
    all_sync(&world);
}

/// The same with the mirror lost for good: the witness confirms UNSYNC, and writers come back.
#[test]
fn failover_that_is_given_up_lets_writers_in_when_the_witness_confirms() {
    let mut world = group(false);
    world.nodes[0].fences = false;
    world.with(0, |e, env| e.failover(env, DB)).unwrap();
    world.pass(SECOND);
    world.crash(1, 0);
    after(&mut world, 3);
    let events = world.session_events(0);
    let failed = events
        .iter()
        .position(|event| matches!(event, SessionEvent::FailoverFailed(_)))
        .unwrap();
    assert!(events[failed..].contains(&SessionEvent::Serving { role_sequence: 1 }));
    assert!(!events.contains(&SessionEvent::Fence(Fence::NoQuorum)));
    assert_eq!(serving(&world), [0]);
    assert_eq!(record(&world, 0).sync, Sync::Unsync);
}

/// A node stands still as a whole, or goes on with what came meanwhile.
fn hang(world: &mut World, at: usize, hangs: bool) {
    world.nodes[at].up = !hangs;
    for pipe in &mut world.pipes {
        if pipe.ends.iter().any(|(node, _)| *node == at) {
            pipe.frozen = hangs;
        }
    }
}

/// The ends of connections that node `at` has with `other`, and the other ends.
fn ends(world: &World, at: usize, other: usize) -> std::vec::Vec<(ConnectionId, ConnectionId)> {
    let pair = |ends: [(usize, ConnectionId); 2]| match ends {
        [one, two] if (one.0, two.0) == (at, other) => Some((one.1, two.1)),
        [one, two] if (one.0, two.0) == (other, at) => Some((two.1, one.1)),
        _ => None,
    };
    world.pipes.iter().filter_map(|pipe| pair(pipe.ends)).collect()
}

/// FAILOVER whose process stood still past its deadline is not given up, and its writers let in, on the word of a mirror that has taken over
/// meanwhile, whatever it hears of first and however short that was (simulator, seeds 35003, 77675 and 98660).
#[test]
fn failover_that_is_given_up_after_standing_still_keeps_writers_out() {
    for (first, tenths) in [
        (None, 250),
        (Some(1), 250),
        (Some(W), 250),
        (None, 93),
        (Some(W), 93),
    ] {
        let mut world = group(false);
        world.nodes[0].fences = false;
        world.with(0, |e, env| e.failover(env, DB)).unwrap();
        after(&mut world, 1);
        let before = world.session_events(0).len();
        hang(&mut world, 0, true);
        // The others learn at once that their connections to it are lost.
        for other in [1, W] {
            for (_, theirs) in ends(&world, 0, other) {
                world.with(other, |e, env| e.handle_eof(env, theirs, true));
            }
        }
        world.pass(Duration::from_millis(tenths * 100));
        assert_eq!(serving(&world).last(), Some(&1));
        let over = first.map(|first| ends(&world, 0, first)[0].0);
        world.nodes[0].up = true;
        match over {
            Some(connection) => world.with(0, |e, env| e.handle_eof(env, connection, false)),
            None => world.with(0, |e, env| e.handle_timeout(env)),
        }
        world.poll(0);
        let given_up = |event: &SessionEvent| matches!(event, SessionEvent::FailoverFailed(_));
        assert!(
            world.session_events(0)[before..].iter().any(given_up),
            "{first:?} {tenths}"
        );
        hang(&mut world, 0, false);
        after(&mut world, 20);
        let events = world.session_events(0);
        let lets_in = |event: &SessionEvent| matches!(event, SessionEvent::Serving { .. });
        assert!(
            !events[before..].iter().any(lets_in),
            "{first:?} {tenths}: {:?}",
            &events[before..]
        );
        assert_eq!(serving(&world), [1]);
    }
}

/// Reference §11.7, row by row, from a level group with all links up; where it departs it is as docs/safety.md R3 says.
#[test]
fn who_may_serve() {
    // (P–M, P–W, M–W), and who serves after a while.
    type Row = ((bool, bool, bool), &'static [usize]);
    let table: [Row; 8] = [
        ((true, true, true), &[0]),
        ((true, true, false), &[0]),
        ((true, false, true), &[0]),
        ((true, false, false), &[0]),
        ((false, true, true), &[0]),
        ((false, true, false), &[0]),
        ((false, false, true), &[1]),
        ((false, false, false), &[]),
    ];
    for reversed in [false, true] {
        for ((pm, pw, mw), expected) in table {
            let mut world = group(reversed);
            link(&mut world, 0, W, pw);
            link(&mut world, 1, W, mw);
            after(&mut world, 1);
            link(&mut world, 0, 1, pm);
            after(&mut world, 12);
            assert_eq!(serving(&world), expected, "P–M {pm}, P–W {pw}, M–W {mw}");
            for at in 0..2 {
                link(&mut world, at, W, true);
            }
            link(&mut world, 0, 1, true);
            after(&mut world, 25);
            let now = serving(&world);
            assert_eq!(now.len(), 1, "P–M {pm}, P–W {pw}, M–W {mw}");
            world.commit(now[0], 70, 40);
            after(&mut world, 2);
            world.assert_level(now[0], 1 - now[0]);
            all_sync(&world);
        }
    }
}

/// Reference §11.8 on a mirror: UNSYNC, SUSPENDED and SAFETY OFF take nothing over.
#[test]
fn nothing_is_taken_over_that_is_not_synchronized() {
    for how in 0..2 {
        let mut world = group(false);
        if how == 0 {
            world.with(0, |e, env| e.set_suspended(env, DB, true)).unwrap();
        } else {
            world
                .with(0, |e, env| e.set_safety(env, DB, crate::session::Safety::Off))
                .unwrap();
        }
        after(&mut world, 1);
        world.commit(0, 9, 40);
        after(&mut world, 1);
        world.crash(0, 9);
        after(&mut world, 15);
        assert!(serving(&world).is_empty());
        assert_eq!(tried(world.with(1, |e, env| e.force_service(env, DB))), 0);
        after(&mut world, 2);
        assert_eq!(serving(&world), [1]);
        assert!(record(&world, 1).forced);
        world.restart(0);
        after(&mut world, 8);
        assert_eq!(serving(&world), [1]);
        assert_eq!(world.state(1), Some(SessionState::Suspended));
        world.with(1, |e, env| e.set_suspended(env, DB, false)).unwrap();
        if how == 1 {
            world
                .with(1, |e, env| e.set_safety(env, DB, crate::session::Safety::Full))
                .unwrap();
        }
        after(&mut world, 5);
        world.assert_level(1, 0);
        all_sync(&world);
    }
}

/// F4 and hand-back: the ask reaches the witness and its answer is lost; the principal comes back before it does.
#[test]
fn a_take_over_that_the_principal_returns_to_ends_with_one() {
    for cut in 1..30 {
        let mut world = group(cut % 2 == 0);
        link(&mut world, 0, W, false);
        link(&mut world, 0, 1, false);
        world.cut_after = Some(world.transmits + cut);
        after(&mut world, 1);
        link(&mut world, 0, 1, true);
        link(&mut world, 0, W, true);
        after(&mut world, 25);
        let now = serving(&world);
        assert_eq!(now.len(), 1, "cut {cut}");
        world.commit(now[0], 70, 40);
        after(&mut world, 2);
        world.assert_level(now[0], 1 - now[0]);
        all_sync(&world);
    }
}

/// Seed 6309: the old principal hears its mirror's open ask, and over the same binding it hears from the witness that this was granted. The ask
/// stayed with it, as if somebody asked *it* for the role: it never compared its log with the new owner's, and undid nothing.
#[test]
fn an_ask_that_was_heard_before_the_role_was_yielded_keeps_no_log_apart() {
    let mut world = group(false);
    let asked = |world: &World| world.nodes[0].endpoint.session(0).unwrap().q.mirror_ask != 0;
    link(&mut world, 0, W, false);
    link(&mut world, 0, 1, false);
    world.nodes[W].prompt = false;
    // It lies in the old principal's log alone.
    world.commit(0, 7, 40);
    after(&mut world, 2);
    link(&mut world, 0, 1, true);
    for _ in 0..300 {
        if asked(&world) {
            break;
        }
        world.now = world.now.after(Duration::from_millis(20));
        for at in 0..3 {
            world.with(at, |e, env| e.handle_timeout(env));
            world.poll(at);
            if at != W {
                world.confirm_records(at);
            }
        }
        world.deliver();
    }
    assert!(asked(&world));
    assert_eq!(record(&world, 1).role_sequence, 1, "nothing is granted yet");
    let between = |ends: [usize; 2]| ends == [0, 1] || ends == [1, 0];
    let freeze = |world: &mut World, frozen: bool| {
        for pipe in &mut world.pipes {
            if between([pipe.ends[0].0, pipe.ends[1].0]) {
                pipe.frozen = frozen;
            }
        }
    };
    freeze(&mut world, true);
    world.nodes[W].prompt = true;
    link(&mut world, 0, W, true);
    for _ in 0..6 {
        after(&mut world, 1);
        if record(&world, 0).role_sequence == 2 {
            break;
        }
    }
    assert_eq!(record(&world, 0), record(&world, 1));
    assert_eq!(world.view(0).unwrap().role, Role::Mirror);
    assert_eq!(serving(&world), [1]);
    freeze(&mut world, false);
    after(&mut world, 5);
    let undone = |event: &SessionEvent| matches!(event, SessionEvent::Rewind { .. });
    assert!(world.session_events(0).iter().any(undone));
    world.commit(1, 70, 40);
    after(&mut world, 3);
    world.assert_level(1, 0);
    all_sync(&world);
    assert_eq!(world.content(0), [1, 2, 70]);
}

/// R5, F59: the witness loses its storage while the owner is SYNC; it is registered again without an operator.
#[test]
fn a_blank_witness_is_registered_again() {
    for reversed in [false, true] {
        let mut world = group(reversed);
        world.crash(W, 0);
        world.nodes[W].witnessed.clear();
        world.restart(W);
        after(&mut world, 10);
        all_sync(&world);
        assert_eq!(serving(&world), [0]);
    }
}

/// F8: a witness that forgot its grant learns nothing from the old principal alone.
#[test]
fn an_isolated_old_owner_cannot_register_at_a_blank_witness() {
    let mut world = group(false);
    link(&mut world, 0, 1, false);
    link(&mut world, 0, W, false);
    after(&mut world, 3);
    assert_eq!(serving(&world), [1]);
    world.crash(W, 0);
    world.nodes[W].witnessed.clear();
    world.restart(W);
    link(&mut world, 1, W, false);
    link(&mut world, 0, W, true);
    after(&mut world, 15);
    assert!(!serving(&world).contains(&0));
    let before = acknowledged(&world, 0);
    world.commit(0, 9, 40);
    after(&mut world, 2);
    assert_eq!(acknowledged(&world, 0), before);
}

#[test]
fn the_witness_is_changed_and_removed() {
    let mut world = grown(4, false);
    world
        .with(0, |e, env| e.set_witness(env, DB, address(W)))
        .unwrap();
    after(&mut world, 3);
    world
        .with(0, |e, env| e.set_witness(env, DB, address(3)))
        .unwrap();
    after(&mut world, 5);
    for at in 0..2 {
        let witness = world.view(at).unwrap().witness.unwrap();
        assert_eq!((witness.instance, witness.pending), (world.nodes[3].id, false));
        assert_eq!(witness.state, WitnessState::Connected);
    }
    assert_eq!(
        world.nodes[W].endpoint.witnesses().count(),
        0,
        "the old one was told"
    );
    assert_eq!(world.nodes[3].endpoint.witnesses().count(), 1);
    world.with(0, |e, env| e.witness_off(env, DB)).unwrap();
    after(&mut world, 5);
    for at in 0..2 {
        assert_eq!(world.view(at).unwrap().witness, None);
    }
    world.assert_level(0, 1);
    assert_eq!(world.nodes[3].endpoint.witnesses().count(), 0);
}

/// WITNESS OFF with the mirror away needs the witness's word; without it, 1431.
#[test]
fn a_witness_is_dropped_while_the_mirror_is_away() {
    let mut world = group(false);
    world.crash(1, 9);
    after(&mut world, 2);
    world.with(0, |e, env| e.witness_off(env, DB)).unwrap();
    after(&mut world, 3);
    assert_eq!(world.view(0).unwrap().witness, None);
    world.commit(0, 9, 40);
    assert_eq!(serving(&world), [0]);
    world.crash(W, 0);
    after(&mut world, 2);
    assert_eq!(serving(&world), [0], "it needs no witness any more");
    // The mirror still names it; the owner's word is imposed.
    world.restart(1);
    after(&mut world, 8);
    assert_eq!(world.view(1).unwrap().witness, None);
    world.assert_level(0, 1);

    let mut world = group(false);
    world.crash(1, 9);
    world.crash(W, 0);
    after(&mut world, 3);
    let refused = tried(world.with(0, |e, env| e.witness_off(env, DB)));
    assert_eq!(refused, 1431);
}

/// R8: with a witness forced service is an ask, refused while it sees the other partner.
#[test]
fn force_with_a_witness_is_an_ask() {
    let mut world = group(false);
    assert_eq!(tried(world.with(1, |e, env| e.force_service(env, DB))), 1455);
    link(&mut world, 0, 1, false);
    after(&mut world, 3);
    assert_eq!(serving(&world), [0], "exposed, with the witness");
    assert_eq!(tried(world.with(1, |e, env| e.force_service(env, DB))), 0);
    after(&mut world, 2);
    let denied = SessionError::new(1455, Reason::Denied);
    assert!(
        world
            .session_events(1)
            .contains(&SessionEvent::ForceRefused(denied))
    );
    assert_eq!(serving(&world), [0]);
    link(&mut world, 1, W, false);
    after(&mut world, 1);
    assert_eq!(tried(world.with(1, |e, env| e.force_service(env, DB))), 1431);
    for (one, other) in [(0, 1), (1, W)] {
        link(&mut world, one, other, true);
    }
    after(&mut world, 15);
    world.commit(0, 9, 40);
    after(&mut world, 2);
    world.assert_level(0, 1);
    all_sync(&world);
}

/// R4 and F38: the whole group restarts; the principal waits for its mirror before it forks.
#[test]
fn a_restart_of_the_whole_group_ends_level() {
    let mut world = group(false);
    world.commit(0, 8, 40);
    after(&mut world, 1);
    let timeline = world.view(0).unwrap().end.position.timeline;
    for at in 0..3 {
        world.crash(at, 9);
    }
    world.run();
    for at in 0..3 {
        world.restart(at);
    }
    after(&mut world, 10);
    assert_eq!(serving(&world), [0]);
    world.commit(0, 9, 40);
    after(&mut world, 2);
    world.assert_level(0, 1);
    all_sync(&world);
    assert_eq!(world.view(0).unwrap().end.position.timeline, timeline, "no fork");
}

/// R9, failover time with a hang: the mirror takes over within the time-out and one ping, and the old principal has stopped by then or
/// acknowledges nothing that the new one lacks.
#[test]
fn a_principal_that_hangs_is_replaced_within_its_time_out_and_a_ping() {
    for reversed in [false, true] {
        let mut world = group(reversed);
        world.commit(0, 5, 40);
        after(&mut world, 1);
        for pipe in &mut world.pipes {
            pipe.frozen |= pipe.ends.iter().any(|(node, _)| *node == 0);
        }
        // Whoever dials it is not answered either.
        world.blocked.extend([(0, 1), (0, W)]);
        let before = acknowledged(&world, 0);
        world.commit(0, 6, 40);
        after(&mut world, 9);
        assert_eq!(serving(&world), [0], "not before the time-out");
        assert_eq!(acknowledged(&world, 0), before, "and it waits for its mirror");
        world.pass(Duration::from_millis(2_100));
        assert_eq!(serving(&world), [1], "at once after it");
        world.blocked.clear();
        after(&mut world, 20);
        assert_eq!(serving(&world), [1]);
        world.commit(1, 7, 40);
        after(&mut world, 2);
        world.assert_level(1, 0);
        assert_eq!(world.content(1), [1, 2, 5, 7], "what nobody was told is undone");
        all_sync(&world);
    }
}

/// F23: values of an earlier owner, however high their numbers, give way to those of the present one.
#[test]
fn the_present_owners_properties_win() {
    let mut world = group(false);
    link(&mut world, 0, 1, false);
    link(&mut world, 0, W, false);
    after(&mut world, 1);
    for suspended in [true, false, true] {
        let _ = world.with(0, |e, env| e.set_suspended(env, DB, suspended));
        let safety = crate::session::Safety::Off;
        let _ = world.with(0, |e, env| e.set_safety(env, DB, safety));
    }
    after(&mut world, 2);
    assert_eq!(serving(&world), [1]);
    link(&mut world, 0, 1, true);
    link(&mut world, 0, W, true);
    after(&mut world, 15);
    let (p, m) = (world.view(1).unwrap(), world.view(0).unwrap());
    assert!(!m.suspended && m.safety == crate::session::Safety::Full);
    assert_eq!((p.safety_sequence, p.suspended), (m.safety_sequence, m.suspended));
    world.assert_level(1, 0);
}

/// R0: the owner's PARTNER OFF ends the session at the witness too.
#[test]
fn the_witness_hears_of_the_end() {
    let mut world = group(false);
    world.with(0, |e, env| e.partner_off(env, DB)).unwrap();
    after(&mut world, 2);
    assert!(world.view(0).is_none() && world.view(1).is_none());
    assert_eq!(world.nodes[W].endpoint.witnesses().count(), 0);
}

/// A session that ends while its tombstone is not durable yet, and whose endpoint is stopped meanwhile, is gone all the same: it kept its
/// place, and the database could not be mirrored again (simulator, seed 48703).
#[test]
fn an_end_that_becomes_durable_after_the_endpoint_was_stopped_leaves_nothing() {
    let mut world = group(false);
    world.nodes[1].prompt = false;
    world.with(0, |e, env| e.partner_off(env, DB)).unwrap();
    after(&mut world, 2);
    let ended = SessionEvent::Ended { by: EndedBy::Partner };
    assert!(!world.session_events(1).contains(&ended));
    world.with(1, |e, env| e.set_running(env, false));
    after(&mut world, 1);
    world.nodes[1].prompt = true;
    after(&mut world, 1);
    world.with(1, |e, env| e.set_running(env, true));
    after(&mut world, 2);
    assert!(world.session_events(1).contains(&ended));
    assert!(world.view(1).is_none());
    world.wait_for_seed(1, 0);
    world.start(0, 1);
    after(&mut world, 5);
    world.assert_level(0, 1);
}

/// An owner that learns from the end of the session that its mirror had taken the role has a closed copy, and captures nothing in it
/// (simulator, seed 41561).
#[test]
fn who_learns_from_the_end_that_it_yielded_does_not_capture() {
    let mut world = group(false);
    world.crash(0, 9);
    after(&mut world, 15);
    assert_eq!(serving(&world), [1]);
    world.with(1, |e, env| e.partner_off(env, DB)).unwrap();
    after(&mut world, 5);
    world.restart(0);
    let before = world.session_events(0).len();
    after(&mut world, 5);
    let events = world.session_events(0);
    assert!(
        events.contains(&SessionEvent::Ended { by: EndedBy::Partner }),
        "{events:?}"
    );
    let captures = |event: &SessionEvent| matches!(event, SessionEvent::MayCapture { .. });
    assert!(!events[before..].iter().any(captures), "{:?}", &events[before..]);
}
