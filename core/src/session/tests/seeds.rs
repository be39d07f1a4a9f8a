//! When a seed begins, and what ends it.

use super::super::event::ReseedReason;
use super::super::machine::{Session, Side};
use super::super::principal::PrincipalSide;
use super::super::seeding::SeedOut;
use super::super::storage::{SeedInfo, SeedOpen, StorageError};
use super::super::{SessionError, SessionEvent};
use super::table::{END, NOW, Still, log_end, state, timelines, with, with_storage};
use crate::message::codec::Ack;
use crate::message::{DatabaseSum, Position, SessionGuid};

fn side(session: &mut Session) -> &mut PrincipalSide {
    match &mut session.side {
        Side::Principal(side) => side,
        Side::Mirror(_) => panic!("a principal"),
    }
}

fn info() -> SeedInfo {
    SeedInfo {
        at: log_end(),
        timelines: timelines(),
        page_size: 4_096,
        bytes: 8_192,
    }
}

/// Nothing is read for a mirror that has not said, on this connection, that it holds the record.
#[test]
fn a_seed_is_opened_for_a_mirror_in_step() {
    let opened = |change: fn(&mut Session)| {
        let mut session = state("P synchronized, witness");
        side(&mut session).seed_due = Some((NOW, ReseedReason::Asked));
        change(&mut session);
        let mut storage = Still {
            seed_open: SeedOpen::Ready(info()),
            ..Still::default()
        };
        with_storage(&mut storage, &mut session, |s, ctx| s.open_seed(ctx));
        side(&mut session).seed.is_some()
    };
    assert!(opened(|_| ()));
    assert!(
        !opened(|s| s.binding.as_mut().unwrap().said_role -= 1),
        "not in step"
    );
    assert!(!opened(|s| s.binding = None), "not bound");
    assert!(!opened(|s| side(s).seed_due = None), "not due");
    assert!(!opened(|s| s
        .kept
        .change(|stored| stored.properties.suspended = true)));
}

/// A snapshot that is being prepared is asked for when the storage says that it has something, and not in between.
#[test]
fn a_snapshot_that_is_being_prepared_is_waited_for() {
    let mut session = state("P synchronized, witness");
    side(&mut session).seed = Some(SeedOut::Opening);
    side(&mut session).seed_due = Some((NOW, ReseedReason::Asked));
    let mut storage = Still {
        seed_open: SeedOpen::Ready(info()),
        ..Still::default()
    };
    with_storage(&mut storage, &mut session, |s, ctx| s.open_seed(ctx));
    assert!(matches!(side(&mut session).seed, Some(SeedOut::Opening)));
    with_storage(&mut storage, &mut session, |s, ctx| s.seed_ready(ctx));
    assert!(matches!(side(&mut session).seed, Some(SeedOut::Sending { .. })));
}

/// The mirror has taken the seed when it acknowledges the position that the seed stands at.
#[test]
fn a_seed_is_taken_when_its_position_is_acknowledged() {
    let taken = |said: bool, sequence: u64| {
        let mut session = state("P synchronized, witness");
        side(&mut session).seed = Some(SeedOut::Ended {
            info: info(),
            sum: DatabaseSum(1),
            said,
        });
        let ack = Ack {
            guid: SessionGuid([9; 16]),
            role_sequence: 4,
            position: Position {
                timeline: 1,
                sequence,
            },
            chain_prefix: log_end().chain.prefix(),
        };
        let (_, events) = with(&mut session, |s, ctx| s.acknowledged(ctx, &ack));
        let done = |event: &SessionEvent| matches!(event, SessionEvent::SeedDone { .. });
        assert_eq!(side(&mut session).seed.is_none(), events.iter().any(done));
        side(&mut session).seed.is_none()
    };
    assert!(taken(true, END));
    assert!(!taken(true, END - 1));
    assert!(!taken(false, END));
}

/// What the storage refuses while it reads for a seed fails that seed; it is tried again later.
#[test]
fn a_storage_that_fails_during_a_seed_fails_the_seed() {
    let mut session = state("P synchronized, witness");
    side(&mut session).seed = Some(SeedOut::Opening);
    side(&mut session).seed_due = Some((NOW, ReseedReason::Asked));
    let (_, events) = with(&mut session, |s, ctx| {
        s.storage_failed(ctx, StorageError::Failed);
        assert!(side(s).seed.is_none());
        assert!(side(s).seed_due.is_some_and(|(at, _)| at > NOW));
    });
    let failed =
        |event: &SessionEvent| matches!(event, SessionEvent::SeedFailed(SessionError { number: 1458, .. }));
    assert!(events.iter().any(failed));
    // Without one it is told, and changes nothing.
    let mut session = state("P synchronized, witness");
    let (_, events) = with(&mut session, |s, ctx| s.storage_failed(ctx, StorageError::Failed));
    assert!(!events.iter().any(failed));
    assert!(events.contains(&SessionEvent::StorageFailed(StorageError::Failed)));
    assert!(side(&mut session).seed_due.is_none());
}
