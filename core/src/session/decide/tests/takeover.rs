//! R3: take-over and hand-back.

use super::super::takeover::*;
use super::super::witness::*;
use super::{A, B, rec};
use crate::message::{Record, Sync};

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
        incomplete: false,
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
        Asking {
            incomplete: true,
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
fn who_closes_an_ask_that_its_hello_told_of_says_hello_again() {
    let own = rec(1, A, 2, Sync::Sync);
    let open = Ask::NONE.next(&own, false);
    assert!(closing_says_hello(&open, &open.closed(), true));
    assert!(
        !closing_says_hello(&open, &open.closed(), false),
        "the hello comes later, without it"
    );
    assert!(!closing_says_hello(&open, &open, true));
    assert!(!closing_says_hello(&open.closed(), &open.closed(), true));
}
