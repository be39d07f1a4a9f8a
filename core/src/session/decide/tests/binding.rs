//! R2: connections.

use super::super::binding;
use crate::message::UseNumber;

#[test]
fn which_connection_is_used() {
    let at = |boot, n| UseNumber { boot, n };
    assert!(binding::takes_use(at(1, 5), at(2, 1)) && binding::takes_use(at(1, 5), at(1, 6)));
    assert!(!binding::takes_use(at(1, 5), at(1, 5)) && !binding::takes_use(at(2, 1), at(1, 9)));
    assert!(
        binding::is_bound(true, true) && !binding::is_bound(true, false) && !binding::is_bound(false, true)
    );
    assert!(
        binding::accepts(binding::Kind::Opening, false) && !binding::accepts(binding::Kind::Bound, false)
    );
    assert!(binding::may_say_hello(false) && !binding::may_say_hello(true));
}
