//! When a session says hello, and what one that is said or heard again changes (`docs/safety.md` R2).

use std::format;

use super::super::change::ShownAgain;
use super::super::hearing::Rewinding;
use super::super::machine::{Session, Side};
use super::super::start::Starting;
use super::table::{NOW, hello, state, with};

/// What keeps a hello back, and how that comes to be.
type Hold = (&'static str, fn(&mut Session));

const BOTH: [&str; 2] = ["P synchronized, witness", "M synchronized, witness"];

fn inflow(session: &Session) -> std::string::String {
    match &session.side {
        Side::Principal(side) => format!("{:?}", side.inflow),
        Side::Mirror(side) => format!("{:?}", side.inflow),
    }
}

/// Each thing by itself keeps the hello back until it is over.
#[test]
fn a_hello_waits_for_whatever_is_under_way() {
    let holds: [Hold; 6] = [
        ("writers are shut out", |s| s.q.fencing = true),
        ("the role is taken", |s| s.q.taking = true),
        ("a timeline begins", |s| s.q.timeline_asked = true),
        ("a tail is undone", |s| {
            s.rewinding = Some(Rewinding { to: 3, asked: true });
        }),
        ("the record is not durable", |s| {
            s.kept.change(|stored| stored.wants_seed = true);
        }),
        ("blocks are on their way to the disk", |s| match &mut s.side {
            Side::Principal(side) => side.inflow.received.sequence = u64::MAX,
            Side::Mirror(side) => side.inflow.received.sequence = u64::MAX,
        }),
    ];
    for name in BOTH {
        assert!(state(name).may_say_hello(), "{name}");
        for (what, hold) in holds {
            let mut session = state(name);
            hold(&mut session);
            assert!(!session.may_say_hello(), "{name}: {what}");
        }
        let mut session = state(name);
        (session.q.taking, session.q.prepared) = (true, true);
        session.rewinding = Some(Rewinding { to: 3, asked: false });
        assert!(
            session.may_say_hello(),
            "{name}: prepared, and nothing asked of the host"
        );
    }
}

/// A hello for a new timeline or a renewed record does not begin the flow of blocks anew; one in another role does.
#[test]
fn the_flow_begins_anew_only_with_a_binding_or_a_role() {
    for name in BOTH {
        let mut session = state(name);
        let before = inflow(&session);
        with(&mut session, |s, ctx| s.said_hello(ctx, 55));
        assert_eq!(inflow(&session), before, "{name}");
        session.binding.as_mut().unwrap().said_role = 3;
        with(&mut session, |s, ctx| s.said_hello(ctx, 55));
        assert_ne!(inflow(&session), before, "{name}");
    }
}

/// The answer to START may be lost: a hello that comes before it says START again, wherever it comes; none does after it.
#[test]
fn a_hello_repeats_a_start_that_was_not_answered() {
    for (accepted, expected) in [(false, Some(1)), (true, None)] {
        let mut session = state("P synchronized, witness");
        session.starting = Some(Starting {
            accepted,
            ..Starting::new(NOW)
        });
        let theirs = hello(&session, session.record(), 0);
        with(&mut session, |s, ctx| s.heard_hello(ctx, 1, &theirs));
        assert_eq!(session.starting.unwrap().send_on, expected);
    }
}

#[test]
fn only_the_answer_to_the_last_register_counts() {
    assert!(!ShownAgain::No.is_registered(0));
    assert!(!ShownAgain::Asked(7).is_registered(7));
    assert!(ShownAgain::Registered(7).is_registered(7));
    assert!(!ShownAgain::Registered(7).is_registered(8));
}
