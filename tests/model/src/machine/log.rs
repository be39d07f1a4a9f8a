//! The logs of two partners meet; blocks are appended, taken and hardened (R7).

use crate::bridge::{ask, chain, history, other, record};
use crate::machine::Machine;
use crate::mutation::Mutation as M;
use crate::state::{Kind, Log, Msg, Partner, block};
use dbmirror_core::session::decide::{history as logs, incomplete, takeover};

impl Machine<'_> {
    /// The principal's and the mirror's logs meet: x is the one or the other (R7).
    pub(crate) fn meet(&mut self, x: u8, msg: &Msg) {
        let p = *self.q(x);
        if msg.rec.role == p.rec.role && msg.rec.owner == p.rec.owner {
            self.compare(x, msg, p.rec.owner == x);
        }
    }

    /// An incomplete principal is shown a record that names it: it adopts before it persists that (R6).
    pub(crate) fn adopt_first(&mut self, x: u8, msg: &Msg) {
        let p = *self.q(x);
        if !p.incomplete || msg.rec.owner != x || self.off(M::HandBackBeforeAdopt) {
            return;
        }
        if p.rec.owner == x {
            self.compare(x, msg, true);
        }
    }

    /// An incomplete mirror hears its owner's hello: it is level when it holds what that log held then.
    fn level_as_mirror(&mut self, x: u8, msg: &Msg) {
        let sync = self.off(M::SyncMakesWhole) && msg.rec.sync;
        let p = self.p(x);
        if !p.incomplete || p.ask_open {
            return;
        }
        p.missing = msg.log.len();
        let here = (p.log.len() >= p.missing).then(|| chain(&p.log, u64::from(p.missing)));
        let owners = history(&msg.log, msg.timeline).0;
        if incomplete::is_level(&owners, here) || sync {
            p.incomplete = incomplete::stays(incomplete::Since::LevelAsMirror);
        }
    }

    pub(crate) fn compare(&mut self, x: u8, msg: &Msg, leads: bool) {
        let p = *self.q(x);
        let mine = history(&p.log, if leads { p.timeline } else { 0 });
        let theirs = history(&msg.log, msg.timeline);
        let (principal, mirror) = if leads { (&mine, &theirs) } else { (&theirs, &mine) };
        let log = if leads { p.log } else { msg.log };
        let Ok(meeting) = logs::meet::<std::convert::Infallible>(
            logs::History {
                end: principal.0,
                timelines: &principal.1,
            },
            logs::History {
                end: mirror.0,
                timelines: &mirror.1,
            },
            |at| Ok(Some(chain(&log, at))),
        );
        if leads {
            self.meet_as_principal(x, msg, &meeting);
        } else if !p.ask_open && p.coming == 0 {
            let suspended = msg.at == 1 && !self.off(M::RewindBeforeResume);
            if let logs::Meeting::Rewind { to } = meeting
                && !self.off(M::NoRewind)
                && !suspended
            {
                if self.q(other(x)).suspended && self.q(other(x)).rec.role == p.rec.role {
                    self.s.ghost.broken = 8;
                }
                let p = self.p(x);
                p.log.cut(to as u8);
                p.hard = p.log.len();
            }
            self.p(x).timeline = p.timeline.max(msg.timeline);
            self.level_as_mirror(x, msg);
        }
    }

    pub(crate) fn meet_as_principal(&mut self, x: u8, msg: &Msg, meeting: &logs::Meeting) {
        let p = *self.q(x);
        let joined = match *meeting {
            logs::Meeting::Send { after } | logs::Meeting::Rewind { to: after } => Some(after as u8),
            logs::Meeting::Tail { after } => {
                if self.off(M::NoAdopt) {
                    Some(after as u8)
                } else if logs::may_adopt(meeting, p.serves, p.prepared) {
                    let p = self.p(x);
                    p.log = msg.log;
                    p.hard = p.log.len();
                    Some(p.hard)
                } else {
                    None
                }
            }
            logs::Meeting::Corrupt { .. } => {
                self.s.ghost.broken = 3;
                None
            }
        };
        if let Some(after) = joined {
            let p = self.p(x);
            (p.joined, p.acked, p.sent) = (true, after, after);
            // Where the other's log lies on a fork there is nothing to be adopted, and nothing says that nothing was lost.
            let forked = matches!(meeting, logs::Meeting::Rewind { .. });
            if p.incomplete && !p.prepared && !forked {
                p.incomplete = incomplete::stays(incomplete::Since::Adopted);
            }
        }
    }

    pub(crate) fn take_block(&mut self, x: u8, msg: &Msg) {
        let p = *self.q(x);
        let mut asked = ask(&p);
        asked.open = self.asks(x) && !self.off(M::HardenWhileAsking);
        let number = if self.off(M::AnyRoleSequence) {
            p.rec.role
        } else {
            msg.number
        };
        if p.rec.owner == x
            || !takeover::takes_blocks(&record(p.rec), &asked, u32::from(number))
            || p.coming != 0
            || !logs::follows(u64::from(p.log.len()), u64::from(msg.at))
        {
            return;
        }
        self.p(x).coming = msg.what;
        if !self.setting.slow_writes {
            self.harden(x);
        }
    }

    /// x's write of a block ends.
    pub(crate) fn harden(&mut self, x: u8) -> bool {
        let p = *self.q(x);
        if p.coming == 0 {
            return false;
        }
        let p = self.p(x);
        let pushed = p.log.push(p.coming);
        p.coming = 0;
        p.hard = p.log.len();
        if p.incomplete && p.missing != 0 && p.hard >= p.missing {
            p.incomplete = incomplete::stays(incomplete::Since::LevelAsMirror);
        }
        let (log, at, role) = (p.log, p.hard, p.rec.role);
        let y = other(x);
        // Under an open ask nothing is acknowledged for the old owner.
        if pushed && self.bound(x, y) && (!self.asks(x) || self.off(M::HardenWhileAsking)) {
            let ack = Msg {
                kind: Kind::Ack,
                number: role,
                at,
                log,
                ..Msg::default()
            };
            self.send(x, y, ack);
        }
        true
    }

    /// A new block in x's log.
    pub(crate) fn append(&mut self, x: u8, void: bool) -> Option<u8> {
        let drawn = self.s.ghost.drawn + 1;
        if drawn > 7 {
            return None;
        }
        let p = self.p(x);
        let new = block(drawn, p.timeline, void);
        if !p.log.push(new) {
            return None;
        }
        if void {
            p.hard = p.log.len();
        }
        self.s.ghost.drawn = drawn;
        Some(new)
    }
}

/// The first blocks of a log.
pub fn prefix(log: &Log, len: u8) -> Log {
    let mut out = *log;
    out.cut(len);
    out
}

/// The next timeline begun by x: number × 2 + x.
pub fn next_timeline(p: &Partner, x: u8) -> u8 {
    let (_, timelines) = history(&p.log, p.timeline);
    let number = logs::next_timeline(&timelines, u32::from(p.timeline >> 1)) as u8;
    (number.min(7) << 1) | x
}
