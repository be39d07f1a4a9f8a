//! Faults that wait for their moment: a message of some kind that is said, a record that becomes durable, a role that changes. What goes wrong
//! then hits what was said or written, or what comes right behind it, which faults at random times seldom do.

use dbmirror_core::crypto::Provider;

use crate::coverage::Row;
use crate::dice::Dice;
use crate::disk::Medium;
use crate::faults::Undo;
use crate::plan::{FAILOVER, FORCE};
use crate::world::{What, World};

const SECOND: u64 = 1_000_000;
/// How many are set at a time.
const SET_MAX: usize = 3;

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A message of that kind is said.
    Said(u16),
    /// A record has become durable.
    Recorded,
    /// Somebody opens to applications.
    Serving,
    /// Somebody changes its role.
    Role,
    /// Writers are shut out.
    Fenced,
}

/// Moments at which something is decided.
const MOMENTS: &[Moment] = &[
    Moment::Said(0x0002), // USE
    Moment::Said(0x0013), // a session's hello
    Moment::Said(0x0016), // one that is said again
    Moment::Said(0x0020), // a block
    Moment::Said(0x0021), // its acknowledgement
    Moment::Said(0x0023), // a status
    Moment::Said(0x0024), // the request of a tail
    Moment::Said(0x0025), // a tail
    Moment::Said(0x0050), // a role is proposed
    Moment::Said(0x0051), // a witness is asked
    Moment::Said(0x0052), // and grants
    Moment::Said(0x0053), // or denies
    Moment::Said(0x0054), // a witness is registered
    Moment::Said(0x0055), // a record is shown or confirmed
    Moment::Said(0x0057), // a witness is named
    Moment::Recorded,
    Moment::Serving,
    Moment::Role,
    Moment::Fenced,
];

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bite {
    /// The connection is over before it arrives, and its ends hear of that when they like.
    Lost,
    /// Nothing more goes between the two.
    Parted,
    /// Nothing more comes back.
    Unanswered,
    /// Who said it is killed, or loses its power.
    SenderDies,
    /// Who hears it is.
    ReceiverDies,
    /// The medium of who said it hangs.
    SenderWrites,
    /// That of who hears it does.
    ReceiverWrites,
    /// Who said it hears nobody.
    SenderAlone,
    /// Who hears it hears nobody.
    ReceiverAlone,
    /// An operator types FAILOVER.
    Failover,
    /// An operator types `FORCE_SERVICE_ALLOW_DATA_LOSS`.
    Force,
    /// Applications commit.
    Commits,
}

const BITES: &[Bite] = &[
    Bite::Lost,
    Bite::Lost,
    Bite::Parted,
    Bite::Parted,
    Bite::Unanswered,
    Bite::SenderDies,
    Bite::ReceiverDies,
    Bite::SenderWrites,
    Bite::ReceiverWrites,
    Bite::SenderAlone,
    Bite::ReceiverAlone,
    Bite::Failover,
    Bite::Force,
    Bite::Commits,
];

/// One that is set.
#[derive(Clone, Copy, Debug)]
struct Trap {
    /// By whom it is said or done, where that matters.
    at: Option<usize>,
    moment: Moment,
    bite: Bite,
}

/// What a seed sets: some moments and some bites, so that those that it has meet more often.
#[derive(Clone, Debug, Default)]
pub struct Traps {
    set: Vec<Trap>,
    moments: Vec<Moment>,
    bites: Vec<Bite>,
}

impl Traps {
    /// Of that seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 4);
        let moments = (0..3 + dice.index(5)).map(|_| dice.pick(MOMENTS)).collect();
        let bites = (0..3 + dice.index(4)).map(|_| dice.pick(BITES)).collect();
        Self {
            set: Vec::new(),
            moments,
            bites,
        }
    }
}

impl<P: Provider + 'static> World<P> {
    /// Sets one more.
    pub fn set_trap(&mut self) {
        let (moment, bite) = (
            self.dice.pick(&self.traps.moments),
            self.dice.pick(&self.traps.bites),
        );
        let at = self.dice.index(self.nodes.len());
        let at = self.dice.once_in(2).then_some(at);
        if self.traps.set.len() == SET_MAX {
            self.traps.set.remove(0);
        }
        self.say(|| format!("a trap: {bite:?} at {moment:?} of {at:?}"));
        self.traps.set.push(Trap { at, moment, bite });
    }

    /// Faults are over: none is set any more.
    pub fn clear_traps(&mut self) {
        self.traps.set.clear();
    }

    /// Such a moment has come at an instance; what it says goes over that connection to the other.
    pub fn moment(&mut self, at: usize, moment: Moment, over: Option<(usize, usize)>) {
        let hit = |trap: &Trap| trap.moment == moment && trap.at.is_none_or(|of| of == at);
        let Some(found) = self.traps.set.iter().position(hit) else {
            return;
        };
        let bite = self.traps.set.remove(found).bite;
        let other = (at + 1 + self.dice.index(self.nodes.len() - 1)) % self.nodes.len();
        let to = over.map_or(other, |(_, to)| to);
        self.coverage.hit(Row::FaultMoment);
        self.coverage.faults += 1;
        self.say(|| format!("FAULT {bite:?} at {moment:?} of {at} to {to}"));
        match (bite, over) {
            (Bite::Lost, Some((pipe, _))) => self.lose(pipe),
            (Bite::Lost, None) => {}
            _ => {
                // Before it arrives, when it does, or when the answer to it does.
                let base = self.plan.link_base;
                let span = self
                    .dice
                    .pick(&[0, base, base * 2, base * 3, base * 4 + 20_000, 300_000]);
                self.after(span, What::Bite(bite, at, to));
            }
        }
        // One thing seldom comes alone.
        if self.dice.once_in(2) {
            self.set_trap();
        }
    }

    /// What goes over that connection from now on is lost.
    fn lose(&mut self, pipe: usize) {
        let spans = [0, 1].map(|_| {
            let most = self.dice.pick(&[300_000, 3 * SECOND, 25 * SECOND]);
            self.dice.below(most)
        });
        let Some(found) = self.net.get(pipe) else { return };
        found.dead = true;
        let serial = found.serial;
        for (end, span) in spans.into_iter().enumerate() {
            self.after(span, What::Learn(pipe, serial, end, true));
        }
    }

    /// What a trap does, in its time.
    pub fn bite(&mut self, bite: Bite, at: usize, to: usize) {
        if self.quiet {
            return;
        }
        let most = self.dice.pick(&[SECOND, 8 * SECOND, 30 * SECOND]);
        let span = self.dice.between(100_000, most);
        match bite {
            Bite::Lost => {}
            Bite::Parted => {
                self.clog(at, to, span);
                let more = self.dice.below(2 * SECOND);
                self.clog(to, at, span + more);
            }
            Bite::Unanswered => self.clog(to, at, span),
            Bite::SenderDies => self.dies(at, span),
            Bite::ReceiverDies => self.dies(to, span),
            Bite::SenderWrites => self.writes_hang(at, span),
            Bite::ReceiverWrites => self.writes_hang(to, span),
            Bite::SenderAlone => self.isolate(at, span),
            Bite::ReceiverAlone => self.isolate(to, span),
            Bite::Failover | Bite::Force => {
                let shop = self.dice.index(self.shops.len());
                let who = self.dice.pick(&self.shops[shop].pair);
                let command = if bite == Bite::Force { FORCE } else { FAILOVER };
                self.type_in(shop, who, command);
            }
            Bite::Commits => {
                for shop in 0..self.shops.len() {
                    let count = 1 + self.dice.below(4);
                    self.commit_now(shop, count);
                }
            }
        }
    }

    fn dies(&mut self, node: usize, back: u64) {
        if self.nodes[node].run.is_none() {
            return;
        }
        if self.dice.once_in(2) {
            self.kill(node, back);
        } else {
            self.lose_power(node, back);
        }
    }

    fn writes_hang(&mut self, node: usize, span: u64) {
        if self.nodes[node].run.is_some() && self.nodes[node].disk.medium == Medium::Healthy {
            self.nodes[node].disk.medium = Medium::Hung;
            self.after(span, What::Undo(Undo::Medium(node)));
        }
    }
}
