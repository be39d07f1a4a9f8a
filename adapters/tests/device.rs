//! Two endpoints on one simulated network card: the device world's driver over smoltcp's loopback.
//!
//! Nothing here sleeps: time is what the test says it is.
#![cfg(all(feature = "smoltcp", feature = "std"))]

mod member;

use dbmirror_adapters::device::{Driver, Network, Slot};
use dbmirror_adapters::world::World as _;
use dbmirror_core::channel::{Alert, ChannelError, PeerRefusal};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::endpoint::{
    CloseReason, ConnectionEvent, ConnectionSlot, Endpoint, RECEIVE_LEN, SEND_LEN, SessionSlot,
};
use dbmirror_core::message::Address;
use dbmirror_core::time::{Duration, Instant};
use member::{Member, TestWorld};
use smoltcp::iface::{Config as InterfaceConfig, Interface, SocketSet};
use smoltcp::phy::{Loopback, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

/// Both listen by then.
const LISTENING: Instant = Instant::from_micros(5_000);
/// Two members on one network, driven until `done` says so or `limit` has passed on their clock.
struct Bench {
    worlds: [TestWorld; 2],
    limit: Duration,
}

type Step<'s> = &'s mut dyn FnMut(&mut [Endpoint<'_, RustCrypto>; 2], &mut [TestWorld; 2], Instant) -> bool;

impl Bench {
    fn new(prepare: impl FnOnce(&mut Member, &mut Member)) -> Self {
        let (mut a, mut b) = (Member::new("A"), Member::new("B"));
        prepare(&mut a, &mut b);
        Self {
            worlds: [TestWorld::new(a), TestWorld::new(b)],
            limit: Duration::from_secs(60),
        }
    }

    /// `segment`: bytes of each socket buffer, so that records are cut at other places each time.
    fn run(&mut self, segment: usize, step: Step<'_>) {
        let mut device = Loopback::new(Medium::Ip);
        let at_zero = smoltcp::time::Instant::ZERO;
        let mut interface = Interface::new(InterfaceConfig::new(HardwareAddress::Ip), &mut device, at_zero);
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(IpAddress::v4(127, 0, 0, 1), 8))
                .unwrap();
        });
        let mut sockets = SocketSet::new(Vec::new());
        let mut receive = vec![vec![0; RECEIVE_LEN]; 8];
        let mut slots: Vec<Slot<'_>> = receive
            .iter_mut()
            .map(|buffer| {
                let one = || SocketBuffer::new(vec![0; segment]);
                Slot::new(sockets.add(Socket::new(one(), one())), buffer)
            })
            .collect();
        let (slots_a, slots_b) = slots.split_at_mut(4);
        let mut scratch = [vec![0; SEND_LEN], vec![0; SEND_LEN]];
        let [scratch_a, scratch_b] = &mut scratch;
        let mut drivers = [
            Driver::new(slots_a, scratch_a, 2),
            Driver::new(slots_b, scratch_b, 2),
        ];
        drivers[0].listen(Some(7024));
        drivers[1].listen(Some(7025));

        let mut places: [Vec<ConnectionSlot<RustCrypto>>; 2] = [Vec::new(), Vec::new()];
        let mut sessions: [Vec<SessionSlot>; 2] = [Vec::new(), Vec::new()];
        let mut events = [vec![None; 32], vec![None; 32]];
        for (p, s) in places.iter_mut().zip(&mut sessions) {
            p.resize_with(4, Default::default);
            s.resize_with(2, Default::default);
        }
        let [pa, pb] = &mut places;
        let [sa, sb] = &mut sessions;
        let [ea, eb] = &mut events;
        let mut endpoints = [
            Endpoint::new(member::config(1), pa, sa, ea),
            Endpoint::new(member::config(2), pb, sb, eb),
        ];
        let mut now = Instant::ZERO;
        for (endpoint, world) in endpoints.iter_mut().zip(&mut self.worlds) {
            endpoint.set_running(&mut world.env(now), true);
        }
        let end = now.after(self.limit);
        while !step(&mut endpoints, &mut self.worlds, now) {
            let mut next = end;
            for ((driver, endpoint), world) in drivers.iter_mut().zip(&mut endpoints).zip(&mut self.worlds) {
                let mut network = Network {
                    interface: &mut interface,
                    device: &mut device,
                    sockets: &mut sockets,
                };
                if let Some(at) = driver.poll(now, &mut network, endpoint, world) {
                    next = next.min(at);
                }
            }
            // What one driver sent may concern the other at once; time moves a little at least.
            now = next
                .max(now.after(Duration::from_micros(100)))
                .min(now.after(Duration::from_millis(1)));
            assert!(
                now < end,
                "nothing came of it: {:?} {:?}",
                self.worlds[0].events,
                self.worlds[1].events
            );
        }
    }
}

fn to(port: u16) -> Address {
    Address::new(&format!("TCP://127.0.0.1:{port}")).unwrap()
}

#[test]
fn both_authenticate_and_talk_whatever_the_buffers() {
    // Smaller than a record, not a divisor of anything, and comfortable.
    for segment in [700, 4099, 65_536] {
        for (from, port) in [(0, 7025), (1, 7024)] {
            let mut bench = Bench::new(|a, b| {
                a.trust(b);
                b.trust(a);
            });
            let mut dialled = false;
            bench.run(segment, &mut |endpoints, worlds, now| {
                if !dialled && now >= LISTENING {
                    dialled = true;
                    let hold = Duration::from_secs(1);
                    endpoints[from]
                        .test_connection(&mut worlds[from].env(now), to(port), hold)
                        .unwrap();
                }
                worlds.iter().all(TestWorld::online) && worlds.iter().all(|w| w.closed().is_some())
            });
            for world in &bench.worlds {
                let reason = world.closed().unwrap();
                assert!(reason.is_orderly(), "{reason:?}");
                let logged_in = world.events.iter().find_map(|(e, peer)| match e {
                    ConnectionEvent::LoggedIn {
                        login, certificate, ..
                    } => Some((*login, *certificate, *peer)),
                    _ => None,
                });
                let (login, certificate, peer) = logged_in.unwrap();
                assert_eq!((login, certificate), (260, 2));
                assert_eq!(peer.unwrap().ip(), std::net::Ipv4Addr::LOCALHOST);
            }
        }
    }
}

#[test]
fn who_is_not_pinned_is_refused_with_the_reason() {
    let mut bench = Bench::new(|a, b| a.trust(b));
    let mut dialled = false;
    bench.run(4096, &mut |endpoints, worlds, now| {
        if !dialled && now >= LISTENING {
            dialled = true;
            endpoints[0]
                .test_connection(&mut worlds[0].env(now), to(7025), Duration::ZERO)
                .unwrap();
        }
        worlds.iter().all(|w| w.closed().is_some())
    });
    let refused = CloseReason::Channel(ChannelError::PeerRefused(PeerRefusal::Unknown));
    assert_eq!(bench.worlds[1].closed(), Some(refused));
    let told = CloseReason::Channel(ChannelError::PeerAlert(Alert::CertificateUnknown));
    assert_eq!(bench.worlds[0].closed(), Some(told));
}

#[test]
fn a_port_where_nobody_listens_is_told() {
    let mut bench = Bench::new(|a, b| a.trust(b));
    let mut dialled = false;
    bench.run(4096, &mut |endpoints, worlds, now| {
        if !dialled && now >= LISTENING {
            dialled = true;
            endpoints[0]
                .test_connection(&mut worlds[0].env(now), to(9), Duration::ZERO)
                .unwrap();
        }
        worlds[0].closed().is_some()
    });
    assert!(matches!(bench.worlds[0].closed(), Some(CloseReason::Dial(_))));
    assert!(bench.worlds[1].events.is_empty());
}
