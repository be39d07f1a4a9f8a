//! What is said on which connection, and what a storage may give to be said.

use std::vec;
use std::vec::Vec;

use super::super::machine::{Ctx, Session, Side};
use super::super::storage::{BlockRead, SeedInfo, SeedRead, StorageError};
use super::super::{EndedBy, SessionEvent, seeding::SeedOut};
use super::table::{END, Still, log_end, settle, state, timelines, with, with_storage};
use crate::wire::Writer;

/// Each hears of the end on its own connection; what was said to one is still to be said to the other.
#[test]
fn an_end_is_said_to_each_on_its_own_connection() {
    for (link, left) in [(1, (false, true)), (2, (true, false)), (3, (true, true))] {
        let mut session = state("P synchronized, witness");
        with(&mut session, |s, ctx| s.finish(ctx, EndedBy::Operator));
        settle(&mut session);
        let (mut place, mut said) = ([0; 256], 0);
        with(&mut session, |s, ctx| {
            s.say_control(ctx, link, &mut Writer::new(&mut place), &mut said)
        })
        .0
        .unwrap();
        let over = session.over.unwrap();
        assert_eq!((over.may_tell(), over.may_tell_witness()), left, "on {link}");
        assert_eq!(said, u64::from(link != 3), "on {link}");
    }
}

/// A principal with blocks to send, and what its storage gives.
fn streaming(read: Result<BlockRead, StorageError>) -> (Session, Still) {
    let mut session = state("P synchronized, witness");
    let Side::Principal(side) = &mut session.side else {
        panic!("a principal")
    };
    side.out.seek(END - 1);
    side.out.grant(10_000);
    let storage = Still {
        block: read,
        ..Still::default()
    };
    (session, storage)
}

/// Says one piece of the log with so much room for it. Whether there was one, and what happened.
fn say_log(session: &mut Session, storage: &mut Still, room: usize) -> (bool, Vec<SessionEvent>) {
    let mut place = vec![0; crate::message::codec::BLOCK_OVERHEAD + room];
    let to = &mut Writer::new(&mut place);
    with_storage(storage, session, |s, ctx| s.say_log(ctx, 1, to))
}

const READ: BlockRead = BlockRead { len: 8, total: 8 };

/// Both have said the same record on this connection before a block of it goes there.
#[test]
fn the_log_goes_only_where_both_are_in_step() {
    let goes = |change: fn(&mut Session)| {
        let (mut session, mut storage) = streaming(Ok(READ));
        change(&mut session);
        say_log(&mut session, &mut storage, 1_000).0
    };
    assert!(goes(|_| ()));
    assert!(
        !goes(|s| s.binding.as_mut().unwrap().said_role -= 1),
        "not in step"
    );
    assert!(!goes(|s| s.binding.as_mut().unwrap().joined = false));
    assert!(!goes(|s| s.binding.as_mut().unwrap().link = 4));
    assert!(!goes(|s| s.due.hello = Some(false)));
}

#[test]
fn a_piece_waits_for_room_that_is_worth_it() {
    for (room, goes) in [(0, false), (255, false), (256, true)] {
        let (mut session, mut storage) = streaming(Ok(READ));
        assert_eq!(say_log(&mut session, &mut storage, room).0, goes, "{room}");
    }
}

/// A storage that gives nothing, or more than it was asked for, is not believed.
#[test]
fn a_block_that_is_not_read_as_asked_is_not_sent() {
    for (len, goes) in [(0, false), (1, true), (1_000, true), (1_001, false)] {
        let (mut session, mut storage) = streaming(Ok(BlockRead { len, total: 2_000 }));
        let (went, events) = say_log(&mut session, &mut storage, 1_000);
        assert_eq!(went, goes, "{len}");
        let reseeds = |event: &SessionEvent| matches!(event, SessionEvent::Reseed { .. });
        assert_eq!(events.iter().any(reseeds), !goes, "{len}");
    }
}

/// The same for a seed.
#[test]
fn a_piece_of_a_seed_that_is_not_read_as_asked_is_not_sent() {
    for (len, goes) in [(0, false), (1, true), (1_000, true), (1_001, false)] {
        let (mut session, mut storage) = streaming(Ok(READ));
        storage.seed = SeedRead::Bytes(len);
        let Side::Principal(side) = &mut session.side else {
            panic!("a principal")
        };
        side.seed = Some(SeedOut::Sending {
            info: SeedInfo {
                at: log_end(),
                timelines: timelines(),
                page_size: 4_096,
                bytes: 8_192,
            },
            begun: true,
            offset: 0,
            pending: false,
        });
        let mut place = vec![0; crate::message::codec::SEED_OVERHEAD + 1_000];
        let to = &mut Writer::new(&mut place);
        let step = |s: &mut Session, ctx: &mut Ctx<'_>| s.say_seed(ctx, 1, to);
        let (went, events) = with_storage(&mut storage, &mut session, step);
        assert_eq!(went, goes, "{len}");
        let failed = |event: &SessionEvent| matches!(event, SessionEvent::SeedFailed(_));
        assert_eq!(events.iter().any(failed), !goes, "{len}");
    }
}
