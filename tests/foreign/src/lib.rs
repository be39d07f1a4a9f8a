//! Our side of a connection in memory, and the conversation that every foreign peer must be able to hold with it.

pub mod rustls_pin;

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert;
use dbmirror_core::channel::{
    CHANNEL_BINDING_LABEL, Channel, ChannelError, Env, Event, HEAD_ROOM, Identity, PAYLOAD_LEN_MAX,
    PeerRefusal, PeerVerifier, Protocol, TAIL_ROOM, VerifiedPeer,
};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{Provider, SigningKey as _};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;

/// The one protocol that is spoken.
pub const ALPN: &[u8] = b"dbm/1";

/// A key and its certificate.
pub struct Own {
    /// The private scalar.
    pub scalar: [u8; 32],
    /// The certificate.
    pub der: Vec<u8>,
    /// The public point.
    pub point: [u8; 65],
}

impl Own {
    /// The party whose key is made of `n`.
    ///
    /// # Panics
    /// When no certificate can be issued.
    #[must_use]
    pub fn new(n: u8) -> Self {
        let scalar = [n; 32];
        let key = <RustCrypto as Provider>::SigningKey::from_scalar(&Secret::new(scalar)).expect("a key");
        let request = cert::Request {
            subject: "foreign",
            not_before: UnixSeconds(1_700_000_000),
            not_after: UnixSeconds(2_900_000_000),
        };
        let mut der = [0; cert::CERTIFICATE_LEN_MAX];
        let len = cert::issue::<RustCrypto>(&request, &key, &mut OsEntropy, &mut der).expect("a certificate");
        Self {
            scalar,
            der: der[..len].to_vec(),
            point: key.public_point(),
        }
    }

    /// The key as PKCS #8, as RFC 5915 and 5958 write it.
    #[must_use]
    pub fn pkcs8(&self) -> Vec<u8> {
        let head = [
            0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
            0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02,
            0x01, 0x01, 0x04, 0x20,
        ];
        [
            &head[..],
            &self.scalar,
            &[0xa1, 0x44, 0x03, 0x42, 0x00],
            &self.point,
        ]
        .concat()
    }
}

/// Accepts one certificate, byte for byte.
pub struct Pin {
    der: Vec<u8>,
    point: [u8; 65],
}

impl Pin {
    /// That of `peer`.
    #[must_use]
    pub fn of(peer: &Own) -> Self {
        Self {
            der: peer.der.clone(),
            point: peer.point,
        }
    }
}

impl PeerVerifier for Pin {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        if der != self.der {
            return Err(PeerRefusal::Unknown);
        }
        Ok(VerifiedPeer {
            point: self.point,
            login_id: 1,
            certificate_id: 1,
        })
    }
}

/// Our side.
pub struct Ours<'a, P: Provider> {
    /// The channel.
    pub channel: Channel<P>,
    key: P::SigningKey,
    own: &'a Own,
    peer: Pin,
    rx: Vec<u8>,
    /// Data received and not looked at.
    pub heard: Vec<u8>,
    /// The peer said goodbye.
    pub closed: bool,
}

impl<'a, P: Provider> Ours<'a, P> {
    /// `own` with `channel`, who expects `peer`.
    ///
    /// # Panics
    /// When the provider does not take the key.
    #[must_use]
    pub fn new(channel: Channel<P>, own: &'a Own, peer: &'a Own) -> Self {
        Self {
            channel,
            key: P::SigningKey::from_scalar(&Secret::new(own.scalar)).expect("a key"),
            own,
            peer: Pin::of(peer),
            rx: Vec::new(),
            heard: Vec::new(),
            closed: false,
        }
    }

    /// Takes in what came and answers what is to be sent.
    pub fn turn(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.rx.extend_from_slice(bytes);
        let protocols = [Protocol {
            alpn: ALPN,
            verifier: &self.peer,
        }];
        let mut env = Env {
            now: UnixSeconds(1_800_000_000),
            entropy: &mut OsEntropy,
            identity: Identity {
                signing_key: &self.key,
                certificate_der: &self.own.der,
            },
            protocols: &protocols,
        };
        let mut sent = Vec::new();
        loop {
            let mut tx = [0; 4_096];
            while self.channel.wants_write() {
                let len = self.channel.write(&mut env, &mut tx).unwrap_or(0);
                sent.extend_from_slice(&tx[..len]);
            }
            let Ok(step) = self.channel.read(&mut env, &mut self.rx) else {
                if self.channel.wants_write() {
                    continue;
                }
                return sent;
            };
            match step.event {
                Event::Data(data) => self.heard.extend_from_slice(data),
                Event::Closed => self.closed = true,
                Event::Progress | Event::WriteFirst => {}
            }
            let consumed = step.consumed;
            self.rx.drain(..consumed);
            if consumed == 0 && !self.channel.wants_write() {
                return sent;
            }
        }
    }

    /// Seals `payload` in as many records as it takes.
    ///
    /// # Panics
    /// When the channel does not stand.
    pub fn say(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut sent = self.turn(&[]);
        for piece in payload.chunks(self.channel.payload_len_max()) {
            let mut buf = vec![0; HEAD_ROOM + piece.len() + TAIL_ROOM];
            buf[HEAD_ROOM..HEAD_ROOM + piece.len()].copy_from_slice(piece);
            let len = self.channel.seal(&mut buf, piece.len()).expect("it stands");
            sent.extend_from_slice(&buf[..len]);
        }
        sent
    }

    /// Why the channel died.
    #[must_use]
    pub fn error(&self) -> Option<ChannelError> {
        self.channel.error()
    }
}

/// The other side.
pub trait Theirs {
    /// Takes in what came and answers what is to be sent.
    fn turn(&mut self, bytes: &[u8]) -> Vec<u8>;
    /// Whether its handshake is done.
    fn stands(&self) -> bool;
    /// Says something; [`Theirs::turn`] sends it.
    fn say(&mut self, payload: &[u8]);
    /// Data received since the last time.
    fn heard(&mut self) -> Vec<u8>;
    /// Changes its keys, and asks for ours to change or does not.
    fn update_keys(&mut self, ask: bool);
    /// Its `tls-exporter`.
    fn binding(&self) -> [u8; 32];
    /// Says goodbye; [`Theirs::turn`] sends it.
    fn close(&mut self);
}

/// Moves bytes until both are quiet; answers the number of flights of ours.
pub fn settle<P: Provider>(ours: &mut Ours<'_, P>, theirs: &mut dyn Theirs) -> usize {
    let mut to_ours = Vec::new();
    let mut flights = 0;
    for _ in 0..20 {
        let to_theirs = ours.turn(&to_ours);
        flights += usize::from(!to_theirs.is_empty());
        to_ours = theirs.turn(&to_theirs);
        if to_theirs.is_empty() && to_ours.is_empty() {
            return flights;
        }
    }
    panic!("they never stop talking");
}

/// A handshake, data of many sizes both ways, the same exporter, and goodbyes; and, if the other side can,
/// key updates of either side with and without an answer.
///
/// # Panics
/// At the first thing that goes wrong.
pub fn converse<P: Provider>(ours: &mut Ours<'_, P>, theirs: &mut dyn Theirs, key_updates: bool) {
    settle(ours, theirs);
    assert_eq!(ours.error(), None);
    assert!(ours.channel.established().is_some() && theirs.stands());
    let mut binding = [0; 32];
    ours.channel
        .export(CHANNEL_BINDING_LABEL, &[], &mut binding)
        .expect("it stands");
    assert_eq!(binding, theirs.binding());
    for round in 0..if key_updates { 6 } else { 1 } {
        match round {
            1 => ours.channel.update_keys(),
            2 => theirs.update_keys(false),
            3 => theirs.update_keys(true),
            4 => {
                ours.channel.update_keys();
                theirs.update_keys(true);
            }
            _ => {}
        }
        for len in [1, 100, PAYLOAD_LEN_MAX, 3 * PAYLOAD_LEN_MAX + 7] {
            let payload: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).expect("small")).collect();
            theirs.say(&payload);
            let sent = ours.say(&payload);
            let answer = theirs.turn(&sent);
            let more = ours.turn(&answer);
            let answer = theirs.turn(&more);
            ours.turn(&answer);
            assert_eq!(theirs.heard(), payload, "round {round}, {len} bytes to them");
            assert_eq!(
                std::mem::take(&mut ours.heard),
                payload,
                "round {round}, {len} bytes to us"
            );
        }
    }
    theirs.close();
    ours.channel.close();
    settle(ours, theirs);
    assert!(ours.closed);
    assert_eq!(ours.error(), None);
}
