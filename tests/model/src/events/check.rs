//! What must never be false, after every step.

use crate::machine::Machine;
use crate::state::timeline_of;

impl Machine<'_> {
    /// What must never be false.
    pub(crate) fn check(&mut self) {
        let s = &self.s;
        if s.ghost.broken != 0 {
            return;
        }
        for p in &s.partners {
            if p.serves && p.rec.role == s.ghost.top && s.ghost.acked & !p.log.ids() != 0 {
                self.s.ghost.broken = 1;
                return;
            }
        }
        let (a, b) = (&s.partners[0].log.0, &s.partners[1].log.0);
        for at in 0..a.len() {
            let (x, y) = (a[at], b[at]);
            if x != 0 && y != 0 && timeline_of(x) == timeline_of(y) && a[..=at] != b[..=at] {
                self.s.ghost.broken = 3;
                return;
            }
        }
    }
}
