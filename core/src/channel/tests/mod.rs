//! Channels in memory: between themselves, and against a peer that breaks the rules.
//! Offences have the numbers of the list in `docs/channel.md`.
//!
//! The evil peer is our own channel with a hook on each message that it sends: what the hook leaves is sent, and hashed
//! as if it had been meant. So it goes on with the right keys behind a wrong message, as an enemy would.

mod auth;
mod client_hello;
#[cfg(feature = "hybrid")]
mod hybrid;
mod limits;
mod offences;
mod pair;
mod records;
mod server_hello;
mod signatures;
mod suites;
mod traffic;

use std::boxed::Box;
use std::vec::Vec;

use super::*;
use crate::crypto::rustcrypto::{RustCrypto, SigningKey};
use crate::crypto::{Hash as _, POINT_LEN, SigningKey as _};
use crate::entropy::EntropyError;
use crate::secret::Secret;

/// A message of a peer under a test's control: the hash of what went before it, and its bytes, which are sent and hashed
/// as they are left. Empty bytes leave the message out.
type Hook = Box<dyn FnMut([u8; 32], &mut Vec<u8>)>;

/// What a test does to the messages of one side before they are sent.
#[derive(Default)]
pub(crate) struct Tamper {
    pub(crate) hook: Option<Hook>,
    pub(crate) replaced: Option<Vec<u8>>,
}

impl Tamper {
    pub(crate) fn apply(&mut self, transcript: &digest::Digest, mut message: Vec<u8>) -> Option<Vec<u8>> {
        let hook = self.hook.as_mut()?;
        hook(*transcript.as_bytes().first_chunk().unwrap(), &mut message);
        Some(message)
    }
}

/// Numbers that look random and come again in every run.
pub(crate) struct Counter {
    seed: u8,
    drawn: u64,
    /// Draws until the source fails, if it does.
    pub(crate) fails_after: Option<u64>,
}

impl Counter {
    pub(crate) fn new(seed: u8) -> Self {
        Self {
            seed,
            drawn: 0,
            fails_after: None,
        }
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        if self.fails_after.is_some_and(|after| self.drawn >= after) {
            return Err(EntropyError);
        }
        self.drawn += 1;
        for (n, piece) in out.chunks_mut(32).enumerate() {
            let mut input = [self.seed; 10];
            input[..8].copy_from_slice(&self.drawn.to_le_bytes());
            input[9] = u8::try_from(n).unwrap();
            let digest = <RustCrypto as Provider>::Sha256::digest(&input);
            piece.copy_from_slice(&digest[..piece.len()]);
        }
        Ok(())
    }
}

impl Entropy for Counter {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.fill(out)
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.fill(out)
    }
}

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_scalar(&Secret::new([n; 32])).unwrap()
}

/// Message and content types: all that mean something to somebody, and some that do not.
pub(crate) const SOME: [u8; 30] = [
    0, 1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 15, 16, 19, 20, 21, 22, 23, 24, 25, 26, 27, 64, 127, 128,
    203, 254, 255,
];

/// One stored certificate. The channel does not look into it, so any bytes will do.
#[derive(Clone)]
pub(crate) struct Pin {
    pub(crate) alpn: &'static [u8],
    pub(crate) der: Vec<u8>,
    pub(crate) point: [u8; POINT_LEN],
    pub(crate) verdict: Result<(), PeerRefusal>,
    pub(crate) right: Result<(), PeerRefusal>,
}

pub(crate) struct Pins(pub(crate) Vec<Pin>);

impl PeerVerifier for Pins {
    fn verify(&self, alpn: &[u8], der: &[u8], _now: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        let (n, pin) = self
            .0
            .iter()
            .enumerate()
            .find(|(_, pin)| pin.alpn == alpn && pin.der == der)
            .ok_or(PeerRefusal::Unknown)?;
        pin.verdict?;
        let certificate_id = u32::try_from(n).unwrap() + 100;
        Ok(VerifiedPeer {
            point: pin.point,
            login_id: 7,
            certificate_id,
        })
    }

    fn authorize(&self, _: &[u8], peer: &VerifiedPeer, _: UnixSeconds) -> Result<(), PeerRefusal> {
        self.0[usize::try_from(peer.certificate_id - 100).unwrap()].right
    }
}

pub(crate) const DBM: &[u8] = b"dbm/1";
pub(crate) const PAIR: &[u8] = b"dbm-pair/1";

/// One side of a connection with all that its caller lends.
pub(crate) struct Side {
    pub(crate) channel: Channel<RustCrypto>,
    pub(crate) key: SigningKey,
    pub(crate) der: Vec<u8>,
    pub(crate) pins: Pins,
    pub(crate) alpn: Vec<&'static [u8]>,
    pub(crate) entropy: Counter,
    /// Bytes from the peer that are not consumed yet.
    pub(crate) rx: Vec<u8>,
    /// Application data received.
    pub(crate) data: Vec<u8>,
    pub(crate) closed: bool,
    pub(crate) tx_room: usize,
    pub(crate) now: UnixSeconds,
}

pub(crate) fn client_der() -> Vec<u8> {
    b"the client's certificate".to_vec()
}

pub(crate) fn server_der() -> Vec<u8> {
    [0x30; 700].to_vec()
}

pub(crate) fn pin(der: Vec<u8>, key: &SigningKey) -> Pin {
    Pin {
        alpn: DBM,
        der,
        point: key.public_point(),
        verdict: Ok(()),
        right: Ok(()),
    }
}

impl Side {
    fn new(channel: Channel<RustCrypto>, n: u8, der: Vec<u8>, pins: Pins) -> Self {
        Self {
            channel,
            key: key(n),
            der,
            pins,
            alpn: [DBM].to_vec(),
            entropy: Counter::new(n),
            rx: Vec::new(),
            data: Vec::new(),
            closed: false,
            tx_room: 20_000,
            now: UnixSeconds(0),
        }
    }

    pub(crate) fn with_env<R>(
        &mut self,
        act: impl FnOnce(&mut Channel<RustCrypto>, &mut Env<'_, RustCrypto>, &mut Vec<u8>) -> R,
    ) -> R {
        let protocols: Vec<_> = self
            .alpn
            .iter()
            .map(|alpn| Protocol {
                alpn,
                verifier: &self.pins,
            })
            .collect();
        let mut env = Env {
            now: self.now,
            entropy: &mut self.entropy,
            identity: Identity {
                signing_key: &self.key,
                certificate_der: &self.der,
            },
            protocols: &protocols,
        };
        act(&mut self.channel, &mut env, &mut self.rx)
    }

    /// Everything the channel itself has to send.
    pub(crate) fn flush(&mut self) -> Vec<u8> {
        let mut sent = Vec::new();
        let room = self.tx_room;
        self.with_env(|channel, env, _| {
            let mut stuck = 0;
            while channel.wants_write() {
                let mut tx = std::vec![0xee; room];
                let len = channel.write(env, &mut tx).unwrap_or(0);
                assert!(
                    tx[len..].iter().all(|b| *b == 0xee) || len == 0,
                    "written behind its end"
                );
                sent.extend_from_slice(&tx[..len]);
                stuck = if len == 0 { stuck + 1 } else { 0 };
                assert!(stuck < 3, "no progress");
            }
        });
        sent
    }

    /// Reads what is there; returns how many bytes are needed to go on.
    pub(crate) fn read(&mut self) -> Result<usize, ChannelError> {
        loop {
            let mut data = Vec::new();
            let mut closed = false;
            let need = self.with_env(|channel, env, rx| {
                let lent = rx.len();
                let step = channel.read(env, rx)?;
                assert!(step.consumed <= lent);
                assert!(step.consumed == 0 || step.need == 0);
                match step.event {
                    Event::Data(bytes) => data.extend_from_slice(bytes),
                    Event::Closed => closed = true,
                    Event::WriteFirst => return Ok(Some(0)),
                    Event::Progress => {}
                }
                let (consumed, need) = (step.consumed, step.need);
                rx.drain(..consumed);
                Ok((consumed == 0).then_some(need))
            })?;
            self.data.extend_from_slice(&data);
            self.closed |= closed;
            if let Some(need) = need {
                return Ok(need);
            }
        }
    }

    pub(crate) fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut buf = std::vec![0; HEAD_ROOM + payload.len() + TAIL_ROOM];
        buf[HEAD_ROOM..][..payload.len()].copy_from_slice(payload);
        let len = self.channel.seal(&mut buf, payload.len()).unwrap();
        buf.truncate(len);
        buf
    }

    pub(crate) fn tamper(&mut self, hook: impl FnMut([u8; 32], &mut Vec<u8>) + 'static) {
        let Stage::Handshake(handshake) = &mut self.channel.stage else {
            panic!("no handshake any more")
        };
        handshake.outgoing.tamper.hook = Some(Box::new(hook));
    }

    pub(crate) fn established(&self) -> bool {
        self.channel.established().is_some()
    }

    pub(crate) fn sealer(&mut self) -> &mut protect::Sealer<RustCrypto> {
        self.channel.keys.sealer.as_mut().expect("it has keys")
    }

    pub(crate) fn opener(&mut self) -> &mut protect::Opener<RustCrypto> {
        self.channel.keys.opener.as_mut().expect("it has keys")
    }
}

/// A client and a server that know each other.
pub(crate) fn strangers(options: ClientOptions) -> (Side, Side) {
    strangers_with(options, ServerOptions::default())
}

pub(crate) fn strangers_with(options: ClientOptions, server_options: ServerOptions) -> (Side, Side) {
    let client = Side::new(
        Channel::client(options),
        1,
        client_der(),
        Pins([pin(server_der(), &key(2))].to_vec()),
    );
    let server = Side::new(
        Channel::server_with(server_options),
        2,
        server_der(),
        Pins([pin(client_der(), &key(1))].to_vec()),
    );
    (client, server)
}

/// Moves bytes both ways, `piece` at a time, until both are quiet. Stops reading a side that has failed.
pub(crate) fn run(client: &mut Side, server: &mut Side, piece: usize) {
    for _ in 0..100 {
        let to_server = client.flush();
        deliver(server, &to_server, piece);
        let to_client = server.flush();
        deliver(client, &to_client, piece);
        if to_server.is_empty() && to_client.is_empty() {
            return;
        }
    }
    panic!("they never stop talking");
}

/// Gives `bytes` to `side`, `piece` at a time, and holds it to its word about what it needs.
pub(crate) fn deliver(side: &mut Side, bytes: &[u8], piece: usize) {
    let mut promised = 0;
    for piece in bytes.chunks(piece) {
        let before = side.rx.len();
        side.rx.extend_from_slice(piece);
        match side.read() {
            Ok(need) => {
                if piece.len() < promised {
                    assert_eq!(
                        (side.rx.len(), need),
                        (before + piece.len(), promised - piece.len())
                    );
                }
                promised = need;
            }
            Err(error) => {
                assert_eq!(side.channel.error(), Some(error));
                return;
            }
        }
    }
}

/// A finished handshake.
pub(crate) fn friends() -> (Side, Side) {
    let (mut client, mut server) = strangers(ClientOptions::default());
    run(&mut client, &mut server, usize::MAX);
    assert!(client.established() && server.established());
    (client, server)
}

/// Has the client misbehave by `hook`, and expects the server to die of `error` and to say so.
pub(crate) fn server_refuses(
    name: &str,
    error: ChannelError,
    hook: impl FnMut([u8; 32], &mut Vec<u8>) + 'static,
) {
    let (mut client, mut server) = strangers(ClientOptions::default());
    client.tamper(hook);
    run(&mut client, &mut server, usize::MAX);
    refused(name, error, &mut server, &mut client);
}

/// Has the server misbehave by `hook`, and expects the client to die of `error` and to say so.
pub(crate) fn client_refuses(
    name: &str,
    error: ChannelError,
    hook: impl FnMut([u8; 32], &mut Vec<u8>) + 'static,
) {
    let (mut client, mut server) = strangers(ClientOptions::default());
    server.tamper(hook);
    run(&mut client, &mut server, usize::MAX);
    refused(name, error, &mut client, &mut server);
}

/// The `victim` is dead, has delivered nothing, and `evil` has heard the alert that belongs to `error`.
pub(crate) fn refused(name: &str, error: ChannelError, victim: &mut Side, evil: &mut Side) {
    assert_eq!(victim.channel.error(), Some(error), "{name}");
    assert!(!victim.established(), "{name}");
    assert!(victim.data.is_empty(), "{name}");
    assert!(victim.flush().is_empty(), "{name}: its alert is said once");
    assert_eq!(
        victim.channel.seal(&mut [0; 64], 8),
        Err(UseError::Closed),
        "{name}"
    );
    assert_eq!(victim.read(), Err(error), "{name}: it stays dead");
    let alert = error.alert().expect(name);
    assert_eq!(
        evil.channel.error(),
        Some(ChannelError::PeerAlert(alert)),
        "{name}"
    );
}

/// A record in clear.
pub(crate) fn plain_record(content_type: u8, content: &[u8]) -> Vec<u8> {
    let mut record = record::header(content_type, [3, 3], content.len())
        .unwrap()
        .to_vec();
    record.extend_from_slice(content);
    record
}

/// Changes the first message of that type and no other.
pub(crate) fn once(
    message_type: u8,
    mut change: impl FnMut(&mut Vec<u8>) + 'static,
) -> impl FnMut([u8; 32], &mut Vec<u8>) + 'static {
    let mut done = false;
    move |_, message| {
        if message.first() == Some(&message_type) && !done {
            done = true;
            change(message);
        }
    }
}

/// Sets the length in a message's header to what follows it.
pub(crate) fn fix_length(message: &mut [u8]) {
    let len = u32::try_from(message.len() - 4).unwrap().to_be_bytes();
    message[1..4].copy_from_slice(&len[1..]);
}

/// Extensions by type and body.
pub(crate) type ExtensionList = Vec<(u16, Vec<u8>)>;

/// Where the extension block of a message starts: at its length.
fn extensions_at(message: &[u8]) -> usize {
    let vec8 = |at: usize| at + 1 + usize::from(message[at]);
    match message[0] {
        messages::message_type::CLIENT_HELLO => {
            let suites = vec8(4 + 2 + 32);
            let len = usize::from(u16::from_be_bytes([message[suites], message[suites + 1]]));
            vec8(suites + 2 + len)
        }
        messages::message_type::SERVER_HELLO => vec8(4 + 2 + 32) + 3,
        messages::message_type::ENCRYPTED_EXTENSIONS => 4,
        messages::message_type::CERTIFICATE_REQUEST => vec8(4),
        other => panic!("message {other} has no extensions"),
    }
}

/// Changes the extensions of a message, and its lengths with them.
pub(crate) fn edit_extensions(message: &mut Vec<u8>, change: impl FnOnce(&mut ExtensionList)) {
    let at = extensions_at(message);
    let mut list = ExtensionList::new();
    let mut r = crate::wire::Reader::new(&message[at + 2..]);
    while !r.is_empty() {
        list.push((r.u16_be().unwrap(), r.vec16_be().unwrap().peek().to_vec()));
    }
    change(&mut list);
    let mut block = Vec::new();
    for (extension_type, body) in list {
        block.extend_from_slice(&extension_type.to_be_bytes());
        block.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
        block.extend_from_slice(&body);
    }
    message.truncate(at);
    message.extend_from_slice(&u16::try_from(block.len()).unwrap().to_be_bytes());
    message.extend_from_slice(&block);
    fix_length(message);
}

/// Changes the body of one extension.
pub(crate) fn edit_extension(message: &mut Vec<u8>, extension_type: u16, change: impl FnOnce(&mut Vec<u8>)) {
    edit_extensions(message, |list| {
        let (_, body) = list
            .iter_mut()
            .find(|(t, _)| *t == extension_type)
            .expect("it is there");
        change(body);
    });
}

pub(crate) fn remove_extension(message: &mut Vec<u8>, extension_type: u16) {
    edit_extensions(message, |list| list.retain(|(t, _)| *t != extension_type));
}
