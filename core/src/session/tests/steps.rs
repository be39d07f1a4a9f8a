//! Single steps of a session whose every condition counts: ends, hand-overs, registrations, records that contradict (`docs/safety.md`).

use std::vec::Vec;

use super::super::change::ShownAgain;
use super::super::decide::witness::Named;
use super::super::machine::{Session, Side};
use super::super::{EndedBy, Fence, Role, RoleChange, SessionEvent};
use super::table::{END, ME, THEM, WITNESS, hello, record, settle, state, with};
use crate::message::codec::Tombstone;
use crate::message::{InstanceId, SessionGuid, Sync};

fn heard(session: &mut Session, record: crate::message::Record) -> Vec<SessionEvent> {
    let theirs = hello(session, record, 0);
    with(session, |s, ctx| s.heard_hello(ctx, 1, &theirs)).1
}

/// R0: who the higher record names goes on alone, and only who gives the role up is fenced.
#[test]
fn a_tombstone_leaves_the_role_to_whom_the_record_names() {
    let end = |name: &str, owner: InstanceId| {
        let mut session = state(name);
        let tombstone = Tombstone {
            guid: SessionGuid([9; 16]),
            record: record(5, owner, 0, Sync::Unsync),
        };
        let events = with(&mut session, |s, ctx| s.heard_tombstone(ctx, &tombstone)).1;
        let fenced = events.contains(&SessionEvent::Fence(Fence::Yielded));
        let changed = events.iter().find_map(|event| match event {
            SessionEvent::RoleChanged { role, why, .. } => Some((*role, *why)),
            _ => None,
        });
        (session.role(), fenced, changed)
    };
    let (principal, mirror) = ("P synchronized, witness", "M synchronized, witness");
    assert_eq!(end(principal, ME), (Role::Principal, false, None));
    assert_eq!(end(mirror, THEM), (Role::Mirror, false, None));
    let yielded = |role| Some((role, RoleChange::Yielded));
    assert_eq!(end(principal, THEM), (Role::Mirror, true, yielded(Role::Mirror)));
    assert_eq!(
        end(mirror, ME),
        (Role::Principal, false, yielded(Role::Principal))
    );
}

/// The end is said when it is durable, to whoever is there to hear it, and is over when nobody is left.
#[test]
fn an_end_is_told_once_it_is_durable() {
    for (name, witness) in [
        ("P synchronized, witness", true),
        ("P synchronized, no witness", false),
        ("P synchronized, witness away", false),
    ] {
        let mut session = state(name);
        with(&mut session, |s, ctx| s.finish(ctx, EndedBy::Operator));
        let over = session.over.unwrap();
        assert!(
            !over.may_tell() && !over.may_tell_witness(),
            "{name}: not durable yet"
        );
        settle(&mut session);
        let over = session.over.unwrap();
        assert_eq!(
            (over.may_tell(), over.may_tell_witness()),
            (true, witness),
            "{name}"
        );
        assert!(!session.done);
        // The partner is gone, and hears it when it says hello again.
        with(&mut session, |s, ctx| s.rebind(ctx, None));
        assert_eq!(session.done, !witness, "{name}");
        session.witness_untold();
        assert!(session.done, "{name}");
    }
}

/// R4: the role is given away when the mirror has everything that was acknowledged, on a log that goes on, and not before.
#[test]
fn a_failover_waits_until_the_mirror_is_level() {
    let given = |change: fn(&mut Session)| {
        let mut session = state("P failing over");
        session.failing.as_mut().unwrap().fenced = true;
        change(&mut session);
        with(&mut session, |_, _| ());
        session.role() == Role::Mirror
    };
    fn side(session: &mut Session) -> &mut super::super::principal::PrincipalSide {
        match &mut session.side {
            Side::Principal(side) => side,
            Side::Mirror(_) => panic!("a principal"),
        }
    }
    assert!(given(|_| ()));
    assert!(!given(|s| s.failing.as_mut().unwrap().fenced = false));
    assert!(!given(|s| side(s).streaming = false));
    assert!(!given(|s| side(s).acked.sequence = END - 1));
    assert!(!given(|s| s.q.acknowledged.sequence = END - 1));
    assert!(!given(|s| s.q.by_mirror = false));
}

/// A number that nobody can have come to: told once, and nothing is taken.
#[test]
fn a_record_from_too_far_ahead_is_told_once() {
    for name in ["P synchronized, witness", "M synchronized, witness"] {
        let mut session = state(name);
        let own = session.record();
        let other = record(u32::MAX, THEM, 2, Sync::Sync);
        let conflicts = |events: Vec<SessionEvent>| {
            let is = |event: &&SessionEvent| matches!(event, SessionEvent::RecordConflict(_));
            events.iter().filter(is).count()
        };
        assert_eq!(conflicts(heard(&mut session, other)), 1, "{name}");
        assert_eq!(conflicts(heard(&mut session, other)), 0, "{name}: once");
        assert_eq!(session.record(), own, "{name}");
        assert_eq!(session.trouble.unwrap().number, 1428, "{name}");
    }
}

/// R3: the right to take over was earned under one owner's number, and ends with it.
#[test]
fn a_new_owner_takes_the_right_to_take_over_away() {
    for (number, same) in [(4, true), (5, false)] {
        let mut session = state("M synchronized, witness");
        session.q.may_take_over = true;
        let left = with(&mut session, |s, ctx| {
            s.follow_owner(ctx, record(number, THEM, 3, Sync::Sync));
            s.q.may_take_over
        });
        assert_eq!(left.0, same, "{number}");
        assert_eq!(session.record(), record(number, THEM, 3, Sync::Sync));
    }
}

/// Who shows an older record of the present number is shown the newer one; a hello is said again only for an older number.
#[test]
fn an_older_record_is_answered_by_the_present_one() {
    for (number, again) in [(4, None), (3, Some(false))] {
        let mut session = state("P synchronized, witness");
        heard(&mut session, record(number, ME, 1, Sync::Unsync));
        assert_eq!(session.due.hello, again, "{number}");
        assert_eq!(session.due.record, again.is_none(), "{number}");
    }
}

/// R5: the owner's witness is imposed on a mirror that names another: by an owner that serves, with the mirror there.
#[test]
fn a_witness_is_imposed_by_a_serving_owner_with_its_mirror() {
    let named = |name: &str, witness: Option<InstanceId>, change: fn(&mut Session)| {
        let mut session = state(name);
        session.q.mirror_names = Some(Named {
            witness,
            pending: false,
        });
        change(&mut session);
        with(&mut session, |_, _| ());
        session.change.is_some()
    };
    let both = "P synchronized, witness";
    assert!(named(both, None, |_| ()));
    assert!(!named(both, Some(WITNESS), |_| ()), "they agree");
    assert!(!named("P exposed, witness", None, |_| ()), "the mirror is away");
    assert!(!named("M synchronized, witness", None, |_| ()));
}

/// A witness that knows nothing any more is registered once for each time that the mirror has confirmed.
#[test]
fn a_blank_witness_is_registered_once() {
    let mut session = state("P synchronized, witness");
    session.tie.heard = Some(None);
    session.shown_again = ShownAgain::Confirmed;
    with(&mut session, |_, _| ());
    // Nothing is registered as SYNC that the witness has forgotten: UNSYNC comes first, and is confirmed again.
    for _ in 0..4 {
        settle(&mut session);
        if session.record().sync == Sync::Unsync && session.shown_again != ShownAgain::Confirmed {
            session.shown_again = ShownAgain::Confirmed;
        }
        with(&mut session, |_, _| ());
        if let ShownAgain::Registered(request) = session.shown_again {
            assert_eq!(session.tie.register_due, Some(request));
            session.tie.register_due = None;
            with(&mut session, |_, _| ());
            assert_eq!(session.shown_again, ShownAgain::Registered(request), "once");
            assert_eq!(session.tie.register_due, None);
            return;
        }
    }
    panic!("it was never registered: {:?}", session.shown_again);
}
