//! The channel's server on plain TCP for conformance suites that speak as a client: it answers each request, which ends with
//! an empty line in however many records, with one record, connection after connection, until it is killed.
//! `docs/channel.md` says how tlsfuzzer is pointed at it.
//!
//! ```text
//! dbmirror-channel-www ADDRESS:PORT KEY OWN PEER [REQUIRED|SUPPORTED|DISABLED [RECORD_SIZE_LIMIT]]
//! ```
//!
//! KEY is a private key as `openssl ecparam -genkey -outform DER` writes it, OWN and PEER are certificates in DER. One line
//! a connection on standard output says how it ended.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert::Certificate;
use dbmirror_core::channel::{
    Channel, Encryption, Env, Event, HEAD_ROOM, Identity, PeerRefusal, PeerVerifier, Protocol,
    RecordSizeLimit, ServerOptions, TAIL_ROOM, VerifiedPeer, WRITE_ROOM_MIN,
};
use dbmirror_core::crypto::rustcrypto::{RustCrypto, SigningKey};
use dbmirror_core::crypto::{POINT_LEN, SigningKey as _};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;

/// How a request ends.
const REQUEST_END: &[u8] = b"\r\n\r\n";
/// What a request gets, in one record.
const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
/// How long a silent peer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who we are, whom we let in, and how.
struct Server {
    scalar: [u8; 32],
    own: Vec<u8>,
    peer: Vec<u8>,
    point: [u8; POINT_LEN],
    options: ServerOptions,
}

impl PeerVerifier for Server {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        if der == self.peer {
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

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [address, key, own, peer, rest @ ..] = arguments else {
        return Err(
            "usage: dbmirror-channel-www ADDRESS:PORT KEY OWN PEER [REQUIRED|SUPPORTED|DISABLED [LIMIT]]"
                .to_owned(),
        );
    };
    let read = |path: &String| std::fs::read(path).map_err(|error| format!("{path}: {error}"));
    let encryption = match rest.first().map_or("REQUIRED", String::as_str) {
        "REQUIRED" => Encryption::Required,
        "SUPPORTED" => Encryption::Supported,
        "DISABLED" => Encryption::Disabled,
        other => return Err(format!("{other} is not REQUIRED, SUPPORTED or DISABLED")),
    };
    let record_size_limit = match rest.get(1) {
        None => RecordSizeLimit::MAX,
        Some(text) => text
            .parse()
            .ok()
            .and_then(RecordSizeLimit::new)
            .ok_or_else(|| format!("{text} is not a limit of 64 to 16385"))?,
    };
    let peer = read(peer)?;
    let point = Certificate::parse::<RustCrypto>(&peer)
        .map_err(|error| format!("the peer's certificate: {error}"))?
        .pin::<RustCrypto>()
        .point;
    let server = Arc::new(Server {
        scalar: scalar(&read(key)?).ok_or("the key is not a P-256 key in DER")?,
        own: read(own)?,
        peer,
        point,
        options: ServerOptions {
            encryption,
            record_size_limit,
            aes_256: true,
            ..ServerOptions::default()
        },
    });
    let listener = TcpListener::bind(address).map_err(|error| format!("{address}: {error}"))?;
    println!("listening {address}");
    for stream in listener.incoming().flatten() {
        let server = Arc::clone(&server);
        std::thread::spawn(move || println!("{}", serve(&server, stream)));
    }
    Ok(())
}

/// The scalar of an ECPrivateKey (RFC 5915 §3): a sequence, version 1, then an octet string of 32 bytes.
fn scalar(der: &[u8]) -> Option<[u8; 32]> {
    match der {
        [0x30, _, 2, 1, 1, 4, 32, rest @ ..] => rest.first_chunk().copied(),
        _ => None,
    }
}

/// One connection; answers how it ended.
fn serve(server: &Server, mut stream: TcpStream) -> String {
    let mut channel = Channel::server_with(server.options);
    let ended = converse(server, &mut channel, &mut stream);
    // A socket that is closed over unread bytes sends a reset, and the peer never sees the alert before it.
    let mut ignored = [0; 4_096];
    let bound = stream.set_read_timeout(Some(PATIENCE));
    let _ = bound.and_then(|()| stream.shutdown(Shutdown::Write));
    while stream.read(&mut ignored).is_ok_and(|n| n > 0) {}
    match (ended, channel.error()) {
        (_, Some(error)) => format!("error {}: {error}", error.code()),
        (Err(error), None) => format!("transport: {error}"),
        (Ok(()), None) => "closed".to_owned(),
    }
}

fn converse(
    server: &Server,
    channel: &mut Channel<RustCrypto>,
    stream: &mut TcpStream,
) -> std::io::Result<()> {
    let broken = |text: &str| std::io::Error::other(text.to_owned());
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let key = SigningKey::from_scalar(&Secret::new(server.scalar)).map_err(|_| broken("no key"))?;
    let protocols = [Protocol {
        alpn: b"dbm/1",
        verifier: server,
    }];
    let mut entropy = OsEntropy;
    let mut env = Env {
        now: UnixSeconds(0),
        entropy: &mut entropy,
        identity: Identity {
            signing_key: &key,
            certificate_der: &server.own,
        },
        protocols: &protocols,
    };
    let mut rx = Vec::new();
    let mut over = false;
    // As many bytes of REQUEST_END as have come last.
    let mut ending = 0;
    loop {
        let mut tx = [0; 8 * WRITE_ROOM_MIN];
        while channel.wants_write() {
            if let Ok(len) = channel.write(&mut env, &mut tx) {
                stream.write_all(&tx[..len])?;
            }
        }
        if over || channel.error().is_some() {
            return Ok(());
        }
        // An error leaves an alert to be written.
        let Ok(step) = channel.read(&mut env, &mut rx) else {
            continue;
        };
        let (consumed, need) = (step.consumed, step.need);
        let asked = match step.event {
            Event::Data(plaintext) => {
                let mut asked = false;
                for byte in plaintext {
                    ending = if *byte == REQUEST_END[ending] {
                        ending + 1
                    } else {
                        usize::from(*byte == REQUEST_END[0])
                    };
                    if ending == REQUEST_END.len() {
                        (asked, ending) = (true, 0);
                    }
                }
                asked
            }
            Event::Closed => {
                channel.close();
                over = true;
                continue;
            }
            Event::Progress | Event::WriteFirst => false,
        };
        rx.drain(..consumed);
        if asked {
            let mut buf = [0; HEAD_ROOM + ANSWER.len() + TAIL_ROOM];
            buf[HEAD_ROOM..HEAD_ROOM + ANSWER.len()].copy_from_slice(ANSWER);
            // The peer may have asked for records that are smaller than the answer.
            let len = ANSWER.len().min(channel.payload_len_max());
            if let Ok(len) = channel.seal(&mut buf, len) {
                stream.write_all(&buf[..len])?;
            }
        }
        if need > 0 {
            let have = rx.len();
            rx.resize(have + need, 0);
            let got = stream.read(&mut rx[have..])?;
            rx.truncate(have + got);
            if got == 0 {
                // Why it ended is the channel's to say.
                let _ = channel.end_of_input();
                return Ok(());
            }
        }
    }
}
