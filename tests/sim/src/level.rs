//! What must hold at the end, when nothing goes wrong any more: all is level, and hardened, and nothing is left over.

use dbmirror_core::crypto::Provider;
use dbmirror_core::session::SessionState;

use crate::world::World;

impl<P: Provider + 'static> World<P> {
    /// Whether every session is level, log and file; else what is not.
    pub fn unsettled(&mut self) -> Option<String> {
        for index in 0..self.shops.len() {
            let shop = self.shops[index].clone();
            let (p, id) = (self.owner(index), shop.id);
            let m = shop.pair[usize::from(shop.pair[0] == p)];
            let Some(principal) = self.view(p, id) else {
                return Some(format!("db {}: instance {p} has no session", id.0));
            };
            let Some(mirror) = self.view(m, id) else {
                return Some(format!("db {}: instance {m} has no session", id.0));
            };
            for (who, view) in [(p, &principal), (m, &mirror)] {
                if view.state != SessionState::Synchronized {
                    return Some(format!(
                        "db {}: instance {who} shows {:?}, trouble {:?}",
                        id.0, view.state, view.trouble
                    ));
                }
            }
            let (Some(a), Some(b)) = (self.nodes[p].disk.db(id), self.nodes[m].disk.db(id)) else {
                return Some(format!("db {}: a database is gone", id.0));
            };
            if a.log_rows() != a.rows.len() || principal.end != a.end() {
                return Some(format!(
                    "db {}: {} rows, {} captured, end {:?}",
                    id.0,
                    a.rows.len(),
                    a.log_rows(),
                    principal.end
                ));
            }
            if a.durable_end() != b.durable_end() || mirror.end != b.durable_end() {
                return Some(format!(
                    "db {}: logs end at {:?} and {:?}",
                    id.0,
                    a.durable_end(),
                    b.durable_end()
                ));
            }
            if principal.hardened_on_both != principal.end.position {
                return Some(format!(
                    "db {}: hardened on both to {:?}",
                    id.0, principal.hardened_on_both
                ));
            }
            if a.pages() != b.pages() {
                return Some(format!(
                    "db {}: the files have {} and {} rows",
                    id.0,
                    a.rows.len(),
                    b.rows.len()
                ));
            }
            let properties = |view: &dbmirror_core::session::SessionView| {
                (view.safety, view.safety_sequence, view.suspended, view.timeout)
            };
            if properties(&principal) != properties(&mirror) {
                return Some(format!(
                    "db {}: {:?} and {:?}",
                    id.0,
                    properties(&principal),
                    properties(&mirror)
                ));
            }
        }
        None
    }

    /// Whether every mirror has hardened what applications committed; else where it has not.
    pub fn unhardened(&mut self) -> Option<String> {
        for index in 0..self.shops.len() {
            let shop = self.shops[index].clone();
            let (p, id) = (self.owner(index), shop.id);
            let m = shop.pair[usize::from(shop.pair[0] == p)];
            let view = self.view(p, id);
            let (Some(view), Some(a), Some(b)) = (view, self.nodes[p].disk.db(id), self.nodes[m].disk.db(id))
            else {
                return Some(format!("db {}: no session", id.0));
            };
            if a.rows.len() != a.log_rows()
                || view.hardened_on_both != a.end().position
                || b.durable_end() != a.end()
            {
                return Some(format!(
                    "db {}: {} rows, hardened on both to {:?}",
                    id.0,
                    a.rows.len(),
                    view.hardened_on_both
                ));
            }
        }
        None
    }

    /// Whether each pair of instances is down to one connection; else which is not.
    pub fn surplus(&mut self) -> Option<String> {
        for a in 0..self.nodes.len() {
            for b in a + 1..self.nodes.len() {
                let both = |pipe: &crate::net::Pipe| {
                    let ends = [pipe.ends[0].node, pipe.ends[1].node];
                    ends.contains(&a) && ends.contains(&b) && !pipe.ends[0].over && !pipe.ends[1].over
                };
                let count = self.net.pipes.iter().flatten().filter(|pipe| both(pipe)).count();
                let shared = self
                    .shops
                    .iter()
                    .any(|shop| shop.pair.contains(&a) && shop.pair.contains(&b));
                if shared && count != 1 || count > 1 {
                    return Some(format!("{count} connections between {a} and {b}"));
                }
            }
        }
        None
    }
}
