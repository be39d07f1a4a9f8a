//! What time brings to a session: when it wants to be woken, and what it does then.

use super::super::flow::Inflow;
use super::super::machine::{Redial, Session, Side};
use super::super::mirror::MirrorSide;
use super::super::principal::PrincipalSide;
use super::super::start::Starting;
use super::table::{END, NOW, log_end, state, with};
use crate::message::codec::{Block, TailRequest};
use crate::message::{FamilyGuid, LogEnd, Position, SessionGuid, UseNumber};
use crate::time::{Duration, Instant};

const LATER: Instant = NOW.after(Duration::from_secs(1));

fn principal(session: &mut Session) -> &mut PrincipalSide {
    match &mut session.side {
        Side::Principal(side) => side,
        Side::Mirror(_) => panic!("a principal"),
    }
}

fn mirror(session: &mut Session) -> &mut MirrorSide {
    match &mut session.side {
        Side::Mirror(side) => side,
        Side::Principal(_) => panic!("a mirror"),
    }
}

#[test]
fn a_connection_that_stood_is_dialed_again_at_once() {
    let (first, last) = (Duration::from_secs(1), Duration::from_secs(4));
    let mut dial = Redial::default();
    for pause in [1, 2, 4, 4] {
        dial.failed(NOW, first, last);
        assert_eq!(dial.at, NOW.after(Duration::from_secs(pause)));
    }
    dial.succeeded();
    assert_eq!(dial.at, Instant::ZERO);
    dial.failed(NOW, first, last);
    assert_eq!(dial.at, LATER, "from the beginning");
}

#[test]
fn a_session_is_woken_for_what_is_due() {
    // A start that is not answered ends; nothing is due where all is well.
    let mut session = state("P synchronized, witness");
    assert_eq!(session.wake(NOW), None);
    session.starting = Some(Starting::new(LATER));
    assert_eq!(session.wake(NOW), Some(LATER));
    session.starting = Some(Starting {
        accepted: true,
        ..Starting::new(LATER)
    });
    assert_eq!(session.wake(NOW), None);
    // A connection that is gone is waited for, and then the partner is lost.
    let mut session = state("M lost P, unsync");
    session.q.lost_at = Some(LATER);
    assert_eq!(session.wake(NOW), Some(LATER));
    assert_eq!(session.wake(LATER), None);
}

/// A mirror that may ask for the role is woken when it may ask again: not before it may, and not while an ask is open.
#[test]
fn a_mirror_is_woken_when_it_may_ask() {
    let wake = |change: fn(&mut Session)| {
        let mut session = state("M synchronized, witness");
        session.q.ask_after = LATER;
        change(&mut session);
        session.drive_wake(NOW)
    };
    assert_eq!(wake(|_| ()), Some(LATER));
    assert_eq!(wake(|s| s.q.ask_after = NOW), None, "driven already");
    assert_eq!(wake(|s| s.q.may_take_over = false), None);
    assert_eq!(wake(|s| s.tie.heard = None), None, "no witness");
    assert_eq!(wake(|s| s.kept.change(|stored| stored.ask_open = true)), None);
    let mut session = state("P synchronized, witness");
    session.q.ask_after = LATER;
    session.q.may_take_over = true;
    assert_eq!(session.drive_wake(NOW), None, "a principal");
}

/// Nothing is sent that the storage refused before its time has come, and it is not woken for what waits on writes or has no end.
#[test]
fn a_mirror_says_hello_again_when_its_storage_may_take_blocks() {
    let name = "M synchronized, witness";
    for (at, again) in [(NOW, true), (LATER, false)] {
        let mut session = state(name);
        mirror(&mut session).start_over = Some(at);
        assert_eq!(session.mirror_wake(), Some(at));
        with(&mut session, |s, ctx| s.mirror_tick(ctx));
        assert_eq!(session.binding.unwrap().hello_sent, !again);
        assert_eq!(mirror(&mut session).start_over.is_none(), again);
    }
    let mut session = state(name);
    mirror(&mut session).start_over = Some(Instant::from_micros(u64::MAX));
    assert_eq!(session.mirror_wake(), None, "until something else happens");
    mirror(&mut session).start_over = Some(NOW);
    mirror(&mut session).inflow.received.sequence = END + 1;
    assert_eq!(session.mirror_wake(), None, "a write is under way");
    with(&mut session, |s, ctx| s.mirror_tick(ctx));
    assert!(session.binding.unwrap().hello_sent);
}

/// A log that could not be read is read again, and streamed from where the mirror stands.
#[test]
fn a_principal_reads_again_what_it_could_not_read() {
    let mut session = state("P synchronized, witness");
    principal(&mut session).streaming = false;
    principal(&mut session).read_again = Some(LATER);
    with(&mut session, |s, ctx| s.principal_tick(ctx));
    assert!(!principal(&mut session).streaming);
    principal(&mut session).read_again = Some(NOW);
    with(&mut session, |s, ctx| s.principal_tick(ctx));
    assert!(principal(&mut session).streaming && principal(&mut session).read_again.is_none());
}

/// A block is taken where the history that its sender stated has it, and nowhere else.
#[test]
fn a_block_out_of_its_timeline_is_refused() {
    for (timeline, taken) in [(1, true), (2, false)] {
        let mut session = state("M synchronized, witness");
        mirror(&mut session).inflow = Inflow::new(log_end().position, 1_000);
        let piece = Block {
            guid: SessionGuid([9; 16]),
            role_sequence: 4,
            position: Position {
                timeline,
                sequence: END + 1,
            },
            decided: log_end().position,
            offset: 0,
            total: 8,
            bytes: &[0; 8],
        };
        let result = with(&mut session, |s, ctx| s.block_piece(ctx, &piece)).0;
        assert_eq!(result.is_ok(), taken, "timeline {timeline}");
    }
}

/// A tail is given to who asks for exactly the end that the hello has told, over the binding.
#[test]
fn a_tail_is_asked_for_by_its_end() {
    let ask = |to: u64, bound: bool| {
        let mut session = state("M synchronized, witness");
        if !bound {
            session.binding.as_mut().unwrap().heard = None;
        }
        let request = TailRequest {
            guid: SessionGuid([9; 16]),
            role_sequence: 4,
            from: LogEnd {
                position: Position {
                    timeline: 1,
                    sequence: END - 2,
                },
                ..log_end()
            },
            to: Position {
                timeline: 1,
                sequence: to,
            },
        };
        with(&mut session, |s, ctx| s.tail_asked(ctx, &request));
        mirror(&mut session).tail.is_some()
    };
    assert!(ask(END, true));
    assert!(!ask(END + 1, true));
    assert!(!ask(END, false));
}

#[test]
fn the_view_shows_what_there_is() {
    let mut session = state("P synchronized, witness");
    let view = session.view();
    assert_eq!(view.family, Some(FamilyGuid([8; 16])));
    assert_eq!(view.guid, Some(SessionGuid([9; 16])));
    session.kept.change(|stored| {
        stored.family = FamilyGuid::default();
        stored.guid = SessionGuid::default();
    });
    assert_eq!((session.view().family, session.view().guid), (None, None));
}

/// A session talks on the connections of its partner and its witnesses; what is known of USE outlives each of them.
#[test]
fn a_session_talks_where_its_partner_and_witnesses_are() {
    let mut session = state("P synchronized, witness");
    let on = |session: &Session| {
        (0..5)
            .filter(|link| session.speaks_on(*link))
            .collect::<std::vec::Vec<_>>()
    };
    assert_eq!(on(&session), [1, 2]);
    session.accept_on = Some(3);
    session.starting = Some(Starting {
        send_on: Some(4),
        ..Starting::new(LATER)
    });
    assert_eq!(on(&session), [1, 2, 3, 4]);
    let (highest, witness) = (UseNumber { boot: 5, n: 6 }, session.tie.peer());
    session.tie.highest_use = highest;
    with(&mut session, |s, ctx| s.rebind_ties(ctx, witness, None, None));
    assert_eq!((session.tie.link, session.tie.highest_use), (None, highest));
}
