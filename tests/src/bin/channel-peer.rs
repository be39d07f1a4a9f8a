//! A peer that speaks the secure channel over plain TCP and nothing above it: for tests against other people's TLS, and
//! for anybody who wants to look at one connection.
//!
//! ```text
//! channel-peer [--limit N] [--update] listen ADDRESS:PORT KEY OWN PEER [ALPN…]     one connection, then the end
//! channel-peer [--limit N] [--update] dial   ADDRESS:PORT KEY OWN PEER [ALPN…]
//! ```
//!
//! `--limit` is the record size limit that the peer is told; `--update` changes our keys before each record.
//!
//! KEY is a private key as `openssl ecparam -genkey -outform DER` writes it, OWN and PEER are certificates in DER; the
//! protocol is `dbm/1` unless another is named. A server sends back what arrives. A client sends `hello` and a newline,
//! waits for an answer and closes.
//! Each thing that happens is one line on standard output, the first of which is `listening` once it is so. The exit
//! status is 0 when both sides have closed in good order, 1 otherwise.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert::Certificate;
use dbmirror_core::channel::{
    CHANNEL_BINDING_LABEL, Channel, ChannelError, ClientOptions, Env, Event, HEAD_ROOM, Identity,
    PeerRefusal, PeerVerifier, Protocol, RECORD_LEN_MAX, RecordSizeLimit, Role, ServerOptions, TAIL_ROOM,
    UseError, VerifiedPeer,
};
use dbmirror_core::crypto::rustcrypto::{RustCrypto, SigningKey};
use dbmirror_core::crypto::{POINT_LEN, SigningKey as _};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;

/// Longer than any test takes: a peer that hangs must not hang the test too.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// What ends a run before its time, as it is printed.
struct Failure(String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(format!("transport {error}"))
    }
}

impl From<ChannelError> for Failure {
    fn from(error: ChannelError) -> Self {
        let alert = error
            .alert()
            .map_or_else(|| "none".to_owned(), |alert| alert.to_string());
        Self(format!("error {} alert={alert}: {error}", error.code()))
    }
}

impl From<UseError> for Failure {
    fn from(error: UseError) -> Self {
        Self(format!("misuse: {error}"))
    }
}

fn run(mut arguments: &[String]) -> Result<(), Failure> {
    let usage = || {
        Failure(
            "usage: channel-peer [--limit N] [--update] listen|dial ADDRESS:PORT KEY OWN PEER [ALPN…]"
                .to_owned(),
        )
    };
    let (mut limit, mut update) = (RecordSizeLimit::MAX, false);
    if let [option, number, rest @ ..] = arguments
        && option == "--limit"
    {
        let number = number.parse().ok().and_then(RecordSizeLimit::new);
        (limit, arguments) = (number.ok_or_else(usage)?, rest);
    }
    if let [option, rest @ ..] = arguments
        && option == "--update"
    {
        (update, arguments) = (true, rest);
    }
    let [side, address, key, own, peer, alpn @ ..] = arguments else {
        return Err(usage());
    };
    let own = std::fs::read(own)?;
    let pinned = Pinned::new(std::fs::read(peer)?)?;
    let names: Vec<&[u8]> = if alpn.is_empty() {
        vec![b"dbm/1"]
    } else {
        alpn.iter().map(|name| name.as_bytes()).collect()
    };
    let protocols: Vec<Protocol<'_>> = names
        .into_iter()
        .map(|alpn| Protocol {
            alpn,
            verifier: &pinned,
        })
        .collect();
    let lent = Lent {
        key: signing_key(&std::fs::read(key)?)?,
        own,
        protocols: &protocols,
    };
    let (channel, stream, side) = match side.as_str() {
        "listen" => {
            let listener = TcpListener::bind(address)?;
            println!("listening {}", listener.local_addr()?);
            let options = ServerOptions {
                record_size_limit: limit,
                ..ServerOptions::default()
            };
            (Channel::server_with(options), listener.accept()?.0, Role::Server)
        }
        "dial" => (
            Channel::client(ClientOptions {
                record_size_limit: limit,
                ..ClientOptions::default()
            }),
            TcpStream::connect(address)?,
            Role::Client,
        ),
        other => return Err(Failure(format!("neither listen nor dial: {other}"))),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    Connection {
        channel,
        stream,
        lent,
        entropy: OsEntropy,
        side,
        update,
    }
    .run()
}

/// The scalar of an ECPrivateKey (RFC 5915 §3): a sequence, version 1, then an octet string of 32 bytes.
fn signing_key(der: &[u8]) -> Result<SigningKey, Failure> {
    let scalar = match der {
        [0x30, _, 2, 1, 1, 4, 32, rest @ ..] => rest.first_chunk::<32>(),
        _ => None,
    };
    scalar
        .and_then(|scalar| SigningKey::from_scalar(&Secret::new(*scalar)).ok())
        .ok_or_else(|| Failure("the key is not a P-256 key in DER".to_owned()))
}

/// The one certificate that is accepted, for every protocol.
struct Pinned {
    der: Vec<u8>,
    point: [u8; POINT_LEN],
}

impl Pinned {
    fn new(der: Vec<u8>) -> Result<Self, Failure> {
        let point = Certificate::parse::<RustCrypto>(&der)
            .map_err(|error| Failure(format!("the peer's certificate: {error}")))?
            .pin::<RustCrypto>()
            .point;
        Ok(Self { der, point })
    }
}

impl PeerVerifier for Pinned {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        if der == self.der {
            Ok(VerifiedPeer {
                point: self.point,
                login_id: 1,
                certificate_id: 1,
            })
        } else {
            Err(PeerRefusal::Unknown)
        }
    }
}

struct Lent<'a> {
    key: SigningKey,
    own: Vec<u8>,
    protocols: &'a [Protocol<'a>],
}

struct Connection<'a> {
    channel: Channel<RustCrypto>,
    stream: TcpStream,
    lent: Lent<'a>,
    entropy: OsEntropy,
    side: Role,
    update: bool,
}

impl Connection<'_> {
    fn run(mut self) -> Result<(), Failure> {
        let mut rx = Vec::with_capacity(RECORD_LEN_MAX);
        let mut introduced = false;
        let outcome = loop {
            if let Err(failure) = self.flush() {
                break Err(failure);
            }
            if !introduced && self.channel.established().is_some() {
                introduced = true;
                self.introduce();
                if self.side == Role::Client {
                    self.send(b"hello\n")?;
                }
            }
            match self.step(&mut rx) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(failure) => break Err(failure),
            }
        };
        // The alert, or the close_notify that answers the peer's.
        self.channel.close();
        self.flush()?;
        self.linger();
        outcome
    }

    /// Waits for the peer to close too: a socket that is closed over unread bytes sends a reset, and the peer may then
    /// never see the alert before it.
    fn linger(&mut self) {
        let mut ignored = [0; 4_096];
        let bound = self.stream.set_read_timeout(Some(Duration::from_secs(2)));
        let _ = bound.and_then(|()| self.stream.shutdown(Shutdown::Write));
        while self.stream.read(&mut ignored).is_ok_and(|n| n > 0) {}
    }

    /// Sends what the channel has to send.
    fn flush(&mut self) -> Result<(), Failure> {
        let mut tx = [0; 4_096];
        while self.channel.wants_write() {
            let mut env = env(&self.lent, &mut self.entropy);
            let len = self.channel.write(&mut env, &mut tx)?;
            self.stream.write_all(&tx[..len])?;
        }
        Ok(())
    }

    /// Takes one step over what has arrived, after reading as much as is missing. Answers whether to go on.
    fn step(&mut self, rx: &mut Vec<u8>) -> Result<bool, Failure> {
        let mut env = env(&self.lent, &mut self.entropy);
        let step = self.channel.read(&mut env, rx)?;
        let (consumed, need) = (step.consumed, step.need);
        let data = match step.event {
            Event::Data(data) => data.to_vec(),
            Event::Closed => {
                println!("closed");
                return Ok(false);
            }
            Event::Progress | Event::WriteFirst => Vec::new(),
        };
        rx.drain(..consumed);
        if !data.is_empty() {
            println!("data {}", data.escape_ascii());
            self.flush()?;
            match self.side {
                Role::Server => self.send(&data)?,
                Role::Client => self.channel.close(),
            }
        }
        if need > 0 {
            let have = rx.len();
            rx.resize(have + need, 0);
            let got = self.stream.read(&mut rx[have..])?;
            rx.truncate(have + got);
            if got == 0 {
                self.channel.end_of_input()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn send(&mut self, payload: &[u8]) -> Result<(), Failure> {
        // A peer may take less in one record than it sends.
        for piece in payload.chunks(self.channel.payload_len_max()) {
            if self.update {
                self.channel.update_keys();
                self.flush()?;
            }
            let mut buf = vec![0; HEAD_ROOM + piece.len() + TAIL_ROOM];
            buf[HEAD_ROOM..HEAD_ROOM + piece.len()].copy_from_slice(piece);
            let len = self.channel.seal(&mut buf, piece.len())?;
            self.stream.write_all(&buf[..len])?;
        }
        Ok(())
    }

    fn introduce(&self) {
        let mut binding = [0; 32];
        let exported = self.channel.export(CHANNEL_BINDING_LABEL, &[], &mut binding);
        if let (Some(facts), Ok(())) = (self.channel.established(), exported) {
            let alpn = facts.alpn.as_bytes().escape_ascii();
            let limit = self.channel.payload_len_max();
            println!(
                "established alpn={alpn} payload={limit} binding={}",
                hex::encode(binding)
            );
        }
    }
}

fn env<'e>(lent: &'e Lent<'_>, entropy: &'e mut OsEntropy) -> Env<'e, RustCrypto> {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    Env {
        now: UnixSeconds(i64::try_from(since_1970).unwrap_or(i64::MAX)),
        entropy,
        identity: Identity {
            signing_key: &lent.key,
            certificate_der: &lent.own,
        },
        protocols: lent.protocols,
    }
}
