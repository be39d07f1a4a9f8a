//! What a host does about its endpoint's events (docs/decisions/0007): shuts writers out, captures, redoes, undoes.

use dbmirror_core::crypto::Provider;
use dbmirror_core::endpoint::{ConnectionEvent, Event};
use dbmirror_core::message::Position;
use dbmirror_core::session::{DatabaseId, Fence, Role, RoleChange, SessionEvent, StorageError};

use crate::coverage::Row;
use crate::db::Redo;
use crate::disk::Write;
use crate::traps::Moment;
use crate::world::{What, World};

impl<P: Provider + 'static> World<P> {
    // ---- what an instance does about its endpoint's events ----

    pub(crate) fn react(&mut self, at: usize, event: Event) {
        match event {
            Event::Session { database, event } => {
                self.say(|| format!("{at} db {}: {event:?}", database.0));
                self.session_event(at, database, event);
            }
            Event::Connection { event, .. } => {
                if matches!(event, ConnectionEvent::Closed { .. }) {
                    self.say(|| format!("{at}: {event:?}"));
                }
            }
            Event::Witness { guid, event } => self.say(|| format!("{at} witness of {guid}: {event:?}")),
            Event::Refused { kind, .. } => self.say(|| format!("{at} refused a message of kind {kind:#06x}")),
            Event::EventsLost(count) => self.fail(format!("instance {at} lost {count} events")),
            Event::Pairing { .. } => self.fail(format!("instance {at} pairs, and nobody asked for it")),
        }
    }

    fn session_event(&mut self, at: usize, database: DatabaseId, event: SessionEvent) {
        let run = self.nodes[at].run_number;
        match event {
            SessionEvent::MayCapture { new_timeline } => {
                let span = self.net_dice.between(50, 20_000);
                self.after(span, What::BeginCapture(at, run, database, new_timeline));
            }
            SessionEvent::Fence(why) => {
                self.moment(at, Moment::Fenced, None);
                if let Some(running) = self.nodes[at].running(database) {
                    running.open = false;
                    running.fenced = true;
                }
                // Somebody may idle in a transaction, and hold the database for long.
                let span = if why == Fence::Failover && self.net_dice.once_in(12) {
                    self.net_dice.between(4_000_000, 40_000_000)
                } else {
                    self.net_dice.between(100, 60_000)
                };
                self.after(span, What::Fenced(at, run, database));
            }
            SessionEvent::Serving { role_sequence } => {
                if let Some(running) = self.nodes[at].running(database) {
                    running.open = true;
                    running.fenced = false;
                }
                self.serving(at, database, role_sequence);
                self.moment(at, Moment::Serving, None);
            }
            SessionEvent::RoleChanged {
                role,
                why,
                role_sequence,
                ..
            } => {
                if (why, role) == (RoleChange::Failover, Role::Mirror) {
                    self.handed_over(at, database, role_sequence);
                }
                self.moment(at, Moment::Role, None);
                if let Some(running) = self.nodes[at].running(database) {
                    running.capturing = false;
                    running.mirror = role == Role::Mirror;
                    running.told_level = false;
                    running.open = false;
                    running.acknowledged = 0;
                    running.rewinding = false;
                }
                // What an owner takes anew (hand-back, forced service) it has not lost: its file is as its applications left it, and may
                // hold more than a log that was damaged.
                let keeps = |db: &&mut crate::db::Db| role == Role::Mirror || !db.online;
                if let Some(db) = self.nodes[at].disk.dbs.get_mut(&database).filter(keeps) {
                    db.online = false;
                    db.decided = Position::START;
                    // Commits of the file that never reached its log are undone.
                    let rows = db.log_rows();
                    db.rows.truncate(rows);
                    db.captured = db.captured.min(rows);
                }
                if role == Role::Mirror {
                    self.nodes[at].disk.redo_wanted.push(database);
                }
            }
            SessionEvent::Acknowledged { upto, .. } => self.acknowledged(at, database, upto),
            SessionEvent::Forced {
                common,
                loss_possible,
            } => self.forced(at, database, common, loss_possible),
            SessionEvent::Rewind { to } => {
                if let Some(running) = self.nodes[at].running(database) {
                    running.rewinding = true;
                }
                let span = self.net_dice.between(100, 400_000);
                self.after(span, What::Rewind(at, run, database, to.sequence));
            }
            SessionEvent::SeedStarted { .. } => {
                if let Some(running) = self.nodes[at].running(database) {
                    running.rewinding = false;
                }
            }
            SessionEvent::StartedAsPrincipal { .. } => {
                if let Some(running) = self.nodes[at].running(database) {
                    running.mirror = false;
                    running.open = true;
                    running.fenced = false;
                    running.told_level = false;
                }
                self.after(1_000, What::Capture(at, run, database));
            }
            SessionEvent::Ended { .. } => {
                if let Some(running) = self.nodes[at].running(database) {
                    running.mirror = false;
                }
                let online = self.nodes[at].disk.db(database).is_some_and(|db| db.online);
                let captures = self.nodes[at]
                    .running(database)
                    .is_some_and(|running| running.capturing);
                if online && !captures {
                    self.after(1_000, What::BeginCapture(at, run, database, false));
                }
            }
            _ => {}
        }
        self.covered(at, database, event);
    }

    pub(crate) fn fenced(&mut self, at: usize, database: DatabaseId) {
        let Some(running) = self.nodes[at].running(database).copied() else {
            return;
        };
        if !running.fenced {
            return; // It was lifted meanwhile.
        }
        if running.capturing {
            self.capture(at, database);
        }
        let settled = self.nodes[at]
            .disk
            .db(database)
            .is_none_or(|db| db.durable == db.blocks.len());
        if !settled {
            let run = self.nodes[at].run_number;
            self.after(3_000, What::Fenced(at, run, database));
            return;
        }
        let now = self.now;
        self.nodes[at].with(now, |endpoint, env| endpoint.fenced(env, database));
        self.settle(at);
    }

    pub(crate) fn rewind(&mut self, at: usize, database: DatabaseId, to: u64) {
        let now = self.now;
        let wanted = self.nodes[at]
            .running(database)
            .is_some_and(|running| std::mem::take(&mut running.rewinding));
        if !wanted {
            return;
        }
        let can = self.dice.below(4) > 0;
        let disk = &mut self.nodes[at].disk;
        let Some(db) = disk.dbs.get_mut(&database) else {
            return;
        };
        let kept = to
            .checked_sub(db.base.position.sequence)
            .filter(|kept| can && *kept <= db.blocks.len() as u64);
        match kept {
            Some(kept) => {
                db.cut(kept as usize);
                db.durable = db.blocks.len();
                let rows = db.log_rows();
                db.rows.truncate(rows);
                db.captured = db.captured.min(rows);
                db.timelines = db.timelines.until(to);
                db.decided = Position::START;
                let end = db.end();
                disk.queue.retain(|pending| {
                    !matches!(pending.write, Write::Log(of, end) if of == database && end.position.sequence > to)
                });
                self.coverage.hit(Row::Rewound);
                self.nodes[at].with(now, |endpoint, env| endpoint.rewound(env, database, end));
            }
            None => {
                self.nodes[at].with(now, |endpoint, env| endpoint.cannot_rewind(env, database));
            }
        }
        self.settle(at);
    }

    pub(crate) fn begin_capture(&mut self, at: usize, database: DatabaseId, new_timeline: bool) {
        let now = self.now;
        let (fork, dice) = (self.dice.roll(), self.dice.roll());
        let history = self.nodes[at]
            .with(now, |endpoint, _| endpoint.timelines(database))
            .flatten();
        let yielded = self.nodes[at]
            .running(database)
            .is_some_and(|running| running.mirror);
        if yielded && history.is_some() {
            return; // It was asked for under a role that is another's by now.
        }
        let Some(db) = self.nodes[at].disk.dbs.get_mut(&database) else {
            return;
        };
        if db.durable != db.blocks.len() && history.is_some() {
            // What was taken before still becomes durable, and decided.
            let run = self.nodes[at].run_number;
            self.after(2_000, What::BeginCapture(at, run, database, new_timeline));
            return;
        }
        if let Some(history) = history.filter(|history| history.last().is_some()) {
            db.timelines = history;
        }
        // Everything that the log holds is in the file before anything is added to it.
        let rows = db.log_rows();
        let done = db.redo_to(rows);
        if done != Ok(Redo::Done) {
            self.redo_failed(at, database, done);
            return;
        }
        let Some(db) = self.nodes[at].disk.dbs.get_mut(&database) else {
            return;
        };
        db.online = true;
        // From here on the log covers the file again.
        db.lost = false;
        // Rows whose blocks were lost can be captured again if the file's own log still has them.
        let gap = db.force_gap || (db.captured > db.log_rows() && dice.is_multiple_of(2));
        db.force_gap = false;
        let begun = if gap {
            Some(db.begin_log(fork))
        } else {
            db.captured = db.captured.min(db.log_rows());
            new_timeline.then(|| db.begin_timeline(fork))
        };
        let end = db.durable_end();
        self.say(|| {
            format!(
                "{at} db {}: capture begins, gap {gap}, new timeline {begun:?}",
                database.0
            )
        });
        if let Some(running) = self.nodes[at].running(database) {
            running.capturing = true;
        }
        if let Some(timeline) = begun {
            let told = self.nodes[at].with(now, |endpoint, env| {
                let told = endpoint.new_timeline(env, database, timeline, gap);
                if gap {
                    endpoint.log_grew(env, database, end);
                }
                told
            });
            let mirrored = self.nodes[at].view(database).is_some();
            if mirrored && let Some(Err(error)) = told {
                self.fail(format!("instance {at} refuses its own new timeline: {error}"));
            }
        }
        self.capture(at, database);
    }

    pub(crate) fn capture(&mut self, at: usize, database: DatabaseId) {
        let now = self.now;
        let Some(running) = self.nodes[at].running(database) else {
            return;
        };
        running.capture_due = false;
        if !running.capturing {
            return;
        }
        let told = std::mem::replace(&mut running.told_level, true);
        let disk = &mut self.nodes[at].disk;
        disk.now = now;
        let Some(db) = disk.dbs.get_mut(&database) else {
            return;
        };
        let mut last = None;
        while let Some(end) = db.capture_next() {
            last = Some(end);
        }
        let end = db.end().position;
        if let Some(end) = last {
            disk.hand_over(Write::Log(database, end));
        }
        if !told {
            self.nodes[at].with(now, |endpoint, env| endpoint.caught_up(env, database, Some(end)));
        }
        self.settle(at);
    }

    pub(crate) fn redo(&mut self, at: usize, database: DatabaseId) {
        if self.nodes[at].redo_stalled {
            self.nodes[at].disk.redo_wanted.push(database);
            return;
        }
        let captures = self.nodes[at]
            .running(database)
            .is_some_and(|running| running.capturing);
        let Some(db) = self.nodes[at].disk.dbs.get_mut(&database) else {
            return;
        };
        if captures || db.online {
            return;
        }
        let decided = db.decided.sequence.saturating_sub(db.base.position.sequence) as usize;
        let upto = db.base_rows + db.durable.min(decided);
        let done = db.redo_to(upto);
        if done != Ok(Redo::Done) {
            self.redo_failed(at, database, done);
        }
    }

    /// Redo stops: at a block that cannot be read any more, which the endpoint is told; or because the file is not what it should be.
    fn redo_failed(&mut self, at: usize, database: DatabaseId, why: Result<Redo, String>) {
        if let Err(text) = why {
            self.fail(format!("instance {at} db {}: {text}", database.0));
            return;
        }
        let now = self.now;
        self.nodes[at].with(now, |endpoint, env| {
            endpoint.redo_failed(env, database, StorageError::Corrupt)
        });
        self.settle(at);
    }
}
