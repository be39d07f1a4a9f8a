//! One side of a channel without cryptography, and all that it said: what the targets of the channel have in common.

use dbmirror_core::channel::{
    Alert, Channel, ChannelError, ClientOptions, Encryption, Env, Event, HEAD_ROOM, Halves, Identity,
    PeerRefusal, PeerVerifier, Protocol, ReadEvent, RecordSizeLimit, ServerOptions, TAIL_ROOM, VerifiedPeer,
    Writer,
};
use dbmirror_core::crypto::POINT_LEN;
use dbmirror_core::crypto::no_security::{NoKey, NoSecurity};
use dbmirror_core::time::UnixSeconds;

use crate::Repeating;

/// How an endpoint is set up, out of one byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) encryption: Encryption,
    pub(crate) limit: RecordSizeLimit,
    pub(crate) compatible: bool,
}

impl Settings {
    /// 0 is what an endpoint is by itself: encryption required, records of any size.
    pub(crate) fn from_byte(byte: u8) -> Self {
        Self {
            encryption: match byte % 3 {
                0 => Encryption::Required,
                1 => Encryption::Supported,
                _ => Encryption::Disabled,
            },
            limit: match byte / 3 % 3 {
                0 => RecordSizeLimit::MAX,
                1 => RecordSizeLimit::MIN,
                _ => RecordSizeLimit::new(512).expect("between the two"),
            },
            compatible: byte / 9 % 2 == 1,
        }
    }
}

/// The certificate of both sides.
pub(crate) const CERTIFICATE: &[u8] = b"a certificate";

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
pub(crate) struct Side {
    pub(crate) channel: Channel<NoSecurity>,
    entropy: Repeating,
    rx: Vec<u8>,
    pub(crate) sent: Vec<u8>,
    /// Bytes of `sent` that are on their way.
    posted: usize,
    pub(crate) data: Vec<u8>,
    pub(crate) closed: bool,
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

    /// A server that waits for a ClientHello.
    pub(crate) fn server(settings: Settings) -> Self {
        Self::new(Channel::server_with(ServerOptions {
            encryption: settings.encryption,
            record_size_limit: settings.limit,
            ..ServerOptions::default()
        }))
    }

    /// A client that has a ClientHello to say.
    pub(crate) fn client(settings: Settings) -> Self {
        Self::new(Channel::client(ClientOptions {
            encryption: settings.encryption,
            record_size_limit: settings.limit,
            middlebox_compatible: settings.compatible,
            ..ClientOptions::default()
        }))
    }

    /// Seals `payload`, cut as the peer wants its records; what was sealed.
    pub(crate) fn say(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut said = Vec::new();
        for piece in payload.chunks(self.channel.payload_len_max()) {
            self.flush();
            let mut buf = vec![0; HEAD_ROOM + piece.len() + TAIL_ROOM];
            buf[HEAD_ROOM..HEAD_ROOM + piece.len()].copy_from_slice(piece);
            match self.channel.seal(&mut buf, piece.len()) {
                Ok(len) => {
                    self.sent.extend_from_slice(&buf[..len]);
                    said.extend_from_slice(piece);
                }
                Err(_) => break,
            }
        }
        said
    }

    /// Says all there is to say.
    pub(crate) fn flush(&mut self) {
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
    pub(crate) fn post(&mut self) -> Vec<u8> {
        self.flush();
        let new = self.sent[self.posted..].to_vec();
        self.posted = self.sent.len();
        new
    }

    /// Takes in `bytes`, and everything that follows from them.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), ChannelError> {
        self.rx.extend_from_slice(bytes);
        if bytes.len() < self.need {
            self.need -= bytes.len();
            // What it had to say of itself, a change of keys, is no answer to this.
            self.flush();
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
    pub(crate) fn seen(&self) -> (&[u8], &[u8], bool, Option<ChannelError>, bool) {
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

/// Two honest sides over an honest pipe, until nobody has anything more to say.
pub(crate) fn shake_hands(client: &mut Side, server: &mut Side) {
    loop {
        let to_server = client.post();
        // An error is kept by the channel.
        let _ = server.take(&to_server);
        let to_client = server.post();
        let _ = client.take(&to_client);
        if to_server.is_empty() && to_client.is_empty() {
            return;
        }
    }
}

/// What arrives makes no difference by the pieces in which it arrives: a piece of 0 means one byte.
pub(crate) fn all_at_once_or_in_pieces(victim: impl Fn() -> Side, piece: u8, bytes: &[u8]) {
    let mut whole = victim();
    let mut pieces = victim();
    let _ = whole.take(bytes);
    for piece in bytes.chunks(usize::from(piece).max(1)) {
        if pieces.take(piece).is_err() {
            break;
        }
    }
    whole.flush();
    pieces.flush();
    assert_eq!(whole.seen(), pieces.seen());
    in_halves(victim(), bytes, &whole);
    let before = whole.channel.error();
    if let Some(error) = before {
        tells(error);
    }
    let ended = whole.channel.end_of_input();
    assert!(ended.is_err() || whole.closed, "an end without a goodbye");
    assert!(
        before.is_none() || before == ended.err(),
        "it stays dead of the same thing"
    );
}

/// Every error says something to a person, to a machine and, but for a few, to the peer.
fn tells(error: ChannelError) {
    assert!(!error.to_string().is_empty() && !format!("{:?}", error.blame()).is_empty());
    assert_ne!(error.code(), 0);
    if let Some(alert) = error.alert() {
        assert!(!alert.to_string().is_empty());
        assert_eq!(Alert::from_code(alert.code()), alert);
    }
    if let ChannelError::PeerAlert(alert) = error {
        assert!(error.alert().is_none() && error.to_string().contains(&alert.to_string()));
    }
}

/// A channel that stands and is parted into halves hears and says what the whole one does.
fn in_halves(side: Side, bytes: &[u8], whole: &Side) {
    let said_before = side.sent.len();
    let Ok(Halves {
        mut reader,
        mut writer,
        session,
    }) = side.channel.split()
    else {
        return;
    };
    let mut key = [0; 32];
    session.export(b"x", &[], &mut key).expect("it stands");
    assert_ne!(key, [0; 32]);
    let mut rx = bytes.to_vec();
    let (mut sent, mut data, mut closed) = (Vec::new(), Vec::new(), false);
    let mut flush = |writer: &mut Writer<NoSecurity>| {
        while writer.wants_write() {
            let mut tx = [0; 300];
            let len = writer.write(&mut tx).expect("a provider that works");
            sent.extend_from_slice(&tx[..len]);
        }
    };
    let error = loop {
        flush(&mut writer);
        let read = match reader.read(&mut rx) {
            Ok(read) => read,
            Err(error) => break Some(error),
        };
        match read.event {
            ReadEvent::Data(bytes) => data.extend_from_slice(bytes),
            ReadEvent::KeyUpdateRequested => writer.answer_key_update(),
            ReadEvent::Closed => closed = true,
            ReadEvent::Nothing => {}
        }
        let consumed = read.consumed;
        rx.drain(..consumed);
        if consumed == 0 {
            break None;
        }
    };
    if let Some(error) = error {
        writer.fail(error);
        assert_eq!(
            reader.read(&mut rx).err(),
            Some(error),
            "it stays dead of the same thing"
        );
    }
    flush(&mut writer);
    assert_eq!(
        (&sent[..], &data, closed, error),
        (
            &whole.sent[said_before..],
            &whole.data,
            whole.closed,
            whole.channel.error()
        ),
    );
    let ended = reader.end_of_input();
    assert!(ended.is_err() || closed, "an end without a goodbye");
}
