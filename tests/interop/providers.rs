//! The channel over every provider, against every other: what one seals the other opens.

use dbmirror_adapters::aws_lc::AwsLc;
use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::channel::{
    CHANNEL_BINDING_LABEL, Channel, ClientOptions, Env, Event, HEAD_ROOM, Identity, NamedGroup,
    PAYLOAD_LEN_MAX, PeerRefusal, PeerVerifier, Protocol, ServerOptions, TAIL_ROOM, VerifiedPeer,
};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{POINT_LEN, Provider, SigningKey as _};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;

/// Accepts one certificate with one key.
struct One(&'static [u8], [u8; POINT_LEN]);

impl PeerVerifier for One {
    fn verify(&self, _: &[u8], der: &[u8], _: UnixSeconds) -> Result<VerifiedPeer, PeerRefusal> {
        if der == self.0 {
            Ok(VerifiedPeer {
                point: self.1,
                login_id: 1,
                certificate_id: 1,
            })
        } else {
            Err(PeerRefusal::Unknown)
        }
    }
}

struct Side<P: Provider> {
    channel: Channel<P>,
    key: P::SigningKey,
    der: &'static [u8],
    peer: One,
    rx: Vec<u8>,
}

impl<P: Provider> Side<P> {
    fn new(channel: Channel<P>, scalar: u8, der: &'static [u8], peer: One) -> Self {
        Self {
            channel,
            key: key::<P>(scalar),
            der,
            peer,
            rx: Vec::new(),
        }
    }

    /// Reads what has come and answers what there is to send, and the data received.
    fn turn(&mut self) -> (Vec<u8>, Vec<u8>) {
        let protocols = [Protocol {
            alpn: b"dbm/1",
            verifier: &self.peer,
        }];
        let identity = Identity {
            signing_key: &self.key,
            certificate_der: self.der,
        };
        let mut env = Env {
            now: UnixSeconds(0),
            entropy: &mut OsEntropy,
            identity,
            protocols: &protocols,
        };
        let (mut sent, mut data) = (Vec::new(), Vec::new());
        loop {
            let mut tx = [0; 4_096];
            while self.channel.wants_write() {
                let len = self.channel.write(&mut env, &mut tx).expect("our own side works");
                sent.extend_from_slice(&tx[..len]);
            }
            let step = self
                .channel
                .read(&mut env, &mut self.rx)
                .expect("the peer is honest");
            if let Event::Data(bytes) = step.event {
                data.extend_from_slice(bytes);
            }
            if step.consumed == 0 {
                return (sent, data);
            }
            let consumed = step.consumed;
            self.rx.drain(..consumed);
        }
    }

    fn say(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut buf = vec![0; HEAD_ROOM + payload.len() + TAIL_ROOM];
        buf[HEAD_ROOM..HEAD_ROOM + payload.len()].copy_from_slice(payload);
        let len = self
            .channel
            .seal(&mut buf, payload.len())
            .expect("it is established");
        buf.truncate(len);
        buf
    }

    fn binding(&self) -> [u8; 32] {
        let mut out = [0; 32];
        self.channel
            .export(CHANNEL_BINDING_LABEL, &[], &mut out)
            .expect("it is established");
        out
    }
}

fn key<P: Provider>(scalar: u8) -> P::SigningKey {
    P::SigningKey::from_scalar(&Secret::new([scalar; 32])).expect("a scalar of P-256")
}

/// Without and with all that servers have beyond a device.
fn talk<C: Provider, S: Provider>() {
    talk_with::<C, S>(ServerOptions::default(), NamedGroup::Secp256r1);
    let all = ServerOptions {
        aes_256: true,
        hybrid: true,
        ..ServerOptions::default()
    };
    talk_with::<C, S>(all, NamedGroup::SecP256r1MlKem768);
}

fn talk_with<C: Provider, S: Provider>(options: ServerOptions, group: NamedGroup) {
    let (a, b): (&[u8], &[u8]) = (b"certificate of the client", b"certificate of the server");
    let client_key = key::<C>(1).public_point();
    let server_key = key::<S>(2).public_point();
    let mut client = Side::<C>::new(
        Channel::client(ClientOptions::from(options)),
        1,
        a,
        One(b, server_key),
    );
    let mut server = Side::<S>::new(Channel::server_with(options), 2, b, One(a, client_key));
    for _ in 0..4 {
        let (sent, _) = client.turn();
        server.rx.extend(sent);
        let (sent, _) = server.turn();
        client.rx.extend(sent);
    }
    assert!(client.channel.established().is_some() && server.channel.established().is_some());
    assert_eq!(client.channel.established().map(|e| e.group), Some(group));
    assert_eq!(client.binding(), server.binding());
    for len in [1, 17, 1_000, PAYLOAD_LEN_MAX] {
        let payload: Vec<u8> = (0..len)
            .map(|n| u8::try_from(n % 253).expect("below 253"))
            .collect();
        server.rx.extend(client.say(&payload));
        assert_eq!(server.turn().1, payload);
        client.rx.extend(server.say(&payload));
        assert_eq!(client.turn().1, payload);
    }
}

#[test]
fn each_with_each() {
    talk::<RustCrypto, RustCrypto>();
    talk::<RustCrypto, AwsLc>();
    talk::<AwsLc, RustCrypto>();
    talk::<AwsLc, AwsLc>();
}
