//! Whether the time that an operation takes tells something of its secret inputs: two classes of inputs are timed in random
//! order, and Welch's t-test says whether their means differ (Reparaz, Balasch, Verbauwhede: Dude, is my code constant time?).
//!
//! An |t| of 5 or more at 100,000 samples is a leak worth looking for; below it, none was seen at that resolution.

use std::hint::black_box;
use std::time::Instant;

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::crypto::{KeyExchange as _, Provider, RecordKey, SIGNATURE_LEN_MAX, SigningKey as _};
use dbmirror_core::entropy::{Entropy, EntropyError};
use dbmirror_core::secret::Secret;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Comparing two secrets that are equal, against two that differ somewhere.
    Compare,
    /// A shared secret with one private key, against one with any.
    Ecdh,
    /// A signature with one private key, against one with any.
    Sign,
    /// Opening a record whose tag is wrong in its first byte, against one that is wrong in its last.
    OpenTag,
    /// Opening a record of one plaintext under one key, against any plaintext under any key.
    OpenKey,
}

/// All of them.
pub const SUBJECTS: [Subject; 5] = [
    Subject::Compare,
    Subject::Ecdh,
    Subject::Sign,
    Subject::OpenTag,
    Subject::OpenKey,
];

/// What was found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Samples, of both classes together.
    pub samples: usize,
    /// t over all samples.
    pub t: f64,
    /// The largest |t|: over all samples, and over those below each of ten quantiles, where interruptions are cut off.
    pub t_max: f64,
    /// Median time of a sample, in nanoseconds.
    pub median_ns: f64,
}

/// Records of this size are opened.
const RECORD_LEN: usize = 1_024;
/// How often one comparison is repeated within a sample: the clock is too coarse for one.
const COMPARISONS: usize = 100;

impl Subject {
    /// As it is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compare => "compare",
            Self::Ecdh => "ECDH",
            Self::Sign => "sign",
            Self::OpenTag => "record open: place of the error",
            Self::OpenKey => "record open: key and plaintext",
        }
    }

    /// Times `samples` runs of it.
    #[must_use]
    pub fn measure<P: Provider>(self, samples: usize) -> Found {
        let mut random = Random(0x0123_4567_89ab_cdef);
        let times = match self {
            Self::Compare => compare(samples, &mut random),
            Self::Ecdh => ecdh::<P>(samples, &mut random),
            Self::Sign => sign::<P>(samples, &mut random),
            Self::OpenTag => open_tag::<P>(samples, &mut random),
            Self::OpenKey => open_key::<P>(samples, &mut random),
        };
        judge(&times)
    }
}

/// Class and nanoseconds.
type Sample = (bool, f64);

fn time<T>(work: impl FnOnce() -> T) -> f64 {
    let begun = Instant::now();
    let result = work();
    let elapsed = begun.elapsed();
    black_box(result);
    elapsed.as_secs_f64() * 1e9
}

fn compare(samples: usize, random: &mut Random) -> Vec<Sample> {
    let secret: [u8; 32] = random.bytes();
    let left = Secret::new(secret);
    (0..samples)
        .map(|_| {
            let class = random.coin();
            let other: [u8; 32] = random.bytes();
            let right = Secret::new(if class { secret } else { other });
            let elapsed = time(|| {
                for _ in 0..COMPARISONS {
                    black_box(black_box(&left).ct_eq(black_box(&right)));
                }
            });
            (class, elapsed)
        })
        .collect()
}

fn ecdh<P: Provider>(samples: usize, random: &mut Random) -> Vec<Sample> {
    let fixed: [u8; 32] = scalar(random);
    let peer = P::P256::start(&mut OsEntropy).expect("a key").share();
    (0..samples)
        .map(|_| {
            let class = random.coin();
            let other: [u8; 32] = scalar(random);
            let mut entropy = Given(if class { fixed } else { other });
            let key = P::P256::start(&mut entropy).expect("a key");
            (class, time(|| key.finish(black_box(&peer))))
        })
        .collect()
}

fn sign<P: Provider>(samples: usize, random: &mut Random) -> Vec<Sample> {
    let fixed: [u8; 32] = scalar(random);
    let mut out = [0; SIGNATURE_LEN_MAX];
    (0..samples)
        .map(|_| {
            let class = random.coin();
            let other: [u8; 32] = scalar(random);
            let key =
                P::SigningKey::from_scalar(&Secret::new(if class { fixed } else { other })).expect("a key");
            // The message is another one each time: the encoding of a signature, which is public, has no fixed length.
            let message: [u8; 32] = random.bytes();
            let mut entropy = Given(random.bytes());
            (
                class,
                time(|| key.sign(black_box(&message), &mut entropy, &mut out)),
            )
        })
        .collect()
}

fn open_tag<P: Provider>(samples: usize, random: &mut Random) -> Vec<Sample> {
    let record = Record::<P>::new(&random.bytes(), &[7; RECORD_LEN]);
    (0..samples)
        .map(|_| {
            let class = random.coin();
            let mut tag = record.tag;
            tag[if class { 0 } else { 15 }] ^= 1 << (random.next() % 8);
            let mut body = record.body;
            (class, time(|| record.open(&mut body, &tag)))
        })
        .collect()
}

fn open_key<P: Provider>(samples: usize, random: &mut Random) -> Vec<Sample> {
    let fixed_key: [u8; 16] = random.bytes();
    let fixed_plaintext: [u8; RECORD_LEN] = random.bytes();
    (0..samples)
        .map(|_| {
            let class = random.coin();
            let (other_key, other_plaintext) = (random.bytes(), random.bytes());
            let (key, plaintext) = if class {
                (fixed_key, fixed_plaintext)
            } else {
                (other_key, other_plaintext)
            };
            let record = Record::<P>::new(&key, &plaintext);
            let mut body = record.body;
            (class, time(|| record.open(&mut body, &record.tag)))
        })
        .collect()
}

/// A sealed record with its key.
struct Record<P: Provider> {
    key: P::Aes128Gcm,
    body: [u8; RECORD_LEN],
    tag: [u8; 16],
}

impl<P: Provider> Record<P> {
    const NONCE: [u8; 12] = [3; 12];
    const HEADER: [u8; 5] = [23, 3, 3, 4, 16];

    fn new(key: &[u8; 16], plaintext: &[u8; RECORD_LEN]) -> Self {
        let key = P::Aes128Gcm::new(key).expect("a key");
        let (mut body, mut tag) = (*plaintext, [0; 16]);
        key.seal_in_place(&Self::NONCE, &Self::HEADER, &mut body, &mut tag)
            .expect("it is sealed");
        Self { key, body, tag }
    }

    fn open(&self, body: &mut [u8], tag: &[u8]) -> bool {
        self.key
            .open_in_place(&Self::NONCE, &Self::HEADER, black_box(body), black_box(tag))
            .is_ok()
    }
}

/// The largest |t|, over everything and below each of ten quantiles.
fn judge(times: &[Sample]) -> Found {
    let mut sorted: Vec<f64> = times.iter().map(|(_, elapsed)| *elapsed).collect();
    sorted.sort_by(f64::total_cmp);
    let quantile =
        |parts: usize, of: usize| sorted.get(sorted.len() * parts / of).copied().unwrap_or(f64::MAX);
    let below = |limit: f64| {
        let mut welch = Welch::default();
        for (class, elapsed) in times.iter().filter(|(_, elapsed)| *elapsed <= limit) {
            welch.add(*class, *elapsed);
        }
        welch.t()
    };
    let t = below(f64::MAX);
    let t_max = (1..=10).map(|n| below(quantile(9 * n + 9, 100)).abs());
    Found {
        samples: times.len(),
        t,
        t_max: t_max.fold(t.abs(), f64::max),
        median_ns: quantile(1, 2),
    }
}

/// Welch's t-test over two classes, in one pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Welch([Moments; 2]);

#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Welch {
    /// Counts one sample.
    pub fn add(&mut self, class: bool, value: f64) {
        let of = &mut self.0[usize::from(class)];
        of.count += 1.0;
        let delta = value - of.mean;
        of.mean += delta / of.count;
        of.squares += delta * (value - of.mean);
    }

    /// The statistic; 0 with less than two samples of a class.
    #[must_use]
    pub fn t(&self) -> f64 {
        let [a, b] = &self.0;
        if a.count < 2.0 || b.count < 2.0 {
            return 0.0;
        }
        let error = |of: &Moments| of.squares / (of.count - 1.0) / of.count;
        let scale = (error(a) + error(b)).sqrt();
        if scale == 0.0 {
            0.0
        } else {
            (a.mean - b.mean) / scale
        }
    }
}

/// A private key: any number whose first byte is below that of the group's order.
fn scalar(random: &mut Random) -> [u8; 32] {
    let mut scalar: [u8; 32] = random.bytes();
    scalar[0] &= 0x7f;
    scalar
}

/// Inputs that look random and cost the same to make whatever they are (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        for piece in out.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
        out
    }
}

/// Entropy that is given: a private key of one's choice. Only for what is measured here.
struct Given([u8; 32]);

impl Entropy for Given {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        for (byte, given) in out.iter_mut().zip(self.0.iter().cycle()) {
            *byte = *given;
        }
        Ok(())
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.fill_secret(out)
    }
}
