//! One instance: what survives it, and the run of it that does not.

use dbmirror_core::crypto::Provider;
use dbmirror_core::endpoint::{
    Config, ConnectionId, ConnectionSlot, Endpoint, Env, Event, Limits, SessionSlot,
};
use dbmirror_core::message::{Address, InstanceId, Text};
use dbmirror_core::session::{DatabaseId, SessionView};
use dbmirror_core::time::{Instant, UnixSeconds};
use dbmirror_core::witness::WitnessSlot;

use crate::book::Book;
use crate::dice::Dice;
use crate::disk::Disk;

/// Places for connections and events of one instance.
const CONNECTIONS: usize = 10;
const EVENTS: usize = 256;
/// Sessions that an instance may be the witness of.
const WITNESSED: usize = 12;

/// The address of instance `index`.
#[must_use]
pub fn address(index: usize) -> Address {
    Text::new(&format!("TCP://n{index}:7024")).unwrap_or(Text::EMPTY)
}

/// Which instance an address is.
#[must_use]
pub fn node_at(address: &Address) -> Option<usize> {
    address
        .as_str()
        .strip_prefix("TCP://n")?
        .strip_suffix(":7024")?
        .parse()
        .ok()
}

/// An endpoint with the places that it was lent.
pub struct Machine<P: Provider> {
    /// Dropped before the places it borrows.
    endpoint: Option<Endpoint<'static, P>>,
    connections: *mut [ConnectionSlot<P>],
    sessions: *mut [SessionSlot],
    events: *mut [Option<Event>],
    witnessed: *mut [WitnessSlot],
}

impl<P: Provider + 'static> Machine<P> {
    fn new(config: Config, sessions: usize) -> Self {
        let connections: Vec<ConnectionSlot<P>> =
            (0..CONNECTIONS).map(|_| ConnectionSlot::default()).collect();
        let sessions: Vec<SessionSlot> = (0..sessions).map(|_| SessionSlot::default()).collect();
        let events: Vec<Option<Event>> = vec![None; EVENTS];
        let connections = Box::into_raw(connections.into_boxed_slice());
        let sessions = Box::into_raw(sessions.into_boxed_slice());
        let events = Box::into_raw(events.into_boxed_slice());
        let witnessed: Vec<WitnessSlot> = (0..WITNESSED).map(|_| WitnessSlot::default()).collect();
        let witnessed = Box::into_raw(witnessed.into_boxed_slice());
        // SAFETY: each pointer comes from `Box::into_raw` above, is borrowed by this endpoint only, and is freed in `drop`, after
        // the endpoint.
        let (lent_connections, lent_sessions, lent_events, lent_witnessed) =
            unsafe { (&mut *connections, &mut *sessions, &mut *events, &mut *witnessed) };
        let endpoint = Endpoint::new(config, lent_connections, lent_sessions, lent_events);
        Self {
            endpoint: Some(endpoint.with_witness(lent_witnessed)),
            connections,
            sessions,
            events,
            witnessed,
        }
    }

    /// The endpoint.
    pub fn endpoint(&mut self) -> &mut Endpoint<'static, P> {
        match &mut self.endpoint {
            Some(endpoint) => endpoint,
            None => unreachable!("only `drop` takes it"),
        }
    }
}

impl<P: Provider> Drop for Machine<P> {
    fn drop(&mut self) {
        self.endpoint = None;
        // SAFETY: made by `Box::into_raw`, freed here only, and the endpoint that borrowed them is gone.
        unsafe {
            drop(Box::from_raw(self.connections));
            drop(Box::from_raw(self.sessions));
            drop(Box::from_raw(self.events));
            drop(Box::from_raw(self.witnessed));
        }
    }
}

/// What a run of an instance knows of one database.
#[derive(Clone, Copy, Debug, Default)]
pub struct Running {
    /// The file is captured.
    pub capturing: bool,
    /// The endpoint has said that it is a mirror's: a capture that was still to begin does not any more.
    pub mirror: bool,
    /// The endpoint was told that the log covers the file.
    pub told_level: bool,
    /// A capture is due.
    pub capture_due: bool,
    /// Gated applications may write: the endpoint has said so.
    pub open: bool,
    /// Everybody is shut out: the endpoint has asked for that.
    pub fenced: bool,
    /// The endpoint has asked to undo a fork, and nothing has taken that back: no seed has begun since.
    pub rewinding: bool,
    /// Up to here applications were told that their rows are committed.
    pub acknowledged: usize,
}

/// One run of an instance: from its start to its end or crash.
pub struct Run<P: Provider> {
    /// The endpoint.
    pub machine: Machine<P>,
    /// Its connections by number: pipe and end.
    pub connections: Vec<(ConnectionId, usize, usize)>,
    /// By database.
    pub databases: Vec<(DatabaseId, Running)>,
    /// When it is to be woken, in the world's time.
    pub wake: Option<u64>,
    /// When the disk is looked at, in the world's time.
    pub disk_wake: Option<u64>,
}

/// One instance.
pub struct Node<P: Provider> {
    /// Its place.
    pub index: usize,
    /// Its id.
    pub id: InstanceId,
    /// Its catalog.
    pub book: Book<P>,
    /// What it stores.
    pub disk: Disk,
    /// Its entropy.
    pub dice: Dice,
    /// The durable count of its starts.
    pub boot: u64,
    /// Rises with every run, so that what was meant for an earlier one is not given to a later.
    pub run_number: u64,
    /// Present while the process runs.
    pub run: Option<Run<P>>,
    /// Present while its machine is off: nobody answers, and applications do not write either.
    pub dark: bool,
    /// Nothing is handled before this: the process hangs.
    pub hung_until: u64,
    /// Every step takes so much longer.
    pub slowness: u64,
    /// Its monotonic clock less the world's.
    pub clock: i64,
    /// Its calendar.
    pub unix: i64,
    /// What every endpoint is made with.
    pub limits: Limits,
    /// Redo stands still.
    pub redo_stalled: bool,
}

macro_rules! env {
    ($node:expr, $now:expr) => {
        Env {
            now: $node.local($now),
            unix: UnixSeconds($node.unix),
            entropy: &mut $node.dice,
            directory: &$node.book,
            storage: &mut $node.disk,
        }
    };
}

impl<P: Provider + 'static> Node<P> {
    /// The instance's clock at the world's time.
    #[must_use]
    pub fn local(&self, now: u64) -> Instant {
        Instant::from_micros(now.saturating_add_signed(self.clock))
    }

    /// The world's time at an instant of the instance's clock.
    #[must_use]
    pub fn world_time(&self, at: Instant) -> u64 {
        at.as_micros().saturating_add_signed(self.clock.saturating_neg())
    }

    /// A process starts, with nothing but what the disk has.
    pub fn start(&mut self, now: u64, sessions: usize) {
        self.boot += 1;
        self.run_number += 1;
        self.dark = false;
        self.hung_until = 0;
        self.slowness = 0;
        let config = Config {
            instance: self.id,
            name: Text::new(&format!("HOST_{}", self.index)).unwrap_or(Text::EMPTY),
            boot: self.boot,
            limits: self.limits,
        };
        let databases = self.disk.dbs.keys().map(|id| (*id, Running::default())).collect();
        self.run = Some(Run {
            machine: Machine::new(config, sessions),
            connections: Vec::new(),
            databases,
            wake: None,
            disk_wake: None,
        });
        self.with(now, |endpoint, env| endpoint.set_running(env, true));
    }

    /// Calls the endpoint of the running process.
    pub fn with<R>(
        &mut self,
        now: u64,
        step: impl FnOnce(&mut Endpoint<'static, P>, &mut Env<'_, P>) -> R,
    ) -> Option<R> {
        self.disk.now = now;
        let mut env = env!(self, now);
        let run = self.run.as_mut()?;
        Some(step(run.machine.endpoint(), &mut env))
    }

    /// The row of a database's session.
    pub fn view(&mut self, database: DatabaseId) -> Option<SessionView> {
        let run = self.run.as_mut()?;
        run.machine
            .endpoint()
            .sessions()
            .find(|view| view.database == database)
    }

    /// What the run knows of a database.
    pub fn running(&mut self, database: DatabaseId) -> Option<&mut Running> {
        let run = self.run.as_mut()?;
        if !run.databases.iter().any(|(id, _)| *id == database) {
            run.databases.push((database, Running::default()));
        }
        run.databases
            .iter_mut()
            .find(|(id, _)| *id == database)
            .map(|(_, running)| running)
    }
}
