//! R8: forced service.

use super::super::force::*;
use super::super::takeover::*;
use super::super::witness::*;
use super::{A, B, rec};
use crate::message::{Record, Sync};

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
        incomplete: false,
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
    // Unless that ask may have been granted to who may not use it.
    let incomplete = Forcing {
        ask: open,
        incomplete: true,
        ..facts
    };
    let next = Ask {
        number: 3,
        open: true,
        force: true,
    };
    assert_eq!(force(&incomplete), Force::Ask(next));
    let twice = Forcing {
        ask: next,
        ..incomplete
    };
    assert_eq!(refused(&twice), Some(ForceRefused::Busy));
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
