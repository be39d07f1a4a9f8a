//! A stream between two endpoints of the channel over TCP, full in both directions at once, whose writers change their keys
//! every so many records.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert;
use dbmirror_core::channel::{
    Channel, ClientOptions, Env, HEAD_ROOM, Halves, Identity, PAYLOAD_LEN_MAX, PeerRefusal, PeerVerifier,
    Protocol, RECORD_LEN_MAX, ReadEvent, Reader, TAIL_ROOM, VerifiedPeer, Writer,
};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{POINT_LEN, Provider, SigningKey as _};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;

/// Records that are sealed before they are written together.
const BATCH: usize = 8;
/// Longer than anything here takes but the stream itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is sent.
#[derive(Clone, Copy)]
pub struct Load {
    /// Records each way, of the most bytes that a record takes.
    pub records: u64,
    /// Records between two changes of keys.
    pub update_every: u64,
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Bytes of payload received, both ways together.
    pub bytes: u64,
    /// Changes of keys, both ways together.
    pub updates: u64,
    /// How long the stream took.
    pub elapsed: Duration,
    /// Resident memory of this process after a hundredth of the stream.
    pub rss_early_kib: u64,
    /// The most that was resident at any later look.
    pub rss_max_kib: u64,
}

/// One party: a key that is made of a number, and its certificate.
struct Party {
    scalar: [u8; 32],
    point: [u8; POINT_LEN],
    der: Vec<u8>,
}

impl Party {
    fn new(n: u8) -> Self {
        let scalar = [n; 32];
        let key = <RustCrypto as Provider>::SigningKey::from_scalar(&Secret::new(scalar)).expect("a key");
        let request = cert::Request {
            subject: "stream",
            not_before: UnixSeconds(0),
            not_after: UnixSeconds(2_000_000_000),
        };
        let mut der = [0; cert::CERTIFICATE_LEN_MAX];
        let len = cert::issue::<RustCrypto>(&request, &key, &mut OsEntropy, &mut der).expect("a certificate");
        Self {
            scalar,
            point: key.public_point(),
            der: der[..len].to_vec(),
        }
    }
}

/// Lets in the owner of one certificate.
struct Pin<'a>(&'a Party);

impl PeerVerifier for Pin<'_> {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        if der != self.0.der {
            return Err(PeerRefusal::Unknown);
        }
        Ok(VerifiedPeer {
            point: self.0.point,
            login_id: 1,
            certificate_id: 1,
        })
    }
}

/// Runs the stream over `address`, which must be this machine's.
///
/// # Panics
/// When anything is not as it was sent, in content, number or order.
#[must_use]
pub fn run<P: Provider>(address: &str, load: Load) -> Seen
where
    Halves<P>: Send,
    Reader<P>: Send,
    Writer<P>: Send,
{
    let listener = TcpListener::bind((address, 0)).expect("an address of this machine");
    let dialled = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (accepted, _) = listener.accept().expect("it was dialled");
    let (first, second) = (Party::new(1), Party::new(2));
    let mut ends = std::thread::scope(|scope| {
        let one = scope.spawn(|| {
            let channel = Channel::<P>::client(ClientOptions::default());
            establish(channel, &first, &second, &dialled)
        });
        let two = scope.spawn(|| establish(Channel::<P>::server(), &second, &first, &accepted));
        [one.join().expect("a handshake"), two.join().expect("a handshake")]
    });
    let begun = Instant::now();
    let mut seen = Seen {
        bytes: 0,
        updates: 0,
        elapsed: Duration::ZERO,
        rss_early_kib: 0,
        rss_max_kib: 0,
    };
    let [one, two] = &mut ends;
    let accepted = &accepted;
    let End { halves, left_over } = two;
    let (other_reader, other_writer) = (&mut halves.reader, &mut halves.writer);
    std::thread::scope(|scope| {
        let writers = [
            scope.spawn(|| send(&mut one.halves.writer, &dialled, load)),
            scope.spawn(|| send(other_writer, accepted, load)),
        ];
        let mut unwatched = seen;
        let reader = scope.spawn(move || receive(other_reader, left_over, accepted, load, &mut unwatched));
        seen.bytes = receive(&mut one.halves.reader, &one.left_over, &dialled, load, &mut seen);
        seen.bytes += reader.join().expect("the other reader");
        for writer in writers {
            seen.updates += writer.join().expect("a writer");
        }
    });
    seen.elapsed = begun.elapsed();
    seen
}

/// A channel after its handshake.
struct End<P: Provider> {
    halves: Halves<P>,
    /// What had come with the last message of the handshake.
    left_over: Vec<u8>,
}

fn establish<P: Provider>(
    mut channel: Channel<P>,
    own: &Party,
    peer: &Party,
    mut stream: &TcpStream,
) -> End<P> {
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let key = P::SigningKey::from_scalar(&Secret::new(own.scalar)).expect("a key");
    let pin = Pin(peer);
    let protocols = [Protocol {
        alpn: b"dbm/1",
        verifier: &pin,
    }];
    let mut env = Env {
        now: UnixSeconds(1_000_000_000),
        entropy: &mut OsEntropy,
        identity: Identity {
            signing_key: &key,
            certificate_der: &own.der,
        },
        protocols: &protocols,
    };
    let mut rx = Vec::new();
    loop {
        let mut tx = [0; 4_096];
        while channel.wants_write() {
            let len = channel.write(&mut env, &mut tx).expect("a handshake");
            stream.write_all(&tx[..len]).expect("the peer is there");
        }
        if channel.established().is_some() {
            let halves = channel.split().expect("it is established");
            return End {
                halves,
                left_over: rx,
            };
        }
        let step = channel.read(&mut env, &mut rx).expect("a handshake");
        let (consumed, need) = (step.consumed, step.need);
        rx.drain(..consumed);
        if need > 0 {
            let have = rx.len();
            rx.resize(have + need, 0);
            stream.read_exact(&mut rx[have..]).expect("the peer is there");
        }
    }
}

/// The payload of record `n`: its number, and bytes behind it that every record has.
fn payload(n: u64, out: &mut [u8]) {
    let (head, rest) = out.split_at_mut(8);
    head.copy_from_slice(&n.to_be_bytes());
    rest.fill(0x5a);
}

/// Sends everything and says goodbye; answers how often it changed its keys.
fn send<P: Provider>(writer: &mut Writer<P>, mut stream: &TcpStream, load: Load) -> u64 {
    let room = HEAD_ROOM + PAYLOAD_LEN_MAX + TAIL_ROOM;
    let mut buf = vec![0; (BATCH + 1) * room];
    let mut filled = 0;
    let mut updates = 0;
    for n in 0..load.records {
        if n > 0 && n % load.update_every == 0 {
            writer.update_keys();
            updates += 1;
        }
        while writer.wants_write() {
            filled += writer.write(&mut buf[filled..]).expect("keys can be changed");
        }
        let record = &mut buf[filled..filled + room];
        payload(n, &mut record[HEAD_ROOM..HEAD_ROOM + PAYLOAD_LEN_MAX]);
        filled += writer.seal(record, PAYLOAD_LEN_MAX).expect("a record is sealed");
        if filled + 2 * room > buf.len() {
            stream.write_all(&buf[..filled]).expect("the peer reads");
            filled = 0;
        }
    }
    writer.close();
    filled += writer.write(&mut buf[filled..]).expect("a goodbye");
    stream.write_all(&buf[..filled]).expect("the peer reads");
    updates
}

/// Takes everything in, up to the goodbye; answers the bytes of payload.
fn receive<P: Provider>(
    reader: &mut Reader<P>,
    left_over: &[u8],
    mut stream: &TcpStream,
    load: Load,
    seen: &mut Seen,
) -> u64 {
    let mut rx = vec![0; 8 * RECORD_LEN_MAX];
    rx[..left_over.len()].copy_from_slice(left_over);
    let (mut start, mut end) = (0, left_over.len());
    let mut expected = vec![0; PAYLOAD_LEN_MAX];
    let mut n = 0;
    let look_every = (load.records / 100).max(1);
    loop {
        let read = reader.read(&mut rx[start..end]).expect("every record opens");
        let consumed = read.consumed;
        match read.event {
            ReadEvent::Data(data) => {
                payload(n, &mut expected);
                assert!(data == expected, "record {n} is not as it was sent");
                n += 1;
                if n == look_every {
                    seen.rss_early_kib = resident_kib();
                } else if n % look_every == 0 {
                    seen.rss_max_kib = seen.rss_max_kib.max(resident_kib());
                }
            }
            ReadEvent::Closed => {
                assert_eq!(n, load.records, "the goodbye comes behind the last record");
                return n * u64::try_from(PAYLOAD_LEN_MAX).expect("a small number");
            }
            ReadEvent::Nothing => {}
            ReadEvent::KeyUpdateRequested => panic!("nobody asks for a key update"),
        }
        start += consumed;
        if consumed == 0 {
            rx.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            let got = stream.read(&mut rx[end..]).expect("the peer sends");
            assert!(got > 0, "the stream ended without a goodbye");
            end += got;
        }
    }
}

/// Resident memory of this process, from `/proc`; 0 where there is none.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
