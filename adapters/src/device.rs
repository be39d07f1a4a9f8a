//! The device world: the same endpoint over smoltcp's sockets, without std and without an allocator.
//!
//! The caller lends everything: the sockets with their buffers in a [`SocketSet`], one [`Slot`] with a receive buffer for
//! each, and a buffer for what is sent. It calls [`Driver::poll`] whenever the network device has something, and at the
//! latest at the instant that the last call named.
//!
//! A socket is free, listens, or carries a connection. Some sockets are *for strangers*: those that listen, and those whose
//! peer has not proved who it is. They are never more than the caller says, so that strangers, however many and slow, take
//! nothing from the others, which authenticated peers and dialled connections have for themselves. One stranger's socket
//! always listens: the longest half-open or dying connection makes room for it. Addresses to dial must be numeric.

use core::net::{IpAddr, SocketAddr};

use dbmirror_core::crypto::Provider;
use dbmirror_core::endpoint::{ConnectionId, DialError, Endpoint, Event, Output, Source};
use dbmirror_core::time::{Duration, Instant};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::tcp::{Socket, State};

use crate::address::ServerAddress;
use crate::world::World;

/// How long a connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a closed connection may take to send what is queued.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a stranger may take for the transport's own handshake while nobody else waits.
const HALF_OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// And when every socket for strangers is taken.
const HALF_OPEN_LEAST: Duration = Duration::from_millis(300);
/// Where the local ports of dialled connections begin (RFC 6335).
const FIRST_PORT: u16 = 49_152;

/// One socket's place in the driver.
pub struct Slot<'a> {
    handle: SocketHandle,
    stage: Stage,
    receive: &'a mut [u8],
    filled: usize,
    /// A listening socket is half open since then.
    half_open: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Carries nothing; may listen.
    Free,
    Connecting {
        id: ConnectionId,
        deadline: Instant,
    },
    Open {
        id: ConnectionId,
        ended: bool,
        /// It came from outside and has not proved anything yet.
        stranger: bool,
    },
    Draining {
        deadline: Instant,
        stranger: bool,
    },
}

impl<'a> Slot<'a> {
    /// The place of the TCP socket `handle`, with room for what was received and not yet used; a record of the channel must
    /// fit into it.
    pub fn new(handle: SocketHandle, receive: &'a mut [u8]) -> Self {
        Self {
            handle,
            stage: Stage::Free,
            receive,
            filled: 0,
            half_open: None,
        }
    }

    /// Whether the socket is one of those for strangers now.
    fn is_strangers(&self, sockets: &SocketSet<'_>) -> bool {
        match self.stage {
            Stage::Free => sockets.get::<Socket>(self.handle).state() != State::Closed,
            Stage::Open { stranger, .. } | Stage::Draining { stranger, .. } => stranger,
            Stage::Connecting { .. } => false,
        }
    }

    fn id(&self) -> Option<ConnectionId> {
        match self.stage {
            Stage::Connecting { id, .. } | Stage::Open { id, .. } => Some(id),
            Stage::Free | Stage::Draining { .. } => None,
        }
    }
}

/// The network as the caller holds it.
pub struct Network<'n, 's, D: Device> {
    /// The interface.
    pub interface: &'n mut Interface,
    /// The device under it.
    pub device: &'n mut D,
    /// The sockets that the slots name, and others.
    pub sockets: &'n mut SocketSet<'s>,
}

/// The sockets of one endpoint.
pub struct Driver<'a> {
    slots: &'a mut [Slot<'a>],
    scratch: &'a mut [u8],
    listen: Option<u16>,
    /// Most sockets for strangers at a time.
    strangers: usize,
    next_port: u16,
    deadline: Option<Instant>,
}

impl<'a> Driver<'a> {
    /// A driver over `slots`, of which at most `strangers` listen or carry a connection whose peer has not proved anything yet.
    /// One more than the endpoint's [`Limits::unauthenticated`](dbmirror_core::endpoint::Limits) keeps one listening always. `scratch`
    /// takes what is sent, one record at a time.
    pub fn new(slots: &'a mut [Slot<'a>], scratch: &'a mut [u8], strangers: usize) -> Self {
        Self {
            slots,
            scratch,
            listen: None,
            strangers,
            next_port: FIRST_PORT,
            deadline: None,
        }
    }

    /// From the next poll on, free sockets listen on `port`; `None` to stop.
    pub fn listen(&mut self, port: Option<u16>) {
        self.listen = port;
    }

    /// Moves everything on that can be, and returns when to be called again at the latest.
    #[inline(never)]
    pub fn poll<P: Provider, W: World<P>, D: Device>(
        &mut self,
        now: Instant,
        network: &mut Network<'_, '_, D>,
        endpoint: &mut Endpoint<'_, P>,
        world: &mut W,
    ) -> Option<Instant> {
        let timestamp =
            smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
        network.interface.poll(timestamp, network.device, network.sockets);
        for index in 0..self.slots.len() {
            self.serve(now, index, network, endpoint, world);
        }
        self.keep_listening(now, network.sockets, endpoint);
        if self.deadline.is_some_and(|at| at <= now) {
            endpoint.handle_timeout(&mut world.env(now));
        }
        self.drain(now, network, endpoint, world);
        network.interface.poll(timestamp, network.device, network.sockets);
        let stack = network
            .interface
            .poll_at(timestamp, network.sockets)
            .map(|at| Instant::from_micros(u64::try_from(at.total_micros()).unwrap_or(0)));
        let slots = self.slots.iter().filter_map(|s| match s.stage {
            Stage::Connecting { deadline, .. } | Stage::Draining { deadline, .. } => Some(deadline),
            Stage::Free => s
                .half_open
                .map(|since| since.after(HALF_OPEN_LEAST).max(now.after(HALF_OPEN_LEAST))),
            Stage::Open { .. } => None,
        });
        slots.chain(stack).chain(self.deadline).min()
    }

    /// Does what the endpoint asks until it waits. Call it after every command that the endpoint was given outside of
    /// [`Driver::poll`].
    pub fn drain<P: Provider, W: World<P>, D: Device>(
        &mut self,
        now: Instant,
        network: &mut Network<'_, '_, D>,
        endpoint: &mut Endpoint<'_, P>,
        world: &mut W,
    ) {
        for slot in self.slots.iter() {
            if let Stage::Open { id, .. } = slot.stage {
                endpoint.set_room(id, room(network.sockets.get::<Socket>(slot.handle)));
            }
        }
        loop {
            match endpoint.poll_output(&mut world.env(now), self.scratch) {
                Output::Transmit { connection, bytes } => {
                    if let Some(slot) = self.slots.iter().find(|s| s.id() == Some(connection)) {
                        // It fits: no more than the room that was told is ever given out.
                        let _ = network.sockets.get_mut::<Socket>(slot.handle).send_slice(bytes);
                    }
                }
                Output::Dial { connection, address } => {
                    if let Err(e) = self.dial(now, connection, address.as_str(), network) {
                        endpoint.dial_failed(&mut world.env(now), connection, e);
                    }
                }
                Output::Close { connection, .. } => self.close(now, connection, network.sockets),
                Output::Persist { ticket, write } => world.persist(ticket, write),
                Output::Event(event) => {
                    let peer = match &event {
                        Event::Connection { connection, .. }
                        | Event::Refused { connection, .. }
                        | Event::Pairing { connection, .. } => self.peer(*connection, network.sockets),
                        _ => None,
                    };
                    world.event(endpoint, event, peer);
                }
                // The caller lent less than one record needs: nothing more can be sent, and nothing is lost.
                Output::NeedBuffer(_) => return,
                Output::Wait(until) => {
                    self.deadline = until;
                    return;
                }
            }
        }
    }

    fn peer(&self, id: ConnectionId, sockets: &SocketSet<'_>) -> Option<SocketAddr> {
        let slot = self.slots.iter().find(|s| s.id() == Some(id))?;
        let remote = sockets.get::<Socket>(slot.handle).remote_endpoint()?;
        Some(SocketAddr::new(remote.addr.into(), remote.port))
    }

    #[inline(never)]
    fn serve<P: Provider, W: World<P>, D: Device>(
        &mut self,
        now: Instant,
        index: usize,
        network: &mut Network<'_, '_, D>,
        endpoint: &mut Endpoint<'_, P>,
        world: &mut W,
    ) {
        let listen = self.listen;
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let socket = network.sockets.get_mut::<Socket>(slot.handle);
        match slot.stage {
            Stage::Free => match (socket.state(), listen) {
                (State::Listen, None) => socket.abort(),
                (State::Listen | State::Closed, _) => slot.half_open = None,
                (State::SynReceived, _) => {
                    let since = *slot.half_open.get_or_insert(now);
                    if since.after(HALF_OPEN_TIMEOUT) <= now {
                        socket.abort();
                        slot.half_open = None;
                    }
                }
                _ => {
                    slot.half_open = None;
                    let source = socket
                        .remote_endpoint()
                        .map_or_else(Source::default, |peer| Source::of(peer.addr.into()));
                    match endpoint.accept(&mut world.env(now), source) {
                        Ok(id) => {
                            slot.stage = Stage::Open {
                                id,
                                ended: false,
                                stranger: true,
                            };
                        }
                        // A full endpoint answers by closing.
                        Err(_) => socket.abort(),
                    }
                    slot.filled = 0;
                    self.drain(now, network, endpoint, world);
                }
            },
            Stage::Connecting { id, deadline } => {
                let failed = match socket.state() {
                    State::Established | State::CloseWait => None,
                    State::Closed | State::TimeWait => Some(DialError::Refused),
                    _ if deadline <= now => Some(DialError::TimedOut),
                    _ => return,
                };
                match failed {
                    None => {
                        slot.stage = Stage::Open {
                            id,
                            ended: false,
                            stranger: false,
                        };
                        endpoint.connected(&mut world.env(now), id);
                    }
                    Some(e) => {
                        socket.abort();
                        slot.stage = Stage::Free;
                        endpoint.dial_failed(&mut world.env(now), id, e);
                    }
                }
                self.drain(now, network, endpoint, world);
            }
            Stage::Open { .. } => self.read(now, index, network, endpoint, world),
            Stage::Draining { deadline, .. } => {
                // What still comes is thrown away: closing over it would reset the connection, and our last alert with it.
                let _ = socket.recv(|bytes| (bytes.len(), ()));
                if socket.state() == State::Closed || socket.state() == State::TimeWait || deadline <= now {
                    socket.abort();
                    slot.stage = Stage::Free;
                }
            }
        }
    }

    fn read<P: Provider, W: World<P>, D: Device>(
        &mut self,
        now: Instant,
        index: usize,
        network: &mut Network<'_, '_, D>,
        endpoint: &mut Endpoint<'_, P>,
        world: &mut W,
    ) {
        loop {
            let Some(slot) = self.slots.get_mut(index) else {
                return;
            };
            let Stage::Open { id, ended, stranger } = slot.stage else {
                return;
            };
            let socket = network.sockets.get_mut::<Socket>(slot.handle);
            let mut moved = false;
            // The endpoint takes no more before it has sent something. An end is told when all before it was taken.
            let mut waits = false;
            if socket.can_recv()
                && let Some(free) = slot.receive.get_mut(slot.filled..)
                && !free.is_empty()
                && let Ok(n) = socket.recv_slice(free)
            {
                slot.filled = slot.filled.saturating_add(n);
                moved = n > 0;
            }
            if slot.filled > 0
                && let Some(input) = slot.receive.get_mut(..slot.filled)
            {
                let taken = endpoint.handle_input(&mut world.env(now), id, input);
                let consumed = taken.bytes.min(slot.filled);
                waits = consumed == 0 && taken.need == 0;
                slot.receive.copy_within(consumed..slot.filled, 0);
                slot.filled = slot.filled.saturating_sub(consumed);
                moved |= consumed > 0;
            }
            if !moved {
                if socket.state() == State::Closed {
                    // Reset by the peer.
                    slot.stage = Stage::Free;
                    endpoint.handle_eof(&mut world.env(now), id, true);
                } else if !socket.may_recv() && !ended && !waits {
                    slot.stage = Stage::Open {
                        id,
                        ended: true,
                        stranger,
                    };
                    endpoint.handle_eof(&mut world.env(now), id, false);
                } else if slot.filled == slot.receive.len() && !ended && !waits {
                    // A record that is longer than the longest we said we take: nothing more can come of this connection.
                    socket.abort();
                    slot.stage = Stage::Free;
                    endpoint.handle_eof(&mut world.env(now), id, true);
                } else {
                    return;
                }
            }
            self.drain(now, network, endpoint, world);
        }
    }

    /// Lets sockets listen while strangers have not taken all that are theirs, and makes room when they have.
    #[inline(never)]
    fn keep_listening<P: Provider>(
        &mut self,
        now: Instant,
        sockets: &mut SocketSet<'_>,
        endpoint: &Endpoint<'_, P>,
    ) {
        let Some(port) = self.listen else {
            return;
        };
        for slot in self.slots.iter_mut() {
            if let Stage::Open { id, stranger, .. } = &mut slot.stage
                && *stranger
                && endpoint.connection(*id).is_some_and(|view| view.login.is_some())
            {
                *stranger = false;
            }
        }
        let listens = |s: &Slot<'_>, sockets: &SocketSet<'_>| {
            s.stage == Stage::Free && sockets.get::<Socket>(s.handle).state() == State::Listen
        };
        let mut taken = self.slots.iter().filter(|s| s.is_strangers(sockets)).count();
        if taken >= self.strangers && !self.slots.iter().any(|s| listens(s, sockets)) {
            // The dying one first, then the one that was half open for the longest time.
            let age = |s: &Slot<'_>| match s.stage {
                Stage::Draining {
                    deadline,
                    stranger: true,
                } => Some((0, deadline)),
                Stage::Free => s
                    .half_open
                    .filter(|since| since.after(HALF_OPEN_LEAST) <= now)
                    .map(|since| (1, since)),
                _ => None,
            };
            let victim = self
                .slots
                .iter_mut()
                .filter_map(|s| Some((age(s)?, s)))
                .min_by_key(|(age, _)| *age);
            if let Some((_, slot)) = victim {
                sockets.get_mut::<Socket>(slot.handle).abort();
                slot.stage = Stage::Free;
                slot.half_open = None;
                taken = taken.saturating_sub(1);
            }
        }
        for slot in self.slots.iter_mut() {
            let socket = sockets.get_mut::<Socket>(slot.handle);
            if taken < self.strangers && slot.stage == Stage::Free && socket.state() == State::Closed {
                let _ = socket.listen(port);
                taken = taken.saturating_add(1);
            }
        }
    }

    fn dial<D: Device>(
        &mut self,
        now: Instant,
        id: ConnectionId,
        address: &str,
        network: &mut Network<'_, '_, D>,
    ) -> Result<(), DialError> {
        let to = ServerAddress::parse(address)?
            .numeric()
            .ok_or(DialError::NoName)?;
        let remote: smoltcp::wire::IpAddress = match to.ip() {
            IpAddr::V4(ip) => ip.into(),
            #[expect(clippy::allow_attributes, reason = "depends on the features of smoltcp")]
            #[allow(unreachable_patterns, reason = "IPv6 is a feature of smoltcp that is off")]
            _ => return Err(DialError::Unreachable),
        };
        let strangers = self
            .slots
            .iter()
            .filter(|s| s.is_strangers(network.sockets))
            .count();
        // Strangers that are not there yet keep their sockets.
        let kept = self.strangers.saturating_sub(strangers);
        let closed = |s: &&mut Slot<'_>| {
            s.stage == Stage::Free && network.sockets.get::<Socket>(s.handle).state() == State::Closed
        };
        let free = self.slots.iter_mut().filter(closed).count();
        let slot = self.slots.iter_mut().find(closed).filter(|_| free > kept);
        let slot = slot.ok_or(DialError::Other)?;
        let socket = network.sockets.get_mut::<Socket>(slot.handle);
        let port = self.next_port;
        self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
        socket
            .connect(network.interface.context(), (remote, to.port()), port)
            .map_err(|_| DialError::Unreachable)?;
        slot.stage = Stage::Connecting {
            id,
            deadline: now.after(CONNECT_TIMEOUT),
        };
        slot.filled = 0;
        Ok(())
    }

    /// Core is done with a connection: what is queued is still sent.
    fn close(&mut self, now: Instant, id: ConnectionId, sockets: &mut SocketSet<'_>) {
        let Some(slot) = self.slots.iter_mut().find(|s| s.id() == Some(id)) else {
            return;
        };
        let socket = sockets.get_mut::<Socket>(slot.handle);
        slot.stage = if matches!(slot.stage, Stage::Connecting { .. }) {
            socket.abort();
            Stage::Free
        } else {
            socket.close();
            Stage::Draining {
                deadline: now.after(DRAIN_TIMEOUT),
                stranger: matches!(slot.stage, Stage::Open { stranger: true, .. }),
            }
        };
    }
}

fn room(socket: &Socket<'_>) -> usize {
    if socket.may_send() {
        socket.send_capacity().saturating_sub(socket.send_queue())
    } else {
        0
    }
}
