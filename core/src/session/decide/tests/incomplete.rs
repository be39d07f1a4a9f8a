//! R6: the incomplete principal.

use super::super::incomplete::*;
use super::{A, B, rec};
use crate::message::{Record, Sync};

#[test]
fn when_a_principal_is_incomplete() {
    let start = Start {
        me: A,
        own: rec(1, A, 2, Sync::Sync),
        partner_durability: true,
        machine_restarted: true,
        clean_stop: false,
    };
    assert!(is_incomplete(&start));
    for whole in [
        Start { me: B, ..start },
        Start {
            own: rec(1, A, 3, Sync::Unsync),
            ..start
        },
        Start {
            partner_durability: false,
            ..start
        },
        Start {
            machine_restarted: false,
            ..start
        },
        Start {
            clean_stop: true,
            ..start
        },
    ] {
        assert!(!is_incomplete(&whole), "{whole:?}");
    }
    assert!(
        stays(Since::Nothing)
            && !stays(Since::Adopted)
            && !stays(Since::LevelAsMirror)
            && !stays(Since::Forced)
    );
    let mine = rec(3, A, 0, Sync::Unsync);
    for new in [rec(1, A, 3, Sync::Unsync), mine, rec(2, B, 0, Sync::Unsync)] {
        assert!(syncs_first(A, &start.own, &new, true), "{new:?}");
        assert!(!syncs_first(A, &start.own, &new, false));
        assert!(!syncs_first(B, &start.own, &new, true));
        assert!(!syncs_first(A, &rec(1, A, 2, Sync::Unsync), &new, true));
    }
    assert!(!syncs_first(A, &start.own, &start.own, true));
    assert!(!may_persist(A, &mine, true) && may_persist(A, &mine, false) && may_persist(B, &mine, true));
    assert!(may_persist(A, &Record { forced: true, ..mine }, true));
}
