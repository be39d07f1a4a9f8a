//! A message arrives; an end finds its connection dead.

use crate::events::Way;
use crate::machine::{Machine, pair};
use crate::mutation::Mutation as M;
use crate::state::{B, Kind, On};

impl Machine<'_> {
    pub(crate) fn deliver(&mut self, at: usize, way: Way) -> bool {
        let (low, high) = self.ends(at);
        let stale = self.off(M::StaleSync);
        let link = &mut self.s.links[at];
        let (to, from, msg) = match way {
            Way::Old if link.high_on == On::Old || stale => (high, low, link.old.pop()),
            Way::Up if link.high_on == On::Newest => (high, low, link.up.pop()),
            Way::Down if link.low_on => (low, high, link.down.pop()),
            _ => return false,
        };
        let Some(msg) = msg else { return false };
        if to <= B && !self.q(to).up {
            return false;
        }
        let waits = msg.kind == Kind::Block || (msg.kind == Kind::Hello && !self.off(M::HelloBeforeWrites));
        if to <= B && from <= B && waits && self.q(to).coming != 0 {
            // One write at a time; the next block waits in the connection, and so does the other's hello, with which the
            // log is compared.
            return false;
        }
        self.handle(to, from, &msg);
        true
    }

    pub(crate) fn notice(&mut self, x: u8, y: u8) -> bool {
        let (at, low) = pair(self.setting, x, y);
        let link = &self.s.links[at];
        let dead = if low {
            link.low_on && (link.broken || (link.high_on != On::Newest && !link.use_due))
        } else {
            match link.high_on {
                On::None => false,
                On::Old => true,
                On::Newest => link.broken || !link.low_on,
            }
        };
        if dead {
            self.leave(x, y);
        }
        dead
    }
}
