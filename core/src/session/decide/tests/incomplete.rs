//! R6: the incomplete principal.

use super::super::incomplete::*;
use super::super::takeover::Ask;
use super::{A, B, rec};
use crate::message::{Chain, LogEnd, Position, Record, Sync};

#[test]
fn when_a_principal_is_incomplete() {
    let start = Start {
        me: A,
        own: rec(1, A, 2, Sync::Sync),
        partner_durability: true,
        machine_restarted: true,
        clean_stop: false,
        lost: false,
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

#[test]
fn who_has_lost_hardened_blocks_takes_no_role_and_it_goes_back() {
    let own = rec(1, A, 2, Sync::Sync);
    let start = Start {
        me: B,
        own,
        partner_durability: false,
        machine_restarted: false,
        clean_stop: true,
        lost: true,
    };
    assert!(is_incomplete(&start) && !is_incomplete(&Start { lost: false, ..start }));

    // The role that FAILOVER gave, or a grant: declined by who may not persist it, by nobody else.
    let given = rec(2, B, 0, Sync::Unsync);
    assert!(declines(B, &own, &given, true) && !declines(B, &own, &given, false));
    assert!(!declines(A, &own, &given, true) && !declines(B, &given, &given, true));
    let declined = Declined {
        me: A,
        own: given,
        incomplete: false,
        asks: false,
        partner: B,
        theirs: own,
        their_ask: 0,
    };
    assert_eq!(take_back(&declined), Some(rec(3, A, 0, Sync::Unsync)));
    let asked = Declined {
        their_ask: 6,
        ..declined
    };
    assert_eq!(take_back(&asked), Some(rec(7, A, 0, Sync::Unsync)));
    for wrong in [
        Declined { own, ..declined },
        Declined {
            theirs: given,
            ..declined
        },
        Declined {
            incomplete: true,
            ..declined
        },
        Declined {
            asks: true,
            ..declined
        },
    ] {
        assert_eq!(take_back(&wrong), None, "{wrong:?}");
    }

    // A grant that may not be used leaves the ask open; one that an operator forced is used, as forced.
    let ask = Ask {
        number: 2,
        open: true,
        force: false,
    };
    assert!(keeps_ask(B, &own, &given, true, &ask));
    assert!(!keeps_ask(B, &own, &given, false, &ask) && !keeps_ask(B, &own, &own, true, &ask));
    assert!(!keeps_ask(B, &own, &given, true, &ask.closed()));
    let force = Ask { force: true, ..ask };
    assert!(!keeps_ask(B, &own, &given, true, &force));
    assert!(taken(B, &given, true, &force).forced && !taken(B, &given, false, &force).forced);
    assert!(!taken(B, &given, true, &ask).forced && !taken(B, &own, true, &force).forced);

    let end = LogEnd {
        position: Position {
            timeline: 1,
            sequence: 9,
        },
        chain: Chain([9; 16]),
    };
    assert!(is_level(&end, Some(end.chain)));
    assert!(!is_level(&end, None) && !is_level(&end, Some(Chain([8; 16]))));
}
