//! Secrets are gone when they have served: the memory of a channel is searched for every one that was ever made.
//!
//! The spying provider sees them all. Whatever the key schedule derives from is the key of an HMAC at some time, and that
//! enters the hash as a block of its own; ephemeral keys, shared secrets and record keys pass through its hands.

use std::cell::RefCell;
use std::collections::BTreeSet;

use dbmirror_core::channel::{
    CHANNEL_BINDING_LABEL, Channel, ClientOptions, Env, Event, Identity, PeerRefusal, PeerVerifier, Protocol,
    VerifiedPeer,
};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{
    CryptoError, Hash, KeyExchange, POINT_LEN, Provider, RecordKey, SigningKey as _,
};
use dbmirror_core::entropy::{Entropy, EntropyError};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;
use dbmirror_tests::provider_kit::Repeatable;

thread_local! {
    static SEEN: RefCell<Seen> = const { RefCell::new(Seen { schedule: BTreeSet::new(), exchange: BTreeSet::new(), records: BTreeSet::new() }) };
}

/// Every secret that was ever made, by what it is for.
struct Seen {
    /// Keys of HMACs.
    schedule: BTreeSet<Vec<u8>>,
    /// Ephemeral keys and shared secrets.
    exchange: BTreeSet<Vec<u8>>,
    /// Record keys.
    records: BTreeSet<Vec<u8>>,
}

struct Spy;

type Real = RustCrypto;

impl Provider for Spy {
    type Sha256 = SpyHash;
    type Aes128Gcm = SpyKey;
    type Sha384 = dbmirror_core::crypto::Absent;
    type Aes256Gcm = dbmirror_core::crypto::Absent;
    type MlKem768 = dbmirror_core::crypto::Absent;
    type P256 = SpyExchange;
    type SigningKey = <Real as Provider>::SigningKey;
    type VerifyingKey = <Real as Provider>::VerifyingKey;
}

#[derive(Clone)]
struct SpyHash {
    state: <Real as Provider>::Sha256,
    fresh: bool,
}

impl Hash for SpyHash {
    fn new() -> Self {
        Self {
            state: Hash::new(),
            fresh: true,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        // An HMAC's first block: a key of 32 bytes, padded, with 0x36 mixed in (RFC 2104 §2).
        if self.fresh && bytes.len() == 64 && bytes[32..].iter().all(|b| *b == 0x36) {
            let key: Vec<u8> = bytes[..32].iter().map(|b| b ^ 0x36).collect();
            if key.iter().any(|b| *b != 0) {
                SEEN.with_borrow_mut(|seen| seen.schedule.insert(key));
            }
        }
        self.fresh = false;
        self.state.update(bytes);
    }

    fn finish(self) -> [u8; 32] {
        self.state.finish()
    }
}

/// Keeps its key beside the schedule, so that it can be found.
struct SpyKey(
    <Real as Provider>::Aes128Gcm,
    #[expect(dead_code, reason = "only the search reads it")] Secret<16>,
);

impl RecordKey for SpyKey {
    const KEY_LEN: usize = 16;
    const NONCE_LEN: usize = 12;
    const TAG_LEN: usize = 16;

    fn new(key: &[u8]) -> Result<Self, CryptoError> {
        SEEN.with_borrow_mut(|seen| seen.records.insert(key.to_vec()));
        let real = RecordKey::new(key)?;
        Ok(Self(
            real,
            Secret::new(key.try_into().map_err(|_| CryptoError::BadLength)?),
        ))
    }

    fn seal_in_place(
        &self,
        nonce: &[u8],
        aad: &[u8],
        buf: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.0.seal_in_place(nonce, aad, buf, tag)
    }

    fn open_in_place(&self, nonce: &[u8], aad: &[u8], buf: &mut [u8], tag: &[u8]) -> Result<(), CryptoError> {
        self.0.open_in_place(nonce, aad, buf, tag)
    }
}

/// Keeps its scalar as it was drawn, so that it can be found.
struct SpyExchange(
    <Real as Provider>::P256,
    #[expect(dead_code, reason = "only the search reads it")] Secret<32>,
);

/// Hands on what is drawn, and keeps the last.
struct Tap<'e>(&'e mut dyn Entropy, Secret<32>);

impl Entropy for Tap<'_> {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill_secret(out)?;
        self.1.expose_mut().copy_from_slice(out);
        Ok(())
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill_public(out)
    }
}

impl KeyExchange for SpyExchange {
    fn start(entropy: &mut dyn Entropy) -> Result<Self, CryptoError> {
        let mut tap = Tap(entropy, Secret::zero());
        let real = KeyExchange::start(&mut tap)?;
        SEEN.with_borrow_mut(|seen| seen.exchange.insert(tap.1.expose().to_vec()));
        Ok(Self(real, tap.1))
    }

    fn share(&self) -> [u8; POINT_LEN] {
        self.0.share()
    }

    fn finish(&self, peer_share: &[u8]) -> Result<Secret<32>, CryptoError> {
        let shared = self.0.finish(peer_share)?;
        SEEN.with_borrow_mut(|seen| seen.exchange.insert(shared.expose().to_vec()));
        Ok(shared)
    }
}

/// Every byte of a value, those between its fields and those of what lay there before included.
fn memory<T>(value: &T) -> Vec<u8> {
    let start = std::ptr::from_ref(value).cast::<std::mem::MaybeUninit<u8>>();
    (0..size_of::<T>())
        .map(|at| {
            // SAFETY: `at` lies within the value, which is borrowed and so lives; its bytes are read one by one as they
            // are in memory, behind the compiler's back, which is the purpose. Uninitialised ones are whatever lies there.
            unsafe { start.add(at).read_volatile().assume_init() }
        })
        .collect()
}

/// How many secrets of each kind lie in a channel: of the schedule, of the exchange, of records.
fn found(channel: &Channel<Spy>) -> [BTreeSet<Vec<u8>>; 3] {
    let memory = memory(channel);
    let in_memory = |secrets: &BTreeSet<Vec<u8>>| {
        secrets
            .iter()
            .filter(|secret| memory.windows(secret.len()).any(|w| w == &secret[..]))
            .cloned()
            .collect()
    };
    SEEN.with_borrow(|seen| {
        [
            in_memory(&seen.schedule),
            in_memory(&seen.exchange),
            in_memory(&seen.records),
        ]
    })
}

fn counts(channel: &Channel<Spy>) -> [usize; 3] {
    found(channel).map(|secrets| secrets.len())
}

struct One([u8; POINT_LEN]);

impl PeerVerifier for One {
    fn verify(&self, _: &[u8], _: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        Ok(VerifiedPeer {
            point: self.0,
            login_id: 1,
            certificate_id: 1,
        })
    }
}

/// One side. The channel lies at one place for all its life, as in an endpoint.
struct Side {
    channel: Box<Channel<Spy>>,
    entropy: Repeatable<<Real as Provider>::Sha256>,
    rx: Vec<u8>,
    /// The most secrets of the exchange that were there at once: the search finds what is there.
    exchange_most: usize,
    died: bool,
}

impl Side {
    fn new(channel: Channel<Spy>, seed: u64) -> Self {
        Self {
            channel: Box::new(channel),
            entropy: Repeatable::new(seed),
            rx: Vec::new(),
            exchange_most: 0,
            died: false,
        }
    }

    fn turn(&mut self) -> Vec<u8> {
        let key = <Spy as Provider>::SigningKey::from_scalar(&Secret::new([7; 32])).expect("a scalar");
        let one = One(key.public_point());
        let protocols = [Protocol {
            alpn: b"dbm/1",
            verifier: &one,
        }];
        let mut env = Env {
            now: UnixSeconds(0),
            entropy: &mut self.entropy,
            identity: Identity {
                signing_key: &key,
                certificate_der: b"of both",
            },
            protocols: &protocols,
        };
        let mut sent = Vec::new();
        loop {
            let mut tx = [0; 4_096];
            while self.channel.wants_write() {
                let len = self.channel.write(&mut env, &mut tx).unwrap_or(0);
                sent.extend_from_slice(&tx[..len]);
                self.exchange_most = self.exchange_most.max(counts(&self.channel)[1]);
            }
            let Ok(step) = self.channel.read(&mut env, &mut self.rx) else {
                self.died = true;
                if self.channel.wants_write() {
                    continue;
                }
                return sent;
            };
            let consumed = step.consumed;
            assert!(!matches!(step.event, Event::Data(_)));
            self.rx.drain(..consumed);
            self.exchange_most = self.exchange_most.max(counts(&self.channel)[1]);
            if consumed == 0 {
                return sent;
            }
        }
    }
}

fn settle(client: &mut Side, server: &mut Side) {
    for _ in 0..6 {
        let sent = client.turn();
        server.rx.extend(sent);
        let sent = server.turn();
        client.rx.extend(sent);
    }
}

fn established() -> (Side, Side) {
    let mut client = Side::new(Channel::client(ClientOptions::default()), 1);
    let mut server = Side::new(Channel::server(), 2);
    settle(&mut client, &mut server);
    for side in [&client, &server] {
        assert!(side.channel.established().is_some());
        // Makes the exporter's secret known to the spy.
        side.channel
            .export(CHANNEL_BINDING_LABEL, &[], &mut [0; 32])
            .expect("it stands");
    }
    (client, server)
}

/// After the handshake: two traffic secrets, the exporter's, two record keys, and nothing of how they came about.
#[test]
fn a_finished_handshake_leaves_what_traffic_needs() {
    let (client, server) = established();
    let made = SEEN.with_borrow(|seen| [seen.schedule.len(), seen.exchange.len(), seen.records.len()]);
    assert!(made[0] > 10 && made[1] == 3 && made[2] == 4, "{made:?}");
    for side in [&client, &server] {
        assert_eq!(side.exchange_most, 1, "an ephemeral key was there, and was found");
        assert_eq!(counts(&side.channel), [3, 0, 2]);
    }
    assert_eq!(found(&client.channel), found(&server.channel), "the same ones");
}

/// At each key update the secret and the key before it go.
#[test]
fn key_updates_leave_nothing_of_the_keys_before() {
    let (mut client, mut server) = established();
    let mut before = found(&client.channel);
    for _ in 0..3 {
        client.channel.update_keys();
        server.channel.update_keys();
        settle(&mut client, &mut server);
        let now = found(&client.channel);
        assert_eq!(now.each_ref().map(BTreeSet::len), [3, 0, 2]);
        assert_eq!(now, found(&server.channel));
        assert_eq!(now[0].intersection(&before[0]).count(), 1, "the exporter's stays");
        assert_eq!(now[2].intersection(&before[2]).count(), 0);
        before = now;
    }
}

/// A channel that has died and said so holds nothing, at whatever point it died.
#[test]
fn a_dead_channel_holds_nothing() {
    // Cut after so many bytes, and then something that is no record.
    for cut in [0, 60, 300, 480, 520, 700, 900] {
        // Other secrets each time: what an earlier connection left on the stack may lie between the fields of this one.
        let mut client = Side::new(Channel::client(ClientOptions::default()), 10 + cut);
        let mut server = Side::new(Channel::server(), 2_000 + cut);
        SEEN.with_borrow_mut(|seen| {
            seen.schedule.clear();
            seen.exchange.clear();
            seen.records.clear();
        });
        let hello = client.turn();
        server.rx.extend(hello);
        let mut flight = server.turn();
        flight.truncate(usize::try_from(cut).expect("small"));
        client.rx.extend(flight);
        client.turn();
        client.rx.clear();
        client.rx.extend([0xff; 5]);
        client.turn();
        server.rx.extend([0xff; 5]);
        server.turn();
        for side in [&client, &server] {
            assert!(side.died, "{cut}");
            assert_eq!(counts(&side.channel), [0, 0, 0], "{cut}");
        }
    }
    let (mut client, mut server) = established();
    client.rx.extend([0xff; 5]);
    let alert = client.turn();
    server.rx.extend(alert);
    server.turn();
    for side in [&client, &server] {
        assert!(side.died);
        assert_eq!(counts(&side.channel), [0, 0, 0]);
    }
}
