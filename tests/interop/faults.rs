//! A provider that fails at its n-th operation, for every n: the channel dies cleanly, tells the peer, and nothing but
//! handshake messages is ever in clear.

use std::cell::Cell;

use dbmirror_core::channel::{
    Channel, ChannelError, ClientOptions, Env, Event, HEAD_ROOM, Identity, PeerRefusal, PeerVerifier,
    Protocol, TAIL_ROOM, VerifiedPeer,
};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{
    CryptoError, KeyExchange, POINT_LEN, Provider, RecordKey, SIGNATURE_LEN_MAX, SigningKey, VerifyingKey,
};
use dbmirror_core::entropy::Entropy;
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;
use dbmirror_tests::provider_kit::Repeatable;

thread_local! {
    /// Operations until one fails; `None` when none is to.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Counts an operation, and fails it if it is its turn.
fn turn() -> Result<(), CryptoError> {
    LEFT.with(|left| match left.get() {
        Some(0) => {
            left.set(None);
            Err(CryptoError::Rejected)
        }
        Some(n) => {
            left.set(Some(n - 1));
            Ok(())
        }
        None => Ok(()),
    })
}

/// RustCrypto, but for the faults.
struct Faulty;
struct Wrap<T>(T);

impl Provider for Faulty {
    type Sha256 = <RustCrypto as Provider>::Sha256;
    type Aes128Gcm = Wrap<<RustCrypto as Provider>::Aes128Gcm>;
    type Sha384 = <RustCrypto as Provider>::Sha384;
    type Aes256Gcm = Wrap<<RustCrypto as Provider>::Aes256Gcm>;
    type MlKem768 = <RustCrypto as Provider>::MlKem768;
    type P256 = Wrap<<RustCrypto as Provider>::P256>;
    type SigningKey = Wrap<<RustCrypto as Provider>::SigningKey>;
    type VerifyingKey = Wrap<<RustCrypto as Provider>::VerifyingKey>;
}

impl<T: RecordKey> RecordKey for Wrap<T> {
    const PRESENT: bool = T::PRESENT;
    const KEY_LEN: usize = T::KEY_LEN;
    const NONCE_LEN: usize = T::NONCE_LEN;
    const TAG_LEN: usize = T::TAG_LEN;

    fn new(key: &[u8]) -> Result<Self, CryptoError> {
        turn()?;
        T::new(key).map(Self)
    }

    fn seal_in_place(
        &self,
        nonce: &[u8],
        aad: &[u8],
        buf: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        turn()?;
        self.0.seal_in_place(nonce, aad, buf, tag)
    }

    fn open_in_place(&self, nonce: &[u8], aad: &[u8], buf: &mut [u8], tag: &[u8]) -> Result<(), CryptoError> {
        turn()?;
        self.0.open_in_place(nonce, aad, buf, tag)
    }
}

impl<T: KeyExchange> KeyExchange for Wrap<T> {
    fn start(entropy: &mut dyn Entropy) -> Result<Self, CryptoError> {
        turn()?;
        T::start(entropy).map(Self)
    }

    fn share(&self) -> [u8; POINT_LEN] {
        self.0.share()
    }

    fn finish(&self, peer_share: &[u8]) -> Result<Secret<32>, CryptoError> {
        turn()?;
        self.0.finish(peer_share)
    }
}

impl<T: SigningKey> SigningKey for Wrap<T> {
    fn from_scalar(scalar: &Secret<32>) -> Result<Self, CryptoError> {
        T::from_scalar(scalar).map(Self)
    }

    fn public_point(&self) -> [u8; POINT_LEN] {
        self.0.public_point()
    }

    fn sign(
        &self,
        message: &[u8],
        entropy: &mut dyn Entropy,
        out: &mut [u8; SIGNATURE_LEN_MAX],
    ) -> Result<usize, CryptoError> {
        turn()?;
        self.0.sign(message, entropy, out)
    }
}

impl<T: VerifyingKey> VerifyingKey for Wrap<T> {
    fn from_point(point: &[u8; POINT_LEN]) -> Result<Self, CryptoError> {
        turn()?;
        T::from_point(point).map(Self)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        turn()?;
        self.0.verify(message, signature)
    }
}

const CERTIFICATE: &[u8] = b"the certificate of both";

struct One([u8; POINT_LEN]);

impl PeerVerifier for One {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        assert_eq!(der, CERTIFICATE);
        Ok(VerifiedPeer {
            point: self.0,
            login_id: 1,
            certificate_id: 1,
        })
    }
}

struct Side {
    channel: Channel<Faulty>,
    entropy: Repeatable<<RustCrypto as Provider>::Sha256>,
    rx: Vec<u8>,
    data: Vec<u8>,
}

impl Side {
    fn new(channel: Channel<Faulty>, seed: u64) -> Self {
        Self {
            channel,
            entropy: Repeatable::new(seed),
            rx: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Reads what has come, answers what there is to send.
    fn turn(&mut self, key: &Wrap<<RustCrypto as Provider>::SigningKey>) -> Vec<u8> {
        let one = One(key.public_point());
        let protocols = [Protocol {
            alpn: b"dbm/1",
            verifier: &one,
        }];
        let identity = Identity {
            signing_key: key,
            certificate_der: CERTIFICATE,
        };
        let mut env = Env {
            now: UnixSeconds(0),
            entropy: &mut self.entropy,
            identity,
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
            if let Event::Data(data) = step.event {
                self.data.extend_from_slice(data);
            }
            if step.consumed == 0 {
                return sent;
            }
            let consumed = step.consumed;
            self.rx.drain(..consumed);
        }
    }
}

/// Types and, in clear, contents of all records in `bytes`: a hello, an alert, a change_cipher_spec or ciphertext.
fn check_clear(bytes: &[u8]) {
    let mut rest = bytes;
    while let [content_type, _, _, high, low, body @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let body = &body[..len];
        match content_type {
            22 => assert!(body[0] == 1 || body[0] == 2, "message {} in clear", body[0]),
            21 => assert_eq!(len, 2),
            23 => assert!(len >= 17),
            other => panic!("record of type {other}"),
        }
        rest = &rest[HEAD_ROOM + len..];
    }
    assert!(rest.is_empty());
}

fn say_word(from: &mut Side, to: &mut Side) {
    let mut buf = [0; HEAD_ROOM + 4 + TAIL_ROOM];
    buf[HEAD_ROOM..HEAD_ROOM + 4].copy_from_slice(b"word");
    if let Ok(len) = from.channel.seal(&mut buf, 4) {
        check_clear(&buf[..len]);
        to.rx.extend_from_slice(&buf[..len]);
    }
}

/// A handshake and a word each way in which the n-th operation fails. Answers whether the fault was reached.
fn run(n: u32) -> bool {
    let key =
        Wrap::<<RustCrypto as Provider>::SigningKey>::from_scalar(&Secret::new([7; 32])).expect("a scalar");
    let mut client = Side::new(Channel::client(ClientOptions::default()), 1);
    let mut server = Side::new(Channel::server(), 2);
    LEFT.set(Some(n));
    let mut spoken = false;
    for _ in 0..6 {
        let sent = client.turn(&key);
        check_clear(&sent);
        server.rx.extend(sent);
        let sent = server.turn(&key);
        check_clear(&sent);
        client.rx.extend(sent);
        if !spoken && client.channel.established().is_some() && server.channel.established().is_some() {
            spoken = true;
            say_word(&mut client, &mut server);
            say_word(&mut server, &mut client);
        }
    }
    let reached = LEFT.take().is_none();
    let errors = (client.channel.error(), server.channel.error());
    if !reached {
        assert_eq!(errors, (None, None));
        assert_eq!((&client.data[..], &server.data[..]), (&b"word"[..], &b"word"[..]));
        return false;
    }
    match errors {
        // One side failed and the other heard of it.
        (Some(own), Some(ChannelError::PeerAlert(heard)))
        | (Some(ChannelError::PeerAlert(heard)), Some(own)) => {
            assert_eq!(own.alert(), Some(heard), "{n}");
            assert!(
                matches!(
                    own,
                    ChannelError::Provider
                        | ChannelError::State
                        | ChannelError::Signer
                        | ChannelError::Lent
                        | ChannelError::BadSignature
                        | ChannelError::BadRecordMac
                ),
                "{n}: {own:?}"
            );
        }
        // A client that failed to make its first keys can only say so in clear, and a server with keys takes nothing so.
        (Some(own), Some(ChannelError::UnexpectedRecord { content_type: 21 })) => {
            assert_eq!(own, ChannelError::Provider, "{n}");
        }
        // A word that was never sealed: the caller was told, and may try again.
        (None, None) => assert!(
            spoken && (client.data.is_empty() || server.data.is_empty()),
            "{n}"
        ),
        other => panic!("{n}: {other:?}"),
    }
    true
}

#[test]
fn every_operation_fails_once() {
    let mut count = 0;
    while run(count) {
        count += 1;
    }
    // Keys: four of the handshake, four of the application. Two key pairs, secrets, signatures, points and checks.
    // Twelve records of the handshake, two of data, each sealed and opened.
    assert!(count > 30, "{count}");
}
