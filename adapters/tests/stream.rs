//! Two endpoints over pipes in memory: the byte-stream world's driver.
#![cfg(all(feature = "std", feature = "embedded-io"))]

mod member;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use dbmirror_adapters::stream::{Driver, Line, NoDialer};
use dbmirror_adapters::world::World as _;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::endpoint::{
    CloseReason, ConnectionSlot, DialError, Endpoint, RECEIVE_LEN, SEND_LEN_MIN, Source,
};
use dbmirror_core::message::Address;
use dbmirror_core::time::{Duration, Instant};
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use member::{Member, TestWorld};

/// One direction: what is under way, and whether its writer is gone.
#[derive(Default)]
struct Way {
    bytes: VecDeque<u8>,
    gone: bool,
    broken: bool,
}

/// One end of a pipe that takes and gives a few bytes at a time, and holds few.
struct Pipe {
    from: Rc<RefCell<Way>>,
    to: Rc<RefCell<Way>>,
}

const HOLDS: usize = 64;
const AT_ONCE: usize = 7;

impl Pipe {
    fn pair() -> [Self; 2] {
        let (a, b) = (Rc::<RefCell<Way>>::default(), Rc::<RefCell<Way>>::default());
        let other = Self {
            from: Rc::clone(&b),
            to: Rc::clone(&a),
        };
        [Self { from: a, to: b }, other]
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.to.borrow_mut().gone = true;
    }
}

impl ErrorType for Pipe {
    type Error = ErrorKind;
}
impl ReadReady for Pipe {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        let way = self.from.borrow();
        Ok(!way.bytes.is_empty() || way.gone)
    }
}
impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut way = self.from.borrow_mut();
        let len = out.len().min(AT_ONCE).min(way.bytes.len());
        assert!(len > 0 || way.gone, "it would block");
        for (to, from) in out.iter_mut().zip(way.bytes.drain(..len)) {
            *to = from;
        }
        Ok(len)
    }
}
impl WriteReady for Pipe {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        let way = self.to.borrow();
        Ok(way.broken || way.bytes.len() < HOLDS)
    }
}
impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let mut way = self.to.borrow_mut();
        if way.broken {
            return Err(ErrorKind::ConnectionReset);
        }
        let len = bytes.len().min(AT_ONCE).min(HOLDS - way.bytes.len());
        assert!(len > 0, "it would block");
        way.bytes.extend(&bytes[..len]);
        Ok(len)
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// An instance that lives as long as the test process.
struct Party {
    endpoint: Endpoint<'static, RustCrypto>,
    driver: Driver<'static, Pipe>,
    world: TestWorld,
}

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

fn party(id: u8, member: Member) -> Party {
    let connections: Vec<ConnectionSlot<RustCrypto>> = (0..2).map(|_| ConnectionSlot::default()).collect();
    let lines: Vec<Line<'static, Pipe>> = (0..2)
        .map(|_| Line::new(leak([0; RECEIVE_LEN]), leak([0; SEND_LEN_MIN])))
        .collect();
    let mut endpoint = Endpoint::new(
        member::config(id),
        Vec::leak(connections),
        &mut [],
        Vec::leak(vec![None; 32]),
    );
    let mut world = TestWorld::new(member);
    endpoint.set_running(&mut world.env(Instant::ZERO), true);
    Party {
        endpoint,
        driver: Driver::new(Vec::leak(lines), leak([0; SEND_LEN_MIN])),
        world,
    }
}

/// Two that know each other, the first of which dials.
fn parties() -> [Party; 2] {
    let (mut a, mut b) = (Member::new("A"), Member::new("B"));
    a.trust(&b);
    b.trust(&a);
    [party(1, a), party(2, b)]
}

struct Bed {
    parties: [Party; 2],
    ways: [Rc<RefCell<Way>>; 2],
    ours: Option<Pipe>,
    now: Instant,
}

impl Bed {
    /// The first has dialed, the second is accepting.
    fn new() -> Self {
        Self::holding(Duration::from_secs(60))
    }

    /// The same; the first hangs up after `hold`.
    fn holding(hold: Duration) -> Self {
        let mut parties = parties();
        let [ours, theirs] = Pipe::pair();
        let ways = [Rc::clone(&ours.from), Rc::clone(&ours.to)];
        let [a, b] = &mut parties;
        let address = Address::new("TCP://line:1").unwrap();
        a.endpoint
            .test_connection(&mut a.world.env(Instant::ZERO), address, hold)
            .unwrap();
        let accepted = b.driver.accept(
            Instant::ZERO,
            theirs,
            Source::default(),
            &mut b.endpoint,
            &mut b.world,
        );
        assert!(accepted.is_ok());
        Self {
            parties,
            ways,
            ours: Some(ours),
            now: Instant::ZERO,
        }
    }

    fn run(&mut self, done: impl Fn(&[Party; 2]) -> bool) {
        for _ in 0..100_000 {
            if done(&self.parties) {
                return;
            }
            let [a, b] = &mut self.parties;
            let ours = &mut self.ours;
            let mut dial = |_: &Address| ours.take().ok_or(DialError::Refused);
            a.driver.poll(self.now, &mut a.endpoint, &mut a.world, &mut dial);
            b.driver
                .poll(self.now, &mut b.endpoint, &mut b.world, &mut NoDialer);
            self.now = self.now.after(Duration::from_micros(100));
        }
        panic!(
            "nothing came of it: {:?}",
            self.parties.each_ref().map(|p| &p.world.events)
        );
    }

    fn online() -> Self {
        let mut bed = Self::new();
        bed.run(|parties| parties.iter().all(|party| party.world.online()));
        bed
    }
}

#[test]
fn a_handshake_passes_through_a_pipe_of_a_few_bytes() {
    let mut bed = Bed::online();
    // And what ends one side in order is heard as such on the other.
    let a = &mut bed.parties[0];
    let id = a.endpoint.connections().next().unwrap().connection;
    a.endpoint.disconnect(&mut a.world.env(bed.now), id);
    bed.run(|parties| parties.iter().all(|party| party.world.closed().is_some()));
    assert_eq!(bed.parties[1].world.closed(), Some(CloseReason::PeerClosed));
    assert_eq!(Rc::strong_count(&bed.ways[0]), 1, "both streams were given up");
}

#[test]
fn a_stream_that_ends_without_a_word_is_truncation() {
    let mut bed = Bed::online();
    bed.ways[1].borrow_mut().gone = true;
    bed.run(|parties| parties[1].world.closed().is_some());
    assert_ne!(bed.parties[1].world.closed(), Some(CloseReason::PeerClosed));
}

#[test]
fn a_stream_that_breaks_ends_its_connection() {
    let mut bed = Bed::online();
    for way in &bed.ways {
        way.borrow_mut().broken = true;
    }
    // The next sign of life does not go out.
    bed.run(|parties| parties.iter().all(|party| party.world.closed().is_some()));
}

/// The other side's goodbye is there, and this side's next sign of life cannot be written any more.
#[test]
fn a_stream_that_takes_nothing_any_more_is_read_to_its_end() {
    let mut bed = Bed::online();
    bed.now = bed.now.after(Duration::from_secs(3));
    let a = &mut bed.parties[0];
    let id = a.endpoint.connections().next().unwrap().connection;
    a.endpoint.disconnect(&mut a.world.env(bed.now), id);
    bed.ways[0].borrow_mut().broken = true;
    bed.run(|parties| parties[1].world.closed().is_some());
    assert_eq!(bed.parties[1].world.closed(), Some(CloseReason::PeerClosed));
}

/// What the passing of time makes an end say is on its way when that very call returns: nobody may poll again for long.
#[test]
fn what_is_said_because_of_time_is_written_at_once() {
    // Sooner than the first sign of life is due.
    let hold = Duration::from_millis(300);
    let mut bed = Bed::holding(hold);
    bed.run(|parties| parties.iter().all(|party| party.world.online()));
    let [a, b] = &mut bed.parties;
    for party in [&mut *a, &mut *b] {
        let Party {
            endpoint,
            driver,
            world,
        } = party;
        driver.poll(bed.now, endpoint, world, &mut NoDialer);
    }
    assert!(bed.ways[1].borrow().bytes.is_empty(), "nothing is left to say");
    let over = bed.now.after(hold);
    a.driver.poll(over, &mut a.endpoint, &mut a.world, &mut NoDialer);
    assert!(a.world.closed().is_some());
    assert!(!bed.ways[1].borrow().bytes.is_empty(), "a goodbye");
    // The pipe is short: they take turns, and no time passes.
    for _ in 0..10 {
        b.driver.poll(over, &mut b.endpoint, &mut b.world, &mut NoDialer);
        a.driver.poll(over, &mut a.endpoint, &mut a.world, &mut NoDialer);
    }
    assert_eq!(bed.parties[1].world.closed(), Some(CloseReason::PeerClosed));
    assert_eq!(Rc::strong_count(&bed.ways[0]), 1, "both streams were given up");
}

/// A process that was held up for long reads what came in the meantime before it judges who was silent.
#[test]
fn what_came_in_time_is_heard_late() {
    for came in [true, false] {
        let mut bed = Bed::online();
        let [a, b] = &mut bed.parties;
        let soon = bed.now.after(Duration::from_secs(3));
        if came {
            a.driver.poll(soon, &mut a.endpoint, &mut a.world, &mut NoDialer);
        }
        assert_eq!(!bed.ways[1].borrow().bytes.is_empty(), came);
        let late = bed.now.after(Duration::from_secs(60));
        b.driver.poll(late, &mut b.endpoint, &mut b.world, &mut NoDialer);
        assert_eq!(b.world.closed().is_none(), came);
    }
}

#[test]
fn there_are_as_many_connections_as_lines() {
    let [_, mut b] = parties();
    let source = Source::default();
    let mut accept = || {
        let [ours, theirs] = Pipe::pair();
        std::mem::forget(ours);
        b.driver
            .accept(Instant::ZERO, theirs, source, &mut b.endpoint, &mut b.world)
            .is_ok()
    };
    assert!(accept() && accept() && !accept());
}
