//! R0: how a session begins and ends.

use super::super::begin::*;
use super::{A, B, rec};
use crate::message::{InstanceId, Record, Sync};

#[test]
fn a_session_starts_with_its_senders_first_record() {
    let own = Record::first(InstanceId([1; 16]));
    let others = [
        Record {
            role_sequence: 2,
            ..own
        },
        Record {
            owner: InstanceId([2; 16]),
            ..own
        },
        Record {
            sync_sequence: 1,
            ..own
        },
        Record { forced: true, ..own },
    ];
    for theirs in others {
        assert!(start_record(&theirs, InstanceId([1; 16])).is_err());
    }
    assert_eq!(start_record(&own, InstanceId([1; 16])), Ok(()));
    assert!(start_record(&own, InstanceId([2; 16])).is_err());
}

#[test]
fn how_sessions_begin_and_end() {
    assert_eq!(answer_hello(Stage::Starting), HelloAnswer::Start);
    assert_eq!(answer_hello(Stage::Established), HelloAnswer::Hello);
    assert_eq!(answer_hello(Stage::Ended), HelloAnswer::Tombstone);
    assert_eq!(answer_hello(Stage::Absent), HelloAnswer::None);
    let first = Record::first(A);
    assert_eq!(hear_none(Stage::Untouched, &first, B), HeardNone::WaitAgain);
    assert_eq!(hear_none(Stage::Established, &first, B), HeardNone::Stay);
    assert_eq!(
        hear_none(Stage::Untouched, &rec(1, A, 1, Sync::Unsync), B),
        HeardNone::Stay
    );
    assert_eq!(hear_none(Stage::Untouched, &first, A), HeardNone::Stay);

    let (sync, unsync) = (rec(1, A, 2, Sync::Sync), rec(1, A, 3, Sync::Unsync));
    assert_eq!(end(&sync, A, true, true), End::ConfirmFirst);
    assert_eq!(end(&unsync, A, true, false), End::ConfirmFirst);
    assert_eq!(end(&unsync, A, true, true), End::Now);
    assert_eq!(end(&sync, A, false, false), End::Now);
    assert_eq!(end(&sync, B, true, false), End::Now);

    let taken = rec(2, B, 0, Sync::Unsync);
    assert_eq!(hear_tombstone(&sync, &sync, A, false), AfterEnd::Alone);
    assert_eq!(hear_tombstone(&sync, &taken, A, false), AfterEnd::ClosedMirror);
    assert_eq!(hear_tombstone(&sync, &taken, B, false), AfterEnd::Alone);
    assert_eq!(hear_tombstone(&sync, &sync, A, true), AfterEnd::StayIncomplete);
}
