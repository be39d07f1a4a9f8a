//! A peer of our own making on a real socket: it authenticates as any mirroring endpoint does, with a certificate that an
//! operator may have bound to a login, and then says whatever the test wants said.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert::{CERTIFICATE_LEN_MAX, Certificate, Request, issue};
use dbmirror_core::channel::{
    Channel, ClientOptions, Env, Event, HEAD_ROOM, Identity, PeerRefusal, PeerVerifier, Protocol, Role,
    TAIL_ROOM, VerifiedPeer,
};
use dbmirror_core::crypto::rustcrypto::{RustCrypto, Sha256, SigningKey};
use dbmirror_core::crypto::{SIGNATURE_LEN_MAX, SigningKey as _};
use dbmirror_core::endpoint::{SUCCESSOR_EXPORTER, successor_proof};
use dbmirror_core::entropy::Entropy;
use dbmirror_core::message::codec::{Hello, Message, VERSION};
use dbmirror_core::message::{InstanceId, Signature, Text};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;
use dbmirror_core::wire::{Reader, Writer};

use crate::processes::{Host, PATIENCE, PORT};

/// A key pair with its self-signed certificate, made here.
pub struct Credentials {
    key: SigningKey,
    /// The certificate.
    pub der: Vec<u8>,
}

impl Credentials {
    /// New ones with this subject, valid for a day.
    #[must_use]
    pub fn new(subject: &str) -> Self {
        let mut scalar = Secret::zero();
        OsEntropy.fill_secret(scalar.expose_mut()).expect("randomness");
        let key = SigningKey::from_scalar(&scalar).expect("almost every number is a key");
        let mut der = [0; CERTIFICATE_LEN_MAX];
        let now = now();
        let request = Request {
            subject,
            not_before: UnixSeconds(now.0 - 3_600),
            not_after: UnixSeconds(now.0 + 86_400),
        };
        let len = issue::<RustCrypto>(&request, &key, &mut OsEntropy, &mut der).expect("a certificate");
        Self {
            key,
            der: der[..len].to_vec(),
        }
    }

    /// What a channel is lent.
    #[must_use]
    pub fn identity(&self) -> Identity<'_, RustCrypto> {
        Identity {
            signing_key: &self.key,
            certificate_der: &self.der,
        }
    }

    /// What an operator does to let the owner of this certificate connect to `host`: login, user, certificate, CONNECT.
    pub fn bind(&self, host: &Host, name: &str) {
        std::fs::write(host.dir.join(format!("backup/{name}.cer")), &self.der).expect("a file");
        host.ok(&format!(
            "CREATE LOGIN {name}_login WITH PASSWORD = '=Sample#2_Strong_Password2';\n\
             CREATE USER {name}_user FOR LOGIN {name}_login;\n\
             CREATE CERTIFICATE {name}_cert AUTHORIZATION {name}_user FROM FILE = 'C:\\{name}.cer';\n\
             GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO [{name}_login];"
        ));
    }
}

/// Lets in the one certificate that it was given.
struct Expected(Vec<u8>);

impl PeerVerifier for Expected {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        if der != self.0 {
            return Err(PeerRefusal::Unknown);
        }
        let parsed = Certificate::parse::<RustCrypto>(der).map_err(|_| PeerRefusal::Unknown)?;
        Ok(VerifiedPeer {
            point: *parsed.point(),
            login_id: 1,
            certificate_id: 1,
        })
    }
}

/// One authenticated connection to an instance's endpoint.
pub struct Stranger<'a> {
    credentials: &'a Credentials,
    expected: Expected,
    channel: Channel<RustCrypto>,
    stream: TcpStream,
    arrived: Vec<u8>,
    /// The plain text of every record heard.
    heard: Vec<Vec<u8>>,
}

impl<'a> Stranger<'a> {
    /// Dials `host`, which shows `certificate`, and completes the handshake.
    #[must_use]
    pub fn dial(host: &Host, certificate: Vec<u8>, credentials: &'a Credentials) -> Self {
        let stream = TcpStream::connect((host.address.as_str(), PORT)).expect("the endpoint listens");
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a timeout");
        let mut peer = Self {
            credentials,
            expected: Expected(certificate),
            channel: Channel::client(ClientOptions::default()),
            stream,
            arrived: Vec::new(),
            heard: Vec::new(),
        };
        let deadline = Instant::now() + PATIENCE;
        while peer.channel.established().is_none() {
            assert!(Instant::now() < deadline, "no handshake with {}", host.name);
            assert!(
                peer.turn(),
                "{} refused the handshake: {:?}",
                host.name,
                peer.channel.error()
            );
        }
        peer
    }

    /// One look at the socket. False when the connection has ended.
    fn turn(&mut self) -> bool {
        let protocols = [Protocol {
            alpn: b"dbm/1",
            verifier: &self.expected,
        }];
        let mut entropy = OsEntropy;
        let mut env = Env {
            now: now(),
            entropy: &mut entropy,
            identity: self.credentials.identity(),
            protocols: &protocols,
        };
        loop {
            while self.channel.wants_write() {
                let mut out = [0; 4_096];
                let Ok(len) = self.channel.write(&mut env, &mut out) else {
                    continue;
                };
                if self.stream.write_all(&out[..len]).is_err() {
                    return false;
                }
            }
            let Ok(step) = self.channel.read(&mut env, &mut self.arrived) else {
                return false;
            };
            let consumed = step.consumed;
            match step.event {
                Event::Data(plain) => self.heard.push(plain.to_vec()),
                Event::Closed => return false,
                Event::Progress | Event::WriteFirst => {}
            }
            self.arrived.drain(..consumed);
            if consumed == 0 && !self.channel.wants_write() {
                break;
            }
        }
        let mut buffer = [0; 16_384];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                self.arrived.extend_from_slice(&buffer[..n]);
                true
            }
            Err(error) => matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ),
        }
    }

    /// Says who it claims to be.
    pub fn hello(&mut self, instance: InstanceId) {
        let hello = Hello {
            version_min: VERSION,
            version_max: VERSION,
            capabilities: 0,
            instance,
            boot: 1,
            probe: false,
            name: Text::new("STRANGER").expect("a short name"),
        };
        self.say(&hello.into());
    }

    /// A signature by `signer` over what proves a successor certificate on this connection (`docs/protocol.md` §2).
    #[must_use]
    pub fn proof(
        &self,
        number: u64,
        (from, to): (InstanceId, InstanceId),
        certificate: &[u8],
        signer: &Credentials,
    ) -> Signature {
        let mut exporter = [0; 32];
        self.channel
            .export(SUCCESSOR_EXPORTER, &[], &mut exporter)
            .expect("the channel stands");
        let proof = successor_proof::<Sha256>(Role::Client, &exporter, from, to, number, certificate);
        let mut out = [0; SIGNATURE_LEN_MAX];
        let len = signer
            .key
            .sign(&proof, &mut OsEntropy, &mut out)
            .expect("a signature");
        Signature::new(&out[..len]).expect("not empty")
    }

    /// Sends one message.
    ///
    /// # Panics
    /// When the connection has ended.
    pub fn say(&mut self, message: &Message<'_>) {
        assert!(self.try_say(message), "the connection stands");
    }

    /// Sends one message on a connection that may have ended: whether it went out.
    pub fn try_say(&mut self, message: &Message<'_>) -> bool {
        let mut out = [0; 8_192];
        let end = out.len() - TAIL_ROOM;
        let mut to = Writer::new(&mut out[HEAD_ROOM..end]);
        message.encode(&mut to).expect("it fits");
        let len = to.len();
        let Ok(sealed) = self.channel.seal(&mut out, len) else {
            return false;
        };
        self.stream.write_all(&out[..sealed]).is_ok()
    }

    /// Listens until `found` finds something in a message, of those not heard out yet.
    ///
    /// # Panics
    /// When the connection ends or nothing comes.
    pub fn listen<T>(&mut self, what: &str, mut found: impl FnMut(&Message<'_>) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut stands = true;
        loop {
            for record in std::mem::take(&mut self.heard) {
                let mut from = Reader::new(&record);
                while !from.is_empty() {
                    if let Some(message) = Message::decode(&mut from).expect("a message of this version")
                        && let Some(answer) = found(&message)
                    {
                        return answer;
                    }
                }
            }
            assert!(stands, "the connection ended before {what}");
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            stands = self.turn();
        }
    }

    /// Whether the other side ends this connection within `patience`.
    pub fn is_closed_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if !self.turn() {
                return true;
            }
        }
        false
    }
}

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn now() -> UnixSeconds {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    UnixSeconds(i64::try_from(since_1970).unwrap_or(i64::MAX))
}
