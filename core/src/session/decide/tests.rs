//! The decisions by their tables.

use super::begin::*;
use super::force::*;
use super::incomplete::*;
use super::record::*;
use super::role::*;
use super::takeover::*;
use super::witness::*;
use super::*;
use crate::message::{InstanceId, Record, Sync, UseNumber};

const A: InstanceId = InstanceId([1; 16]);
const B: InstanceId = InstanceId([2; 16]);
const W: InstanceId = InstanceId([3; 16]);

fn rec(role_sequence: u32, owner: InstanceId, sync_sequence: u64, sync: Sync) -> Record {
    Record {
        role_sequence,
        owner,
        sync_sequence,
        sync,
        forced: false,
    }
}

#[test]
fn only_an_equal_record_lets_a_member_go_on() {
    let own = Record::first(InstanceId([1; 16]));
    assert_eq!(heard_record(&own, &own), Ok(()));
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
        assert!(heard_record(&own, &theirs).is_err());
        assert!(start_record(&theirs, InstanceId([1; 16])).is_err());
    }
    assert_eq!(start_record(&own, InstanceId([1; 16])), Ok(()));
    assert!(start_record(&own, InstanceId([2; 16])).is_err());
}

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

#[test]
fn who_may_ask_and_with_which_number() {
    let facts = Asking {
        me: B,
        own: rec(1, A, 2, Sync::Sync),
        ask: Ask::NONE,
        owner_lost: true,
        may_take_over: true,
        witness_bound: true,
        witness_pending: false,
    };
    let first = ask(&facts).unwrap();
    assert_eq!((first.number, first.open, first.force), (2, true, false));
    let again = Ask {
        number: 5,
        ..Ask::NONE
    };
    assert_eq!(ask(&Asking { ask: again, ..facts }).unwrap().number, 6);
    for wrong in [
        Asking { me: A, ..facts },
        Asking {
            own: rec(1, A, 2, Sync::Unsync),
            ..facts
        },
        Asking { ask: first, ..facts },
        Asking {
            owner_lost: false,
            ..facts
        },
        Asking {
            may_take_over: false,
            ..facts
        },
        Asking {
            witness_bound: false,
            ..facts
        },
        Asking {
            witness_pending: true,
            ..facts
        },
    ] {
        assert_eq!(ask(&wrong), None, "{wrong:?}");
    }
    assert!(answer_closes(&first, 2) && !answer_closes(&first, 1));
    assert!(!answer_closes(&first.closed(), 2));
    assert!(hello_closes(&first, false) && !hello_closes(&first, true));
    assert!(!takes_blocks(&facts.own, &first, 1) && takes_blocks(&facts.own, &Ask::NONE, 1));
    assert!(!takes_blocks(&facts.own, &Ask::NONE, 2));
    let (own, handed) = (facts.own, rec(3, A, 0, Sync::Unsync));
    assert!(record_closes(&first, &own, &handed) && !record_closes(&first, &own, &own));
}

#[test]
fn what_a_witness_answers() {
    let own = rec(1, A, 2, Sync::Sync);
    let held = Keeping::Record(own);
    let asked = Asked {
        asker: B,
        record: own,
        force: false,
        owner_heard: false,
        other_bound: false,
    };
    assert_eq!(answer(&held, &asked), Answer::Grant(rec(2, B, 0, Sync::Unsync)));
    let other = |role, owner, sync_sequence, sync| Keeping::Record(rec(role, owner, sync_sequence, sync));
    for held in [
        Keeping::Blank,
        Keeping::Dropped { owner: A },
        other(1, A, 3, Sync::Unsync),
        other(1, A, 1, Sync::Sync),
        other(2, A, 2, Sync::Sync),
    ] {
        assert_eq!(answer(&held, &asked), Answer::Denial, "{held:?}");
    }
    assert_eq!(
        answer(
            &held,
            &Asked {
                owner_heard: true,
                ..asked
            }
        ),
        Answer::Denial
    );
    let unsync = rec(1, A, 3, Sync::Unsync);
    assert_eq!(
        answer(
            &Keeping::Record(unsync),
            &Asked {
                record: unsync,
                ..asked
            }
        ),
        Answer::Denial
    );

    let force = Asked {
        force: true,
        record: unsync,
        ..asked
    };
    let forced = Record {
        forced: true,
        ..rec(2, B, 0, Sync::Unsync)
    };
    assert_eq!(answer(&held, &force), Answer::Grant(forced));
    assert_eq!(
        answer(
            &held,
            &Asked {
                other_bound: true,
                ..force
            }
        ),
        Answer::Denial
    );
    assert_eq!(answer(&other(2, A, 0, Sync::Unsync), &force), Answer::Denial);
    assert_eq!(answer(&Keeping::Blank, &force), Answer::Denial);
    assert_eq!(
        answer(&held, &Asked { force: true, ..asked }),
        Answer::Grant(rec(2, B, 0, Sync::Unsync)),
        "equal and SYNC: an ordinary take-over"
    );
    assert_eq!(
        answer(
            &held,
            &Asked {
                force: true,
                asker: A,
                ..asked
            }
        ),
        Answer::Grant(Record {
            forced: true,
            ..rec(2, A, 0, Sync::Unsync)
        }),
        "on the owner it is never one"
    );
}

#[test]
fn hand_back_is_above_the_ask() {
    let facts = HandBack {
        me: A,
        own: rec(1, A, 3, Sync::Unsync),
        incomplete: false,
        asks: false,
        theirs: rec(1, A, 2, Sync::Sync),
        their_ask: 2,
    };
    let proposal = hand_back(&facts).unwrap();
    assert_eq!(proposal, rec(3, A, 0, Sync::Unsync));
    assert_eq!(
        hand_back(&HandBack {
            their_ask: 0,
            ..facts
        }),
        None
    );
    assert_eq!(
        hand_back(&HandBack {
            incomplete: true,
            ..facts
        }),
        None
    );
    assert_eq!(hand_back(&HandBack { asks: true, ..facts }), None);
    assert_eq!(
        hand_back(&HandBack {
            theirs: rec(2, B, 0, Sync::Unsync),
            ..facts
        }),
        None
    );
    assert_eq!(proposed(&facts.theirs, &proposal, A), Proposed::Take(proposal));
    assert_eq!(
        proposed(&rec(2, B, 0, Sync::Unsync), &proposal, A),
        Proposed::AnswerByHello
    );
    assert_eq!(proposed(&proposal, &proposal, A), Proposed::AnswerByHello);
}

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

#[test]
fn a_witness_believes_only_the_owner_it_knows() {
    let own = rec(1, A, 2, Sync::Sync);
    let held = Keeping::Record(own);
    assert_eq!(note(&held, &own, A), Noted::Confirmed);
    let next = rec(1, A, 3, Sync::Unsync);
    assert_eq!(note(&held, &next, A), Noted::Take(next));
    assert_eq!(note(&held, &next, B), Noted::Nothing);
    assert_eq!(
        note(&Keeping::Record(next), &own, A),
        Noted::Nothing,
        "never back: story F1"
    );
    let taken = rec(2, B, 0, Sync::Unsync);
    assert_eq!(note(&held, &taken, B), Noted::Take(taken));
    assert_eq!(note(&held, &taken, A), Noted::Nothing);
    assert_eq!(note(&held, &rec(1_002, A, 0, Sync::Unsync), A), Noted::Nothing);
    assert_eq!(note(&held, &rec(1, B, 9, Sync::Unsync), B), Noted::Nothing);
    assert_eq!(note(&Keeping::Blank, &next, A), Noted::Nothing);
    assert!(counts(&own, &own) && !counts(&own, &next));
    assert_eq!(witness_shows(&held, &own), Some(own));
    assert_eq!(witness_shows(&held, &next), None);
    assert_eq!(witness_shows(&Keeping::Blank, &own), None);
}

#[test]
fn registration_goes_by_unsync_that_the_mirror_confirms_again() {
    let facts = Registering {
        me: A,
        own: rec(1, A, 2, Sync::Sync),
        serves: true,
        blank: true,
        confirmed_again: true,
    };
    assert_eq!(register(&facts), Registration::Unsync);
    let unsync = Registering {
        own: rec(1, A, 3, Sync::Unsync),
        ..facts
    };
    assert_eq!(register(&unsync), Registration::Register);
    assert_eq!(
        register(&Registering {
            confirmed_again: false,
            ..unsync
        }),
        Registration::Confirm
    );
    assert_eq!(
        register(&Registering {
            blank: false,
            ..unsync
        }),
        Registration::No
    );
    assert_eq!(
        register(&Registering {
            serves: false,
            ..unsync
        }),
        Registration::No
    );
    assert_eq!(register(&Registering { me: B, ..unsync }), Registration::No);
    assert!(takes_registration(&Keeping::Blank, &unsync.own, A));
    assert!(takes_registration(&Keeping::Dropped { owner: B }, &unsync.own, A));
    assert!(!takes_registration(&Keeping::Blank, &unsync.own, B));
    assert!(!takes_registration(&Keeping::Blank, &facts.own, A));
    assert!(!takes_registration(
        &Keeping::Record(rec(2, B, 0, Sync::Unsync)),
        &unsync.own,
        A
    ));
    assert!(takes_registration(&Keeping::Record(facts.own), &unsync.own, A));
}

#[test]
fn a_change_of_witness_goes_step_by_step() {
    let mut facts = Changing {
        me: A,
        own: rec(1, A, 2, Sync::Sync),
        serves: true,
        target: Some(W),
        raised: false,
        by_mirror: true,
        mirror_pending: false,
        by_target: false,
    };
    assert_eq!(change(&facts), Change::Unsync);
    facts.raised = true;
    assert_eq!(
        change(&facts),
        Change::Unsync,
        "raised means that UNSYNC is the record"
    );
    facts.own = rec(1, A, 3, Sync::Unsync);
    facts.by_mirror = false;
    assert_eq!(change(&facts), Change::Wait);
    facts.by_mirror = true;
    assert_eq!(change(&facts), Change::TellMirror);
    facts.mirror_pending = true;
    assert_eq!(change(&facts), Change::Register);
    facts.by_target = true;
    assert_eq!(change(&facts), Change::Adopt);
    let off = Changing {
        target: None,
        by_target: false,
        ..facts
    };
    assert_eq!(change(&off), Change::Adopt);

    let pending = Named {
        witness: Some(W),
        pending: true,
    };
    let named = Named {
        witness: Some(W),
        pending: false,
    };
    let none = Named {
        witness: None,
        pending: false,
    };
    assert_eq!(follow(pending, named), named);
    assert_eq!(follow(pending, none), pending);
    assert!(agree(named, named) && !agree(named, pending) && !agree(named, none));
}

#[test]
fn witness_off_leaves_a_mark() {
    let own = rec(1, A, 3, Sync::Unsync);
    let mark = Keeping::Dropped { owner: A };
    assert_eq!(drop_witness(&Keeping::Record(own), &own, A), Drop::Mark(mark));
    assert_eq!(
        drop_witness(&mark, &own, A),
        Drop::Again,
        "its answer was lost: story F53"
    );
    assert_eq!(drop_witness(&mark, &own, B), Drop::Refuse);
    assert_eq!(drop_witness(&Keeping::Blank, &own, A), Drop::Refuse);
    assert_eq!(
        drop_witness(&Keeping::Record(rec(2, B, 0, Sync::Unsync)), &own, A),
        Drop::Refuse
    );
    assert_eq!(
        drop_witness(&Keeping::Record(rec(1, A, 4, Sync::Unsync)), &own, A),
        Drop::Refuse
    );
}

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

#[test]
fn where_service_may_be_forced() {
    let own = rec(1, A, 2, Sync::Sync);
    let facts = Forcing {
        me: B,
        own,
        ask: Ask::NONE,
        serves: false,
        partner_bound: false,
        clash: false,
        highest: 1,
        witness: Some(Some(Keeping::Record(own))),
        witness_pending: false,
    };
    assert_eq!(
        force(&facts),
        Force::Ask(Ask {
            number: 2,
            open: true,
            force: true
        })
    );
    let refused = |facts: &Forcing| match force(facts) {
        Force::Refused(why) => Some(why),
        Force::Ask(_) | Force::Open(_) => None,
    };
    assert_eq!(
        refused(&Forcing {
            partner_bound: true,
            ..facts
        }),
        Some(ForceRefused::PartnerConnected)
    );
    assert_eq!(
        refused(&Forcing {
            serves: true,
            ..facts
        }),
        Some(ForceRefused::PartnerConnected)
    );
    assert_eq!(
        refused(&Forcing {
            witness: Some(None),
            ..facts
        }),
        Some(ForceRefused::NoWitness)
    );
    assert_eq!(
        refused(&Forcing {
            witness_pending: true,
            ..facts
        }),
        Some(ForceRefused::NoWitness)
    );
    let open = Ask {
        number: 2,
        open: true,
        force: false,
    };
    assert_eq!(refused(&Forcing { ask: open, ..facts }), Some(ForceRefused::Busy));
    let alone = Forcing {
        witness: None,
        ..facts
    };
    let forced = Record {
        forced: true,
        ..rec(2, B, 0, Sync::Unsync)
    };
    assert_eq!(force(&alone), Force::Open(forced));
    let clash = Forcing {
        clash: true,
        partner_bound: true,
        highest: 4,
        ..alone
    };
    assert_eq!(
        force(&clash),
        Force::Open(Record {
            forced: true,
            ..rec(5, B, 0, Sync::Unsync)
        })
    );
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

#[test]
fn which_connection_is_used() {
    let at = |boot, n| UseNumber { boot, n };
    assert!(binding::takes_use(at(1, 5), at(2, 1)) && binding::takes_use(at(1, 5), at(1, 6)));
    assert!(!binding::takes_use(at(1, 5), at(1, 5)) && !binding::takes_use(at(2, 1), at(1, 9)));
    assert!(
        binding::is_bound(true, true) && !binding::is_bound(true, false) && !binding::is_bound(false, true)
    );
    assert!(
        binding::accepts(binding::Kind::Opening, false) && !binding::accepts(binding::Kind::Bound, false)
    );
    assert!(binding::may_say_hello(false) && !binding::may_say_hello(true));
}
