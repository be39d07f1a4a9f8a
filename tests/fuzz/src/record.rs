//! The secure channel under bytes from an enemy, without cryptography, so that they get far.
//!
//! The first byte chooses who is attacked and the second the size of the pieces; the rest is what arrives:
//!
//! | first byte modulo 5 | under attack |
//! | --- | --- |
//! | 0 | a server that waits for a ClientHello |
//! | 1 | a client that has sent one |
//! | 2, 3 | an established server, client |
//! | 4 | an honest pair with a pipe that changes bytes: position (two bytes, big-endian), then what to mix in |

use dbmirror_core::channel::{
    Channel, ChannelError, ClientOptions, Env, Event, Identity, PeerRefusal, PeerVerifier, Protocol,
    VerifiedPeer,
};
use dbmirror_core::crypto::POINT_LEN;
use dbmirror_core::crypto::no_security::{NoKey, NoSecurity};
use dbmirror_core::time::UnixSeconds;

use crate::Repeating;

/// The certificate of both sides.
const CERTIFICATE: &[u8] = b"a certificate";

/// Who accepts the one certificate and refuses all others.
struct One;

impl PeerVerifier for One {
    fn verify(&self, alpn: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        assert_eq!(alpn, b"dbm/1", "nothing else was offered");
        if der == CERTIFICATE {
            let mut point = [0; POINT_LEN];
            point[0] = 4;
            Ok(VerifiedPeer {
                point,
                login_id: 1,
                certificate_id: 1,
            })
        } else {
            Err(PeerRefusal::Unknown)
        }
    }
}

/// One side, and all that it said.
struct Side {
    channel: Channel<NoSecurity>,
    entropy: Repeating,
    rx: Vec<u8>,
    sent: Vec<u8>,
    /// Bytes of `sent` that are on their way.
    posted: usize,
    data: Vec<u8>,
    closed: bool,
    /// Bytes that must come before anything can happen.
    need: usize,
}

impl Side {
    fn new(channel: Channel<NoSecurity>) -> Self {
        Self {
            channel,
            entropy: Repeating::from(1),
            rx: Vec::new(),
            sent: Vec::new(),
            posted: 0,
            data: Vec::new(),
            closed: false,
            need: 0,
        }
    }

    fn server() -> Self {
        Self::new(Channel::server())
    }

    fn client() -> Self {
        Self::new(Channel::client(ClientOptions::default()))
    }

    /// Says all there is to say.
    fn flush(&mut self) {
        let protocols = [Protocol {
            alpn: b"dbm/1",
            verifier: &One,
        }];
        let mut env = env(&mut self.entropy, &protocols);
        let mut calls = 0;
        while self.channel.wants_write() {
            let mut tx = [0; 300];
            let len = self.channel.write(&mut env, &mut tx).unwrap_or(0);
            self.sent.extend_from_slice(&tx[..len]);
            calls += 1;
            assert!(calls < 100, "it never stops");
        }
    }

    /// What was said since the last time.
    fn post(&mut self) -> Vec<u8> {
        self.flush();
        let new = self.sent[self.posted..].to_vec();
        self.posted = self.sent.len();
        new
    }

    /// Takes in `bytes`, and everything that follows from them.
    fn take(&mut self, bytes: &[u8]) -> Result<(), ChannelError> {
        self.rx.extend_from_slice(bytes);
        if bytes.len() < self.need {
            self.need -= bytes.len();
            let (sent, data) = (self.sent.len(), self.data.len());
            let before = (self.rx.len(), self.need);
            self.step()?;
            assert_eq!((self.rx.len(), self.need), before, "it said that it needs more");
            assert_eq!((self.sent.len(), self.data.len()), (sent, data));
            return Ok(());
        }
        self.step()
    }

    fn step(&mut self) -> Result<(), ChannelError> {
        loop {
            self.flush();
            let protocols = [Protocol {
                alpn: b"dbm/1",
                verifier: &One,
            }];
            let mut env = env(&mut self.entropy, &protocols);
            let stands = self.channel.established().is_some();
            let lent = self.rx.len();
            let step = self.channel.read(&mut env, &mut self.rx)?;
            assert!(step.consumed <= lent);
            assert!(step.consumed == 0 || step.need == 0);
            match step.event {
                Event::Data(data) => {
                    assert!(!data.is_empty());
                    assert!(stands, "data before the handshake was done");
                    self.data.extend_from_slice(data);
                }
                Event::Closed => self.closed = true,
                Event::Progress | Event::WriteFirst => {}
            }
            let (consumed, need) = (step.consumed, step.need);
            if let Event::WriteFirst = step.event {
                continue;
            }
            self.rx.drain(..consumed);
            self.need = need;
            if consumed == 0 {
                assert!(need > 0 || self.closed, "neither progress nor a wish");
                return Ok(());
            }
        }
    }

    /// What an outsider can tell of it.
    fn seen(&self) -> (&[u8], &[u8], bool, Option<ChannelError>, bool) {
        (
            &self.sent,
            &self.data,
            self.closed,
            self.channel.error(),
            self.channel.established().is_some(),
        )
    }
}

fn env<'e>(entropy: &'e mut Repeating, protocols: &'e [Protocol<'e>]) -> Env<'e, NoSecurity> {
    Env {
        now: UnixSeconds(0),
        entropy,
        identity: Identity {
            signing_key: &NoKey,
            certificate_der: CERTIFICATE,
        },
        protocols,
    }
}

/// A handshake between two honest sides over a pipe that changes bytes as `changes` say.
fn pair(changes: &[u8]) -> (Side, Side) {
    let (mut client, mut server) = (Side::client(), Side::server());
    let mut position = 0;
    for _ in 0..20 {
        for client_speaks in [true, false] {
            let (from, to) = if client_speaks {
                (&mut client, &mut server)
            } else {
                (&mut server, &mut client)
            };
            let mut bytes = from.post();
            for change in changes.chunks_exact(3) {
                let at = usize::from(u16::from_be_bytes([change[0], change[1]]));
                if let Some(byte) = at.checked_sub(position).and_then(|at| bytes.get_mut(at)) {
                    *byte ^= change[2];
                }
            }
            position += bytes.len();
            // An error is kept by the channel.
            let _ = to.take(&bytes);
        }
    }
    (client, server)
}

/// The body of the target.
pub fn record(data: &[u8]) {
    let [kind, piece, bytes @ ..] = data else { return };
    let victim = || match kind % 5 {
        0 => Side::server(),
        1 => {
            let mut client = Side::client();
            client.flush();
            client
        }
        2 => pair(&[]).1,
        _ => pair(&[]).0,
    };
    if kind % 5 == 4 {
        let (client, server) = pair(bytes);
        // Whoever is established has seen every byte of the other's as it was sent, or changed where nobody looks: so
        // both ends export the same, or one of them died.
        let (mut ours, mut theirs) = ([0; 32], [0; 32]);
        let exported = client
            .channel
            .export(b"x", &[], &mut ours)
            .and(server.channel.export(b"x", &[], &mut theirs));
        assert!(
            exported.is_err() || ours == theirs,
            "both stand, over different handshakes"
        );
        return;
    }
    // All at once, and in pieces: it must make no difference.
    let mut whole = victim();
    let mut pieces = victim();
    let _ = whole.take(bytes);
    for piece in bytes.chunks(usize::from(*piece).max(1)) {
        if pieces.take(piece).is_err() {
            break;
        }
    }
    whole.flush();
    pieces.flush();
    assert_eq!(whole.seen(), pieces.seen());
    let before = whole.channel.error();
    let ended = whole.channel.end_of_input();
    assert!(ended.is_err() || whole.closed, "an end without a goodbye");
    assert!(
        before.is_none() || before == ended.err(),
        "it stays dead of the same thing"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without an enemy the pair stands: the target tests something.
    #[test]
    fn an_honest_pair_stands() {
        let (client, server) = pair(&[]);
        assert_eq!((client.channel.error(), server.channel.error()), (None, None));
        assert!(client.channel.established().is_some() && server.channel.established().is_some());
    }
}
