//! What the answers of others do: of the mirror to START, of the witness to what it was asked.

use std::vec::Vec;

use super::super::change::Change;
use super::super::start::Starting;
use super::super::tie::Part;
use super::super::{SessionError, SessionEvent};
use super::table::{ME, NOW, THEM, hello, log_end, record, settle, state, timelines, with};
use crate::message::codec::{Ask, Denial, Drop, Refusal, Register, StartAccepted};
use crate::message::{Record, SessionGuid, Sync};
use crate::time::Duration;

/// R0: the session begins under the record that was sent, or not at all.
#[test]
fn a_start_is_accepted_under_the_record_that_was_sent() {
    let own = record(4, ME, 2, Sync::Unsync);
    for (answered, goes_on) in [(own, true), (record(4, ME, 3, Sync::Unsync), false)] {
        let mut session = state("P alone, no witness");
        session.starting = Some(Starting::new(NOW));
        let answer = StartAccepted {
            guid: SessionGuid([9; 16]),
            record: answered,
            end: log_end(),
            wants_seed: false,
            timelines: timelines(),
        };
        let (may, events) = with(&mut session, |s, ctx| s.start_accepted(ctx, &answer));
        assert_eq!(may, goes_on, "{answered:?}");
        let refused = events.iter().any(|event| {
            matches!(
                event,
                SessionEvent::StartFailed(SessionError { number: 1428, .. })
            )
        });
        assert_eq!(refused, !goes_on);
    }
}

/// What the witness refuses ends the change that asked for it, and nothing else.
#[test]
fn a_refusal_of_the_witness_ends_the_change_that_it_is_about() {
    let refused = |kind: u16, drop_request: Option<u64>, by_operator: bool| {
        let mut session = state("P synchronized, witness");
        let mut change = Change::to(session.tie, by_operator, NOW.after(Duration::from_secs(5)));
        change.drop_request = drop_request;
        session.change = Some(change);
        let refusal = Refusal {
            guid: SessionGuid([9; 16]),
            kind,
            number: 1427,
            reason: 43,
        };
        let mut left = false;
        let (_, events) = with(&mut session, |s, ctx| {
            s.refused_by_witness(ctx, &refusal);
            left = s.change.is_some();
        });
        let told: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                SessionEvent::WitnessRefused(error) => Some((true, error.number)),
                SessionEvent::PartnerRefused(error) => Some((false, error.number)),
                _ => None,
            })
            .collect();
        (told, left)
    };
    assert_eq!(
        refused(Drop::KIND, Some(7), true),
        ([(true, 1431)].to_vec(), false)
    );
    assert_eq!(refused(Drop::KIND, None, true), ([(false, 1427)].to_vec(), true));
    assert_eq!(
        refused(Register::KIND, None, true),
        ([(true, 1427)].to_vec(), false)
    );
    assert_eq!(
        refused(Register::KIND, None, false),
        ([(false, 1427)].to_vec(), true)
    );
    assert_eq!(
        refused(Ask::KIND, Some(7), true),
        ([(false, 1427)].to_vec(), true)
    );
}

/// R8: an operator hears of a forced ask that is denied, unless it was denied because it had been granted to this member before.
#[test]
fn a_denied_force_is_told_unless_it_was_granted_before() {
    let denied = |force: bool, incomplete: bool, shown: Record| {
        let mut session = state("M asking");
        let number = session.ask().number;
        session.kept.change(|stored| {
            stored.ask_force = force;
            stored.incomplete = incomplete;
        });
        settle(&mut session);
        let denial = Denial {
            guid: SessionGuid([9; 16]),
            ask: number,
            record: shown,
        };
        let mut closed = false;
        let (_, events) = with(&mut session, |s, ctx| {
            s.denied(ctx, &denial);
            closed = !s.ask().open;
        });
        let told = events
            .iter()
            .any(|event| matches!(event, SessionEvent::ForceRefused(error) if error.number == 1455));
        (closed, told)
    };
    let theirs = record(4, THEM, 2, Sync::Sync);
    assert_eq!(denied(false, false, theirs), (true, false));
    assert_eq!(denied(true, false, theirs), (true, true));
    assert_eq!(denied(true, true, theirs), (true, true));
    let granted = Record {
        forced: true,
        ..record(5, ME, 0, Sync::Unsync)
    };
    assert_eq!(denied(true, true, granted), (true, false));
    assert_eq!(denied(true, false, granted), (true, true));
}

/// R3, R6: a hello over a new connection closes an ask that was said over an earlier one, except one that was granted to a member that may not
/// use it.
#[test]
fn a_hello_of_the_witness_closes_an_ask_that_was_not_granted() {
    let stays = |incomplete: bool, shown: Record| {
        let mut session = state("M asking");
        session.kept.change(|stored| stored.incomplete = incomplete);
        settle(&mut session);
        session.q.ask_here = false;
        let hello = hello(&session, shown, 0);
        let mut open = false;
        with(&mut session, |s, ctx| {
            s.heard_witness_hello(ctx, Part::Witness, &hello);
            open = s.ask().open;
        });
        open
    };
    let (same, granted) = (record(4, THEM, 2, Sync::Sync), record(5, ME, 0, Sync::Unsync));
    assert!(!stays(false, same));
    assert!(!stays(true, same));
    assert!(!stays(false, granted));
    assert!(stays(true, granted));
}
