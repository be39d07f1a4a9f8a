//! R5: the witness's record.

use super::super::takeover::*;
use super::super::witness::*;
use super::{A, B, W, rec};
use crate::message::Sync;

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
