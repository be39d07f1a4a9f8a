//! The device world: the same endpoint over smoltcp's sockets, without std and without an allocator.
//!
//! The caller lends everything: the sockets with their buffers in a [`SocketSet`], one [`Slot`] with a receive buffer for
//! each, and a buffer for what is sent. It calls [`Driver::poll`] whenever the network device has something, and at the
//! latest at the instant that the last call named.
//!
//! A socket either listens, or carries a connection; when that ends it listens again. Addresses to dial must be numeric.

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
/// Where the local ports of dialled connections begin (RFC 6335).
const FIRST_PORT: u16 = 49_152;

/// One socket's place in the driver.
pub struct Slot<'a> {
    handle: SocketHandle,
    stage: Stage,
    receive: &'a mut [u8],
    filled: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not in use: listens when the driver does.
    Free,
    Connecting {
        id: ConnectionId,
        deadline: Instant,
    },
    Open {
        id: ConnectionId,
        ended: bool,
    },
    Draining {
        deadline: Instant,
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
    /// Sockets that are kept for being dialled to.
    listeners: usize,
    next_port: u16,
    deadline: Option<Instant>,
}

impl<'a> Driver<'a> {
    /// A driver over `slots`, of which at least `listeners` are kept for connections that come from outside. `scratch` takes
    /// what is sent, one record at a time.
    pub fn new(slots: &'a mut [Slot<'a>], scratch: &'a mut [u8], listeners: usize) -> Self {
        Self {
            slots,
            scratch,
            listen: None,
            listeners,
            next_port: FIRST_PORT,
            deadline: None,
        }
    }

    /// From the next poll on, free sockets listen on `port`; `None` to stop.
    pub fn listen(&mut self, port: Option<u16>) {
        self.listen = port;
    }

    /// Moves everything on that can be, and returns when to be called again at the latest.
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
            Stage::Connecting { deadline, .. } | Stage::Draining { deadline } => Some(deadline),
            Stage::Free | Stage::Open { .. } => None,
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
                (State::Closed, Some(port)) => {
                    let _ = socket.listen(port);
                }
                (State::Listen, None) => socket.abort(),
                (State::Listen | State::Closed | State::SynReceived, _) => {}
                _ => {
                    let source = socket
                        .remote_endpoint()
                        .map_or_else(Source::default, |peer| Source::of(peer.addr.into()));
                    match endpoint.accept(&mut world.env(now), source) {
                        Ok(id) => slot.stage = Stage::Open { id, ended: false },
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
                        slot.stage = Stage::Open { id, ended: false };
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
            Stage::Draining { deadline } => {
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
            let Stage::Open { id, ended } = slot.stage else {
                return;
            };
            let socket = network.sockets.get_mut::<Socket>(slot.handle);
            let mut moved = false;
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
                let consumed = endpoint
                    .handle_input(&mut world.env(now), id, input)
                    .bytes
                    .min(slot.filled);
                slot.receive.copy_within(consumed..slot.filled, 0);
                slot.filled = slot.filled.saturating_sub(consumed);
                moved |= consumed > 0;
            }
            if !moved {
                if socket.state() == State::Closed {
                    // Reset by the peer.
                    slot.stage = Stage::Free;
                    endpoint.handle_eof(&mut world.env(now), id, true);
                } else if !socket.may_recv() && !ended {
                    slot.stage = Stage::Open { id, ended: true };
                    endpoint.handle_eof(&mut world.env(now), id, false);
                } else {
                    return;
                }
            }
            self.drain(now, network, endpoint, world);
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
        let free = self.slots.iter().filter(|s| s.stage == Stage::Free).count();
        let slot = self
            .slots
            .iter_mut()
            .find(|s| s.stage == Stage::Free && free > self.listeners);
        let slot = slot.ok_or(DialError::Other)?;
        let socket = network.sockets.get_mut::<Socket>(slot.handle);
        if socket.state() != State::Closed {
            socket.abort();
        }
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
