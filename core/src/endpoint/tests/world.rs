//! Nodes, links between them, and one clock.

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::format;
use std::vec::Vec;

use super::disk::{Disk, Later};
use crate::channel::{Identity, PeerRefusal, PeerVerifier, VerifiedPeer};
use crate::crypto::SigningKey as _;
use crate::crypto::rustcrypto::{RustCrypto, SigningKey};
use crate::endpoint::{
    Config, ConnectionId, ConnectionSlot, DialError, Directory, Endpoint, Env, Event, FragmentPlace,
    IdentityError, Limits, Notice, NoticeBody, Output, PeerNotice, PeerNoticeBody, RecordWrite, SEND_LEN,
    SessionSlot, Source, Ticket,
};
use crate::entropy::{Entropy, EntropyError};
use crate::message::{Address, InstanceId, LogEnd, Text};
use crate::secret::Secret;
use crate::session::{DatabaseId, Reason, SessionError, SessionEvent};
use crate::time::{Duration, Instant, UnixSeconds};
use crate::witness::WitnessSlot;

/// The place of a pipe's end that is no node.
pub const RAW: usize = usize::MAX;
pub const DB: DatabaseId = DatabaseId(5);

/// Numbers that look random; not secret.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

impl Entropy for Dice {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.fill_public(out)
    }
    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

/// Certificate, its key, login, certificate id, CONNECT.
pub type Pin = (Vec<u8>, [u8; 65], u32, u32, bool);

/// An instance's catalog.
pub struct Book {
    pub key: SigningKey,
    pub certificate: Vec<u8>,
    pub pins: Vec<Pin>,
    pub has_identity: bool,
    pub not_waiting: Reason,
    /// Own certificates beside the first one, by their numbers, and which new connections are made with.
    pub others: Vec<(u32, SigningKey, Vec<u8>)>,
    pub chosen: u32,
    /// What peers are to be told: the successor's number among `others`, or a digest.
    pub notices: Vec<(u64, Result<u32, [u8; 32]>)>,
    /// What they told.
    pub told: RefCell<Vec<Told>>,
    pub refuses: Option<SessionError>,
    pub has_clock: bool,
}

/// A peer's notice as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub connection: ConnectionId,
    pub login: u32,
    pub certificate: u32,
    pub instance: InstanceId,
    pub number: u64,
    pub der: Vec<u8>,
}

impl PeerVerifier for Book {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        if der == self.certificate {
            return Err(PeerRefusal::OwnCertificate);
        }
        let (_, point, login_id, certificate_id, _) = self
            .pins
            .iter()
            .find(|pin| pin.0 == der)
            .ok_or(PeerRefusal::Unknown)?;
        Ok(VerifiedPeer {
            point: *point,
            login_id: *login_id,
            certificate_id: *certificate_id,
        })
    }

    fn authorize(&self, _: &[u8], peer: &VerifiedPeer, _: UnixSeconds) -> Result<(), PeerRefusal> {
        let granted = self.pins.iter().any(|pin| pin.3 == peer.certificate_id && pin.4);
        if granted {
            Ok(())
        } else {
            Err(PeerRefusal::NoConnect {
                login_id: peer.login_id,
                certificate_id: peer.certificate_id,
            })
        }
    }
}

impl Directory<RustCrypto> for Book {
    fn has_clock(&self) -> bool {
        self.has_clock
    }
    fn identity(&self) -> Result<Identity<'_, RustCrypto>, IdentityError> {
        if !self.has_identity {
            return Err(IdentityError::NoCertificate);
        }
        Ok(Identity {
            signing_key: &self.key,
            certificate_der: &self.certificate,
        })
    }
    fn certificate_for(&self, _: Option<&Address>) -> u32 {
        self.chosen
    }
    fn identity_of(&self, certificate: u32) -> Result<Identity<'_, RustCrypto>, IdentityError> {
        match self.others.iter().find(|(number, ..)| *number == certificate) {
            Some((_, signing_key, der)) => Ok(Identity {
                signing_key,
                certificate_der: der,
            }),
            None => self.identity(),
        }
    }
    fn notice(&self, _: u32, _: InstanceId, after: u64) -> Option<Notice<'_, RustCrypto>> {
        let (number, what) = self.notices.iter().find(|(number, _)| *number > after)?;
        let body = match what {
            Ok(successor) => NoticeBody::Successor(self.identity_of(*successor).unwrap()),
            Err(digest) => NoticeBody::Retired(*digest),
        };
        Some(Notice {
            number: *number,
            body,
        })
    }
    fn peer_notice(&self, notice: &PeerNotice<'_>) -> Result<(), SessionError> {
        if let Some(error) = self.refuses {
            return Err(error);
        }
        let der = match notice.body {
            PeerNoticeBody::Successor { der, point } => {
                let parsed = crate::cert::Certificate::parse::<RustCrypto>(der).unwrap();
                assert_eq!(*parsed.point(), point);
                der.to_vec()
            }
            PeerNoticeBody::Retired { digest } => digest.to_vec(),
        };
        self.told.borrow_mut().push(Told {
            connection: notice.connection,
            login: notice.login,
            certificate: notice.certificate,
            instance: notice.instance,
            number: notice.number,
            der,
        });
        Ok(())
    }
    fn verifier(&self) -> &dyn PeerVerifier {
        self
    }
    fn not_waiting(&self, _: &str) -> Reason {
        self.not_waiting
    }
}

/// One instance: what survives a crash, and the endpoint that does not.
pub struct Node {
    pub endpoint: Endpoint<'static, RustCrypto>,
    pub book: Book,
    pub disk: Disk,
    pub records: BTreeMap<DatabaseId, Vec<u8>>,
    /// What it keeps as a witness.
    pub witnessed: BTreeMap<crate::message::SessionGuid, Vec<u8>>,
    pub id: InstanceId,
    pub boot: u64,
    pub dice: Dice,
    pub events: Vec<Event>,
    pub limits: Limits,
    pub name: u8,
    /// Records being written; confirmed by `settle` or by the random run.
    pub writing: VecDeque<(Ticket, Write)>,
    /// Confirm writes and hardening at once.
    pub prompt: bool,
    /// Blocks are captured at all: not before the session allows it.
    pub may_capture: bool,
    /// Its storage finds that hardened blocks are gone when it starts again.
    pub lost: bool,
    /// Says by itself that the log covers the file, as soon as it may capture.
    pub catches_up: bool,
    /// Undoes what lies on a fork; else it asks for a seed.
    pub rewinds: bool,
    /// Takes its time for it: until [`World::undo_now`].
    pub rewinds_late: bool,
    undoing: Option<u64>,
    /// Says at once that writers are shut out.
    pub fences: bool,
    pub up: bool,
}

pub enum Write {
    Live(DatabaseId, Vec<u8>),
    Ended(DatabaseId, crate::message::SessionGuid, Vec<u8>),
    Removed(DatabaseId),
    Witness(
        crate::message::SessionGuid,
        Vec<u8>,
        Option<crate::message::SessionGuid>,
    ),
    WitnessRemoved(crate::message::SessionGuid),
}

/// One TCP connection between two nodes.
pub struct Pipe {
    pub ends: [(usize, ConnectionId); 2],
    pub flying: [VecDeque<Vec<u8>>; 2],
    pub arrived: [Vec<u8>; 2],
    /// The sending side at that end has closed.
    pub closed: [bool; 2],
    pub eof_given: [bool; 2],
    /// The link was cut: nothing moves, both ends will learn of it.
    pub cut: bool,
    /// Nothing moves, and nobody learns of it.
    pub frozen: bool,
}

pub struct World {
    pub nodes: Vec<Node>,
    pub pipes: Vec<Pipe>,
    pub now: Instant,
    /// Pairs that cannot reach each other.
    pub refused: bool,
    /// Pairs of nodes that do not reach each other.
    pub blocked: Vec<(usize, usize)>,
    /// After so many transmits the link that carries the next one is cut, once.
    pub cut_after: Option<u64>,
    pub transmits: u64,
    /// Every byte that was ever sent, for canaries.
    pub wire: Vec<u8>,
}

pub fn address(node: usize) -> Address {
    Text::new(&format!("TCP://n{node}:7024")).unwrap()
}

fn endpoint(id: InstanceId, boot: u64, name: u8, limits: Limits) -> Endpoint<'static, RustCrypto> {
    let connections: Vec<ConnectionSlot<RustCrypto>> = (0..12).map(|_| ConnectionSlot::default()).collect();
    let sessions: Vec<SessionSlot> = (0..4).map(|_| SessionSlot::default()).collect();
    let witnessed: Vec<WitnessSlot> = (0..4).map(|_| WitnessSlot::default()).collect();
    let events: Vec<Option<Event>> = (0..512).map(|_| None).collect();
    let fragments: Vec<FragmentPlace> = (0..12).map(|_| FragmentPlace::new()).collect();
    Endpoint::new(
        Config {
            instance: id,
            name: Text::new(&format!("HOST_{name}")).unwrap(),
            boot,
            limits,
        },
        Box::leak(connections.into_boxed_slice()),
        Box::leak(sessions.into_boxed_slice()),
        Box::leak(events.into_boxed_slice()),
    )
    .with_pairing(Box::leak(Box::default()))
    .with_witness(Box::leak(witnessed.into_boxed_slice()))
    .with_fragments(Box::leak(fragments.into_boxed_slice()))
}

macro_rules! env {
    ($node:expr, $now:expr) => {
        Env {
            now: $now,
            unix: UnixSeconds(1_700_000_000),
            entropy: &mut $node.dice,
            directory: &$node.book,
            storage: &mut $node.disk,
        }
    };
}

impl World {
    /// `n` instances that know each other; ids in the order of the nodes, or reversed.
    pub fn new(n: usize, reversed: bool) -> Self {
        let scalar = |i: usize| {
            let mut bytes = [7; 32];
            bytes[0] = 1;
            bytes[31] = i as u8 + 1;
            SigningKey::from_scalar(&Secret::new(bytes)).unwrap()
        };
        let certificate = |i: usize| {
            let mut der = [0x30, 0x82].to_vec();
            der.resize(400, i as u8);
            der
        };
        let nodes = (0..n)
            .map(|i| {
                let rank = if reversed { n - i } else { i + 1 };
                let id = InstanceId([rank as u8; 16]);
                let book = Book {
                    key: scalar(i),
                    certificate: certificate(i),
                    pins: (0..n)
                        .filter(|j| *j != i)
                        .map(|j| {
                            let point = scalar(j).public_point();
                            (certificate(j), point, 100 + j as u32, 200 + j as u32, true)
                        })
                        .collect(),
                    has_identity: true,
                    not_waiting: Reason::NoDatabase,
                    others: Vec::new(),
                    chosen: 0,
                    notices: Vec::new(),
                    told: RefCell::default(),
                    refuses: None,
                    has_clock: true,
                };
                let limits = Limits::default();
                let mut node = Node {
                    endpoint: endpoint(id, 1, i as u8, limits),
                    book,
                    disk: Disk::default(),
                    records: BTreeMap::new(),
                    witnessed: BTreeMap::new(),
                    id,
                    boot: 1,
                    dice: Dice(i as u64 * 1_000_003),
                    events: Vec::new(),
                    limits,
                    name: i as u8,
                    writing: VecDeque::new(),
                    prompt: true,
                    may_capture: true,
                    lost: false,
                    catches_up: true,
                    rewinds: false,
                    rewinds_late: false,
                    undoing: None,
                    fences: true,
                    up: true,
                };
                node.endpoint
                    .set_running(&mut env!(node, Instant::from_micros(1)), true);
                node
            })
            .collect();
        Self {
            nodes,
            pipes: Vec::new(),
            now: Instant::from_micros(1),
            refused: false,
            blocked: Vec::new(),
            cut_after: None,
            transmits: 0,
            wire: Vec::new(),
        }
    }

    pub fn with<R>(
        &mut self,
        node: usize,
        step: impl FnOnce(&mut Endpoint<'static, RustCrypto>, &mut Env<'_, RustCrypto>) -> R,
    ) -> R {
        let now = self.now;
        let node = &mut self.nodes[node];
        let mut env = env!(node, now);
        step(&mut node.endpoint, &mut env)
    }

    /// Polls a node until it waits. Returns whether anything happened.
    pub fn poll(&mut self, at: usize) -> bool {
        let mut busy = false;
        let mut late = 0;
        let mut buf = std::vec![0; SEND_LEN];
        for _ in 0..100_000 {
            if !self.nodes[at].up {
                return busy;
            }
            self.give_room(at);
            let now = self.now;
            let node = &mut self.nodes[at];
            let mut env = env!(node, now);
            match node.endpoint.poll_output(&mut env, &mut buf) {
                // Who is to be woken at once must have something to do then, or a driver would spin.
                Output::Wait(Some(wake)) if wake <= now => {
                    late += 1;
                    assert!(late < 5, "node {at} asks to be woken in the past");
                    self.with(at, |e, env| e.handle_timeout(env));
                    continue;
                }
                Output::Wait(_) => return busy,
                Output::NeedBuffer(_) => panic!("the buffer is full-sized"),
                Output::Event(event) => {
                    if let Event::Session { event, database } = event {
                        self.obey(at, database, event);
                    }
                    let node = &mut self.nodes[at];
                    if let Event::Session {
                        event:
                            event @ (SessionEvent::MayCapture { .. } | SessionEvent::StartedAsPrincipal { .. }),
                        database,
                    } = event
                    {
                        if matches!(event, SessionEvent::MayCapture { .. }) {
                            node.may_capture = true;
                        }
                        if event == (SessionEvent::MayCapture { new_timeline: true }) {
                            let fork = node.dice.next();
                            let history = node.endpoint.timelines(database).unwrap();
                            node.disk.db(database).timelines = history;
                            let timeline = node.disk.db(database).begin_timeline(fork);
                            let mut env = env!(node, now);
                            node.endpoint
                                .new_timeline(&mut env, database, timeline, false)
                                .unwrap();
                        }
                        if node.catches_up {
                            let end = node.disk.db(database).end().position;
                            let mut env = env!(node, now);
                            node.endpoint.caught_up(&mut env, database, Some(end));
                        }
                    }
                    node.events.push(event);
                }
                Output::Persist { ticket, write } => {
                    let write = match write {
                        RecordWrite::Live { database, record } => Write::Live(database, record.to_vec()),
                        RecordWrite::Ended {
                            database,
                            guid,
                            record,
                        } => Write::Ended(database, guid, record.to_vec()),
                        RecordWrite::Removed { database } => Write::Removed(database),
                        RecordWrite::Witness {
                            guid,
                            record,
                            replaces,
                        } => Write::Witness(guid, record.to_vec(), replaces),
                        RecordWrite::WitnessRemoved { guid } => Write::WitnessRemoved(guid),
                    };
                    node.writing.push_back((ticket, write));
                    if node.prompt {
                        self.confirm_records(at);
                    }
                }
                Output::Dial {
                    connection,
                    address: to,
                } => {
                    let target = (0..self.nodes.len()).find(|n| address(*n) == to);
                    let target = target.filter(|t| {
                        let blocked = self.blocked.contains(&(at, *t)) || self.blocked.contains(&(*t, at));
                        self.nodes[*t].up && !self.refused && !blocked
                    });
                    match target {
                        None => self.with(at, |e, env| e.dial_failed(env, connection, DialError::Refused)),
                        Some(target) => {
                            match self.with(target, |e, env| e.accept(env, Source(at.try_into().unwrap()))) {
                                Err(_) => {
                                    self.with(at, |e, env| e.dial_failed(env, connection, DialError::Refused))
                                }
                                Ok(theirs) => {
                                    self.pipes.push(Pipe {
                                        ends: [(at, connection), (target, theirs)],
                                        flying: Default::default(),
                                        arrived: Default::default(),
                                        closed: [false; 2],
                                        eof_given: [false; 2],
                                        cut: false,
                                        frozen: false,
                                    });
                                    self.with(at, |e, env| e.connected(env, connection));
                                }
                            }
                        }
                    }
                }
                Output::Transmit { connection, bytes } => {
                    let bytes = bytes.to_vec();
                    self.transmits += 1;
                    self.wire.extend_from_slice(&bytes);
                    let (pipe, end) = self.pipe_of(at, connection).expect("a pipe");
                    if self.cut_after == Some(self.transmits) {
                        self.pipes[pipe].cut = true;
                        self.cut_after = None;
                    }
                    if !self.pipes[pipe].cut {
                        self.pipes[pipe].flying[end].push_back(bytes);
                    }
                }
                Output::Close { connection, .. } => {
                    if let Some((pipe, end)) = self.pipe_of(at, connection) {
                        self.pipes[pipe].closed[end] = true;
                        self.pipes[pipe].eof_given[end] = true;
                    }
                }
            }
            busy = true;
        }
        panic!("a node that never waits");
    }

    /// What a host does at a change of role.
    fn obey(&mut self, at: usize, database: DatabaseId, event: SessionEvent) {
        match event {
            SessionEvent::Fence(_) if self.nodes[at].fences => {
                self.with(at, |e, env| e.fenced(env, database))
            }
            SessionEvent::RoleChanged { role, .. } => {
                self.nodes[at].may_capture = false;
                self.nodes[at].undoing = None;
                let db = self.nodes[at].disk.db(database);
                // What is hardened is decided now; and a mirror's log is durable.
                db.hard = db.blocks.len();
                let end = db.end();
                self.nodes[at]
                    .disk
                    .later
                    .retain(|later| !matches!(later, Later::Hardened(..)));
                if role == crate::session::Role::Principal {
                    self.with(at, |e, env| e.hardened(env, database, end));
                }
            }
            SessionEvent::Rewind { to } => {
                self.nodes[at].undoing = Some(to.sequence);
                if !self.nodes[at].rewinds_late {
                    self.undo_now(at);
                }
            }
            SessionEvent::SeedStarted { .. } => self.nodes[at].undoing = None,
            _ => {}
        }
    }

    /// Undoes what the session has asked for, or says that it cannot.
    pub fn undo_now(&mut self, at: usize) {
        let Some(to) = self.nodes[at].undoing.take() else {
            return;
        };
        let rewinds = self.nodes[at].rewinds;
        let db = self.nodes[at].disk.db(DB);
        let end = if rewinds { db.rewind(to) } else { None };
        match end {
            Some(end) => self.with(at, |e, env| e.rewound(env, DB, end)),
            None => self.with(at, |e, env| e.cannot_rewind(env, DB)),
        }
    }

    fn give_room(&mut self, at: usize) {
        for index in 0..self.pipes.len() {
            for end in 0..2 {
                let (node, connection) = self.pipes[index].ends[end];
                if node == at {
                    let waiting: usize = self.pipes[index].flying[end].iter().map(Vec::len).sum();
                    let room = 65_536_usize.saturating_sub(waiting);
                    self.nodes[at].endpoint.set_room(connection, room);
                }
            }
        }
    }

    pub fn pipe_of(&self, node: usize, connection: ConnectionId) -> Option<(usize, usize)> {
        self.pipes
            .iter()
            .enumerate()
            .flat_map(|(p, pipe)| pipe.ends.iter().enumerate().map(move |(e, end)| (p, e, *end)))
            .find(|(_, _, end)| *end == (node, connection))
            .map(|(p, e, _)| (p, e))
    }

    /// Makes all records durable that were given out.
    pub fn confirm_records(&mut self, at: usize) {
        while let Some((ticket, write)) = self.nodes[at].writing.pop_front() {
            let node = &mut self.nodes[at];
            match write {
                Write::Live(database, record) => {
                    node.records.insert(database, record);
                }
                Write::Ended(database, guid, record) => {
                    node.records.remove(&database);
                    node.disk.tombstones.insert(guid, record);
                }
                Write::Witness(guid, record, replaces) => {
                    if let Some(replaced) = replaces {
                        node.witnessed.remove(&replaced);
                    }
                    node.witnessed.insert(guid, record);
                }
                Write::WitnessRemoved(guid) => {
                    node.witnessed.remove(&guid);
                }
                Write::Removed(database) => {
                    node.records.remove(&database);
                }
            }
            self.with(at, |e, env| e.handle_persisted(env, ticket));
        }
    }

    /// The storage confirms the oldest thing it was given.
    pub fn confirm_one(&mut self, at: usize) -> bool {
        let Some(later) = self.nodes[at].disk.later.pop_front() else {
            return false;
        };
        match later {
            Later::Hardened(db, end) | Later::Adopted(db, end) => {
                let d = self.nodes[at].disk.db(db);
                let upto = d.blocks.iter().position(|b| b.position == end.position);
                d.hard = d.hard.max(upto.map_or(0, |i| i + 1));
                if matches!(later, Later::Hardened(..)) {
                    self.with(at, |e, env| e.hardened(env, db, end));
                } else {
                    self.with(at, |e, env| e.adopted(env, db, end));
                }
            }
            Later::SeedWritten(db, offset) => self.with(at, |e, env| e.seed_written(env, db, offset)),
            Later::SeedInstalled(db, end) => self.with(at, |e, env| e.seed_installed(env, db, end)),
            Later::Failed(db, error) => self.with(at, |e, env| e.storage_failed(env, db, error)),
        }
        true
    }

    /// Moves one sent piece of each direction to the other side, which takes what it can.
    pub fn deliver(&mut self) -> bool {
        let mut busy = false;
        for index in 0..self.pipes.len() {
            for from in 0..2 {
                busy |= self.deliver_one(index, from);
            }
        }
        self.pipes
            .retain(|pipe| !(pipe.eof_given[0] && pipe.eof_given[1]));
        busy
    }

    fn deliver_one(&mut self, index: usize, from: usize) -> bool {
        let to = 1 - from;
        let pipe = &mut self.pipes[index];
        if pipe.frozen || pipe.eof_given[to] {
            return false;
        }
        let (node, connection) = pipe.ends[to];
        if node == RAW {
            return false;
        }
        if pipe.cut {
            pipe.eof_given[to] = true;
            self.with(node, |e, env| e.handle_eof(env, connection, true));
            return true;
        }
        let fresh = pipe.flying[from].pop_front();
        let came = fresh.is_some();
        pipe.arrived[to].extend(fresh.unwrap_or_default());
        if pipe.arrived[to].is_empty() {
            if pipe.closed[from] && pipe.flying[from].is_empty() {
                pipe.eof_given[to] = true;
                self.with(node, |e, env| e.handle_eof(env, connection, false));
                return true;
            }
            return false;
        }
        let mut bytes = core::mem::take(&mut pipe.arrived[to]);
        let consumed = self.with(node, |e, env| e.handle_input(env, connection, &mut bytes));
        bytes.drain(..consumed.bytes);
        self.pipes[index].arrived[to] = bytes;
        if self.pipes[index].closed[from] && consumed.need > 0 && self.pipes[index].flying[from].is_empty() {
            self.pipes[index].arrived[to].clear();
        }
        came || consumed.bytes > 0
    }

    /// Runs until nothing moves without time passing.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            let mut busy = false;
            for at in 0..self.nodes.len() {
                busy |= self.poll(at);
                if self.nodes[at].prompt && self.nodes[at].up {
                    self.confirm_records(at);
                    while self.confirm_one(at) {
                        busy = true;
                    }
                }
            }
            busy |= self.deliver();
            if !busy {
                return;
            }
        }
        panic!("the world never rests");
    }

    /// Lets `span` pass in steps, running at each.
    pub fn pass(&mut self, span: Duration) {
        let until = self.now.after(span);
        self.run();
        while self.now < until {
            self.now = self.now.after(Duration::from_millis(100)).min(until);
            for at in 0..self.nodes.len() {
                if self.nodes[at].up {
                    self.with(at, |e, env| e.handle_timeout(env));
                }
            }
            self.run();
        }
    }

    /// Takes the way between two nodes away, or gives it back.
    pub fn block(&mut self, one: usize, other: usize, blocked: bool) {
        self.blocked.retain(|pair| *pair != (one, other));
        if !blocked {
            return;
        }
        self.blocked.push((one, other));
        for pipe in &mut self.pipes {
            let ends = [pipe.ends[0].0, pipe.ends[1].0];
            pipe.cut |= ends == [one, other] || ends == [other, one];
        }
    }

    /// Cuts every link; both ends learn of it.
    pub fn cut(&mut self) {
        for pipe in &mut self.pipes {
            pipe.cut = true;
        }
    }

    /// The instance dies: volatile state is gone, links break.
    pub fn crash(&mut self, at: usize, keep: usize) {
        self.nodes[at].up = false;
        self.nodes[at].writing.clear();
        self.nodes[at].disk.crash(keep);
        for pipe in &mut self.pipes {
            for end in 0..2 {
                if pipe.ends[end].0 == at {
                    pipe.cut = true;
                    pipe.eof_given[end] = true;
                }
            }
        }
        // Nobody tells a raw end, and the instance gives its ids again.
        self.pipes
            .retain(|pipe| !(pipe.ends[0].0 == RAW && pipe.ends[1].0 == at));
    }

    /// The instance comes back with what its storage holds.
    pub fn restart(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.nodes[at];
        node.boot += 1;
        node.up = true;
        node.endpoint = endpoint(node.id, node.boot, node.name, node.limits);
        let records: Vec<_> = node.records.iter().map(|(d, r)| (*d, r.clone())).collect();
        let mut env = env!(node, now);
        node.endpoint.set_running(&mut env, true);
        let witnessed: Vec<_> = node.witnessed.values().cloned().collect();
        for record in witnessed {
            node.endpoint.restore_witness(&record).unwrap();
        }
        for (database, record) in records {
            let end = node
                .disk
                .dbs
                .get(&database)
                .map_or(LogEnd::START, super::disk::Db::end);
            let mut env = env!(node, now);
            let lost = node.lost;
            node.endpoint
                .restore(&mut env, &record, crate::session::FoundLog { end, lost })
                .unwrap();
            let principal = node
                .endpoint
                .sessions()
                .any(|s| s.role == crate::session::Role::Principal);
            node.may_capture = !principal;
        }
    }
}
