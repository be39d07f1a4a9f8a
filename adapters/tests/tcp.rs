//! Two endpoints over sockets: the std world's driver.
#![cfg(feature = "std")]

mod member;

use std::time::{Duration as Span, Instant as Clock};

use dbmirror_adapters::tcp::Driver;
use dbmirror_adapters::world::World as _;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::endpoint::{CloseReason, ConnectionSlot, Endpoint, SessionSlot};
use dbmirror_core::message::Address;
use dbmirror_core::time::{Duration, Instant};
use member::{Member, TestWorld};

/// What an instance lends its endpoint.
struct Room {
    connections: Vec<ConnectionSlot<RustCrypto>>,
    sessions: Vec<SessionSlot>,
    events: Vec<Option<dbmirror_core::endpoint::Event>>,
}

impl Room {
    fn new() -> Self {
        let mut room = Self {
            connections: Vec::new(),
            sessions: Vec::new(),
            events: vec![None; 32],
        };
        room.connections.resize_with(4, Default::default);
        room.sessions.resize_with(2, Default::default);
        room
    }

    fn endpoint(&mut self, id: u8) -> Endpoint<'_, RustCrypto> {
        Endpoint::new(
            member::config(id),
            &mut self.connections,
            &mut self.sessions,
            &mut self.events,
        )
    }
}

/// Drives one or two of them until `done` says so.
fn drive(
    parties: &mut [(&mut Driver, &mut Endpoint<'_, RustCrypto>, &mut TestWorld)],
    mut done: impl FnMut(&[(&mut Driver, &mut Endpoint<'_, RustCrypto>, &mut TestWorld)]) -> bool,
) {
    let end = Clock::now() + Span::from_secs(30);
    while !done(parties) {
        assert!(Clock::now() < end, "nothing came of it");
        for (driver, endpoint, world) in &mut *parties {
            driver.turn(endpoint, *world, Some(Span::from_millis(5))).unwrap();
        }
    }
}

#[test]
fn what_a_peer_said_before_it_went_is_heard_though_nothing_can_be_sent() {
    let (mut a, mut b) = (Member::new("A"), Member::new("B"));
    a.trust(&b);
    b.trust(&a);
    let (mut world_a, mut world_b) = (TestWorld::new(a), TestWorld::new(b));
    let (mut room_a, mut room_b) = (Room::new(), Room::new());
    let (mut ours, mut theirs) = (room_a.endpoint(1), room_b.endpoint(2));
    let (mut driver_a, mut driver_b) = (Driver::new().unwrap(), Driver::new().unwrap());
    let at = driver_b.listen("127.224.1.1:0".parse().unwrap()).unwrap();
    ours.set_running(&mut world_a.env(Instant::ZERO), true);
    theirs.set_running(&mut world_b.env(Instant::ZERO), true);
    let to = Address::new(&format!("TCP://{at}")).unwrap();
    let hold = Duration::from_secs(60);
    let now = driver_a.now();
    let connection = ours.test_connection(&mut world_a.env(now), to, hold).unwrap();
    driver_a.drain(&mut ours, &mut world_a);
    drive(
        &mut [
            (&mut driver_a, &mut ours, &mut world_a),
            (&mut driver_b, &mut theirs, &mut world_b),
        ],
        |p| p.iter().all(|(_, _, world)| world.online()),
    );

    // A says goodbye and is gone, its process too, while B is busy elsewhere.
    let now = driver_a.now();
    ours.disconnect(&mut world_a.env(now), connection);
    driver_a.drain(&mut ours, &mut world_a);
    drop(driver_a);
    // B sends before it reads: the first bytes are answered by a reset, the next cannot be sent.
    for later in 1..=3 {
        let now = driver_b.now().after(Duration::from_secs(later));
        theirs.handle_timeout(&mut world_b.env(now));
        driver_b.drain(&mut theirs, &mut world_b);
        std::thread::sleep(Span::from_millis(20));
    }
    assert_eq!(world_b.closed(), None, "it has not read yet");
    drive(&mut [(&mut driver_b, &mut theirs, &mut world_b)], |p| {
        p[0].2.closed().is_some()
    });
    assert_eq!(world_b.closed(), Some(CloseReason::PeerClosed));
}
