//! The std world: one loop over non-blocking sockets that drives core's [`Endpoint`].
//!
//! The caller's thread calls [`Driver::turn`] again and again. Each turn waits for sockets, timers or [`Driver::waker`],
//! hands what came to the endpoint, and does what the endpoint asks: sends, dials, closes. What only the instance can do
//! (records, events, logs of databases) goes to the caller's [`World`]. Other threads talk to the caller's thread by
//! channels of its own and wake it.
//!
//! Nothing that a peer does ends the loop: resets, half-open connections and garbage end one connection.

mod connection;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::string::String;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration as Span, Instant as Clock};
use std::vec;
use std::vec::Vec;

use connection::{Connection, Stage};

use crate::address::ServerAddress;
use crate::world::World;
use dbmirror_core::crypto::Provider;
use dbmirror_core::endpoint::{ConnectionId, DialError, Endpoint, Event, Output, Source};
use dbmirror_core::time::Instant;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

const WAKE: Token = Token(0);
/// How long a connect may take.
const CONNECT_TIMEOUT: Span = Span::from_secs(5);
/// How long a closed connection may take to send what is queued.
const DRAIN_TIMEOUT: Span = Span::from_secs(2);
/// Closed connections that may be draining at one time: one more ends the oldest of them. Each holds a descriptor and
/// buffers, and strangers decide how many there are.
const DRAINING_MAX: usize = 128;
/// Bytes that one connection may bring before the others have their turn.
const READ_BUDGET: usize = 1024 * 1024;

/// The sockets of one endpoint.
pub struct Driver {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    listeners: HashMap<Token, TcpListener>,
    connections: HashMap<Token, Connection>,
    by_id: HashMap<ConnectionId, Token>,
    next_token: usize,
    /// Listeners that may have more to accept.
    acceptable: Vec<Token>,
    resolved: (Sender<Resolved>, Receiver<Resolved>),
    /// Dials that wait for the resolver.
    resolving: Vec<ConnectionId>,
    /// When the endpoint wants to be called.
    deadline: Option<Instant>,
    scratch: Vec<u8>,
    start: Clock,
}

/// What the resolver found for a dial.
struct Resolved {
    id: ConnectionId,
    found: Result<SocketAddr, DialError>,
}

impl Driver {
    /// A driver without sockets.
    ///
    /// # Errors
    /// What the operating system says when it gives no poll.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        Ok(Self {
            poll,
            events: Events::with_capacity(256),
            waker,
            listeners: HashMap::new(),
            connections: HashMap::new(),
            by_id: HashMap::new(),
            next_token: 1,
            acceptable: Vec::new(),
            resolved: channel(),
            resolving: Vec::new(),
            deadline: None,
            scratch: vec![0; 64 * 1024],
            start: Clock::now(),
        })
    }

    /// Ends the wait of [`Driver::turn`] from any thread.
    #[must_use]
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// The present on the driver's clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        let micros = self.start.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Listens on `address` and returns the address with its port.
    ///
    /// # Errors
    /// What the operating system says; `AddrInUse` when the port is taken.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let mut listener = TcpListener::bind(address)?;
        let bound = listener.local_addr()?;
        let token = self.token();
        self.poll
            .registry()
            .register(&mut listener, token, Interest::READABLE)?;
        self.listeners.insert(token, listener);
        Ok(bound)
    }

    /// Closes all listeners. Connections stay.
    pub fn stop_listening(&mut self) {
        for (_, mut listener) in self.listeners.drain() {
            let _ = self.poll.registry().deregister(&mut listener);
        }
        self.acceptable.clear();
    }

    /// The other end's address of a connection.
    #[must_use]
    pub fn peer(&self, id: ConnectionId) -> Option<SocketAddr> {
        self.by_id
            .get(&id)
            .and_then(|token| self.connections.get(token))
            .map(|c| c.peer)
    }

    /// Whether a connection waits for the network to send.
    #[must_use]
    pub fn is_send_blocked(&self, id: ConnectionId) -> bool {
        self.by_id
            .get(&id)
            .and_then(|t| self.connections.get(t))
            .is_some_and(|c| c.room() == 0)
    }

    /// How many sockets are open, those that are being closed included.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.connections.len()
    }

    /// Waits, at most for `at_most`, until there is something to do, and does it.
    ///
    /// # Errors
    /// Only what the poll itself says; nothing of a connection or listener.
    pub fn turn<P: Provider, W: World<P>>(
        &mut self,
        endpoint: &mut Endpoint<'_, P>,
        world: &mut W,
        at_most: Option<Span>,
    ) -> io::Result<()> {
        let timeout = self.timeout(at_most);
        match self.poll.poll(&mut self.events, timeout) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        self.note_readiness();
        self.accept(endpoint, world);
        self.finish_resolving(endpoint, world);
        let tokens: Vec<Token> = self.connections.keys().copied().collect();
        for token in tokens {
            self.serve(endpoint, world, token);
        }
        if self.deadline.is_some_and(|at| at <= self.now()) {
            let now = self.now();
            endpoint.handle_timeout(&mut world.env(now));
        }
        self.drain(endpoint, world);
        Ok(())
    }

    /// Does what the endpoint asks until it waits. Call it after every command that the endpoint was given outside of
    /// [`Driver::turn`].
    pub fn drain<P: Provider, W: World<P>>(&mut self, endpoint: &mut Endpoint<'_, P>, world: &mut W) {
        loop {
            self.poll_endpoint(endpoint, world);
            // What the sockets take makes room, and room lets the endpoint go on.
            if !self.flush_all(endpoint) {
                return;
            }
        }
    }

    fn poll_endpoint<P: Provider, W: World<P>>(&mut self, endpoint: &mut Endpoint<'_, P>, world: &mut W) {
        loop {
            let now = self.now();
            let mut grow = None;
            let output = endpoint.poll_output(&mut world.env(now), &mut self.scratch);
            match output {
                Output::Transmit { connection, bytes } => {
                    if let Some(c) = self
                        .by_id
                        .get(&connection)
                        .and_then(|t| self.connections.get_mut(t))
                    {
                        c.queue(bytes);
                    }
                }
                Output::Dial { connection, address } => {
                    if let Err(e) = self.dial(connection, address.as_str()) {
                        endpoint.dial_failed(&mut world.env(now), connection, e);
                    }
                }
                Output::Close { connection, .. } => self.close(connection),
                Output::Persist { ticket, write } => world.persist(ticket, write),
                Output::Event(event) => {
                    let peer = match &event {
                        Event::Connection { connection, .. }
                        | Event::Refused { connection, .. }
                        | Event::Pairing { connection, .. } => self.peer(*connection),
                        _ => None,
                    };
                    world.event(endpoint, event, peer);
                }
                Output::NeedBuffer(bytes) => grow = Some(bytes),
                Output::Wait(until) => {
                    self.deadline = until;
                    return;
                }
            }
            if let Some(bytes) = grow {
                self.scratch.resize(bytes.max(self.scratch.len()), 0);
            }
        }
    }

    /// Writes what is queued; true when the endpoint was told of new room.
    fn flush_all<P: Provider>(&mut self, endpoint: &mut Endpoint<'_, P>) -> bool {
        let mut told = false;
        for c in self.connections.values_mut() {
            if c.stage != Stage::Open || !c.has_queued() {
                continue;
            }
            match c.flush() {
                Ok(false) => continue,
                Ok(true) => {}
                Err(_) => c.cannot_send(),
            }
            endpoint.set_room(c.id, c.room());
            told = true;
        }
        told
    }

    fn timeout(&self, at_most: Option<Span>) -> Option<Span> {
        let busy = !self.acceptable.is_empty()
            || self.connections.values().any(|c| {
                let wanted = match c.stage {
                    Stage::Open => c.has_room(),
                    Stage::Draining { .. } => true,
                    _ => false,
                };
                c.readable && !c.ended && wanted
            });
        if busy {
            return Some(Span::ZERO);
        }
        let now = Clock::now();
        let sockets = self.connections.values().filter_map(|c| match c.stage {
            Stage::Connecting { deadline } | Stage::Draining { deadline } => {
                Some(deadline.saturating_duration_since(now))
            }
            Stage::Open | Stage::Broken => None,
        });
        let core = self
            .deadline
            .map(|at| Span::from_micros(at.since(self.now()).as_micros()));
        sockets.chain(core).chain(at_most).min()
    }

    fn note_readiness(&mut self) {
        for event in &self.events {
            let token = event.token();
            if self.listeners.contains_key(&token) {
                if !self.acceptable.contains(&token) {
                    self.acceptable.push(token);
                }
            } else if let Some(c) = self.connections.get_mut(&token) {
                c.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                c.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
            }
        }
    }

    fn accept<P: Provider, W: World<P>>(&mut self, endpoint: &mut Endpoint<'_, P>, world: &mut W) {
        // A few per listener and turn, so that a flood of connects does not starve the connections.
        for token in core::mem::take(&mut self.acceptable) {
            for n in 0.. {
                if n == 32 {
                    self.acceptable.push(token);
                    break;
                }
                let Some(listener) = self.listeners.get(&token) else {
                    break;
                };
                match listener.accept() {
                    Ok((socket, peer)) => {
                        let now = self.now();
                        // A full endpoint answers by closing.
                        if let Ok(id) = endpoint.accept(&mut world.env(now), Source::of(peer.ip())) {
                            if self.add(id, socket, peer, Stage::Open) {
                                endpoint.set_room(id, connection::SEND);
                            } else {
                                endpoint.handle_eof(&mut world.env(now), id, true);
                            }
                        }
                        self.poll_endpoint(endpoint, world);
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    // The connection went away before it was accepted.
                    Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                    // Out of descriptors or memory: the others go on, and it is tried again when the next one comes.
                    Err(_) => break,
                }
            }
        }
    }

    fn dial(&mut self, id: ConnectionId, address: &str) -> Result<(), DialError> {
        if let Some(numeric) = ServerAddress::parse(address)?.numeric() {
            return self.connect(id, numeric);
        }
        let (sender, waker, address) = (self.resolved.0.clone(), self.waker(), String::from(address));
        let spawned = std::thread::Builder::new().name("resolve".into()).spawn(move || {
            let found = ServerAddress::parse(&address).and_then(|a| a.resolve());
            let _ = sender.send(Resolved { id, found });
            let _ = waker.wake();
        });
        spawned.map_err(|_| DialError::Other)?;
        self.resolving.push(id);
        Ok(())
    }

    fn connect(&mut self, id: ConnectionId, address: SocketAddr) -> Result<(), DialError> {
        let socket = TcpStream::connect(address).map_err(|e| dial_error(&e))?;
        let deadline = Clock::now() + CONNECT_TIMEOUT;
        if self.add(id, socket, address, Stage::Connecting { deadline }) {
            Ok(())
        } else {
            Err(DialError::Other)
        }
    }

    fn finish_resolving<P: Provider, W: World<P>>(&mut self, endpoint: &mut Endpoint<'_, P>, world: &mut W) {
        while let Ok(Resolved { id, found }) = self.resolved.1.try_recv() {
            let Some(at) = self.resolving.iter().position(|r| *r == id) else {
                continue;
            };
            self.resolving.swap_remove(at);
            if let Err(e) = found.and_then(|address| self.connect(id, address)) {
                let now = self.now();
                endpoint.dial_failed(&mut world.env(now), id, e);
                self.poll_endpoint(endpoint, world);
            }
        }
    }

    /// Moves one connection on as far as its socket and the budget let it.
    fn serve<P: Provider, W: World<P>>(
        &mut self,
        endpoint: &mut Endpoint<'_, P>,
        world: &mut W,
        token: Token,
    ) {
        let now = self.now();
        let Some(c) = self.connections.get_mut(&token) else {
            return;
        };
        match c.stage {
            Stage::Draining { deadline } => {
                if c.drain() || deadline <= Clock::now() {
                    self.remove(token);
                }
            }
            Stage::Connecting { deadline } => {
                let id = c.id;
                let failed = if c.writable || c.readable {
                    match c.socket.take_error() {
                        Ok(Some(e)) | Err(e) => Some(dial_error(&e)),
                        Ok(None) => match c.socket.peer_addr() {
                            Ok(_) => {
                                c.stage = Stage::Open;
                                None
                            }
                            Err(e) if e.kind() == io::ErrorKind::NotConnected => return,
                            Err(e) => Some(dial_error(&e)),
                        },
                    }
                } else if deadline <= Clock::now() {
                    Some(DialError::TimedOut)
                } else {
                    return;
                };
                match failed {
                    None => {
                        endpoint.connected(&mut world.env(now), id);
                        endpoint.set_room(id, connection::SEND);
                    }
                    Some(e) => {
                        c.stage = Stage::Broken;
                        endpoint.dial_failed(&mut world.env(now), id, e);
                    }
                }
                self.drain(endpoint, world);
            }
            Stage::Open => self.read(endpoint, world, token),
            Stage::Broken => {}
        }
    }

    fn read<P: Provider, W: World<P>>(
        &mut self,
        endpoint: &mut Endpoint<'_, P>,
        world: &mut W,
        token: Token,
    ) {
        let mut budget = READ_BUDGET;
        let mut waits = false;
        loop {
            let now = self.now();
            let Some(c) = self.open(token) else {
                return;
            };
            let id = c.id;
            if c.input().is_empty() {
                waits = false;
            } else {
                if c.is_deaf() {
                    // What it says before it hears more is thrown away.
                    endpoint.set_room(id, c.room());
                }
                let consumed = endpoint.handle_input(&mut world.env(now), id, c.input());
                c.consume(consumed.bytes);
                self.drain(endpoint, world);
                // It takes no more before it has sent something, which it may have done just now.
                let waited = std::mem::replace(&mut waits, consumed.bytes == 0 && consumed.need == 0);
                if consumed.bytes > 0 || (waits && !waited) {
                    continue;
                }
            }
            let Some(c) = self.open(token) else {
                return;
            };
            if c.ended {
                // An end is told when all that came before it was taken.
                if !waits {
                    let broken = c.is_deaf();
                    endpoint.handle_eof(&mut world.env(now), id, broken);
                    self.drain(endpoint, world);
                }
                return;
            }
            if !c.readable || budget == 0 {
                return;
            }
            match c.fill() {
                Ok(Some(0)) => c.ended = true,
                Ok(Some(n)) => budget = budget.saturating_sub(n),
                // Nothing can be sent, and nothing comes.
                Ok(None) if c.is_deaf() && !c.readable => c.ended = true,
                Ok(None) => return,
                Err(_) => {
                    c.ended = true;
                    c.cannot_send();
                    endpoint.set_room(id, c.room());
                }
            }
        }
    }

    /// A connection that is open in both directions.
    fn open(&mut self, token: Token) -> Option<&mut Connection> {
        self.connections
            .get_mut(&token)
            .filter(|c| c.stage == Stage::Open)
    }

    /// Core is done with a connection.
    fn close(&mut self, id: ConnectionId) {
        self.resolving.retain(|r| *r != id);
        let Some(token) = self.by_id.remove(&id) else {
            return;
        };
        let Some(c) = self.connections.get_mut(&token) else {
            return;
        };
        let connecting = matches!(c.stage, Stage::Connecting { .. } | Stage::Broken);
        c.stage = Stage::Draining {
            deadline: Clock::now() + DRAIN_TIMEOUT,
        };
        if connecting || c.drain() {
            self.remove(token);
        } else {
            self.end_oldest_draining();
        }
    }

    /// Keeps the number of draining connections at its bound.
    fn end_oldest_draining(&mut self) {
        let draining = self.connections.iter().filter_map(|(token, c)| match c.stage {
            Stage::Draining { deadline } => Some((deadline, token.0)),
            _ => None,
        });
        if draining.clone().count() > DRAINING_MAX
            && let Some((_, oldest)) = draining.min()
        {
            self.remove(Token(oldest));
        }
    }

    fn add(&mut self, id: ConnectionId, mut socket: TcpStream, peer: SocketAddr, stage: Stage) -> bool {
        let token = self.token();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self
            .poll
            .registry()
            .register(&mut socket, token, interest)
            .is_err()
        {
            return false;
        }
        self.connections
            .insert(token, Connection::new(id, socket, peer, stage));
        self.by_id.insert(id, token);
        true
    }

    fn remove(&mut self, token: Token) -> Option<Connection> {
        let mut c = self.connections.remove(&token)?;
        let _ = self.poll.registry().deregister(&mut c.socket);
        if self.by_id.get(&c.id) == Some(&token) {
            self.by_id.remove(&c.id);
        }
        Some(c)
    }

    fn token(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }
}

fn dial_error(e: &io::Error) -> DialError {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused,
        io::ErrorKind::TimedOut => DialError::TimedOut,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkDown => {
            DialError::Unreachable
        }
        _ => DialError::Other,
    }
}
