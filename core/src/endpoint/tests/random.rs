//! A session under a random mix of commits, cuts, crashes and slow disks, from one seed; at the end the logs are equal.

use super::disk::Later;
use super::world::{DB, Dice, World};
use crate::session::{Safety, SessionEvent, StorageError};
use crate::time::Duration;

fn run(seed: u64, steps: u32) {
    let mut dice = Dice(seed);
    let mut world = World::new(2, dice.below(2) == 0);
    world.create(0);
    world.commit(0, 1, 50);
    if dice.below(2) == 0 {
        world.wait_for_seed(1, 0);
    } else {
        world.wait_with_copy(1, 0);
    }
    world.start(0, 1);
    world.pass(Duration::from_secs(2));
    assert!(world.view(0).is_some(), "seed {seed}: started");
    let mut value = 100;
    let trace = std::env::var_os("DBMIRROR_TRACE").is_some();
    for step in 0..steps {
        let up = [world.nodes[0].up, world.nodes[1].up];
        match dice.below(25) {
            0..6 if up[0] && world.nodes[0].may_capture => {
                for _ in 0..=dice.below(4) {
                    value += 1;
                    let len = [30, 900, 17_000, 60_000][dice.below(4) as usize];
                    world.commit(0, value, len);
                }
                // The principal's own log hardens some of it.
                let db = world.nodes[0].disk.db(DB);
                let room = (db.blocks.len() - db.hard) as u64 + 1;
                db.hard += dice.below(room) as usize;
            }
            6 | 7 => world.cut(),
            8 => world.cut_after = Some(world.transmits + 1 + dice.below(12)),
            9 => {
                if let Some(pipe) = world.pipes.first_mut() {
                    pipe.frozen = true;
                }
            }
            10 => {
                let who = dice.below(2) as usize;
                if up[who] {
                    let keep = dice.below(4) as usize;
                    world.crash(who, keep);
                }
            }
            11 | 12 => {
                for who in 0..2 {
                    if !world.nodes[who].up {
                        world.restart(who);
                    }
                }
            }
            13 => {
                let who = dice.below(2) as usize;
                world.nodes[who].prompt = false;
            }
            14 => {
                for who in 0..2 {
                    world.nodes[who].prompt = true;
                    if world.nodes[who].up {
                        world.confirm_records(who);
                    }
                }
            }
            15 => {
                world.confirm_one(1);
            }
            16 if up[0] && dice.below(4) == 0 && world.nodes[0].may_capture => {
                let fork = dice.next();
                value += 1;
                let timeline = world.nodes[0].disk.db(DB).lose_log(value, fork);
                let end = world.nodes[0].disk.db(DB).end();
                // A session whose record is not durable yet takes it all the same.
                world
                    .with(0, |e, env| e.new_timeline(env, DB, timeline, true))
                    .unwrap();
                world.with(0, |e, env| e.log_grew(env, DB, end));
            }
            17 => {
                let who = dice.below(2) as usize;
                let refuse = [None, Some(StorageError::Full), Some(StorageError::Chain)];
                world.nodes[who].disk.refuse = refuse[dice.below(3) as usize];
            }
            18 if up[0] && up[1] => {
                let suspended = world.view(0).is_some_and(|v| v.suspended);
                let who = dice.below(2) as usize;
                // Refused where the partner is away: then nothing has changed.
                let _ = world.with(who, |e, env| e.set_suspended(env, DB, !suspended));
            }
            20 => world.nodes[0].disk.never_adopt = dice.below(2) == 0,
            21 if up[0] => {
                // What is put into the own log and file late, or never.
                if dice.below(2) == 0 {
                    world.confirm_one(0);
                } else if let Some(later) = world.nodes[0].disk.later.pop_back() {
                    match later {
                        Later::Adopted(db, end) => {
                            let log = world.nodes[0].disk.db(db);
                            log.blocks.retain(|b| b.position.sequence < end.position.sequence);
                            let failed = StorageError::CannotAdopt;
                            world.with(0, |e, env| e.storage_failed(env, db, failed));
                        }
                        other => world.nodes[0].disk.later.push_back(other),
                    }
                }
            }
            19 if up[0] => {
                let safety = [Safety::Off, Safety::Full][dice.below(2) as usize];
                world.with(0, |e, env| e.set_safety(env, DB, safety)).unwrap();
            }
            _ => world.pass(Duration::from_millis(50 + dice.below(3_000))),
        }
        if dice.below(3) == 0 {
            world.run();
        }
        if trace {
            std::println!(
                "step {step}: {:?} | {:?} | disk {:?} hard {:?} later {} writing {} prompt {}",
                world.view(0).map(|v| (
                    v.state,
                    v.end.position.sequence,
                    v.hardened_on_both.sequence,
                    v.bound
                )),
                world.view(1).map(|v| (
                    v.state,
                    v.end.position.sequence,
                    v.streamed.sequence,
                    v.bound,
                    v.seed.is_some()
                )),
                world.nodes[1].disk.db(DB).end().position,
                world.nodes[1].disk.db(DB).hard_end().position.sequence,
                world.nodes[1].disk.later.len(),
                world.nodes[1].writing.len(),
                world.nodes[1].prompt,
            );
        }
        check(&mut world, seed, step);
    }
    for who in 0..2 {
        world.nodes[who].prompt = true;
        if !world.nodes[who].up {
            world.restart(who);
        }
        world.confirm_records(who);
    }
    for pipe in &mut world.pipes {
        pipe.frozen = false;
    }
    for node in &mut world.nodes {
        node.disk.refuse = None;
    }
    world.cut_after = None;
    world.pass(Duration::from_secs(30));
    if world.view(0).is_some_and(|v| v.suspended) {
        world.with(0, |e, env| e.set_suspended(env, DB, false)).unwrap();
    }
    world.pass(Duration::from_secs(70));
    let (p, m) = (world.view(0), world.view(1));
    assert_eq!(
        p.map(|v| v.state.code()),
        Some(4),
        "seed {seed}: {p:?}\n{m:?}\n{:?}",
        &world.session_events(0)
    );
    world.assert_level(0, 1);
    let (p, m) = (world.view(0).unwrap(), world.view(1).unwrap());
    assert_eq!(
        (p.safety, p.safety_sequence, p.suspended),
        (m.safety, m.safety_sequence, m.suspended)
    );
}

/// What must hold at every moment.
fn check(world: &mut World, seed: u64, step: u32) {
    let acked = world.nodes[0]
        .up
        .then(|| world.view(0))
        .flatten()
        .filter(|v| v.bound)
        .map(|v| v.hardened_on_both);
    // I5: what the principal counts as hardened is on the mirror's disk.
    if let Some(acked) = acked {
        let db = world.nodes[1].disk.db(DB);
        let hard = db.hard_end().position.sequence;
        assert!(
            acked.sequence <= hard,
            "seed {seed} step {step}: {acked:?} counted, {hard} hardened"
        );
    }
    // Without a witness, FAILOVER and FORCE the role never moves.
    for at in 0..2 {
        if let Some(view) = world.view(at).filter(|v| v.guid.is_some()) {
            assert_eq!(view.record.role_sequence, 1);
            assert_eq!(view.record.owner, world.nodes[0].id);
        }
    }
    let conflict = world
        .session_events(0)
        .iter()
        .any(|e| matches!(e, SessionEvent::RecordConflict(_) | SessionEvent::Ended { .. }));
    assert!(!conflict, "seed {seed} step {step}");
}

#[test]
fn random_runs_end_level() {
    for seed in 1..=60 {
        run(seed, 60);
    }
}

/// Seeds that once found something: 1065, a principal whose mirror had refused asked to be woken in the past; 2791, one whose
/// storage confirmed an adopted block late went back to it.
#[test]
fn past_findings_stay_mended() {
    for seed in [1_065, 1_153, 2_791] {
        run(seed, 150);
    }
}

/// `DBMIRROR_TRACE=1 DBMIRROR_SEED=n cargo test -p dbmirror-core one_random_run`
#[test]
fn one_random_run() {
    let seed = std::env::var("DBMIRROR_SEED").ok().and_then(|s| s.parse().ok());
    run(seed.unwrap_or(4711), 150);
}
