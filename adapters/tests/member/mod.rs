//! A member without databases, for tests of what carries its connections.

use std::net::SocketAddr;

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_adapters::world::World;
use dbmirror_core::cert::{self, CERTIFICATE_LEN_MAX};
use dbmirror_core::channel::{Identity, PeerRefusal, PeerVerifier, VerifiedPeer};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{Provider, SigningKey as _};
use dbmirror_core::endpoint::{
    CloseReason, Config, ConnectionEvent, Directory, Endpoint, Env, Event, IdentityError, Limits,
    RecordWrite, Ticket,
};
use dbmirror_core::entropy::Entropy as _;
use dbmirror_core::message::{InstanceId, InstanceName};
use dbmirror_core::secret::Secret;
use dbmirror_core::session::{NoDatabases, Reason};
use dbmirror_core::time::{Instant, UnixSeconds};

const NOON: UnixSeconds = UnixSeconds(1_800_000_000);

/// A member without databases.
pub struct Member {
    key: <RustCrypto as Provider>::SigningKey,
    der: Vec<u8>,
    /// The certificate that it lets in, and its key.
    peer: Option<(Vec<u8>, [u8; 65])>,
}

impl Member {
    pub fn new(name: &str) -> Self {
        let mut scalar = Secret::zero();
        OsEntropy.fill_secret(scalar.expose_mut()).unwrap();
        scalar.expose_mut()[0] = 0x11;
        let key = <RustCrypto as Provider>::SigningKey::from_scalar(&scalar).unwrap();
        let request = cert::Request {
            subject: name,
            not_before: UnixSeconds(NOON.0 - 60),
            not_after: UnixSeconds(NOON.0 + 3600),
        };
        let mut der = [0; CERTIFICATE_LEN_MAX];
        let len = cert::issue::<RustCrypto>(&request, &key, &mut OsEntropy, &mut der).unwrap();
        Self {
            key,
            der: der[..len].to_vec(),
            peer: None,
        }
    }

    pub fn trust(&mut self, other: &Self) {
        self.peer = Some((other.der.clone(), other.key.public_point()));
    }
}

impl PeerVerifier for Member {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        let (pin, point) = self.peer.as_ref().ok_or(PeerRefusal::Unknown)?;
        if pin != der {
            return Err(PeerRefusal::Unknown);
        }
        Ok(VerifiedPeer {
            point: *point,
            login_id: 260,
            certificate_id: 2,
        })
    }
}

impl Directory<RustCrypto> for Member {
    fn identity(&self) -> Result<Identity<'_, RustCrypto>, IdentityError> {
        Ok(Identity {
            signing_key: &self.key,
            certificate_der: &self.der,
        })
    }
    fn verifier(&self) -> &dyn PeerVerifier {
        self
    }
    fn not_waiting(&self, _: &str) -> Reason {
        Reason::NoDatabase
    }
}

pub struct TestWorld {
    pub member: Member,
    logs: NoDatabases,
    entropy: OsEntropy,
    pub events: Vec<(ConnectionEvent, Option<SocketAddr>)>,
}

impl TestWorld {
    pub fn new(member: Member) -> Self {
        Self {
            member,
            logs: NoDatabases,
            entropy: OsEntropy,
            events: Vec::new(),
        }
    }
    pub fn online(&self) -> bool {
        self.events
            .iter()
            .any(|(e, _)| matches!(e, ConnectionEvent::Online { .. }))
    }
    pub fn closed(&self) -> Option<CloseReason> {
        self.events.iter().find_map(|(e, _)| match e {
            ConnectionEvent::Closed { reason, .. } => Some(*reason),
            _ => None,
        })
    }
}

impl World<RustCrypto> for TestWorld {
    fn env(&mut self, now: Instant) -> Env<'_, RustCrypto> {
        Env {
            now,
            unix: NOON,
            entropy: &mut self.entropy,
            directory: &self.member,
            storage: &mut self.logs,
        }
    }
    fn persist(&mut self, _: Ticket, _: RecordWrite<'_>) {
        panic!("a connection persists nothing");
    }
    fn event(&mut self, _: &Endpoint<'_, RustCrypto>, event: Event, peer: Option<SocketAddr>) {
        if let Event::Connection { event, .. } = event {
            self.events.push((event, peer));
        }
    }
}

pub fn config(id: u8) -> Config {
    Config {
        instance: InstanceId([id; 16]),
        name: InstanceName::new("member").unwrap(),
        boot: 1,
        limits: Limits::default(),
    }
}
