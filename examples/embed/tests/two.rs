//! The example at both ends of a line.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert::{self, CERTIFICATE_LEN_MAX};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{Provider, SigningKey as _};
use dbmirror_core::endpoint::CloseReason;
use dbmirror_core::entropy::Entropy as _;
use dbmirror_core::message::InstanceId;
use dbmirror_core::secret::Secret;
use dbmirror_core::time::{Instant, UnixSeconds};
use dbmirror_example_embed::{Buffers, End, Here, Pair, meet};
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};

const NOON: UnixSeconds = UnixSeconds(1_800_000_000);

/// A line that takes and gives a few bytes at a time.
struct Wire {
    from: Arc<Mutex<VecDeque<u8>>>,
    to: Arc<Mutex<VecDeque<u8>>>,
}

fn wire() -> [Wire; 2] {
    let (a, b) = (
        Arc::<Mutex<VecDeque<u8>>>::default(),
        Arc::<Mutex<VecDeque<u8>>>::default(),
    );
    let other = Wire {
        from: Arc::clone(&b),
        to: Arc::clone(&a),
    };
    [Wire { from: a, to: b }, other]
}

impl ErrorType for Wire {
    type Error = ErrorKind;
}
impl ReadReady for Wire {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(!self.from.lock().unwrap().is_empty())
    }
}
impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut from = self.from.lock().unwrap();
        let len = out.len().min(from.len()).min(100);
        for (to, byte) in out.iter_mut().zip(from.drain(..len)) {
            *to = byte;
        }
        Ok(len)
    }
}
impl WriteReady for Wire {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(self.to.lock().unwrap().len() < 300)
    }
}
impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let len = bytes.len().min(100);
        self.to.lock().unwrap().extend(&bytes[..len]);
        Ok(len)
    }
    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

struct Party {
    key: Secret<32>,
    point: [u8; 65],
    certificate: Vec<u8>,
}

fn party(name: &str) -> Party {
    let mut key = Secret::zero();
    OsEntropy.fill_secret(key.expose_mut()).unwrap();
    key.expose_mut()[0] = 0x11;
    let signing = <RustCrypto as Provider>::SigningKey::from_scalar(&key).unwrap();
    let request = cert::Request {
        subject: name,
        not_before: UnixSeconds(NOON.0 - 60),
        not_after: UnixSeconds(NOON.0 + 3600),
    };
    let mut der = [0; CERTIFICATE_LEN_MAX];
    let len = cert::issue::<RustCrypto>(&request, &signing, &mut OsEntropy, &mut der).unwrap();
    Party {
        key,
        point: signing.public_point(),
        certificate: der[..len].to_vec(),
    }
}

fn end(end: End, id: u8, own: &Party, peer: &Party, stream: Wire) -> Result<InstanceId, CloseReason> {
    let pair = Pair::new(&own.key, &own.certificate, &peer.certificate, peer.point).unwrap();
    let here = Here {
        instance: (InstanceId([id; 16]), "end"),
        boot: 1,
        unix: NOON,
    };
    let begun = std::time::Instant::now();
    let mut clock = || {
        std::thread::sleep(Duration::from_micros(100));
        Instant::from_micros(u64::try_from(begun.elapsed().as_micros()).unwrap())
    };
    meet(
        end,
        here,
        &pair,
        &mut OsEntropy,
        stream,
        &mut Buffers::new(),
        &mut clock,
    )
}

fn both(dialing: (&Party, &Party), answering: (&Party, &Party)) -> [Result<InstanceId, CloseReason>; 2] {
    let [ours, theirs] = wire();
    std::thread::scope(|scope| {
        let other = scope.spawn(move || end(End::Answering, 2, answering.0, answering.1, theirs));
        [
            end(End::Dialing, 1, dialing.0, dialing.1, ours),
            other.join().unwrap(),
        ]
    })
}

#[test]
fn two_that_hold_each_others_certificate_meet() {
    let (a, b) = (party("A"), party("B"));
    let met = both((&a, &b), (&b, &a));
    assert_eq!(met, [Ok(InstanceId([2; 16])), Ok(InstanceId([1; 16]))]);
}

#[test]
fn a_stranger_is_nobody() {
    let (a, b, c) = (party("A"), party("B"), party("C"));
    let met = both((&c, &b), (&b, &a));
    assert!(met.iter().all(Result::is_err), "{met:?}");
}
