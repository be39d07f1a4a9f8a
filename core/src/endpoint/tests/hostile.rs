//! A partner that is the right one and says anything at any time, each message well formed.

use super::strangers::Raw;
use super::world::{DB, Dice, World};
use crate::message::codec::{
    Ack, Block, CertificateAnswer, Credit, Message, Refusal, Retired, Seed, SeedBegin, SeedEnd, SeedRequest,
    SessionHello, Status, Successor, Tail, TailRequest,
};
use crate::message::{
    Chain, DatabaseSum, ForkId, InstanceId, LogEnd, Position, Record, SessionGuid, Signature, Timeline,
    Timelines,
};
use crate::session::SessionView;
use crate::time::Duration;

/// The record does not move, nor does whom it names; and what reaches the storage is in order, which the storage asserts.
#[test]
fn a_hostile_partner_breaks_nothing() {
    for seed in 1..=30 {
        let mut dice = Dice(seed);
        let mut world = World::new(3, false);
        let (principal, mirror) = if seed % 2 == 0 { (2, 0) } else { (0, 2) };
        world.create(principal);
        world.wait_for_seed(mirror, principal);
        world.start(principal, mirror);
        world.commit(principal, 5, 40);
        world.pass(Duration::from_secs(1));
        world.assert_level(principal, mirror);
        let db = world.nodes[0].disk.db(DB);
        db.hard = db.blocks.len();
        let view = world.view(0).unwrap();
        let (guid, id) = (view.guid.unwrap(), world.nodes[2].id);
        world.crash(2, 0);
        world.run();
        let mut taken = 0;
        let mut record = view.record;
        for _ in 0..4 {
            let mut raw = Raw::dial(&mut world, 0);
            raw.hello(&mut world, id);
            for _ in 0..40 {
                if !raw.stands(&world) {
                    break;
                }
                taken += 1;
                let now = world.view(0).unwrap_or(view);
                raw.say(&mut world, &any_message(&mut dice, guid, &now));
                if dice.below(3) == 0 {
                    world.pass(Duration::from_millis(dice.below(1_500)));
                }
                if let Some(now) = world.view(0).filter(|v| v.guid.is_some()) {
                    // The partner's word moves the record, as far as a partner's does; never back.
                    assert_ne!(
                        now.record.compare(&record),
                        core::cmp::Ordering::Less,
                        "seed {seed}"
                    );
                    record = now.record;
                    assert_eq!(now.partner_instance, Some(id));
                }
            }
            world.cut();
            world.pass(Duration::from_millis(300));
        }
        assert!(taken > 8, "seed {seed}: it was heard");
    }
}

fn any_message(dice: &mut Dice, guid: SessionGuid, view: &SessionView) -> Message<'static> {
    const BYTES: &[u8] = &[0x5a; 3_000];
    let role_sequence = if dice.below(12) == 0 { 2 } else { 1 };
    let near = |dice: &mut Dice| Position {
        timeline: view.end.position.timeline.max(1) + u32::from(dice.below(8) == 0),
        sequence: (view.end.position.sequence + dice.below(4))
            .saturating_sub(1)
            .max(1),
    };
    let position = near(dice);
    let total = [8, 16, 3_000, 1 << 30][dice.below(4) as usize];
    let bytes = &BYTES[..[8, 16, 3_000, 1][dice.below(4) as usize]];
    let offset = [0, 0, 8, 16][dice.below(4) as usize];
    let at = if dice.below(2) == 0 {
        view.end
    } else {
        LogEnd {
            position,
            chain: Chain([dice.below(3) as u8; 16]),
        }
    };
    let timelines = if dice.below(3) == 0 {
        Timelines::EMPTY
    } else {
        Timelines::new(&[1, 2, 3].map(|number| Timeline {
            number,
            fork: ForkId(dice.below(2)),
            first: u64::from(number),
            chain_before: Chain::START,
        }))
        .unwrap()
    };
    match dice.below(21) {
        0..4 => SessionHello {
            guid,
            record: Record {
                role_sequence: if dice.below(8) == 0 { 2 } else { 1 },
                ..view.record
            },
            ask: u32::from(dice.below(10) == 0),
            witness: InstanceId::default(),
            witness_role_sequence: 0,
            witness_sync_sequence: 0,
            witness_pending: false,
            end: at,
            wants_seed: dice.below(3) == 0,
            credit: [0, 100, 1 << 20][dice.below(3) as usize],
            properties: Default::default(),
            timelines,
        }
        .into(),
        4..7 => Block {
            guid,
            role_sequence,
            position,
            decided: near(dice),
            total,
            offset,
            bytes,
        }
        .into(),
        7 => Tail {
            guid,
            role_sequence,
            position,
            total,
            offset,
            bytes,
        }
        .into(),
        8 => Ack {
            guid,
            role_sequence,
            position,
            chain_prefix: view.end.chain.prefix(),
        }
        .into(),
        9 => Credit {
            guid,
            role_sequence,
            limit: dice.next(),
        }
        .into(),
        10 => TailRequest {
            guid,
            role_sequence,
            from: at,
            to: view.end.position,
        }
        .into(),
        11 => SeedRequest { guid, role_sequence }.into(),
        12 => SeedBegin {
            guid,
            role_sequence,
            at,
            page_size: 8,
            bytes: [0, 8, 16, 1 << 40][dice.below(4) as usize],
            timelines,
        }
        .into(),
        13 | 14 => Seed {
            guid,
            role_sequence,
            offset: u64::from(offset),
            bytes,
        }
        .into(),
        15 => SeedEnd {
            guid,
            role_sequence,
            bytes: [0, 8, 16][dice.below(3) as usize],
            sum: DatabaseSum(7),
        }
        .into(),
        16 => Status {
            guid,
            role_sequence,
            state: dice.below(7) as u8,
            end: position,
            decided: position,
        }
        .into(),
        17 => Successor {
            number: dice.below(3),
            signature: Signature::new(&[0x30; 70]).unwrap(),
            certificate: bytes,
        }
        .into(),
        18 => Retired {
            number: dice.below(3),
            digest: [dice.below(4) as u8; 32],
        }
        .into(),
        // An answer to nothing ends the connection: not too often.
        19 if dice.below(8) == 0 => CertificateAnswer {
            number: dice.below(3),
            message: 0,
            reason: 0,
        }
        .into(),
        _ => Refusal {
            guid,
            kind: [0x20, 0x24, 0x31, 0x33][dice.below(4) as usize],
            number: 1454,
            reason: dice.below(40) as u16,
        }
        .into(),
    }
}
