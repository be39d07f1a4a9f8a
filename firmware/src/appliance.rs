//! The loop: what the device does, over and over, with nothing but what it is lent.

use dbmirror_adapters::device::{Driver, Network, Slot};
use dbmirror_adapters::nvm::floor::MovingFloor;
use dbmirror_adapters::nvm::seed::SeededEntropy;
use dbmirror_adapters::nvm::settings::{
    Connect, Floor, Header, NetworkSettings, PEERS_MAX, Peer, SettingsError,
};
use dbmirror_adapters::nvm::{DeviceKey, NvmError, Store};
use dbmirror_adapters::world::World as _;
use dbmirror_core::channel::ServerOptions;
use dbmirror_core::endpoint::{Config, ConnectionSlot, ConnectionState, Endpoint, Limits, Role};
use dbmirror_core::entropy::Entropy as _;
use dbmirror_core::session::NoDatabases;
use dbmirror_core::time::{Duration, Instant};
use dbmirror_core::witness::WitnessSlot;
use embedded_storage_async::nor_flash::NorFlash;
use heapless::Deque;
use smoltcp::iface::{Config as InterfaceConfig, Interface, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address, Ipv4Cidr};

use crate::directory::{DirectoryError, Kept, Settings};
use crate::memory::{self, CONNECTIONS, LOGINS, Memory, OF_A_PEER, SESSIONS, STRANGERS};
use crate::note::{Log, Note};
use crate::world::{Device, Tally};
use crate::{Crypto, Sha256};

const _: () = assert!(CONNECTIONS > LOGINS * OF_A_PEER + STRANGERS);
const _: () = assert!(memory::RECORD_LIMIT as usize > dbmirror_core::message::codec::CONTROL_LEN_MAX);

/// A handshake that is not done by then ends.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// First pause before a peer is dialed again; doubles up to the last.
const REDIAL_FIRST: Duration = Duration::from_secs(1);
const REDIAL_LAST: Duration = Duration::from_secs(30);
/// How long the connection that only shows the own successor stays.
const SHOWN: Duration = Duration::from_millis(500);
/// A half-open or silent connection is asked for a sign of life after so long.
const KEEP_ALIVE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(5);

/// Why the device does not serve. It says so in its log and does nothing else: it never votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What is in the memory, or is not.
    Settings(SettingsError),
    /// The key in it cannot be used.
    Directory(DirectoryError),
    /// More logins than the device has places for.
    TooManyLogins,
}

impl From<SettingsError> for Refusal {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        Self::Directory(error)
    }
}

impl Refusal {
    /// What it is, in words.
    #[must_use]
    pub fn text(&self) -> &'static str {
        use dbmirror_adapters::nvm::Kind;
        match self {
            Self::Settings(SettingsError::Missing(Kind::Header)) => "the memory was never provisioned",
            Self::Settings(SettingsError::Missing(Kind::Start)) => "the seed is lost",
            Self::Settings(SettingsError::Missing(_)) => "the memory is incomplete",
            Self::Settings(SettingsError::Malformed(_)) => "the memory is malformed",
            Self::Settings(SettingsError::Schema { .. }) => "the memory has another layout",
            Self::Settings(SettingsError::Nvm(NvmError::NotAuthentic)) => {
                "the memory belongs to another device key, or was changed"
            }
            Self::Settings(SettingsError::Nvm(NvmError::Damaged)) => "the memory is damaged",
            Self::Settings(SettingsError::Nvm(_)) => "the memory does not work",
            Self::Directory(_) => "the private key does not open",
            Self::TooManyLogins => "more logins than places for them",
        }
    }
}

/// Where what is read from a memory lies: too large for a stack, so a board keeps it beside its buffers.
pub struct Place<F: NorFlash> {
    store: Option<Store<F>>,
    settings: Kept,
}

impl<F: NorFlash> Place<F> {
    /// Nothing in it yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            store: None,
            settings: Kept::new(),
        }
    }

    // Each step has a frame of its own, which is gone when the next one begins.

    #[inline(never)]
    fn open(&mut self, flash: F, key: &DeviceKey) -> Result<&mut Store<F>, SettingsError> {
        Ok(Store::open_at::<Sha256>(&mut self.store, flash, key)?)
    }
}

impl<F: NorFlash> Default for Place<F> {
    fn default() -> Self {
        Self::new()
    }
}

/// A memory that was read: everything that is needed to serve.
pub struct Provisioned<'m, F: NorFlash> {
    store: &'m mut Store<F>,
    header: Header,
    network: NetworkSettings,
    settings: Settings<'m>,
    floor: Floor,
    entropy: SeededEntropy<Sha256>,
    boot: u64,
}

impl<'m, F: NorFlash> Provisioned<'m, F> {
    /// Reads the memory, and begins a start of the device: the next seed and the count of starts are durable when this returns.
    ///
    /// # Errors
    /// [`Refusal`]: the device must not serve.
    #[inline(never)]
    pub fn read(place: &'m mut Place<F>, flash: F, key: &DeviceKey, jitter: &[u8]) -> Result<Self, Refusal> {
        place.open(flash, key)?;
        let Place { store, settings } = place;
        // It was put there a moment ago.
        let store = store.as_mut().ok_or(SettingsError::Nvm(NvmError::Failed))?;
        let header = Header::read::<Sha256, F>(store)?;
        let network = NetworkSettings::read::<Sha256, F>(store)?;
        let floor = Floor::read::<Sha256, F>(store)?;
        let settings = Settings::read(settings, store, key, header.peers)?;
        if settings.logins() > LOGINS {
            return Err(Refusal::TooManyLogins);
        }
        let (entropy, boot) = SeededEntropy::start(store, key, jitter)?;
        Ok(Self {
            store,
            header,
            network,
            settings,
            floor,
            entropy,
            boot,
        })
    }

    /// The device's Ethernet address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.network.mac
    }
}

/// When a peer is dialed next.
#[derive(Clone, Copy)]
struct Dial {
    at: Instant,
    pause: Duration,
}

/// The appliance at work.
pub struct Appliance<'m, F: NorFlash, L: Log> {
    endpoint: Endpoint<'m, Crypto>,
    driver: Driver<'m>,
    sockets: SocketSet<'m>,
    interface: Interface,
    device: Device<'m, F, L>,
    dials: [Dial; PEERS_MAX as usize],
}

impl<'m, F: NorFlash, L: Log> Appliance<'m, F, L> {
    /// Sets everything up over `memory`, what was read from the device's own, and the network card `card`.
    pub fn start<D: smoltcp::phy::Device>(
        memory: &'m mut Memory<'m>,
        provisioned: Provisioned<'m, F>,
        card: &mut D,
        now: Instant,
        log: L,
    ) -> Self {
        let Provisioned {
            store,
            header,
            network,
            settings,
            floor,
            mut entropy,
            boot,
        } = provisioned;
        let mut config = InterfaceConfig::new(HardwareAddress::Ethernet(EthernetAddress(network.mac)));
        let mut seed = [0; 8];
        // Initial sequence numbers; a source that fails here fails every handshake as well.
        if entropy.fill_public(&mut seed).is_ok() {
            config.random_seed = u64::from_le_bytes(seed);
        }
        let mut interface = Interface::new(config, card, timestamp(now));
        interface.update_ip_addrs(|addresses| {
            let cidr = Ipv4Cidr::new(network.address.into(), network.prefix);
            // There is room for one at least.
            let _ = addresses.push(IpCidr::Ipv4(cidr));
        });
        if let Some(gateway) = network.gateway {
            let _ = interface
                .routes_mut()
                .add_default_ipv4_route(Ipv4Address::from(gateway));
        }

        let Memory {
            connections,
            witnessed,
            events,
            slots,
            sockets,
            receive,
            receive_rings,
            send_rings,
            send,
        } = memory;
        fill(connections, ConnectionSlot::new);
        fill(events, || None);
        fill(sockets, || SocketStorage::EMPTY);
        fill(witnessed, WitnessSlot::default);
        let mut sockets = SocketSet::new(&mut sockets[..]);
        for ((receive, rx), tx) in receive.iter_mut().zip(receive_rings).zip(send_rings) {
            let mut socket = Socket::new(SocketBuffer::new(&mut rx[..]), SocketBuffer::new(&mut tx[..]));
            socket.set_nagle_enabled(false);
            socket.set_keep_alive(Some(KEEP_ALIVE));
            // There are as many of them as places.
            let _ = slots.push(Slot::new(sockets.add(socket), receive));
        }
        let mut driver = Driver::new(slots, send, STRANGERS + 1);
        driver.listen(Some(network.port));
        let config = Config {
            instance: header.instance,
            name: header.name,
            boot,
            limits: Limits {
                unauthenticated: STRANGERS as u16,
                of_one_login: OF_A_PEER as u16,
                handshake: HANDSHAKE,
                ..Limits::default()
            },
        };
        let mut device = Device {
            store,
            entropy,
            settings,
            floor: MovingFloor::new(floor.0),
            now,
            log,
            tickets: Deque::new(),
            failed: false,
            tally: Tally::default(),
            records: [None; SESSIONS],
            logs: NoDatabases,
        };
        let mut endpoint = Endpoint::new(config, connections, &mut [], events).with_witness(witnessed);
        endpoint.set_role(Role::Witness);
        let channels = ServerOptions {
            record_size_limit: memory::record_size_limit(),
            ..ServerOptions::default()
        };
        endpoint.set_channels(&mut device.env(now), channels);
        device.restore(&mut endpoint);
        endpoint.set_running(&mut device.env(now), true);
        device.log.note(Note::Ready {
            name: header.name.as_str(),
            instance: header.instance,
            boot,
            peers: header.peers,
            port: network.port,
        });
        let dial = Dial {
            at: now.after(REDIAL_FIRST),
            pause: REDIAL_FIRST,
        };
        Self {
            endpoint,
            driver,
            sockets,
            interface,
            device,
            dials: [dial; PEERS_MAX as usize],
        }
    }

    /// One turn. Returns when the next one is due at the latest; a frame that comes in makes it due at once.
    #[inline(never)]
    pub fn poll<D: smoltcp::phy::Device>(&mut self, now: Instant, card: &mut D) -> Option<Instant> {
        let mut network = Network {
            interface: &mut self.interface,
            device: card,
            sockets: &mut self.sockets,
        };
        let mut next = self
            .driver
            .poll(now, &mut network, &mut self.endpoint, &mut self.device);
        let mut told = false;
        while let Some(ticket) = self.device.tickets.pop_front() {
            self.endpoint.handle_persisted(&mut self.device.env(now), ticket);
            told = true;
        }
        while let Some(notice) = self.device.settings.take_told() {
            // What was said on a connection that is gone meanwhile is not taken.
            let view = self.endpoint.connection(notice.connection);
            if view.is_none_or(|view| view.state != ConnectionState::LoggedIn) {
                continue;
            }
            let answer = self.device.certificate_told(&notice);
            let (connection, number) = (notice.connection, notice.number);
            self.endpoint
                .answer_certificate(&mut self.device.env(now), connection, number, answer);
            told = true;
        }
        told |= self.device.rotate();
        told |= self.show_successor(now);
        told |= self.dial(now);
        if told {
            let mut network = Network {
                interface: &mut self.interface,
                device: card,
                sockets: &mut self.sockets,
            };
            self.driver
                .drain(now, &mut network, &mut self.endpoint, &mut self.device);
            // What was queued is sent by the next turn, which is due at once.
            next = Some(now);
        }
        next.into_iter().chain(self.next_dial()).min()
    }

    /// Dials each peer to which no connection stands, now and then. Whether one was dialed.
    #[inline(never)]
    fn dial(&mut self, now: Instant) -> bool {
        let mut any = false;
        for number in 0..self.device.settings.peers().len() {
            let Some(peer) = self.device.settings.peers().get(number).copied() else {
                continue;
            };
            let Some(dial) = self.dials.get_mut(number) else {
                continue;
            };
            if !wanted(&peer) {
                continue;
            }
            let mut connections = self.endpoint.connections().filter(|view| {
                let dialed = !view.accepted && view.address == peer.address;
                !view.probe && (view.login == Some(peer.login_id) || dialed)
            });
            if let Some(first) = connections.next() {
                // One that is used is missed at once when it goes; one that nobody needs comes back at leisure.
                if first.used || connections.any(|view| view.used) {
                    dial.pause = REDIAL_FIRST;
                }
                dial.at = now.after(dial.pause);
                continue;
            }
            drop(connections);
            if dial.at > now {
                continue;
            }
            dial.at = now.after(dial.pause);
            dial.pause = Duration::from_micros(dial.pause.as_micros().saturating_mul(2)).min(REDIAL_LAST);
            self.device.log.note(Note::Dialing {
                login: peer.login.as_str(),
                address: peer.address.as_str(),
            });
            any |= self
                .endpoint
                .call(&mut self.device.env(now), peer.address)
                .is_ok();
        }
        any
    }

    /// Shows the own successor, while it is new, to partners that can be dialed and have not met it, by a connection for no other purpose:
    /// the one that their sessions use stays as it is.
    #[inline(never)]
    fn show_successor(&mut self, now: Instant) -> bool {
        if !self.device.shows() {
            return false;
        }
        for number in 0..self.device.settings.peers().len() {
            let peers = self.device.settings.peers();
            let Some(peer) = peers.get(number).copied() else {
                continue;
            };
            if wanted(&peer) && self.device.is_to_be_shown(peer.login_id) {
                // A login has places for so many, and one that is surplus goes soon: then.
                let shown =
                    (self.endpoint.connections()).any(|view| view.probe && view.address == peer.address);
                let connections = self.endpoint.connections();
                let standing = connections
                    .filter(|view| view.login == Some(peer.login_id))
                    .count();
                if shown || standing >= OF_A_PEER {
                    continue;
                }
                let _ = self
                    .endpoint
                    .test_connection(&mut self.device.env(now), peer.address, SHOWN);
            }
        }
        true
    }

    fn next_dial(&self) -> Option<Instant> {
        let peers = self.device.settings.peers();
        peers
            .iter()
            .zip(&self.dials)
            .filter(|(peer, _)| wanted(peer))
            .map(|(_, dial)| dial.at)
            .min()
    }

    /// Whether the memory has failed: the device claims nothing any more, and only a restart reads the memory again.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.device.failed
    }

    /// What was done so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.device.tally
    }

    /// Where lines go.
    pub fn log(&mut self) -> &mut L {
        &mut self.device.log
    }
}

/// Fills all places. In a frame of its own, which is gone when the loop begins: a place may be several KiB.
#[inline(never)]
fn fill<T, const N: usize>(places: &mut heapless::Vec<T, N>, make: impl Fn() -> T) {
    while !places.is_full() {
        let _ = places.push(make());
    }
}

fn wanted(peer: &Peer) -> bool {
    peer.connect == Connect::Granted && !peer.address.is_empty()
}

fn timestamp(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use dbmirror_adapters::nvm::Kind;

    use super::*;

    #[test]
    fn every_refusal_is_documented() {
        let documented = include_str!("../../docs/appliance.md");
        let settings = [
            SettingsError::Missing(Kind::Header),
            SettingsError::Missing(Kind::Start),
            SettingsError::Missing(Kind::Peer),
            SettingsError::Malformed(Kind::Peer),
            SettingsError::Schema { found: 2 },
            SettingsError::Nvm(NvmError::NotAuthentic),
            SettingsError::Nvm(NvmError::Damaged),
            SettingsError::Nvm(NvmError::Failed),
        ];
        let others = [
            Refusal::Directory(DirectoryError::NotAKey),
            Refusal::TooManyLogins,
        ];
        for refusal in settings.map(Refusal::Settings).into_iter().chain(others) {
            assert!(
                documented.contains(refusal.text()),
                "{refusal:?}: {}",
                refusal.text()
            );
        }
    }
}
