//! Our own channel, with whatever provider.

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::channel::{
    Channel, ClientOptions, Env, HEAD_ROOM, Halves, Identity, Protocol, ReadEvent, TAIL_ROOM,
};
use dbmirror_core::crypto::{Provider, SigningKey as _};
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;
use dbmirror_foreign::{ALPN, Own, Pin};

use super::{Contender, Records};

/// Two parties with their keys, parsed once as servers have them.
pub struct Ours<P: Provider> {
    name: &'static str,
    parties: [Party<P>; 2],
}

struct Party<P: Provider> {
    key: P::SigningKey,
    der: Vec<u8>,
    peer: Pin,
}

impl<P: Provider> Ours<P> {
    /// `own[0]` dials `own[1]`.
    pub fn new(name: &'static str, own: &[Own; 2]) -> Self {
        let party = |n: usize| Party {
            key: P::SigningKey::from_scalar(&Secret::new(own[n].scalar)).expect("a key"),
            der: own[n].der.clone(),
            peer: Pin::of(&own[1 - n]),
        };
        Self {
            name,
            parties: [party(0), party(1)],
        }
    }

    /// A mutual handshake, both ends in memory.
    pub fn shake(&self) -> [Channel<P>; 2] {
        let mut sides = [Channel::client(ClientOptions::default()), Channel::server()];
        // What each has received and not consumed: a flight fits.
        let mut pipes = [([0; 4_096], 0), ([0; 4_096], 0)];
        for turn in 0..16 {
            let (this, that) = (turn % 2, 1 - turn % 2);
            let party = &self.parties[this];
            let protocols = [Protocol {
                alpn: ALPN,
                verifier: &party.peer,
            }];
            let mut env = Env {
                now: UnixSeconds(1_800_000_000),
                entropy: &mut OsEntropy,
                identity: Identity {
                    signing_key: &party.key,
                    certificate_der: &party.der,
                },
                protocols: &protocols,
            };
            let channel = &mut sides[this];
            let (mut from, len) = pipes[this];
            let mut at = 0;
            loop {
                while channel.wants_write() {
                    let (bytes, end) = &mut pipes[that];
                    *end += channel.write(&mut env, &mut bytes[*end..]).expect("it writes");
                }
                let step = channel.read(&mut env, &mut from[at..len]).expect("it reads");
                at += step.consumed;
                if step.consumed == 0 && !channel.wants_write() {
                    break;
                }
            }
            pipes[this].1 = 0;
            if sides.iter().all(|side| side.established().is_some()) {
                return sides;
            }
        }
        unreachable!("16 turns are enough for any handshake");
    }
}

impl<P: Provider> Contender for Ours<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn handshake(&mut self) {
        drop(self.shake());
    }

    fn records(&mut self) -> Box<dyn Records> {
        let [client, server] = self.shake();
        let halves = |channel: Channel<P>| channel.split().map_err(|_| "no channel").expect("it stands");
        Box::new(Sealed {
            client: halves(client),
            server: halves(server),
            buf: Vec::new(),
            lens: Vec::new(),
            stride: 0,
        })
    }
}

struct Sealed<P: Provider> {
    client: Halves<P>,
    server: Halves<P>,
    buf: Vec<u8>,
    lens: Vec<usize>,
    stride: usize,
}

impl<P: Provider> Records for Sealed<P> {
    fn seal(&mut self, payload: usize, count: usize) {
        self.stride = HEAD_ROOM + payload + TAIL_ROOM;
        self.buf.resize(self.stride * count, 0x5a);
        self.lens.clear();
        for place in self.buf.chunks_exact_mut(self.stride) {
            self.lens
                .push(self.client.writer.seal(place, payload).expect("it seals"));
        }
    }

    fn open(&mut self) {
        for (place, len) in self.buf.chunks_exact_mut(self.stride).zip(&self.lens) {
            let read = self.server.reader.read(&mut place[..*len]).expect("it opens");
            assert!(matches!(read.event, ReadEvent::Data(data) if !data.is_empty()));
        }
    }
}
