//! How sessions end.

use super::actions::{SECOND, started};
use super::world::{DB, World, address};
use crate::message::Text;
use crate::session::{EndedBy, Reason, SessionEvent, SessionState, WaitAsMirror};
use crate::time::Duration;

#[test]
fn off_on_either_side_ends_both() {
    for who in 0..2 {
        let mut world = started(false);
        let guid = world.view(0).unwrap().guid.unwrap();
        world.with(who, |e, env| e.partner_off(env, DB)).unwrap();
        world.run();
        for at in 0..2 {
            let by = if at == who {
                EndedBy::Operator
            } else {
                EndedBy::Partner
            };
            assert!(
                world.session_events(at).contains(&SessionEvent::Ended { by }),
                "{at}"
            );
            assert!(world.view(at).is_none());
            assert!(world.nodes[at].records.is_empty());
            assert!(world.nodes[at].disk.tombstones.contains_key(&guid));
        }
        world.pass(Duration::from_secs(15));
        assert_eq!(
            world.nodes[0].endpoint.connections().count(),
            0,
            "nobody needs it"
        );
    }
}

/// Seed 2070 of the simulator: the tombstone, written after the record of a new session of that database, took its place.
#[test]
fn a_new_session_waits_until_the_old_ones_end_is_durable() {
    let mut world = started(false);
    world.nodes[1].prompt = false;
    world.with(1, |e, env| e.partner_off(env, DB)).unwrap();
    world.run();
    let command = WaitAsMirror {
        database: DB,
        name: Text::new("x").unwrap(),
        partner: address(0),
        copy: None,
    };
    let waited = |world: &World| {
        let events = world.session_events(1);
        events.iter().filter(|e| **e == SessionEvent::Waiting).count()
    };
    let before = waited(&world);
    world.with(1, |e, env| e.wait_as_mirror(env, &command)).unwrap();
    world.run();
    assert_eq!(waited(&world), before);
    world.nodes[1].prompt = true;
    world.pass(SECOND);
    let events = world.session_events(1);
    let at = |wanted: &SessionEvent| events.iter().rposition(|event| event == wanted);
    let ended = at(&SessionEvent::Ended {
        by: EndedBy::Operator,
    });
    assert!(
        ended.is_some() && ended < at(&SessionEvent::Waiting),
        "{events:?}"
    );
    assert!(world.nodes[1].records.contains_key(&DB));
}

#[test]
fn off_while_the_partner_is_away_is_learnt_from_the_tombstone() {
    for who in 0..2 {
        let mut world = started(false);
        world.nodes[0].disk.db(DB).hard = 2;
        let other = 1 - who;
        world.crash(other, 9);
        world.run();
        world.with(who, |e, env| e.partner_off(env, DB)).unwrap();
        world.run();
        assert!(world.view(who).is_none());
        // The one that is off restarts too: only the tombstone is left.
        world.crash(who, 9);
        world.restart(who);
        world.restart(other);
        world.pass(Duration::from_secs(5));
        assert!(
            world
                .session_events(other)
                .contains(&SessionEvent::Ended { by: EndedBy::Partner })
        );
        assert!(world.view(other).is_none());
    }
}

#[test]
fn none_does_not_end_a_session_that_has_begun() {
    let mut world = started(false);
    world.commit(0, 3, 40);
    world.pass(SECOND);
    // The mirror loses everything, records and tombstones.
    world.crash(1, 0);
    world.nodes[1].records.clear();
    world.restart(1);
    world.pass(Duration::from_secs(5));
    assert!(world.session_events(0).contains(&SessionEvent::PartnerHasNone));
    let view = world.view(0).unwrap();
    assert_eq!(view.state, SessionState::Disconnected);
    assert_eq!(view.trouble.unwrap().reason, Reason::NotMirrored);
}
