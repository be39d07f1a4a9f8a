//! A peer that says what it is told to say, in good records and under the right keys: it shares the secrets of its victim, as far as the
//! provider without security has any. So hostile handshake messages arrive as messages, also behind the change of keys.

use std::rc::Rc;

use dbmirror_core::channel::digest::{Digest, HashAlgorithm};
use dbmirror_core::channel::key_schedule::{HandshakeSecret, TrafficSecret, TrafficSecrets};
use dbmirror_core::channel::transcript::Transcript;
use dbmirror_core::channel::{CipherSuite, HEAD_ROOM};
use dbmirror_core::crypto::hmac::Hmac;
use dbmirror_core::crypto::no_security::{NoKey, NoSecurity};
use dbmirror_core::crypto::{HASH_LEN, KeyExchange as _, Provider};

use crate::side::{Settings, Side, shake_hands};

type Sha256 = <NoSecurity as Provider>::Sha256;

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
pub(crate) const SERVER_HELLO: u8 = 2;
pub(crate) const FINISHED: u8 = 20;
const KEY_UPDATE: u8 = 24;
/// How the random of a HelloRetryRequest begins (RFC 8446 §4.1.3); nobody draws that.
const RETRY: [u8; 4] = [0xcf, 0x21, 0xad, 0x74];
/// Bytes of a hello before its random.
const RANDOM_AT: usize = 6;

/// The suites that the provider without security has are all of SHA-256.
fn nothing_said() -> Transcript<NoSecurity> {
    Transcript::new(HashAlgorithm::Sha256)
}

/// The keys that it writes with.
struct Writing {
    secret: Rc<TrafficSecret<NoSecurity>>,
    suite: CipherSuite,
    records: u64,
}

/// What both sides can compute once the hellos are out.
struct Shared {
    handshake: HandshakeSecret<NoSecurity>,
    client: Rc<TrafficSecret<NoSecurity>>,
    server: Rc<TrafficSecret<NoSecurity>>,
    suite: CipherSuite,
}

/// What follows the server's Finished.
struct Application {
    client: Rc<TrafficSecret<NoSecurity>>,
    server: Rc<TrafficSecret<NoSecurity>>,
    /// The hash of all messages up to there.
    transcript: Digest,
}

/// A peer that says what it is told to say.
pub(crate) struct Puppet {
    pub(crate) victim: Side,
    /// The victim is the client.
    victim_is_client: bool,
    /// Bytes of the victim's that it has looked at.
    looked: usize,
    /// Handshake bytes of the victim's that are no whole message yet.
    partial: Vec<u8>,
    transcript: Transcript<NoSecurity>,
    shared: Option<Shared>,
    writing: Option<Writing>,
    /// What follows the server's Finished.
    application: Option<Application>,
    /// Most bytes of content in one of its records.
    piece: usize,
    /// Types of the handshake messages that it said before its Finished was said.
    pub(crate) said: Vec<u8>,
    /// Records that it sent pieces of handshake messages in, behind its Finished.
    pub(crate) records: usize,
    finished: bool,
}

impl Puppet {
    /// One that faces a client, or a server, and cuts what it says into records of at most `piece` bytes.
    pub(crate) fn facing(victim_is_client: bool, settings: Settings, piece: usize) -> Self {
        let victim = if victim_is_client {
            Side::client(settings)
        } else {
            Side::server(settings)
        };
        let limit = usize::from(settings.limit.get()) - 1;
        let mut puppet = Self {
            victim,
            victim_is_client,
            looked: 0,
            partial: Vec::new(),
            transcript: nothing_said(),
            shared: None,
            writing: None,
            application: None,
            piece: piece.clamp(1, limit),
            said: Vec::new(),
            records: 0,
            finished: false,
        };
        puppet.victim.flush();
        puppet.look();
        puppet
    }

    /// Says a handshake message: four bytes of header and the rest.
    pub(crate) fn say(&mut self, message: &[u8]) {
        let ours = message.first().copied().unwrap_or(0);
        if !self.finished {
            self.said.push(ours);
        }
        let is_retry = is_retry(message);
        if is_retry && self.victim_is_client {
            self.transcript = std::mem::replace(&mut self.transcript, nothing_said()).retried();
        }
        self.transcript.add(message);
        if ours == SERVER_HELLO && self.victim_is_client && !is_retry {
            // The keys change behind it, so they are made first; the victim answers only after its Finished.
            self.deliver(HANDSHAKE, message);
            self.share(message);
            self.write_with(false);
        } else {
            self.deliver(HANDSHAKE, message);
        }
        // A second one is refused, and what was agreed on before it stays.
        if ours == FINISHED && !self.finished {
            if self.victim_is_client {
                self.finish_server();
            }
            self.finished = true;
            self.write_with(true);
        }
        if ours == KEY_UPDATE && self.finished {
            self.next_keys();
        }
        self.look();
    }

    /// Says the Finished that is right for what was said so far.
    pub(crate) fn say_finished(&mut self) {
        let Some(shared) = &self.shared else { return };
        let secret = if self.victim_is_client {
            &shared.server
        } else {
            &shared.client
        };
        let data = secret
            .finished(&self.transcript.hash())
            .expect("a hash that works");
        self.say(&message(FINISHED, data.as_bytes()));
    }

    /// Says handshake bytes that need not be a message; nobody can tell what comes of the transcript.
    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        self.transcript.add(bytes);
        self.deliver(HANDSHAKE, bytes);
        self.look();
    }

    /// Sends one record, protected if there are keys.
    pub(crate) fn send(&mut self, content_type: u8, content: &[u8]) {
        let record = match &mut self.writing {
            Some(writing) => writing.seal(content_type, content),
            None => plain(content_type, content),
        };
        // An error is kept by the channel.
        let _ = self.victim.take(&record);
        self.victim.flush();
        self.look();
    }

    /// Sends one record in clear, whatever the keys.
    pub(crate) fn send_plain(&mut self, content_type: u8, content: &[u8]) {
        let _ = self.victim.take(&plain(content_type, content));
        self.victim.flush();
        self.look();
    }

    /// What both sides export; `None` before the hellos and the server's Finished are out.
    pub(crate) fn export(&self, label: &[u8], out: &mut [u8]) -> Option<()> {
        let transcript = &self.application.as_ref()?.transcript;
        let master = self.shared.as_ref()?.handshake.master().ok()?;
        master
            .into_exporter(transcript)
            .ok()?
            .export(label, &[], out)
            .ok()
    }

    fn deliver(&mut self, content_type: u8, content: &[u8]) {
        for piece in content.chunks(self.piece) {
            self.records += usize::from(self.finished);
            let record = match &mut self.writing {
                Some(writing) => writing.seal(content_type, piece),
                None => plain(content_type, piece),
            };
            let _ = self.victim.take(&record);
            self.victim.flush();
        }
    }

    fn write_with(&mut self, application: bool) {
        let Some(shared) = &self.shared else { return };
        let (client, server) = match (&self.application, application) {
            (Some(keys), true) => (&keys.client, &keys.server),
            (None, true) => return,
            (_, false) => (&shared.client, &shared.server),
        };
        let secret = Rc::clone(if self.victim_is_client { server } else { client });
        self.writing = Some(Writing {
            secret,
            suite: shared.suite,
            records: 0,
        });
    }

    fn next_keys(&mut self) {
        if let Some(writing) = &mut self.writing {
            writing.secret = Rc::new(writing.secret.updated().expect("a hash that works"));
            writing.records = 0;
        }
    }

    /// The hellos are out, `server_hello` the last of them.
    fn share(&mut self, server_hello: &[u8]) {
        let Some(suite) = suite_of(server_hello) else {
            return;
        };
        // Both sides have the one share that there is.
        let point = NoKey.share();
        let secret = NoKey.finish(&point).expect("a point");
        let handshake =
            HandshakeSecret::new(HashAlgorithm::Sha256, secret.expose()).expect("a hash that works");
        let TrafficSecrets { client, server } = handshake
            .traffic(&self.transcript.hash())
            .expect("a hash that works");
        self.shared = Some(Shared {
            handshake,
            client: Rc::new(client),
            server: Rc::new(server),
            suite,
        });
    }

    fn finish_server(&mut self) {
        let Some(shared) = &self.shared else { return };
        let transcript = self.transcript.hash();
        let master = shared.handshake.master().expect("a hash that works");
        let TrafficSecrets { client, server } = master.traffic(&transcript).expect("a hash that works");
        self.application = Some(Application {
            client: Rc::new(client),
            server: Rc::new(server),
            transcript,
        });
    }

    /// Reads what the victim has said: nothing of it is hidden.
    fn look(&mut self) {
        loop {
            let rest = &self.victim.sent[self.looked..];
            let [content_type, _, _, high, low, ..] = *rest else {
                return;
            };
            let len = rest
                .len()
                .min(HEAD_ROOM + usize::from(u16::from_be_bytes([high, low])));
            let body = rest[HEAD_ROOM..len].to_vec();
            self.looked += len;
            match content_type {
                HANDSHAKE => self.partial.extend(body),
                APPLICATION_DATA => {
                    let tag = self.shared.as_ref().map_or(16, |shared| tag_len(shared.suite));
                    if let Some((&HANDSHAKE, content)) = body[..body.len().saturating_sub(tag)].split_last() {
                        self.partial.extend(content);
                    }
                }
                _ => {}
            }
            while let [_, a, b, c, ..] = *self.partial {
                let len = 4 + usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits");
                if self.partial.len() < len {
                    break;
                }
                let rest = self.partial.split_off(len);
                let message = std::mem::replace(&mut self.partial, rest);
                self.heard(&message);
            }
        }
    }

    fn heard(&mut self, message: &[u8]) {
        if self.finished {
            // What the victim says after the own Finished is its flight, or a KeyUpdate: no more messages depend on it.
            return;
        }
        let is_retry = is_retry(message);
        if is_retry {
            self.transcript = std::mem::replace(&mut self.transcript, nothing_said()).retried();
        }
        self.transcript.add(message);
        if self.victim_is_client || is_retry {
            return;
        }
        match message.first() {
            Some(&SERVER_HELLO) => {
                self.share(message);
                self.write_with(false);
            }
            Some(&FINISHED) => self.finish_server(),
            _ => {}
        }
    }
}

impl Writing {
    fn seal(&mut self, content_type: u8, content: &[u8]) -> Vec<u8> {
        let mut inner = content.to_vec();
        inner.push(content_type);
        let len = u16::try_from(inner.len() + tag_len(self.suite)).unwrap_or(u16::MAX);
        let [high, low] = len.to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        let tag = match self.suite {
            CipherSuite::Aes128GcmSha256 | CipherSuite::Aes256GcmSha384 => vec![0; 16],
            CipherSuite::Sha256Sha256 => {
                let (mut key, mut nonce) = ([0; HASH_LEN], [0; HASH_LEN]);
                self.secret.key(&mut key).expect("a hash that works");
                self.secret.iv(&mut nonce).expect("a hash that works");
                for (byte, n) in nonce.iter_mut().rev().zip(self.records.to_le_bytes()) {
                    *byte ^= n;
                }
                Hmac::<Sha256>::tag(&key, &[&nonce, &header, &inner]).to_vec()
            }
        };
        self.records += 1;
        [&header[..], &inner, &tag].concat()
    }
}

/// The messages of an honest handshake under these settings: the client's, the server's.
pub(crate) fn honest(settings: Settings) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut client, mut server) = (Side::client(settings), Side::server(settings));
    shake_hands(&mut client, &mut server);
    let suite = settings.encryption.suites()[0];
    (messages(&client.sent, suite), messages(&server.sent, suite))
}

fn messages(sent: &[u8], suite: CipherSuite) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = sent;
    while let [content_type, _, _, high, low, ..] = *rest {
        let (record, after) = rest.split_at(HEAD_ROOM + usize::from(u16::from_be_bytes([high, low])));
        let body = &record[HEAD_ROOM..];
        match content_type {
            HANDSHAKE => bytes.extend_from_slice(body),
            APPLICATION_DATA => {
                if let Some((&HANDSHAKE, content)) = body[..body.len() - tag_len(suite)].split_last() {
                    bytes.extend_from_slice(content);
                }
            }
            _ => assert_eq!(content_type, CHANGE_CIPHER_SPEC),
        }
        rest = after;
    }
    let mut out = Vec::new();
    while let [_, a, b, c, ..] = *bytes {
        let rest = bytes.split_off(4 + usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits"));
        out.push(std::mem::replace(&mut bytes, rest));
    }
    out
}

/// A handshake message with its length made right.
pub(crate) fn message(message_type: u8, body: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[message_type, a, b, c], body].concat()
}

fn plain(content_type: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[content_type, 3, 3, high, low], content].concat()
}

const fn tag_len(suite: CipherSuite) -> usize {
    match suite {
        CipherSuite::Aes128GcmSha256 | CipherSuite::Aes256GcmSha384 => 16,
        CipherSuite::Sha256Sha256 => HASH_LEN,
    }
}

fn is_retry(message: &[u8]) -> bool {
    message.first() == Some(&SERVER_HELLO)
        && message
            .get(RANDOM_AT..)
            .is_some_and(|random| random.starts_with(&RETRY))
}

fn suite_of(server_hello: &[u8]) -> Option<CipherSuite> {
    let session_id = usize::from(*server_hello.get(RANDOM_AT + 32)?);
    let code = server_hello.get(RANDOM_AT + 33 + session_id..)?.first_chunk()?;
    [CipherSuite::Aes128GcmSha256, CipherSuite::Sha256Sha256]
        .into_iter()
        .find(|suite| suite.code() == u16::from_be_bytes(*code))
}
