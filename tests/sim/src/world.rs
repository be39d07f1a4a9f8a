//! The world of one seed: instances, connections, applications, one clock, and a queue of what is to happen.
//!
//! Everything that happens is an event at a time. After each the instances concerned are driven as a host drives them (one
//! mutation, then poll until it waits), and the checks of [`crate::oracle`] run. A fault is an event like any other.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use dbmirror_core::crypto::Provider;
use dbmirror_core::endpoint::{ConnectionId, DialError, Event, Limits, Output, RecordWrite, SEND_LEN};
use dbmirror_core::message::{FamilyGuid, InstanceId};
use dbmirror_core::session::{DatabaseId, Role, SessionView};
use dbmirror_core::time::Duration;

use crate::book::Book;
use crate::coverage::{Coverage, Row};
use crate::db::Db;
use crate::dice::Dice;
use crate::disk::{Disk, RecordChange, Write};
use crate::faults::Undo;
use crate::net::{Link, Net};
use crate::node::{Node, node_at};
use crate::oracle::Oracle;
use crate::plan::{Plan, Shop};
use crate::traps::{Bite, Moment, Traps};

/// Polls without rest that are a fault of the endpoint.
const POLLS_MAX: u32 = 4_000;
/// Wakes in the past that are one.
const LATE_MAX: u32 = 6;

/// Something that is to happen.
#[derive(Clone, Debug)]
pub enum What {
    /// An instance asked to be woken.
    Wake(usize, u64),
    /// Its medium has something.
    Medium(usize, u64),
    /// Bytes may have come: pipe, its serial, from which end.
    Deliver(usize, u64, usize),
    /// An end learns that the connection is over; in order or not.
    Learn(usize, u64, usize, bool),
    /// A dial is answered.
    Dialed {
        /// Who dialed.
        node: usize,
        /// In which run.
        run: u64,
        /// As which connection.
        connection: ConnectionId,
        /// To whom.
        to: usize,
    },
    /// The answer to a dial is known: it failed.
    DialFailed(usize, u64, ConnectionId, DialError),
    /// The capture of a file begins; in a new timeline or not.
    BeginCapture(usize, u64, DatabaseId, bool),
    /// A file is captured.
    Capture(usize, u64, DatabaseId),
    /// What a fence asked for is done, if it can be.
    Fenced(usize, u64, DatabaseId),
    /// A mirror undoes what lies after a sequence number, or says that it cannot.
    Rewind(usize, u64, DatabaseId, u64),
    /// A mirror redoes what it may.
    Redo(usize, u64, DatabaseId),
    /// A snapshot is there.
    SeedReady(usize, u64, DatabaseId),
    /// Applications commit.
    Commit(usize),
    /// Something goes wrong.
    Fault,
    /// Something goes right again.
    Undo(Undo),
    /// Something goes wrong at the moment that a trap waited for: by whom it was said, and to whom.
    Bite(Bite, usize, usize),
    /// An operator types something.
    Operator,
    /// The operator who sets sessions up looks at one.
    Setup(usize),
    /// An instance is started.
    Start(usize),
}

struct Entry {
    at: u64,
    order: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What must not be has been.
#[derive(Clone, Debug)]
pub struct Violation {
    /// When, in microseconds.
    pub at: u64,
    /// What.
    pub text: String,
}

/// The world.
pub struct World<P: Provider> {
    /// What the seed decided beforehand.
    pub plan: Plan,
    /// The present, in microseconds.
    pub now: u64,
    /// The instances.
    pub nodes: Vec<Node<P>>,
    /// Their connections.
    pub net: Net,
    /// Databases, and the applications that use them.
    pub shops: Vec<Shop>,
    /// Faults and operators.
    pub dice: Dice,
    /// What the checks remember.
    pub oracle: Oracle,
    /// What has happened.
    pub coverage: Coverage,
    /// The first thing that must not be.
    pub violation: Option<Violation>,
    /// Faults are over.
    pub quiet: bool,
    /// Faults that wait for their moment.
    pub traps: Traps,
    /// Crash the instance right after the next step that does something.
    pub crash_next: Option<usize>,
    /// The message flow is printed.
    pub show: bool,
    /// Messages can be read.
    pub(crate) readable: bool,
    queue: BinaryHeap<Reverse<Entry>>,
    order: u64,
    pub(crate) serial: u64,
    pub(crate) net_dice: Dice,
    buf: Vec<u8>,
}

/// What an instance asked for, without what it borrowed.
enum Asked {
    Sent(ConnectionId, Vec<u8>),
    Dial(ConnectionId, usize),
    Close(ConnectionId),
    Persist(Write),
    Happened(Event),
    Wait(Option<u64>),
}

impl<P: Provider + 'static> World<P> {
    /// The world of that plan, before anything has happened.
    #[must_use]
    pub fn new(plan: Plan, readable: bool, show: bool) -> Self {
        let seed = plan.seed;
        let mut dice = Dice::new(seed, 1);
        let count = plan.nodes;
        let reversed = dice.once_in(2);
        let nodes = (0..count)
            .map(|index| {
                let rank = if reversed { count - index } else { index + 1 };
                let limits = Limits {
                    credit: plan.credit,
                    ..Limits::default()
                };
                Node {
                    index,
                    id: InstanceId([rank as u8; 16]),
                    book: Book::new(index, count),
                    disk: Disk {
                        bug: plan.bug,
                        latency: dice.pick(&[50, 300, 2_000, 9_000]),
                        ..Disk::default()
                    },
                    dice: Dice::new(seed, 100 + index as u64),
                    boot: 0,
                    run_number: 0,
                    run: None,
                    dark: false,
                    hung_until: 0,
                    slowness: 0,
                    clock: dice.below(1 << 40) as i64,
                    unix: 1_700_000_000,
                    limits,
                    redo_stalled: false,
                }
            })
            .collect();
        let links = (0..count)
            .map(|_| {
                (0..count)
                    .map(|_| Link {
                        base: plan.link_base,
                        jitter: plan.link_base,
                        ..Link::default()
                    })
                    .collect()
            })
            .collect();
        let shops = plan.shops.clone();
        let mut world = Self {
            plan,
            now: 1,
            nodes,
            net: Net {
                pipes: Vec::new(),
                links,
            },
            shops,
            dice,
            oracle: Oracle::default(),
            coverage: Coverage::default(),
            violation: None,
            quiet: false,
            traps: Traps::new(seed),
            crash_next: None,
            show,
            readable,
            queue: BinaryHeap::new(),
            order: 0,
            serial: 0,
            net_dice: Dice::new(seed, 2),
            buf: vec![0; SEND_LEN],
        };
        world.open_shops();
        for node in 0..count {
            world.start(node);
        }
        world
    }

    fn open_shops(&mut self) {
        for index in 0..self.shops.len() {
            let shop = &self.shops[index];
            let (at, id, family) = (shop.principal(), shop.id, shop.family);
            let mut db = Db::of(family);
            db.online = true;
            db.begin_timeline(self.dice.roll());
            self.nodes[at].disk.dbs.insert(id, db);
            let first = self.dice.below(1_000_000);
            self.after(first, What::Commit(index));
            let first = self.dice.below(3_000_000);
            self.after(first, What::Setup(index));
        }
    }

    // ---- time ----

    /// Has something happen later.
    pub fn after(&mut self, span: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse(Entry {
            at: self.now + span,
            order: self.order,
            what,
        }));
    }

    /// Lets everything happen until `until`, or until something is wrong.
    pub fn run_until(&mut self, until: u64) {
        while self.violation.is_none() {
            match self.queue.peek() {
                Some(Reverse(entry)) if entry.at <= until => {}
                _ => break,
            }
            let Some(Reverse(entry)) = self.queue.pop() else {
                break;
            };
            self.now = self.now.max(entry.at);
            self.coverage.events += 1;
            self.happen(entry.what);
        }
        if self.violation.is_none() {
            self.now = self.now.max(until);
        }
    }

    /// Something must not be.
    pub fn fail(&mut self, text: impl Into<String>) {
        if self.violation.is_none() {
            let text = text.into();
            self.say(|| format!("VIOLATION: {text}"));
            self.violation = Some(Violation { at: self.now, text });
        }
    }

    /// A line of the viewer.
    pub fn say(&self, line: impl FnOnce() -> String) {
        if self.show {
            println!("{:>12.6}  {}", self.now as f64 / 1e6, line());
        }
    }

    /// Whether the run `run` of `node` goes on.
    pub(crate) fn lives(&self, node: usize, run: u64) -> bool {
        self.nodes[node].run.is_some() && self.nodes[node].run_number == run
    }

    /// Puts off what a hung process cannot do now. Whether it did.
    pub(crate) fn put_off(&mut self, node: usize, what: &What) -> bool {
        let until = self.nodes[node].hung_until;
        if until <= self.now {
            return false;
        }
        self.after(until - self.now, what.clone());
        true
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Wake(node, run)
            | What::Medium(node, run)
            | What::BeginCapture(node, run, ..)
            | What::Capture(node, run, _)
            | What::Redo(node, run, _)
            | What::Fenced(node, run, _)
            | What::Rewind(node, run, ..)
            | What::SeedReady(node, run, _)
            | What::DialFailed(node, run, ..)
                if !self.lives(node, run) || self.put_off(node, &what) => {}
            What::Wake(node, _) => {
                let run = self.nodes[node].run.as_mut();
                if run.is_some_and(|run| run.wake.take_if(|at| *at <= self.now).is_some()) {
                    let now = self.now;
                    self.nodes[node].with(now, |endpoint, env| endpoint.handle_timeout(env));
                    self.settle(node);
                }
            }
            What::Medium(node, _) => self.medium(node),
            What::Deliver(pipe, serial, from) => self.deliver(pipe, serial, from),
            What::Learn(pipe, serial, end, error) => self.learn(pipe, serial, end, error),
            What::Dialed {
                node,
                run,
                connection,
                to,
            } => self.dialed(node, run, connection, to),
            What::DialFailed(node, _, connection, error) => {
                let now = self.now;
                self.nodes[node].with(now, |endpoint, env| endpoint.dial_failed(env, connection, error));
                self.settle(node);
            }
            What::BeginCapture(node, _, database, new_timeline) => {
                self.begin_capture(node, database, new_timeline);
            }
            What::Capture(node, _, database) => self.capture(node, database),
            What::Redo(node, _, database) => self.redo(node, database),
            What::Fenced(node, _, database) => self.fenced(node, database),
            What::Rewind(node, _, database, to) => self.rewind(node, database, to),
            What::SeedReady(node, _, database) => {
                self.nodes[node].disk.opening.retain(|open| *open != database);
                let now = self.now;
                self.nodes[node].with(now, |endpoint, env| endpoint.seed_ready(env, database));
                self.settle(node);
            }
            What::Commit(shop) => self.commit(shop),
            What::Fault => self.fault(),
            What::Undo(undo) => self.undo(undo),
            What::Bite(bite, at, to) => self.bite(bite, at, to),
            What::Operator => self.operator(),
            What::Setup(shop) => self.set_up(shop),
            What::Start(node) => self.start(node),
        }
    }

    // ---- driving an instance ----

    /// Polls an instance until it waits, does what it asks, and checks.
    pub fn settle(&mut self, at: usize) {
        if self.nodes[at].hung_until > self.now {
            let run = self.nodes[at].run_number;
            let span = self.nodes[at].hung_until - self.now;
            if let Some(running) = &mut self.nodes[at].run {
                running.wake = Some(self.now + span);
            }
            self.after(span, What::Wake(at, run));
            return;
        }
        let (mut polls, mut late) = (0, 0);
        let mut happened = Vec::new();
        let mut sent = false;
        while self.violation.is_none() {
            polls += 1;
            if polls > POLLS_MAX {
                self.fail(format!("instance {at} never waits"));
                return;
            }
            let Some(asked) = self.ask(at) else { return };
            match asked {
                Asked::Happened(event) => happened.push(event),
                Asked::Sent(connection, bytes) => {
                    sent = true;
                    self.transmit(at, connection, bytes);
                }
                Asked::Dial(connection, to) => self.dial(at, connection, to),
                Asked::Close(connection) => self.close(at, connection),
                Asked::Persist(write) => {
                    sent = true;
                    if let Write::Record(_, change) = &write {
                        self.handed_to_medium(at, change);
                    }
                    self.nodes[at].disk.now = self.now;
                    self.nodes[at].disk.hand_over(write);
                }
                Asked::Wait(wake) => {
                    if !happened.is_empty() {
                        for event in std::mem::take(&mut happened) {
                            self.react(at, event);
                        }
                        continue;
                    }
                    if wake.is_some_and(|wake| wake <= self.now) {
                        late += 1;
                        if late > LATE_MAX {
                            self.fail(format!("instance {at} asks to be woken in the past"));
                            return;
                        }
                        let now = self.now;
                        self.nodes[at].with(now, |endpoint, env| endpoint.handle_timeout(env));
                        continue;
                    }
                    self.wake_at(at, wake);
                    break;
                }
            }
        }
        for write in std::mem::take(&mut self.nodes[at].disk.early) {
            self.confirmed(at, write);
        }
        self.look_at_medium(at);
        self.check(at);
        if sent && self.crash_next == Some(at) {
            self.crash_next = None;
            self.coverage.hit(Row::FaultCrashInStep);
            let back = 500_000 + self.dice.below(15_000_000);
            if self.dice.once_in(2) {
                self.kill(at, back);
            } else {
                self.lose_power(at, back);
            }
        }
    }

    /// One poll.
    fn ask(&mut self, at: usize) -> Option<Asked> {
        let now = self.now;
        let buf = &mut self.buf;
        let node = &mut self.nodes[at];
        let clock = node.clock;
        node.with(now, |endpoint, env| match endpoint.poll_output(env, buf) {
            Output::Transmit { connection, bytes } => Asked::Sent(connection, bytes.to_vec()),
            Output::Dial { connection, address } => {
                Asked::Dial(connection, node_at(&address).unwrap_or(usize::MAX))
            }
            Output::Close { connection, .. } => Asked::Close(connection),
            Output::Persist { ticket, write } => Asked::Persist(Write::Record(
                ticket,
                match write {
                    RecordWrite::Live { database, record } => RecordChange::Live(database, record.to_vec()),
                    RecordWrite::Ended {
                        database,
                        guid,
                        record,
                    } => RecordChange::Ended(database, guid, record.to_vec()),
                    RecordWrite::Removed { database } => RecordChange::Removed(database),
                    RecordWrite::Witness {
                        guid,
                        record,
                        replaces,
                    } => RecordChange::Witness(guid, record.to_vec(), replaces),
                    RecordWrite::WitnessRemoved { guid } => RecordChange::WitnessRemoved(guid),
                },
            )),
            Output::Event(event) => Asked::Happened(event),
            Output::Wait(wake) => {
                Asked::Wait(wake.map(|wake| wake.as_micros().saturating_add_signed(clock.saturating_neg())))
            }
            Output::NeedBuffer(_) => unreachable!("the buffer has the full size"),
        })
    }

    fn wake_at(&mut self, at: usize, wake: Option<u64>) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let number = node.run_number;
        let Some(run) = &mut node.run else { return };
        let Some(wake) = wake else { return };
        // Far away is never.
        let wake = wake.max(now + 1).min(now + 3_600_000_000);
        if run.wake.is_none_or(|planned| planned > wake || planned <= now) {
            run.wake = Some(wake);
            self.after(wake - now, What::Wake(at, number));
        }
    }

    fn look_at_medium(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.nodes[at];
        let number = node.run_number;
        let due = node.disk.due();
        let redo = std::mem::take(&mut node.disk.redo_wanted);
        let opening: Vec<DatabaseId> = node.disk.opening.clone();
        let Some(run) = &mut node.run else { return };
        let mut plan = None;
        if let Some(due) = due
            && run.disk_wake.is_none_or(|planned| planned > due || planned < now)
        {
            run.disk_wake = Some(due);
            plan = Some(due.saturating_sub(now));
        }
        if let Some(span) = plan {
            self.after(span, What::Medium(at, number));
        }
        for database in redo {
            let span = self.net_dice.between(100, 30_000);
            self.after(span, What::Redo(at, number, database));
        }
        for database in opening {
            let span = self.net_dice.between(1_000, 900_000);
            self.after(span, What::SeedReady(at, number, database));
        }
    }

    fn medium(&mut self, at: usize) {
        let now = self.now;
        if let Some(run) = &mut self.nodes[at].run {
            run.disk_wake = None;
        }
        let mut any = false;
        while let Some(write) = self.nodes[at].disk.confirm(now) {
            any = true;
            // One sync covers what of the same log follows at once.
            if let Write::Log(database, _) = write
                && let Some(next) = self.nodes[at].disk.queue.front()
                && next.due <= now
                && matches!(next.write, Write::Log(other, _) if other == database)
            {
                continue;
            }
            self.confirmed(at, write);
            if self.violation.is_some() {
                return;
            }
        }
        if any {
            self.settle(at);
        } else {
            self.look_at_medium(at);
        }
    }

    fn confirmed(&mut self, at: usize, write: Write) {
        let now = self.now;
        match write {
            Write::Record(ticket, change) => {
                self.recorded(at, &change);
                self.moment(at, Moment::Recorded, None);
                self.nodes[at].with(now, |endpoint, env| endpoint.handle_persisted(env, ticket));
            }
            Write::Log(database, end) => {
                let captures = self.nodes[at]
                    .running(database)
                    .is_some_and(|running| running.capturing);
                self.nodes[at].with(now, |endpoint, env| {
                    if captures {
                        endpoint.log_grew(env, database, end);
                    } else {
                        endpoint.hardened(env, database, end);
                    }
                });
                if !captures {
                    self.nodes[at].disk.redo_wanted.push(database);
                }
            }
            Write::Adopted(database, end) => {
                self.nodes[at].with(now, |endpoint, env| endpoint.adopted(env, database, end));
            }
            Write::SeedBytes(database, upto) => {
                self.nodes[at].with(now, |endpoint, env| endpoint.seed_written(env, database, upto));
            }
            Write::Seed(database, info, _) => {
                self.nodes[at].with(now, |endpoint, env| {
                    endpoint.seed_installed(env, database, info.at)
                });
            }
            Write::Failed(database, error) => {
                self.nodes[at].with(now, |endpoint, env| endpoint.storage_failed(env, database, error));
            }
        }
    }

    // ---- applications ----

    fn commit(&mut self, index: usize) {
        let mean = self.shops[index].pace;
        let burst = match self.dice.below(16) {
            0 => 2 + self.dice.below(8),
            _ => 1,
        };
        if !self.quiet {
            let span = self.dice.around(mean) * burst;
            self.after(span, What::Commit(index));
        }
        self.commit_now(index, burst);
    }

    /// An application commits so many transactions.
    pub fn commit_now(&mut self, index: usize, count: u64) {
        let (pair, id, gated) = (
            self.shops[index].pair,
            self.shops[index].id,
            self.shops[index].gated,
        );
        let mut places = Vec::new();
        for at in pair {
            let mirrored = self.nodes[at].disk.records.contains_key(&id);
            let hung = self.nodes[at].hung_until > self.now;
            let runs = self.nodes[at].run.is_some();
            let running = self.nodes[at].running(id).copied().unwrap_or_default();
            let online = self.nodes[at].disk.db(id).is_some_and(|db| db.online);
            let lets = if gated {
                runs && !hung && (running.open || !mirrored)
            } else {
                !running.fenced
            };
            if online && lets && !self.nodes[at].dark {
                places.push(at);
            }
        }
        if places.is_empty() {
            return;
        }
        let at = self.dice.pick(&places);
        let shop = &mut self.shops[index];
        let Some(db) = self.nodes[at].disk.dbs.get_mut(&id).filter(|db| db.online) else {
            return;
        };
        for _ in 0..count {
            shop.commits += 1;
            db.rows.push((id.0 as u64) << 32 | shop.commits);
            self.coverage.commits += 1;
        }
        let run = self.nodes[at].run_number;
        let span = self.net_dice.between(50, 4_000);
        if let Some(running) = self.nodes[at].running(id)
            && running.capturing
            && !std::mem::replace(&mut running.capture_due, true)
        {
            self.after(span, What::Capture(at, run, id));
        }
    }

    // ---- questions ----

    /// The row of a database's session at an instance.
    pub fn view(&mut self, at: usize, database: DatabaseId) -> Option<SessionView> {
        self.nodes[at].view(database)
    }

    /// Which of the two that hold a database is its principal now, by their sessions; else by their files; else by who set it up.
    pub fn owner(&mut self, index: usize) -> usize {
        let (pair, id, first) = (
            self.shops[index].pair,
            self.shops[index].id,
            self.shops[index].principal(),
        );
        let by_session = pair
            .into_iter()
            .filter_map(|at| {
                let view = self.view(at, id).filter(|view| view.role == Role::Principal)?;
                Some((view.record.role_sequence, view.serves, at))
            })
            .max();
        by_session.map_or_else(
            || {
                let online = |at: usize| self.nodes[at].disk.db(id).is_some_and(|db| db.online);
                let other = pair[usize::from(pair[0] == first)];
                if !online(first) && online(other) {
                    other
                } else {
                    first
                }
            },
            |(_, _, at)| at,
        )
    }

    /// Whether an instance answers its operators.
    #[must_use]
    pub fn answers(&self, at: usize) -> bool {
        self.nodes[at].run.is_some() && self.nodes[at].hung_until <= self.now
    }

    /// A span of that many milliseconds.
    #[must_use]
    pub const fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}

/// A family for each database.
#[must_use]
pub const fn family(number: u32) -> FamilyGuid {
    FamilyGuid([number as u8 + 1; 16])
}
