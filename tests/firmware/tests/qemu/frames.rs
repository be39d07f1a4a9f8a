//! Frames that nobody's stack would send, straight into the device's network card.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use dbmirror_firmware_tests::group::Group;
use dbmirror_firmware_tests::{Board, Cable, PORT};

const DEVICE: [u8; 4] = [10, 0, 2, 15];
const TESTER: [u8; 4] = [10, 0, 2, 77];
const TESTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];

/// The cable, and the device's Ethernet address once it is known.
struct Wire {
    socket: UdpSocket,
    device: [u8; 6],
}

impl Wire {
    fn send(&self, frame: &[u8]) {
        // A full queue loses a frame, as a cable does.
        let _ = self.socket.send(frame);
    }

    fn frame(&self, kind: u16, payload: &[u8]) -> Vec<u8> {
        [&self.device[..], &TESTER_MAC, &kind.to_be_bytes(), payload].concat()
    }

    /// The first frame within `patience` that `wanted` takes.
    fn receive<T>(&self, patience: Duration, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut frame = [0; 2048];
        while Instant::now() < deadline {
            if let Ok(len) = self.socket.recv(&mut frame)
                && let Some(found) = wanted(&frame[..len])
            {
                return Some(found);
            }
        }
        None
    }

    /// Who has 10.0.2.15? The device's Ethernet address, when it answers.
    fn ask(&self, patience: Duration) -> Option<[u8; 6]> {
        let payload = [
            &[0, 1, 8, 0, 6, 4, 0, 1][..],
            &TESTER_MAC,
            &TESTER,
            &[0; 6],
            &DEVICE,
        ]
        .concat();
        let frame = [&[0xff; 6][..], &TESTER_MAC, &[8, 6], &payload].concat();
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            self.send(&frame);
            let answer = self.receive(Duration::from_millis(300), |frame| {
                let is_answer = frame.get(12..14) == Some(&[8, 6])
                    && frame.get(20..22) == Some(&[0, 2])
                    && frame.get(28..32) == Some(&DEVICE);
                is_answer.then(|| frame[22..28].try_into().expect("six bytes"))
            });
            if answer.is_some() {
                return answer;
            }
        }
        None
    }

    /// A SYN from `source` to the device's endpoint.
    fn syn(&self, source: [u8; 4], port: u16, to: u16) -> Vec<u8> {
        let mut segment = [
            &port.to_be_bytes()[..],
            &to.to_be_bytes(),
            &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0],
        ]
        .concat();
        let pseudo = [&source[..], &DEVICE, &[0, 6, 0, 20], &segment].concat();
        segment[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
        let mut header = [
            &[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0][..],
            &source,
            &DEVICE,
        ]
        .concat();
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        self.frame(0x0800, &[header, segment].concat())
    }

    /// Whether the endpoint answers a SYN of ours by SYN and ACK within `patience`.
    fn connects(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut port = 30_000;
        while Instant::now() < deadline {
            port += 1;
            // smoltcp asks who we are before it answers, and so do we answer that.
            self.send(&self.syn(TESTER, port, PORT));
            let answered = self.receive(Duration::from_millis(300), |frame| {
                if frame.get(12..14) == Some(&[8, 6])
                    && frame.get(20..22) == Some(&[0, 1])
                    && frame.get(38..42) == Some(&TESTER)
                {
                    let payload = [
                        &[0, 1, 8, 0, 6, 4, 0, 2][..],
                        &TESTER_MAC,
                        &TESTER,
                        &self.device,
                        &DEVICE,
                    ]
                    .concat();
                    self.send(&self.frame(0x0806, &payload));
                }
                let tcp = frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&6);
                let flags = frame.get(47).copied().unwrap_or(0);
                (tcp && frame.get(36..38) == Some(&port.to_be_bytes()) && flags & 0x12 == 0x12).then_some(())
            });
            if answered.is_some() {
                return true;
            }
        }
        false
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// xorshift64*: the same frames in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() >> 33).expect("31 bits") % limit
    }
}

fn wired(number: u8) -> (Group, Board, Wire) {
    let host = Ipv4Addr::new(127, 205, number, 1);
    let socket = UdpSocket::bind((host, 0)).expect("a port");
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a timeout");
    let test = match socket.local_addr().expect("it is bound") {
        std::net::SocketAddr::V4(address) => address,
        std::net::SocketAddr::V6(_) => unreachable!("an IPv4 address was bound"),
    };
    let device = SocketAddrV4::new(Ipv4Addr::new(127, 205, number, 2), 9_000);
    let mut group = Group::new(host, &["HOST_A"]);
    let mut board = group.board_with(Cable::Frames(device, test), false);
    board.await_line("ready name=WITNESS");
    socket.connect(device).expect("an address");
    let mut wire = Wire {
        socket,
        device: [0xff; 6],
    };
    wire.device = wire.ask(Duration::from_secs(20)).expect("the device answers ARP");
    (group, board, wire)
}

#[test]
fn damaged_and_invented_frames_do_not_stop_the_device() {
    let (_group, board, wire) = wired(1);
    assert!(
        wire.connects(Duration::from_secs(10)),
        "{}",
        board.log().join("\n")
    );
    let mut dice = Dice(0x6d69_7272_6f72);
    for number in 0..20_000u32 {
        let mut frame = match dice.below(4) {
            // Noise of any length, to us or to nobody.
            0 => {
                let len = dice.below(1_600);
                (0..=len)
                    .map(|_| u8::try_from(dice.below(256)).expect("a byte"))
                    .collect()
            }
            // Noise in what claims to be ARP, IPv4 or IPv6.
            1 => {
                let kind = [0x0806, 0x0800, 0x86dd][dice.below(3)];
                let len = dice.below(200);
                let noise: Vec<u8> = (0..=len)
                    .map(|_| u8::try_from(dice.below(256)).expect("a byte"))
                    .collect();
                wire.frame(kind, &noise)
            }
            // Segments with a byte or two wrong, cut anywhere.
            _ => {
                let port = u16::try_from(1_024 + dice.below(60_000)).expect("a port");
                wire.syn(TESTER, port, PORT)
            }
        };
        for _ in 0..dice.below(3) {
            if let Some(at) = frame.len().checked_sub(15).map(|rest| 14 + dice.below(rest + 1)) {
                frame[at] ^= u8::try_from(dice.below(256)).expect("a byte");
            }
        }
        if dice.below(4) == 0 {
            // An empty datagram means the end of the cable to QEMU.
            frame.truncate(1 + dice.below(frame.len() + 1));
        }
        wire.send(&frame);
        if number % 64 == 0 {
            // The card holds some frames only: what is not given a moment is lost and tests nothing.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert!(
        wire.ask(Duration::from_secs(10)).is_some(),
        "{}",
        board.log().join("\n")
    );
    assert!(
        wire.connects(Duration::from_secs(15)),
        "{}",
        board.log().join("\n")
    );
    board.assert_one_start();
}

#[test]
fn half_open_connections_and_scans_take_no_place_for_long() {
    let (_group, board, wire) = wired(2);
    let stack = board.stack();
    for number in 0..4_000u16 {
        let source = [10, 0, 2, u8::try_from(100 + number % 100).expect("a byte")];
        // Most to the endpoint, some to ports where nobody listens.
        let to = if number % 5 == 0 { number } else { PORT };
        wire.send(&wire.syn(source, 1_024 + number, to));
        if number % 16 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(
        wire.connects(Duration::from_secs(20)),
        "{}",
        board.log().join("\n")
    );
    board.assert_one_start();
    println!("stack {stack} before, {} after", board.stack());
}
