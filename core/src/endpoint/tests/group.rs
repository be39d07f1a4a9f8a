//! Groups of three under a random mix of commits, cuts, crashes, slow storages and operators, from one seed. After every step: no
//! acknowledged commit is missing where the newest role is served, a role_sequence has one owner, no record goes back. At the end all
//! are level.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use super::world::{DB, Dice, World, address};
use crate::message::{InstanceId, Record};
use crate::session::{Role, Safety};
use crate::time::Duration;

const W: usize = 2;

/// What the checker remembers.
#[derive(Default)]
struct Told {
    /// Values whose commits were acknowledged.
    acknowledged: BTreeSet<u64>,
    owners: BTreeMap<u32, InstanceId>,
    records: BTreeMap<usize, Record>,
    /// The highest role_sequence that an operator has forced.
    forced: u32,
}

fn serves(world: &World, at: usize) -> bool {
    world.nodes[at].up && world.view(at).is_some_and(|v| v.serves)
}

fn check(world: &mut World, told: &mut Told, seed: u64, step: u32) {
    let mut newest: Option<(u32, usize)> = None;
    for at in 0..2 {
        if !world.nodes[at].up {
            continue;
        }
        let Some(view) = world.view(at).filter(|v| v.guid.is_some()) else {
            continue;
        };
        let owner = *told
            .owners
            .entry(view.record.role_sequence)
            .or_insert(view.record.owner);
        assert_eq!(
            owner, view.record.owner,
            "seed {seed} step {step}: two owners of {}",
            view.record.role_sequence
        );
        // What a member holds durably never goes back; what it lost before it was durable was never told.
        let stored = world.nodes[at].records.get(&DB).expect("an established session");
        let record = crate::session::Stored::decode(stored).unwrap().record;
        if let Some(before) = told.records.insert(at, record) {
            assert_ne!(
                record.compare(&before),
                core::cmp::Ordering::Less,
                "seed {seed} step {step}: {before:?} then {record:?}"
            );
        }
        if view.record.forced && view.role == Role::Principal && view.serves {
            if told.forced < view.record.role_sequence {
                // What it does not have was given up by the operator.
                let here: BTreeSet<u64> = world.content(at).into_iter().collect();
                told.acknowledged.retain(|value| here.contains(value));
            }
            told.forced = told.forced.max(view.record.role_sequence);
        }
        if view.serves && view.record.role_sequence >= told.forced {
            let upto = world.nodes[at].endpoint.acknowledged_to(DB).sequence;
            let values: Vec<u64> = world.nodes[at]
                .disk
                .db(DB)
                .blocks
                .iter()
                .filter(|b| b.position.sequence <= upto)
                .map(|b| u64::from_le_bytes(b.bytes[..8].try_into().unwrap()))
                .collect();
            told.acknowledged.extend(values);
        }
        if view.serves {
            newest = newest.max(Some((view.record.role_sequence, at)));
        }
    }
    if let Some((_, at)) = newest {
        let here: BTreeSet<u64> = world.content(at).into_iter().collect();
        let lost: Vec<&u64> = told.acknowledged.difference(&here).collect();
        assert!(
            lost.is_empty(),
            "seed {seed} step {step}: node {at} serves without {lost:?}"
        );
    }
}

fn run(seed: u64, steps: u32, forces: bool) {
    let mut dice = Dice(seed);
    let mut world = World::new(3, dice.below(2) == 0);
    world.create(0);
    world.commit(0, 1, 50);
    world.wait_for_seed(1, 0);
    world.start(0, 1);
    world.pass(Duration::from_secs(2));
    for node in &mut world.nodes {
        node.rewinds = dice.below(4) != 0;
    }
    world
        .with(0, |e, env| e.set_witness(env, DB, address(W)))
        .unwrap();
    world.pass(Duration::from_secs(3));
    let mut told = Told::default();
    let mut value = 100;
    let trace = std::env::var_os("DBMIRROR_TRACE").is_some();
    for step in 0..steps {
        let what = dice.below(30);
        match what {
            0..8 => {
                for at in 0..2 {
                    if serves(&world, at) && world.nodes[at].may_capture {
                        value += 1;
                        world.commit(at, value, [30, 900, 17_000][dice.below(3) as usize]);
                        // The log is told as far as it is durable here.
                        let db = world.nodes[at].disk.db(DB);
                        db.hard = db.blocks.len();
                    }
                }
            }
            8 => world.cut(),
            9 => world.cut_after = Some(world.transmits + 1 + dice.below(12)),
            10 | 11 => {
                let (one, other) = [(0, 1), (0, W), (1, W)][dice.below(3) as usize];
                world.block(one, other, true);
            }
            12..15 => {
                let (one, other) = [(0, 1), (0, W), (1, W)][dice.below(3) as usize];
                world.block(one, other, false);
            }
            15 => {
                let who = dice.below(3) as usize;
                if world.nodes[who].up {
                    world.crash(who, dice.below(3) as usize);
                }
            }
            16 | 17 => {
                for who in 0..3 {
                    if !world.nodes[who].up {
                        world.restart(who);
                    }
                }
            }
            18 => world.nodes[dice.below(3) as usize].prompt = false,
            19 | 20 => {
                for who in 0..3 {
                    world.nodes[who].prompt = true;
                    if world.nodes[who].up {
                        world.confirm_records(who);
                    }
                }
            }
            21 => {
                if let Some(pipe) = world.pipes.first_mut() {
                    pipe.frozen = true;
                }
            }
            22 => {
                for at in 0..2 {
                    if world.nodes[at].up {
                        let _ = world.with(at, |e, env| e.failover(env, DB));
                    }
                }
            }
            23 if forces => {
                let at = dice.below(2) as usize;
                if world.nodes[at].up {
                    let _ = world.with(at, |e, env| e.force_service(env, DB));
                }
            }
            24 => {
                let at = dice.below(2) as usize;
                let suspended = world.view(at).is_some_and(|v| v.suspended);
                if world.nodes[at].up {
                    let _ = world.with(at, |e, env| e.set_suspended(env, DB, !suspended));
                }
            }
            25 => {
                let at = dice.below(2) as usize;
                let safety = [Safety::Off, Safety::Full][dice.below(2) as usize];
                if world.nodes[at].up {
                    let _ = world.with(at, |e, env| e.set_safety(env, DB, safety));
                }
            }
            26 if dice.below(3) == 0 => {
                let who = W;
                if world.nodes[who].up {
                    world.crash(who, 0);
                }
                world.nodes[who].witnessed.clear();
            }
            _ => world.pass(Duration::from_millis(50 + dice.below(3_000))),
        }
        if dice.below(3) == 0 {
            world.run();
        }
        if trace {
            for at in 0..2 {
                let view = world.view(at).filter(|_| world.nodes[at].up);
                std::println!(
                    "step {step} ({what}) node {at}: {:?}",
                    view.map(|v| (
                        v.role,
                        v.state,
                        v.serves,
                        v.record.role_sequence,
                        v.record.sync_sequence,
                        v.record.sync,
                        v.end.position,
                        v.acknowledged.sequence,
                        v.witness.map(|w| (w.state, w.pending))
                    ))
                );
            }
        }
        check(&mut world, &mut told, seed, step);
    }
    world.cut_after = None;
    for (one, other) in [(0, 1), (0, W), (1, W)] {
        world.block(one, other, false);
    }
    for pipe in &mut world.pipes {
        pipe.frozen = false;
    }
    for who in 0..3 {
        world.nodes[who].prompt = true;
        if world.nodes[who].up {
            world.confirm_records(who);
        } else {
            world.restart(who);
        }
    }
    world.pass(Duration::from_secs(60));
    check(&mut world, &mut told, seed, steps);
    // An operator does what only one can: forces where nothing else serves, resumes, asks for FULL.
    if (0..2).all(|at| !serves(&world, at)) {
        for at in 0..2 {
            let _ = world.with(at, |e, env| e.force_service(env, DB));
        }
        world.pass(Duration::from_secs(5));
        check(&mut world, &mut told, seed, steps);
    }
    for at in 0..2 {
        if serves(&world, at) {
            let _ = world.with(at, |e, env| e.set_suspended(env, DB, false));
            let _ = world.with(at, |e, env| e.set_safety(env, DB, Safety::Full));
        }
    }
    world.pass(Duration::from_secs(60));
    check(&mut world, &mut told, seed, steps);
    let serving: Vec<usize> = (0..2).filter(|at| serves(&world, *at)).collect();
    assert_eq!(
        serving.len(),
        1,
        "seed {seed}: {serving:?}\n{:?}\n{:?}\n{:?}",
        world.view(0),
        world.view(1),
        world.nodes[W].endpoint.witnesses().next()
    );
    let (p, m) = (serving[0], 1 - serving[0]);
    assert_eq!(
        world.state(p).map(crate::session::SessionState::code),
        Some(4),
        "seed {seed}: {:?}\n{:?}\n{:?}",
        world.view(p),
        world.view(m),
        world.nodes[W].endpoint.witnesses().next()
    );
    world.assert_level(p, m);
    let record = world.view(p).unwrap().record;
    assert_eq!(record.sync, crate::message::Sync::Sync, "seed {seed}");
    assert_eq!(
        world.view(m).unwrap().record.compare(&record),
        core::cmp::Ordering::Equal
    );
}

#[test]
fn random_groups_lose_nothing_and_end_level() {
    for seed in 1..=30 {
        run(seed, 60, false);
    }
}

#[test]
fn random_groups_with_forced_service_end_level() {
    for seed in 1..=30 {
        run(seed, 60, true);
    }
}

/// `DBMIRROR_TRACE=1 DBMIRROR_SEED=n DBMIRROR_SEEDS=count DBMIRROR_STEPS=n DBMIRROR_FORCE=1 cargo test -p dbmirror-core one_random_group`
#[test]
fn one_random_group() {
    let number = |name| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    let first = number("DBMIRROR_SEED").unwrap_or(4711);
    let steps = number("DBMIRROR_STEPS").unwrap_or(60) as u32;
    let mut failed = Vec::new();
    for seed in first..first + number("DBMIRROR_SEEDS").unwrap_or(1) {
        let force = std::env::var_os("DBMIRROR_FORCE").is_some();
        if std::panic::catch_unwind(|| run(seed, steps, force)).is_err() {
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?}");
}
