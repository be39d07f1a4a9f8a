//! The principal's side of a database's thread: its commits become blocks of the log.

use std::time::{Duration, Instant};

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_adapters::sqlite::{self, GapReason, Tail, TailOptions};
use dbmirror_core::entropy::Entropy as _;
use dbmirror_core::message::{Chain, ForkId, LogEnd, Position, Timeline, Timelines};

use super::continuity::FileLook;
use super::{Hardening, RETRY, Thread, Using, file_error};
use crate::engine::EngineError;
use crate::engine::records::DatabaseRow;

/// How often a file is looked at while it is written, and when it has been quiet.
const BUSY: Duration = Duration::from_millis(1);
const QUIET: Duration = Duration::from_millis(5);
/// How long a writer that does not pause may keep a log backup from its end.
const CATCH_UP: Duration = Duration::from_secs(5);
/// How old the recorded counters of a file that is written may be.
const IDENTITY_EVERY: Duration = Duration::from_secs(5);
/// One turn of capture, after which commands are heard again.
const TURN: Duration = Duration::from_millis(50);

impl Thread {
    /// Begins or resumes the capture, and goes on trying.
    pub(super) fn capture(&mut self, restart: bool) {
        self.finish_applying();
        self.wants_capture = true;
        self.restart |= restart;
        self.apply_again = None;
        self.held = None;
        self.pending = None;
        self.using = Using::Nothing;
        self.tell_level(false);
        let captured = self.try_capture();
        self.keep_fence();
        if let Err(e) = captured {
            self.pause = RETRY;
            let database = self.subject.database;
            if self.held.is_some() {
                self.subject.handle.run(move |i| i.capture_refused(database, &e));
            } else {
                self.subject.handle.run(move |i| i.capture_failed(database, &e));
            }
        } else if self.seed_wanted {
            self.seed_open();
        }
    }

    fn try_capture(&mut self) -> Result<(), EngineError> {
        let subject = &self.subject;
        let options = TailOptions::new(subject.family);
        let row = subject.row()?;
        let error = |e: &sqlite::Error| file_error(&subject.name, e);
        let Some(mut row) = row else {
            // A database that was never captured: its log begins with what the file holds now.
            return self.begin_log(Timelines::EMPTY, LogEnd::START, None);
        };
        let anchor = subject
            .last_anchor(row.anchor.as_deref())
            .map_err(|e| error(&e))?;
        let timeline = row.timelines.last().map_or(1, |t| t.number);
        let resumed = match &anchor {
            Some(anchor) => Tail::resume(&subject.path, options, anchor, timeline),
            None => Err(sqlite::Error::Gap(sqlite::GapReason::LogShrank)),
        };
        match resumed {
            Ok(mut tail) => {
                if self.restart {
                    // What was committed while nobody captured belongs to the new timeline already.
                    next_timeline(&mut row.timelines, subject.log_end())?;
                    tail.set_timeline(row.timelines.last().map_or(1, |t| t.number));
                }
                let healed = row.refused.take().is_some();
                row.identity = Some(tail.identity());
                subject.records().set_database(subject.database, &row)?;
                self.known = row.identity.map(|identity| (identity, Instant::now()));
                self.using = Using::Capture(Box::new(tail));
                self.pause = BUSY;
                let begun = row.timelines.last().filter(|_| self.restart);
                self.restart = false;
                self.tell_running(begun, false);
                if healed {
                    self.tell_healed();
                }
                Ok(())
            }
            Err(sqlite::Error::Gap(why)) => {
                let end = self.subject.log_end();
                let timelines = row.timelines;
                self.begin_log(timelines, end, Some((row, why)))
            }
            Err(e) => Err(error(&e)),
        }
    }

    /// Begins a log that has nothing in common with the old one, which ended at `old`. `gap`: unless the file speaks against being
    /// what became of the one in this record.
    fn begin_log(
        &mut self,
        mut timelines: Timelines,
        old: LogEnd,
        gap: Option<(DatabaseRow, GapReason)>,
    ) -> Result<(), EngineError> {
        let subject = &self.subject;
        let base = if timelines.last().is_none() {
            next_timeline(&mut timelines, LogEnd::START)?;
            LogEnd::START
        } else {
            // One sequence number is left out, and the chain goes on from nowhere: no copy that ends before the gap can be
            // taken for one that continues here.
            let sequence = old.position.sequence.saturating_add(1);
            let mut chain = Chain::START;
            OsEntropy.fill_public(&mut chain.0).map_err(|_| no_entropy())?;
            next_timeline(&mut timelines, old)?;
            let timeline = timelines.last().map_or(1, |t| t.number);
            LogEnd {
                position: Position { timeline, sequence },
                chain,
            }
        };
        let timeline = timelines.last().map_or(1, |t| t.number);
        let tail = Tail::start(&subject.path, TailOptions::new(subject.family), base, timeline)
            .map_err(|e| file_error(&subject.name, &e))?;
        if let Some((row, why)) = gap {
            if let Err(refusal) = subject.judge(row, &tail) {
                drop(tail);
                self.held = Some((FileLook::at(&self.subject.path), Instant::now()));
                return Err(refusal);
            }
            let text = format!(
                "Commits of database '{}' were made that nobody captured ({why}): its log begins anew, and a mirror is seeded again.",
                subject.name
            );
            self.trouble("capture", &EngineError::new(1499, text));
        }
        let subject = &self.subject;
        let ticket = subject.log.start_log(subject.log_id, base).map_err(log_error)?;
        subject.log.wait(ticket).map_err(log_error)?;
        let row = DatabaseRow {
            identity: Some(tail.identity()),
            ..DatabaseRow::new(subject.log_id, subject.family, timelines, tail.anchor())
        };
        subject.records().set_database(subject.database, &row)?;
        self.known = row.identity.map(|identity| (identity, Instant::now()));
        self.restart = false;
        self.using = Using::Capture(Box::new(tail));
        self.pause = BUSY;
        self.tell_running(timelines.last(), old != LogEnd::START);
        Ok(())
    }

    /// Tells the loop that the file is captured, and whether the log has begun a new timeline, with a gap or without.
    fn tell_running(&self, begun: Option<Timeline>, gap: bool) {
        let database = self.subject.database;
        self.subject
            .handle
            .run(move |i| i.capture_running(database, begun, gap));
    }

    /// Tells the loop that the log covers what the file holds, or that this is not known any more.
    fn tell_level(&mut self, level: bool) {
        if self.level_told == level {
            return;
        }
        self.level_told = level;
        let database = self.subject.database;
        let at = level.then(|| self.subject.log_end().position);
        self.subject.handle.run(move |i| i.caught_up(database, at));
    }

    /// Captures what is committed now, and waits until that is durable.
    pub(super) fn catch_up(&mut self) -> Result<(Timelines, LogEnd), EngineError> {
        let until = Instant::now() + CATCH_UP;
        loop {
            let before = self.subject.log_end();
            self.capture_some();
            if self.subject.log_end() == before || Instant::now() > until {
                break;
            }
        }
        let subject = &self.subject;
        if !matches!(self.using, Using::Capture(_)) {
            let text = format!(
                "Database '{}' is not being captured now; see the error log.",
                subject.name
            );
            return Err(EngineError::new(1499, text));
        }
        let row = subject
            .row()?
            .ok_or_else(|| EngineError::new(1451, "The database has no log."))?;
        let end = subject.log_end();
        subject.log.wait_all().map_err(log_error)?;
        Ok((row.timelines, end))
    }

    /// Begins a new timeline after what has been captured.
    pub(super) fn new_timeline(&mut self) -> Result<(Timelines, LogEnd), EngineError> {
        self.capture_some();
        let subject = &self.subject;
        let Using::Capture(tail) = &mut self.using else {
            return Err(EngineError::new(
                1499,
                format!(
                    "Database '{}' is not being captured now; see the error log.",
                    subject.name
                ),
            ));
        };
        // A block that is captured and not logged belongs to the old timeline, and comes after its logged end.
        if self.pending.is_some() {
            return Err(EngineError::new(
                9002,
                format!(
                    "Commits of database '{}' cannot be logged now; likely the disk of the instance's directory is full. Make room, and \
                     run the statement again.",
                    subject.name
                ),
            ));
        }
        let end = subject.log_end();
        let mut row = subject
            .row()?
            .ok_or_else(|| EngineError::new(1451, "The database has no log."))?;
        next_timeline(&mut row.timelines, end)?;
        subject.records().set_database(subject.database, &row)?;
        tail.set_timeline(row.timelines.last().map_or(1, |t| t.number));
        // What the caller says of the end must be durable.
        subject.log.wait_all().map_err(log_error)?;
        Ok((row.timelines, end))
    }

    /// Captures what has been committed, for one turn at most.
    pub(super) fn capture_some(&mut self) {
        if matches!(self.using, Using::Nothing | Using::Fenced { .. }) && self.wants_capture {
            if self.is_held() {
                return;
            }
            self.capture(false);
        }
        if let Err(e) = self.store_pending() {
            self.stands_still(&e);
            return;
        }
        let Using::Capture(tail) = &mut self.using else {
            return;
        };
        let started = Instant::now();
        let mut any = false;
        let mut level = false;
        let outcome = loop {
            match tail.next_block() {
                Ok(Some(block)) => {
                    any = true;
                    if let Err(e) = self.subject.append(block, &mut self.pending) {
                        break Err(e);
                    }
                    if started.elapsed() > TURN {
                        break Ok(());
                    }
                }
                Ok(None) => {
                    level = tail.is_level();
                    break Ok(());
                }
                Err(sqlite::Error::Busy(_)) => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        self.pause = if any {
            BUSY
        } else {
            (self.pause + Duration::from_micros(100)).min(QUIET)
        };
        if level {
            self.tell_level(true);
        }
        self.keep_identity(IDENTITY_EVERY);
        let outcome = outcome.and_then(|()| self.checkpoint_if_due());
        if let Err(e) = outcome {
            if self.pending.is_some() {
                self.stands_still(&e);
                return;
            }
            self.using = Using::Nothing;
            self.tell_level(false);
            self.trouble("capture", &file_error(&self.subject.name, &e));
            // Resuming from the log's last block heals what can be healed: a gap, a block that could not be stored.
            self.pause = RETRY;
            if matches!(e, sqlite::Error::TooLarge { .. }) {
                self.leave_out();
            }
        }
    }

    /// Appends the block that the log could not take before.
    pub(super) fn store_pending(&mut self) -> sqlite::Result<()> {
        if !matches!(self.using, Using::Capture(_)) {
            self.pending = None;
        }
        match self.pending.take() {
            Some(block) => self.subject.append(block, &mut self.pending).map(drop),
            None => Ok(()),
        }
    }

    /// The log takes nothing at the moment. The tail stays and holds what is not captured in the application's own log.
    fn stands_still(&mut self, e: &sqlite::Error) {
        self.pause = RETRY;
        self.tell_level(false);
        let text = format!(
            "Commits of database '{}' cannot be logged now: {e}. Likely the disk of the instance's directory is full. They stay in the \
             database's own write-ahead log, which grows, and are taken over as soon as there is room.",
            self.subject.name
        );
        self.trouble("capture", &EngineError::new(9002, text));
    }

    /// A commit that no block can carry would stop every resumed capture again: it is left out like one that was missed.
    fn leave_out(&mut self) {
        let begun = self.subject.row().and_then(|row| match row {
            Some(row) => {
                let end = self.subject.log_end();
                self.begin_log(row.timelines, end, None)
            }
            None => Ok(()),
        });
        if let Err(e) = begun {
            self.trouble("capture", &e);
        }
    }

    fn checkpoint_if_due(&mut self) -> sqlite::Result<()> {
        let subject = &self.subject;
        let pending = &mut self.pending;
        let Using::Capture(tail) = &mut self.using else {
            return Ok(());
        };
        if !tail.wants_checkpoint() {
            return Ok(());
        }
        // Write-ahead (`docs/safety.md`): what goes into the file is durable in the log first.
        subject
            .log
            .wait_all()
            .map_err(|e| sqlite::Error::Caller(e.to_string()))?;
        match tail.checkpoint(&mut Hardening::new(subject, pending)) {
            Ok(_) | Err(sqlite::Error::Busy(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Reports what went wrong with the file.
    pub(super) fn trouble(&self, step: &'static str, e: &EngineError) {
        let (name, number, text) = (self.subject.name.clone(), e.number, e.text.clone());
        self.subject
            .handle
            .run(move |i| i.world.note_trouble(&name, step, number, &text));
    }
}

/// Adds a timeline that begins after `end`.
fn next_timeline(timelines: &mut Timelines, end: LogEnd) -> Result<(), EngineError> {
    let mut fork = [0; 8];
    OsEntropy.fill_public(&mut fork).map_err(|_| no_entropy())?;
    let number = timelines.last().map_or(1, |t| t.number.saturating_add(1));
    let first = end.position.sequence.saturating_add(1);
    // A log that was lost, or cut at damage, goes on before timelines that its history still names.
    timelines
        .fork(Timeline {
            number,
            fork: ForkId(u64::from_le_bytes(fork)),
            first,
            chain_before: end.chain,
        })
        .map_err(|e| EngineError::new(1451, e.to_string()))
}

fn no_entropy() -> EngineError {
    EngineError::new(1499, "The operating system gave no randomness.")
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn log_error(e: dbmirror_adapters::blocklog::LogError) -> EngineError {
    EngineError::new(1499, e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_log_goes_on_before_its_timelines() {
        let mut timelines = Timelines::EMPTY;
        let at = |timeline, sequence| LogEnd {
            position: Position { timeline, sequence },
            chain: Chain::START,
        };
        for end in [LogEnd::START, at(1, 10), LogEnd::START] {
            next_timeline(&mut timelines, end).unwrap();
        }
        let numbers: Vec<_> = timelines.as_slice().iter().map(|t| (t.number, t.first)).collect();
        assert_eq!(numbers, [(1, 1), (3, 1)]);
    }
}
