//! A man in the middle of a pairing, with keys of his own towards each side: he opens every record and passes its content
//! on, word for word.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert::Certificate;
use dbmirror_core::channel::{
    Channel, ClientOptions, Env, Event, HEAD_ROOM, PeerRefusal, PeerVerifier, Protocol, TAIL_ROOM,
    VerifiedPeer,
};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::pairing::{ALPN, EXPORTER_LABEL};
use dbmirror_core::time::UnixSeconds;

use crate::processes::PORT;
use crate::stranger::Credentials;

/// Lets in anybody who owns the certificate that he shows, and notes it.
#[derive(Default)]
struct Anybody(RefCell<Vec<u8>>);

impl PeerVerifier for Anybody {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        *self.0.borrow_mut() = der.to_vec();
        let parsed = Certificate::parse::<RustCrypto>(der).map_err(|_| PeerRefusal::Unknown)?;
        Ok(VerifiedPeer {
            point: *parsed.point(),
            login_id: 1,
            certificate_id: 1,
        })
    }
}

/// One channel under the protocol of pairing, over a socket.
pub struct PairingLink<'a> {
    credentials: &'a Credentials,
    channel: Channel<RustCrypto>,
    stream: TcpStream,
    arrived: Vec<u8>,
    peer: Anybody,
}

impl<'a> PairingLink<'a> {
    /// Dials.
    #[must_use]
    pub fn dial(address: &str, credentials: &'a Credentials) -> Self {
        let stream = TcpStream::connect((address, PORT)).expect("the endpoint listens");
        Self::over(stream, Channel::client(ClientOptions::default()), credentials)
    }

    /// Answers a connection that was accepted.
    #[must_use]
    pub fn answer(stream: TcpStream, credentials: &'a Credentials) -> Self {
        Self::over(stream, Channel::server(), credentials)
    }

    fn over(stream: TcpStream, channel: Channel<RustCrypto>, credentials: &'a Credentials) -> Self {
        stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout");
        Self {
            credentials,
            channel,
            stream,
            arrived: Vec::new(),
            peer: Anybody::default(),
        }
    }

    /// What arrived since the last look: records, or `None` when the connection has ended.
    pub fn turn(&mut self) -> Option<Vec<Vec<u8>>> {
        let protocols = [Protocol {
            alpn: ALPN,
            verifier: &self.peer,
        }];
        let mut entropy = OsEntropy;
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let mut env = Env {
            now: UnixSeconds(i64::try_from(since_1970).unwrap_or(i64::MAX)),
            entropy: &mut entropy,
            identity: self.credentials.identity(),
            protocols: &protocols,
        };
        let mut heard = Vec::new();
        loop {
            while self.channel.wants_write() {
                let mut out = [0; 4_096];
                let Ok(len) = self.channel.write(&mut env, &mut out) else {
                    continue;
                };
                self.stream.write_all(&out[..len]).ok()?;
            }
            let step = self.channel.read(&mut env, &mut self.arrived).ok()?;
            let consumed = step.consumed;
            match step.event {
                Event::Data(plain) => heard.push(plain.to_vec()),
                Event::Closed => return if heard.is_empty() { None } else { Some(heard) },
                Event::Progress | Event::WriteFirst => {}
            }
            self.arrived.drain(..consumed);
            if consumed == 0 && !self.channel.wants_write() {
                break;
            }
        }
        if !heard.is_empty() {
            return Some(heard);
        }
        let mut buffer = [0; 16_384];
        match self.stream.read(&mut buffer) {
            Ok(0) => None,
            Ok(n) => {
                self.arrived.extend_from_slice(&buffer[..n]);
                Some(heard)
            }
            Err(error) => matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            )
            .then_some(heard),
        }
    }

    /// Whether the handshake is done.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.channel.established().is_some()
    }

    /// The certificate that the peer showed.
    #[must_use]
    pub fn peer_certificate(&self) -> Vec<u8> {
        self.peer.0.borrow().clone()
    }

    /// The exporter that proofs are bound to.
    #[must_use]
    pub fn exporter(&self) -> [u8; 32] {
        let mut out = [0; 32];
        self.channel
            .export(EXPORTER_LABEL, &[], &mut out)
            .expect("the channel stands");
        out
    }

    /// Sends one record. False when the connection has ended.
    pub fn send(&mut self, payload: &[u8]) -> bool {
        let mut buf = vec![0; HEAD_ROOM + payload.len() + TAIL_ROOM];
        buf[HEAD_ROOM..HEAD_ROOM + payload.len()].copy_from_slice(payload);
        let Ok(len) = self.channel.seal(&mut buf, payload.len()) else {
            return false;
        };
        self.stream.write_all(&buf[..len]).is_ok()
    }
}

/// Sits at `listen`:7024 for one connection, dials `target`, and passes records on both ways. What it passed on is sent when
/// either side has ended.
#[must_use]
pub fn man_in_the_middle(listen: &str, target: &str) -> Receiver<Vec<Vec<u8>>> {
    let listener = TcpListener::bind((listen, PORT)).expect("the address is free");
    let target = target.to_owned();
    let (done, passed) = channel();
    std::thread::spawn(move || {
        let credentials = Credentials::new("MALLORY");
        let (stream, _) = listener.accept().expect("the victim comes");
        let mut near = PairingLink::answer(stream, &credentials);
        let mut far = PairingLink::dial(&target, &credentials);
        let mut records = Vec::new();
        let mut waiting: [Vec<Vec<u8>>; 2] = [Vec::new(), Vec::new()];
        'relay: loop {
            for (side, held) in waiting.iter_mut().enumerate() {
                let (from, to) = if side == 0 {
                    (&mut near, &mut far)
                } else {
                    (&mut far, &mut near)
                };
                let Some(heard) = from.turn() else { break 'relay };
                held.extend(heard);
                if to.stands() {
                    for record in held.drain(..) {
                        if !to.send(&record) {
                            break 'relay;
                        }
                        records.push(record);
                    }
                }
            }
        }
        let _ = done.send(records);
    });
    passed
}
