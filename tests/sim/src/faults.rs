//! What goes wrong, and how it goes right again.

use dbmirror_core::session::{DatabaseId, StorageError};

use dbmirror_core::crypto::Provider;

use crate::coverage::Row;
use crate::disk::Medium;
use crate::node::address;
use crate::world::{What, World};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Pieces are lost on a link for a while.
    Loss,
    /// A link is slow for a while.
    Delay,
    /// A link lets little through for a while.
    Narrow,
    /// Nothing comes through one way for a while.
    OneWay,
    /// Nor the other.
    TwoWay,
    /// An instance hears nobody for a while.
    Isolated,
    /// One connection is reset.
    Reset,
    /// All of an instance are.
    ResetAll,
    /// A process is slow for a while.
    SlowMember,
    /// A process stands still for a while.
    HungMember,
    /// A process is killed.
    Kill,
    /// A machine loses its power.
    Power,
    /// All do.
    PowerAll,
    /// A crash at the next step that an instance makes.
    CrashInStep,
    /// A sync fails.
    SyncFails,
    /// A medium hangs for a while.
    HungDisk,
    /// A medium is slow for a while.
    SlowDisk,
    /// A storage refuses for a while.
    FullDisk,
    /// A bit of a stored block flips, and the instance restarts some time.
    Rot,
    /// Redo stands still for a while.
    StalledRedo,
    /// A clock jumps.
    Clock,
    /// What was committed while nobody captured cannot be captured any more.
    Gap,
    /// A witness restarts without what it kept.
    LostWitnessRecord,
    /// The endpoint is stopped and started again.
    EndpointStopped,
    /// Somebody tests a connection.
    Probe,
    /// The last bytes of a connection are held up, its sender dies and is back before they arrive.
    Straggler,
    /// Something that waits for its moment.
    Trap,
}

/// All of them, with their weights.
pub const FAULTS: &[(Fault, u64)] = &[
    (Fault::Loss, 3),
    (Fault::Delay, 3),
    (Fault::Narrow, 2),
    (Fault::OneWay, 3),
    (Fault::TwoWay, 5),
    (Fault::Isolated, 4),
    (Fault::Reset, 4),
    (Fault::ResetAll, 3),
    (Fault::SlowMember, 2),
    (Fault::HungMember, 4),
    (Fault::Kill, 5),
    (Fault::Power, 5),
    (Fault::PowerAll, 1),
    (Fault::CrashInStep, 5),
    (Fault::SyncFails, 2),
    (Fault::HungDisk, 3),
    (Fault::SlowDisk, 3),
    (Fault::FullDisk, 2),
    (Fault::Rot, 2),
    (Fault::StalledRedo, 1),
    (Fault::Clock, 2),
    (Fault::Gap, 1),
    (Fault::LostWitnessRecord, 1),
    (Fault::EndpointStopped, 1),
    (Fault::Probe, 1),
    // In seeds about one thing.
    (Fault::Straggler, 0),
    (Fault::Trap, 0),
];

/// What goes right again.
#[derive(Clone, Copy, Debug)]
pub enum Undo {
    /// Of the link from one to another: clog.
    Clog(usize, usize),
    /// Loss, delay, rate.
    Poor(usize, usize),
    /// A slow process.
    Slowness(usize),
    /// The medium.
    Medium(usize),
    /// A storage that refuses.
    Refusal(usize),
    /// Redo.
    Redo(usize),
    /// A stopped endpoint.
    Endpoint(usize),
    /// A restart of an instance whose medium has failed, or rots; with or without its machine.
    Restart(usize, bool),
    /// The sender on a connection whose bytes are held up dies, with or without its machine, and is back that soon.
    Adrift(usize, bool, u64),
}

const SECOND: u64 = 1_000_000;

impl<P: Provider + 'static> World<P> {
    /// Something goes wrong, and the next time is planned.
    pub fn fault(&mut self) {
        if self.quiet {
            return;
        }
        let span = self.dice.around(self.plan.fault_pace);
        self.after(span, What::Fault);
        let total: u64 = self.plan.faults.iter().sum();
        let mut at = self.dice.below(total.max(1));
        for (index, (fault, _)) in FAULTS.iter().enumerate() {
            let weight = self.plan.faults[index];
            if at < weight {
                self.strike(*fault);
                return;
            }
            at -= weight;
        }
    }

    /// A span for which a fault lasts: mostly short of a partner time-out, now and then long.
    fn spell(&mut self) -> u64 {
        match self.dice.below(8) {
            0..=2 => self.dice.between(100_000, 2 * SECOND),
            3..=5 => self.dice.between(2 * SECOND, 12 * SECOND),
            6 => self.dice.between(12 * SECOND, 40 * SECOND),
            _ => self.dice.between(40 * SECOND, 90 * SECOND),
        }
    }

    fn two(&mut self) -> (usize, usize) {
        let count = self.nodes.len();
        let from = self.dice.index(count);
        (from, (from + 1 + self.dice.index(count - 1)) % count)
    }

    /// That fault, now.
    pub fn strike(&mut self, fault: Fault) {
        if fault == Fault::Trap {
            self.set_trap();
            return;
        }
        let node = self.dice.index(self.nodes.len());
        let (from, to) = self.two();
        let spell = self.spell();
        self.say(|| {
            format!(
                "FAULT {fault:?} (instance {node}, link {from} to {to}, {:.1} s)",
                spell as f64 / 1e6
            )
        });
        let runs = self.nodes[node].run.is_some();
        let row = match fault {
            Fault::Loss => {
                self.net.links[from][to].loss = self.dice.between(50, 400);
                self.after(spell, What::Undo(Undo::Poor(from, to)));
                Row::FaultLoss
            }
            Fault::Delay => {
                let link = &mut self.net.links[from][to];
                link.base = self.dice.between(50_000, 2 * SECOND);
                link.jitter = link.base;
                self.after(spell, What::Undo(Undo::Poor(from, to)));
                Row::FaultDelay
            }
            Fault::Narrow => {
                self.net.links[from][to].rate = self.dice.between(2_000, 50_000);
                self.after(spell, What::Undo(Undo::Poor(from, to)));
                Row::FaultNarrow
            }
            Fault::OneWay => {
                self.clog(from, to, spell);
                Row::FaultOneWay
            }
            Fault::TwoWay => {
                self.clog(from, to, spell);
                // The ways come back one after the other.
                let more = self.dice.below(3 * SECOND);
                self.clog(to, from, spell + more);
                Row::FaultTwoWay
            }
            Fault::Isolated => {
                self.isolate(node, spell);
                Row::FaultIsolated
            }
            Fault::Reset => {
                let live: Vec<usize> = self.live_pipes(None);
                if live.is_empty() {
                    return;
                }
                let pipe = self.dice.pick(&live);
                self.reset(pipe);
                Row::FaultReset
            }
            Fault::ResetAll => {
                for pipe in self.live_pipes(Some(node)) {
                    self.reset(pipe);
                }
                Row::FaultResetAll
            }
            Fault::SlowMember => {
                self.nodes[node].slowness = self.dice.between(20_000, 1_500_000);
                self.after(spell, What::Undo(Undo::Slowness(node)));
                Row::FaultSlowMember
            }
            Fault::HungMember if runs => {
                self.nodes[node].hung_until = self.now + spell;
                Row::FaultHungMember
            }
            Fault::Kill if runs => {
                self.kill(node, spell);
                Row::FaultKill
            }
            Fault::Power if !self.nodes[node].dark => {
                self.lose_power(node, spell);
                Row::FaultPower
            }
            Fault::PowerAll => {
                for node in 0..self.nodes.len() {
                    if !self.nodes[node].dark {
                        let back = spell + self.dice.below(20 * SECOND);
                        self.lose_power(node, back);
                    }
                }
                Row::FaultPowerAll
            }
            Fault::CrashInStep => {
                self.crash_next = Some(node);
                return;
            }
            Fault::SyncFails if runs => {
                self.nodes[node].disk.medium = Medium::Failed;
                let after = self.dice.between(SECOND, 40 * SECOND);
                let dark = self.dice.once_in(2);
                self.after(after, What::Undo(Undo::Restart(node, dark)));
                Row::FaultSyncFails
            }
            Fault::HungDisk if self.is_healthy(node) => {
                self.nodes[node].disk.medium = Medium::Hung;
                self.after(spell, What::Undo(Undo::Medium(node)));
                Row::FaultHungDisk
            }
            Fault::SlowDisk if self.is_healthy(node) => {
                self.nodes[node].disk.medium = Medium::Slow(self.dice.between(5, 400));
                self.after(spell, What::Undo(Undo::Medium(node)));
                Row::FaultSlowDisk
            }
            Fault::FullDisk if runs => {
                let why = self.dice.pick(&[
                    StorageError::Full,
                    StorageError::Full,
                    StorageError::Chain,
                    StorageError::Failed,
                ]);
                self.nodes[node].disk.refuse = Some(why);
                self.after(spell, What::Undo(Undo::Refusal(node)));
                Row::FaultFullDisk
            }
            Fault::Rot => {
                let databases: Vec<DatabaseId> = self.nodes[node].disk.dbs.keys().copied().collect();
                if databases.is_empty() {
                    return;
                }
                let database = self.dice.pick(&databases);
                let (back, bit) = (self.dice.index(8), self.dice.roll() as usize);
                if !self.nodes[node].disk.rot(database, back, bit) {
                    return;
                }
                if self.dice.once_in(2) {
                    self.after(spell, What::Undo(Undo::Restart(node, false)));
                }
                Row::FaultRot
            }
            Fault::StalledRedo => {
                self.nodes[node].redo_stalled = true;
                self.after(spell, What::Undo(Undo::Redo(node)));
                Row::FaultStalledRedo
            }
            Fault::Clock => {
                let jump = self
                    .dice
                    .pick(&[-3_000_000, -400_000, 700_000, 4_000_000, 15_000_000, 90_000_000]);
                let node = &mut self.nodes[node];
                node.clock = (node.clock + jump).max(1);
                node.unix += jump / 1_000;
                Row::FaultClock
            }
            Fault::Gap => {
                let databases: Vec<DatabaseId> = self.nodes[node]
                    .disk
                    .dbs
                    .iter()
                    .filter(|(_, db)| db.online)
                    .map(|(id, _)| *id)
                    .collect();
                if databases.is_empty() || !runs {
                    return;
                }
                let database = self.dice.pick(&databases);
                if let Some(db) = self.nodes[node].disk.dbs.get_mut(&database) {
                    db.force_gap = true;
                }
                // A capture that runs stops, and begins again.
                let captures = self.nodes[node]
                    .running(database)
                    .is_some_and(|running| running.capturing);
                if captures {
                    self.stop_capture(node, database);
                    let run = self.nodes[node].run_number;
                    self.after(SECOND / 5, What::BeginCapture(node, run, database, false));
                }
                Row::FaultGap
            }
            Fault::EndpointStopped if self.answers(node) => {
                let now = self.now;
                self.nodes[node].with(now, |endpoint, env| endpoint.set_running(env, false));
                self.settle(node);
                self.after(spell, What::Undo(Undo::Endpoint(node)));
                Row::FaultEndpointStopped
            }
            Fault::Probe if self.answers(from) => {
                let (now, hold) = (self.now, Self::millis(self.dice.below(4_000)));
                self.nodes[from].with(now, |endpoint, env| {
                    endpoint.test_connection(env, address(to), hold)
                });
                self.settle(from);
                Row::FaultUnneededConnection
            }
            Fault::Straggler => {
                let live = self.live_pipes(None);
                if live.is_empty() {
                    return;
                }
                let (pipe, end) = (self.dice.pick(&live), self.dice.index(2));
                let (held, dies) = (self.dice.between(1_500_000, 5 * SECOND), self.dice.below(300_000));
                let (dark, back) = (self.dice.once_in(2), self.dice.between(50_000, 800_000));
                let now = self.now;
                let Some(found) = self.net.get(pipe) else { return };
                found.adrift = true;
                found.ways[end].last = found.ways[end].last.max(now + held);
                // Nothing tells the other end before.
                found.ends[1 - end].learning = true;
                let (sender, serial) = (found.ends[end].node, found.serial);
                self.after(dies, What::Undo(Undo::Adrift(sender, dark, back)));
                self.after(held + SECOND, What::Learn(pipe, serial, 1 - end, true));
                Row::FaultStraggler
            }
            Fault::LostWitnessRecord => {
                if self.nodes[node].disk.witnessed.is_empty() || !runs {
                    return;
                }
                self.kill(node, spell.min(5 * SECOND));
                self.nodes[node].disk.witnessed.clear();
                Row::FaultLostWitnessRecord
            }
            Fault::HungMember
            | Fault::Kill
            | Fault::Power
            | Fault::SyncFails
            | Fault::HungDisk
            | Fault::SlowDisk
            | Fault::FullDisk
            | Fault::EndpointStopped
            | Fault::Probe
            | Fault::Trap => return,
        };
        self.coverage.faults += 1;
        self.coverage.hit(row);
    }

    fn is_healthy(&self, node: usize) -> bool {
        self.nodes[node].run.is_some() && self.nodes[node].disk.medium == Medium::Healthy
    }

    /// An instance hears nobody for a while, and nobody it.
    pub fn isolate(&mut self, node: usize, span: u64) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            let (there, back) = (self.dice.below(SECOND), self.dice.below(4 * SECOND));
            self.clog(node, other, span + there);
            self.clog(other, node, span + back);
        }
    }

    /// Nothing comes through one way for a while.
    pub fn clog(&mut self, from: usize, to: usize, span: u64) {
        self.net.links[from][to].clogged = true;
        self.after(span, What::Undo(Undo::Clog(from, to)));
    }

    fn live_pipes(&self, of: Option<usize>) -> Vec<usize> {
        let mine = |node: usize| of.is_none_or(|of| of == node);
        self.net
            .pipes
            .iter()
            .enumerate()
            .filter(|(_, pipe)| {
                pipe.as_ref()
                    .is_some_and(|pipe| !pipe.dead && (mine(pipe.ends[0].node) || mine(pipe.ends[1].node)))
            })
            .map(|(index, _)| index)
            .collect()
    }

    fn reset(&mut self, pipe: usize) {
        let spans = [self.dice.below(300_000), self.dice.below(300_000)];
        let Some(found) = self.net.get(pipe) else { return };
        // Nothing more comes through; each end hears of it in its time.
        found.dead = true;
        let serial = found.serial;
        for (end, span) in spans.into_iter().enumerate() {
            self.after(span, What::Learn(pipe, serial, end, true));
        }
    }

    /// The process dies, and is started again later.
    pub fn kill(&mut self, node: usize, back: u64) {
        self.say(|| format!("{node} is killed"));
        let pipes = self.drop_run(node);
        for (pipe, end) in pipes {
            let span = self.dice.below(200_000);
            let error = self.dice.once_in(2);
            let Some(found) = self.net.get(pipe) else { continue };
            let serial = found.serial;
            found.ends[end].over = true;
            found.ways[end].closed = true;
            if error && !found.adrift {
                found.dead = true;
                self.after(span, What::Learn(pipe, serial, 1 - end, true));
            } else {
                self.after(span, What::Deliver(pipe, serial, end));
            }
            self.net.tidy(pipe);
        }
        self.nodes[node].disk.kill();
        self.after(back, What::Start(node));
    }

    /// The machine dies, and is started again later.
    pub fn lose_power(&mut self, node: usize, back: u64) {
        let waiting = self.nodes[node].disk.queue.len();
        let keep = self.dice.index(waiting + 1);
        self.say(|| format!("{node} loses its power: {keep} of {waiting} writes survive"));
        if keep < waiting {
            self.coverage.hit(Row::FaultTorn);
        }
        for (pipe, end) in self.drop_run(node) {
            if let Some(found) = self.net.get(pipe) {
                found.ends[end].over = true;
                found.dead = !found.adrift;
            }
            self.net.tidy(pipe);
        }
        self.nodes[node].disk.lose_power(keep);
        self.nodes[node].dark = true;
        let clock = self.dice.below(1 << 40) as i64;
        self.nodes[node].clock = clock;
        self.after(back, What::Start(node));
    }

    fn drop_run(&mut self, node: usize) -> Vec<(usize, usize)> {
        self.nodes[node].hung_until = 0;
        let Some(run) = self.nodes[node].run.take() else {
            return Vec::new();
        };
        run.connections
            .iter()
            .map(|(_, pipe, end)| (*pipe, *end))
            .collect()
    }

    /// The capture of a file stops.
    pub fn stop_capture(&mut self, node: usize, database: DatabaseId) {
        if let Some(running) = self.nodes[node].running(database) {
            running.capturing = false;
            running.told_level = false;
        }
        let now = self.now;
        self.nodes[node].with(now, |endpoint, env| endpoint.caught_up(env, database, None));
        self.settle(node);
    }

    /// An instance is started, if it is not running.
    pub fn start(&mut self, node: usize) {
        if self.nodes[node].run.is_some() {
            return;
        }
        let now = self.now;
        let lost = self.nodes[node].disk.open();
        self.say(|| format!("{node} starts; {lost} blocks were damaged"));
        let sessions = self.shops.len() + 1;
        self.nodes[node].start(now, sessions);
        // Its machine answers again: who still thinks that it is connected hears that it is not.
        for pipe in 0..self.net.pipes.len() {
            let span = self.dice.below(1_500_000);
            let Some(found) = self.net.get(pipe) else { continue };
            let mine = [0, 1]
                .into_iter()
                .find(|end| found.ends[*end].node == node && found.ends[*end].over);
            if let Some(end) = mine
                && found.dead
            {
                let serial = found.serial;
                self.after(span, What::Learn(pipe, serial, 1 - end, true));
            }
        }
        self.restore(node);
        self.settle(node);
    }

    /// Something goes right again.
    pub fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Clog(from, to) => {
                self.net.links[from][to].clogged = false;
                for pipe in 0..self.net.pipes.len() {
                    let span = self.dice.below(400_000);
                    let Some(found) = self.net.get(pipe) else { continue };
                    let serial = found.serial;
                    let end = [0, 1].into_iter().find(|end| found.ends[*end].node == from);
                    if let Some(end) = end
                        && found.ends[1 - end].node == to
                    {
                        self.after(span, What::Deliver(pipe, serial, end));
                    }
                }
            }
            Undo::Poor(from, to) => {
                let link = &mut self.net.links[from][to];
                link.base = self.plan.link_base;
                link.jitter = self.plan.link_base;
                link.loss = 0;
                link.rate = 0;
            }
            Undo::Slowness(node) => self.nodes[node].slowness = 0,
            Undo::Medium(node) => {
                if matches!(self.nodes[node].disk.medium, Medium::Hung | Medium::Slow(_)) {
                    self.nodes[node].disk.medium = Medium::Healthy;
                    self.settle(node);
                }
            }
            Undo::Refusal(node) => self.nodes[node].disk.refuse = None,
            Undo::Redo(node) => {
                self.nodes[node].redo_stalled = false;
                self.settle(node);
            }
            Undo::Endpoint(node) => {
                let now = self.now;
                self.nodes[node].with(now, |endpoint, env| endpoint.set_running(env, true));
                self.settle(node);
            }
            Undo::Adrift(node, dark, back) => {
                if !self.quiet && self.nodes[node].run.is_some() {
                    if dark {
                        self.lose_power(node, back);
                    } else {
                        self.kill(node, back);
                    }
                }
            }
            Undo::Restart(node, dark) => {
                let needed = !self.quiet || self.nodes[node].disk.medium == Medium::Failed;
                if needed && self.nodes[node].run.is_some() {
                    if dark {
                        self.lose_power(node, 2 * SECOND);
                    } else {
                        self.kill(node, 2 * SECOND);
                    }
                }
            }
        }
    }

    /// Faults are over: everything goes right again.
    pub fn calm(&mut self) {
        self.quiet = true;
        self.clear_traps();
        self.crash_next = None;
        let count = self.nodes.len();
        for from in 0..count {
            for to in 0..count {
                self.undo(Undo::Poor(from, to));
                self.undo(Undo::Clog(from, to));
            }
        }
        for node in 0..count {
            self.nodes[node].hung_until = 0;
            self.undo(Undo::Slowness(node));
            self.undo(Undo::Refusal(node));
            self.undo(Undo::Redo(node));
            self.nodes[node].disk.never_adopt = false;
            if self.nodes[node].disk.medium == Medium::Failed {
                self.undo(Undo::Restart(node, false));
            }
            self.undo(Undo::Medium(node));
            self.start(node);
            self.undo(Undo::Endpoint(node));
        }
    }
}
