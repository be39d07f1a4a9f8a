//! Single steps of a session whose every condition counts: ends, hand-overs, registrations, records that contradict (`docs/safety.md`).

use std::vec::Vec;

use super::super::change::{Change, ShownAgain};
use super::super::decide::witness::Named;
use super::super::machine::{Peer, Session, Side};
use super::super::tie::Tie;
use super::super::{EndedBy, Fence, Role, RoleChange, SessionEvent};
use super::table::{END, ME, NOW, THEM, WITNESS, hello, log_end, record, settle, state, timelines, with};
use crate::message::codec::{NameWitness, Properties, Start, Tombstone};
use crate::message::{FamilyGuid, InstanceId, Record, SessionGuid, Sync, Text};
use crate::time::Duration;

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
    let closed = |s: &mut Session| {
        s.q.serves = false;
        s.q.taking = true; // What keeps it from opening at once.
    };
    assert!(!named(both, None, closed), "it does not serve");
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

/// A principal whose change of witness to `target` has recorded UNSYNC, durably.
fn changing(target: Tie) -> Session {
    let mut session = state("P synchronized, witness");
    session.change = Some(Change::to(target, true, NOW.after(Duration::from_secs(9))));
    with(&mut session, |_, _| ());
    settle(&mut session);
    assert_eq!(session.record().sync, Sync::Unsync);
    session.due.name = None;
    session
}

/// R5: the mirror is told of the next witness when it has confirmed UNSYNC, and is in step.
#[test]
fn the_mirror_is_told_of_a_witness_once_it_has_confirmed() {
    let told = |confirmed: bool, in_step: bool| {
        let mut session = changing(Tie::default());
        session.q.by_mirror = confirmed;
        if !in_step {
            session.binding.as_mut().unwrap().said_role -= 1;
        }
        with(&mut session, |_, _| ());
        session.due.name == Some(true)
    };
    assert!(told(true, true));
    assert!(!told(false, true));
    assert!(!told(true, false));
    assert!(!told(false, false));
}

/// The new witness counts as confirming because it has shown this record; after OFF nobody does.
#[test]
fn an_adopted_witness_confirms_what_it_has_shown() {
    let other = InstanceId([4; 16]);
    let target = Tie::new(Text::new("TCP://v:1").unwrap(), 102, other);
    for (target, named) in [(target, other), (Tie::default(), InstanceId::default())] {
        let mut session = changing(target);
        session.q.by_mirror = true;
        let own = session.record();
        let change = session.change.as_mut().unwrap();
        change.mirror_pending_at = Some((own.role_sequence, own.sync_sequence));
        if named == other {
            change.by_target_at = change.mirror_pending_at;
        }
        session.q.by_witness = named != other;
        with(&mut session, |s, ctx| {
            s.drive_change(ctx);
            assert_eq!(s.q.by_witness, named == other);
        });
        assert_eq!(session.kept.get().witness, named);
        assert!(session.change.is_none());
    }
}

/// R4: a role that was taken opens when its timeline has begun and the record is durable.
#[test]
fn a_role_that_is_taken_opens_when_all_of_it_is_there() {
    let opens = |prepared: bool, durable: bool| {
        let mut session = state("P exposed, witness");
        session.q.serves = false;
        session.q.taking = true;
        session.q.prepared = prepared;
        if !durable {
            session.kept.change(|stored| stored.touched = !stored.touched);
        }
        with(&mut session, |_, _| ());
        session.q.serves
    };
    assert!(opens(true, true));
    assert!(!opens(false, true));
    assert!(!opens(true, false));
}

/// A waiting mirror answers one START at a time: the same one again, no other's and no other.
#[test]
fn a_start_that_is_being_answered_keeps_others_out() {
    let mut session = state("M lost P, unsync");
    let peer = Peer {
        login: 100,
        instance: THEM,
    };
    let start = Start {
        guid: SessionGuid([7; 16]),
        record: Record::first(THEM),
        family: FamilyGuid([8; 16]),
        end: log_end(),
        properties: Properties::default(),
        timelines: timelines(),
        partner: Text::EMPTY,
        name: Text::EMPTY,
    };
    let asked = |session: &mut Session, peer: Peer, start: &Start| {
        session.start_asked(peer, 1, start).map_err(|error| error.number)
    };
    assert_eq!(asked(&mut session, peer, &start), Ok(()));
    session.answering.as_mut().unwrap().verified = true;
    assert_eq!(asked(&mut session, peer, &start), Ok(()));
    assert!(session.answering.unwrap().verified, "what was found stays");
    let others_login = Peer { login: 102, ..peer };
    assert_eq!(asked(&mut session, others_login, &start), Err(1404));
    let another = Start {
        guid: SessionGuid([6; 16]),
        ..start
    };
    assert_eq!(asked(&mut session, peer, &another), Err(1404));
}

/// A witness that is named anew keeps its login only while it is the same instance at the same address.
#[test]
fn a_login_belongs_to_an_instance_at_an_address() {
    let (here, there) = (Text::new("TCP://w:1").unwrap(), Text::new("TCP://v:1").unwrap());
    let other = InstanceId([4; 16]);
    for (witness, address, login) in [(WITNESS, here, 101), (WITNESS, there, 0), (other, here, 0)] {
        let mut session = state("M synchronized, witness");
        let named = NameWitness {
            guid: SessionGuid([9; 16]),
            answer: false,
            record: session.record(),
            witness,
            pending: true,
            address,
        };
        with(&mut session, |s, ctx| s.witness_named(ctx, &named));
        assert_eq!(session.kept.get().witness_login, login, "{address}");
        assert_eq!(session.tie.link.is_some(), login != 0, "{address}");
    }
}
