//! `dbmirror-core` over a byte stream of one's own: who is at the other end of this line, and is it the one whose certificate we hold?
//!
//! Everything that an embedder of the core supplies is here, in its smallest form: the places that an endpoint lives in, a directory that
//! knows one peer, a world without databases, a clock, randomness, and the `embedded-io` driver around a stream. There is no std and
//! no allocator: `tests/run` builds this for a Cortex-M. A witness adds places for the sessions that it watches and a memory for its
//! records, which is what `firmware/` does.
#![no_std]

use core::net::SocketAddr;

use dbmirror_adapters::stream::{Driver, Line, Stream};
use dbmirror_adapters::world::World;
use dbmirror_core::channel::{Identity, PeerRefusal, PeerVerifier, VerifiedPeer};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{CryptoError, POINT_LEN, Provider, SigningKey as _};
use dbmirror_core::endpoint::{
    CloseReason, Config, ConnectionEvent, ConnectionSlot, DialError, Directory, Endpoint, Env, Event,
    IdentityError, Limits, RECEIVE_LEN, RecordWrite, SEND_LEN_MIN, Source, Ticket,
};
use dbmirror_core::entropy::Entropy;
use dbmirror_core::message::{Address, InstanceId, InstanceName};
use dbmirror_core::secret::Secret;
use dbmirror_core::session::{NoDatabases, Reason};
use dbmirror_core::time::{Duration, Instant, UnixSeconds};

/// Who we are, and the only one whom we let in.
pub struct Pair<'a> {
    key: <RustCrypto as Provider>::SigningKey,
    certificate: &'a [u8],
    peer: &'a [u8],
    peer_point: [u8; POINT_LEN],
}

impl<'a> Pair<'a> {
    /// Our private key and certificate, and the peer's certificate with its public key (`dbmirror_core::cert::Certificate` reads one).
    ///
    /// # Errors
    /// The private key is none.
    pub fn new(
        key: &Secret<32>,
        certificate: &'a [u8],
        peer: &'a [u8],
        peer_point: [u8; POINT_LEN],
    ) -> Result<Self, CryptoError> {
        Ok(Self {
            key: <RustCrypto as Provider>::SigningKey::from_scalar(key)?,
            certificate,
            peer,
            peer_point,
        })
    }
}

impl PeerVerifier for Pair<'_> {
    /// Byte for byte the certificate that we hold, or nobody. Its validity is the caller's to look at, when it stores it.
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        if der != self.peer {
            return Err(PeerRefusal::Unknown);
        }
        Ok(VerifiedPeer {
            point: self.peer_point,
            login_id: 1,
            certificate_id: 1,
        })
    }
}

impl Directory<RustCrypto> for Pair<'_> {
    fn identity(&self) -> Result<Identity<'_, RustCrypto>, IdentityError> {
        Ok(Identity {
            signing_key: &self.key,
            certificate_der: self.certificate,
        })
    }

    fn verifier(&self) -> &dyn PeerVerifier {
        self
    }

    fn not_waiting(&self, _: &str) -> Reason {
        Reason::NoDatabase
    }
}

/// What the endpoint is lent at each call, and what it told.
struct Surroundings<'a> {
    pair: &'a Pair<'a>,
    entropy: &'a mut dyn Entropy,
    unix: UnixSeconds,
    databases: NoDatabases,
    online: Option<InstanceId>,
    closed: Option<CloseReason>,
}

impl World<RustCrypto> for Surroundings<'_> {
    fn env(&mut self, now: Instant) -> Env<'_, RustCrypto> {
        Env {
            now,
            unix: self.unix,
            entropy: &mut *self.entropy,
            directory: self.pair,
            storage: &mut self.databases,
        }
    }

    fn persist(&mut self, _: Ticket, _: RecordWrite<'_>) {
        // Without a session and without a witness nothing is ever to be stored.
    }

    fn event(&mut self, _: &Endpoint<'_, RustCrypto>, event: Event, _: Option<SocketAddr>) {
        match event {
            Event::Connection {
                event: ConnectionEvent::Online { instance },
                ..
            } => self.online = Some(instance),
            Event::Connection {
                event: ConnectionEvent::Closed { reason, .. },
                ..
            } => self.closed = Some(reason),
            _ => {}
        }
    }
}

/// Which end of the line we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The one that speaks first.
    Dialing,
    /// The other.
    Answering,
}

/// Time and identity of this end.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// The instance's id, and its name.
    pub instance: (InstanceId, &'a str),
    /// How often this device has started.
    pub boot: u64,
    /// The calendar, which certificates are judged by.
    pub unix: UnixSeconds,
}

/// The buffers of one line: static memory of a device.
pub struct Buffers {
    receive: [u8; RECEIVE_LEN],
    send: [u8; SEND_LEN_MIN],
    record: [u8; SEND_LEN_MIN],
}

impl Buffers {
    /// All of them, empty.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            receive: [0; RECEIVE_LEN],
            send: [0; SEND_LEN_MIN],
            record: [0; SEND_LEN_MIN],
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

/// Meets who is at the other end of `stream`: the instance that proved itself by the certificate that we hold. `clock` tells the time,
/// and is where a device sleeps until something comes.
///
/// # Errors
/// Why the connection came to nothing.
pub fn meet<T: Stream>(
    end: End,
    here: Here<'_>,
    pair: &Pair<'_>,
    entropy: &mut dyn Entropy,
    stream: T,
    buffers: &mut Buffers,
    clock: &mut dyn FnMut() -> Instant,
) -> Result<InstanceId, CloseReason> {
    let (instance, name) = here.instance;
    let config = Config {
        instance,
        name: InstanceName::new(name).unwrap_or(InstanceName::EMPTY),
        boot: here.boot,
        limits: Limits::default(),
    };
    let mut connections = [ConnectionSlot::new()];
    let mut events = [None; 8];
    let mut endpoint = Endpoint::<RustCrypto>::new(config, &mut connections, &mut [], &mut events);
    let mut lines = [Line::new(&mut buffers.receive, &mut buffers.send)];
    let mut driver = Driver::new(&mut lines, &mut buffers.record);
    let mut world = Surroundings {
        pair,
        entropy,
        unix: here.unix,
        databases: NoDatabases,
        online: None,
        closed: None,
    };
    let now = clock();
    endpoint.set_running(&mut world.env(now), true);
    let mut stream = Some(stream);
    if end == End::Answering {
        if let Some(stream) = stream.take() {
            let accepted = driver.accept(now, stream, Source::default(), &mut endpoint, &mut world);
            if accepted.is_err() {
                return Err(CloseReason::Transport);
            }
        }
    } else {
        // There is one line, so one address stands for it.
        let address = Address::new("TCP://line:1").unwrap_or(Address::EMPTY);
        let asked = endpoint.test_connection(&mut world.env(now), address, Duration::from_secs(1));
        if asked.is_err() {
            return Err(CloseReason::Transport);
        }
    }
    loop {
        let mut line = |_: &Address| stream.take().ok_or(DialError::Unreachable);
        driver.poll(clock(), &mut endpoint, &mut world, &mut line);
        if let Some(reason) = world.closed {
            // The dialing end hangs up in order once it has met the other.
            return world.online.ok_or(reason);
        }
    }
}
