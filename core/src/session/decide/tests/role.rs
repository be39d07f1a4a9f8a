//! R4: change of role.

use super::super::role::*;
use super::{A, B, rec};
use crate::message::Sync;

#[test]
fn failover_needs_everything_settled() {
    let facts = Failover {
        me: A,
        mirror: B,
        own: rec(1, A, 2, Sync::Sync),
        serves: true,
        settled: true,
        level: true,
        by_mirror: true,
        incomplete: false,
    };
    assert_eq!(failover(&facts), Some(rec(2, B, 0, Sync::Unsync)));
    for wrong in [
        Failover {
            own: rec(1, B, 2, Sync::Sync),
            ..facts
        },
        Failover {
            own: rec(1, A, 2, Sync::Unsync),
            ..facts
        },
        Failover {
            serves: false,
            ..facts
        },
        Failover {
            settled: false,
            ..facts
        },
        Failover {
            level: false,
            ..facts
        },
        Failover {
            by_mirror: false,
            ..facts
        },
        Failover {
            incomplete: true,
            ..facts
        },
    ] {
        assert_eq!(failover(&wrong), None, "{wrong:?}");
    }
    assert!(may_take_role(5, Some(5)) && may_take_role(5, None) && !may_take_role(4, Some(5)));
}

#[test]
fn how_a_restarted_principal_opens() {
    let sync = rec(1, A, 2, Sync::Sync);
    let unsync = rec(1, A, 3, Sync::Unsync);
    let bound = |asks, adopted| Mirror::Bound { asks, adopted };
    let table = [
        // (record, incomplete, mirror, prepared, alone, what follows)
        (
            sync,
            false,
            Mirror::Unknown,
            false,
            false,
            Reopen::Closed(Closed::Waiting),
        ),
        (sync, false, bound(false, true), false, false, Reopen::Open),
        (
            sync,
            false,
            bound(false, false),
            false,
            false,
            Reopen::Closed(Closed::Adopt),
        ),
        (
            sync,
            false,
            bound(true, true),
            false,
            true,
            Reopen::Closed(Closed::Ask),
        ),
        (sync, false, Mirror::Lost, false, false, Reopen::Prepare),
        (unsync, false, Mirror::Lost, false, true, Reopen::Prepare),
        (
            unsync,
            false,
            Mirror::Lost,
            true,
            false,
            Reopen::Closed(Closed::Quorum),
        ),
        (unsync, false, Mirror::HasNone, true, true, Reopen::Open),
        (
            sync,
            true,
            Mirror::Lost,
            true,
            true,
            Reopen::Closed(Closed::Adopt),
        ),
        (
            sync,
            true,
            bound(false, true),
            false,
            true,
            Reopen::Closed(Closed::Adopt),
        ),
        (
            rec(2, B, 0, Sync::Unsync),
            false,
            bound(false, true),
            false,
            true,
            Reopen::Closed(Closed::NotOwner),
        ),
    ];
    for (own, incomplete, mirror, prepared, alone, expected) in table {
        let facts = Reopening {
            me: A,
            own,
            asks: false,
            incomplete,
            mirror,
            prepared,
            alone,
        };
        assert_eq!(reopen(&facts), expected, "{facts:?}");
        if own.owner == A {
            assert_eq!(
                reopen(&Reopening { asks: true, ..facts }),
                Reopen::Closed(Closed::Ask)
            );
        }
    }
}
