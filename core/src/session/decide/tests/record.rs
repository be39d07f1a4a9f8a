//! R1, R2: records and what rests on them.

use super::super::record::*;
use super::{A, B, W, rec};
use crate::message::{Record, Sync};

#[test]
fn numbers_only_rise() {
    let own = rec(3, A, 7, Sync::Sync);
    assert_eq!(raise(&own, Sync::Unsync), rec(3, A, 8, Sync::Unsync));
    assert_eq!(assign(4, B, false), rec(4, B, 0, Sync::Unsync));
    assert!(same(&own, &Record { forced: true, ..own }));
    assert!(!same(&own, &rec(3, B, 7, Sync::Sync)));
    assert!(confirms(&own, &own, false) && !confirms(&own, &own, true));
}

/// B hears a record from A, its partner and owner.
fn heard_by_b(own: Record, asks: bool, theirs: Record, part: Sender, sender_asks: bool) -> Heard {
    hear(&Hearing {
        me: B,
        own,
        asks,
        theirs,
        sender: if part == Sender::Partner { A } else { W },
        part,
        sender_asks,
    })
}

#[test]
fn what_a_mirror_does_about_a_record() {
    use Sender::{Partner, Witness};
    let own = rec(1, A, 4, Sync::Sync);
    let unsync = rec(1, A, 5, Sync::Unsync);
    let table = [
        (own, false, Partner, false, Heard::Confirmed),
        (own, false, Partner, true, Heard::Nothing),
        (rec(1, A, 3, Sync::Unsync), false, Partner, false, Heard::Older),
        (rec(1, A, 4, Sync::Unsync), false, Partner, false, Heard::Clash),
        (rec(1, B, 4, Sync::Sync), false, Partner, false, Heard::Clash),
        (unsync, false, Partner, false, Heard::Take(unsync)),
        (unsync, true, Partner, false, Heard::Nothing),
        (unsync, false, Witness, false, Heard::Take(unsync)),
        (rec(1, A, 5, Sync::Sync), false, Witness, false, Heard::Nothing),
        (
            rec(2, B, 0, Sync::Unsync),
            true,
            Witness,
            false,
            Heard::Role(rec(2, B, 0, Sync::Unsync)),
        ),
        (rec(2, B, 0, Sync::Unsync), false, Partner, true, Heard::Nothing),
        (
            rec(3, A, 0, Sync::Unsync),
            true,
            Partner,
            false,
            Heard::Take(rec(3, A, 0, Sync::Unsync)),
        ),
        (
            rec(1_002, A, 0, Sync::Unsync),
            false,
            Partner,
            false,
            Heard::TooFar,
        ),
    ];
    for (theirs, asks, part, sender_asks, expected) in table {
        assert_eq!(
            heard_by_b(own, asks, theirs, part, sender_asks),
            expected,
            "{theirs:?} asks {asks}"
        );
    }
    let mine = rec(2, B, 1, Sync::Unsync);
    assert_eq!(
        heard_by_b(mine, false, rec(2, B, 2, Sync::Unsync), Partner, false),
        Heard::Nothing,
        "only the owner raises within its role_sequence"
    );
}

#[test]
fn what_an_acknowledgement_rests_on() {
    let commit = Commit {
        serves: true,
        durable_here: true,
        partner_durability: false,
        sync: true,
        hardened: true,
        alone: false,
    };
    assert!(may_acknowledge(&commit));
    assert!(!may_acknowledge(&Commit {
        serves: false,
        ..commit
    }));
    assert!(!may_acknowledge(&Commit {
        hardened: false,
        ..commit
    }));
    assert!(may_acknowledge(&Commit {
        hardened: false,
        alone: true,
        ..commit
    }));
    let volatile = Commit {
        durable_here: false,
        ..commit
    };
    assert!(!may_acknowledge(&volatile));
    assert!(may_acknowledge(&Commit {
        partner_durability: true,
        ..volatile
    }));
    assert!(!may_acknowledge(&Commit {
        partner_durability: true,
        sync: false,
        ..volatile
    }));
    assert!(!may_acknowledge(&Commit {
        partner_durability: true,
        hardened: false,
        alone: true,
        ..volatile
    }));

    let facts = Alone {
        own: rec(1, A, 2, Sync::Unsync),
        witness_set: true,
        by_witness: false,
        by_mirror: false,
        opened: true,
    };
    assert!(!alone(&facts));
    assert!(alone(&Alone {
        by_witness: true,
        ..facts
    }));
    assert!(alone(&Alone {
        by_mirror: true,
        ..facts
    }));
    assert!(alone(&Alone {
        witness_set: false,
        ..facts
    }));
    assert!(!alone(&Alone {
        witness_set: false,
        opened: false,
        ..facts
    }));
    let sync = rec(1, A, 2, Sync::Sync);
    assert!(!alone(&Alone {
        own: sync,
        by_witness: true,
        by_mirror: true,
        ..facts
    }));
}

#[test]
fn sync_needs_every_condition() {
    let facts = Level {
        me: A,
        own: rec(1, A, 2, Sync::Unsync),
        serves: true,
        safety_full: true,
        level: true,
        by_mirror: true,
        one_witness: true,
    };
    assert!(may_record_sync(&facts));
    for wrong in [
        Level { me: B, ..facts },
        Level {
            own: rec(1, A, 2, Sync::Sync),
            ..facts
        },
        Level {
            serves: false,
            ..facts
        },
        Level {
            safety_full: false,
            ..facts
        },
        Level {
            level: false,
            ..facts
        },
        Level {
            by_mirror: false,
            ..facts
        },
        Level {
            one_witness: false,
            ..facts
        },
    ] {
        assert!(!may_record_sync(&wrong), "{wrong:?}");
    }
}
