//! Settled states: every connection is made, nothing is under way, and nothing is left that a member must do. Exactly one partner serves there,
//! the session is SYNCHRONIZED and the witness, where one is set, knows it: nobody needs an operator while all are there.

use crate::settings::Setting;
use crate::state::{NOBODY, State};

/// Whether that is false in a state in which only the outside can move. Where a number has reached the bound of the setting nothing can
/// be said.
pub fn is_wrong(setting: &Setting, state: &State) -> bool {
    let bounded = state
        .partners
        .iter()
        .any(|p| p.rec.number >= setting.numbers || p.rec.role >= 6 || p.timeline >> 1 >= 7 || p.ask >= 7);
    // Where two full queues wait for each other, that is the bound of the model and not the members' doing.
    let under_way = state
        .links
        .iter()
        .any(|link| link.old.len + link.up.len + link.down.len > 0);
    // An operator has to say which one to keep (R8).
    let clash = state.partners.iter().any(|p| p.clash);
    if bounded || under_way || clash {
        return false;
    }
    let mut serving = state.partners.iter().filter(|p| p.serves);
    let (Some(p), None) = (serving.next(), serving.next()) else {
        return true;
    };
    if p.suspended {
        // Until RESUME.
        return false;
    }
    let synchronized = p.rec.sync && p.by_mirror && p.joined && p.acked == p.log.len();
    let witnessed = p.witness == NOBODY || p.by_witness;
    !(synchronized && witnessed)
}
