//! The secure channel beside what a user would pick instead, in turns of one run on one machine, as ratios to rustls's fastest
//! (unbuffered) interface: mutual handshakes a second with both ends on one thread, megabytes a second sealed and opened in
//! place in records of 1, 4 and 16 KiB, and a stream over loopback beside plain TCP. The first two are counted in processor time of
//! the one thread that does them, so that what else runs on the machine takes no part.
//!
//! All sides restricted to TLS 1.3, P-256, AES-128-GCM, ECDSA, pinned self-signed certificates that both show, no tickets.

#[cfg(feature = "openssl")]
mod openssl_peer;
mod ours;
mod rustls_peer;
mod stream;

use std::time::Duration;

use dbmirror_adapters::aws_lc::AwsLc;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_foreign::Own;

use crate::report::{Aim, Chart, Row, Section};
use crate::{median, worked};

/// Sizes of the payload in a record.
const SIZES: [usize; 3] = [1_024, 4_096, 16_384];

/// One implementation under measurement.
pub trait Contender {
    /// For the table.
    fn name(&self) -> &'static str;
    /// One mutual handshake, both ends on this thread.
    fn handshake(&mut self);
    /// An established pair for records.
    fn records(&mut self) -> Box<dyn Records>;
}

/// An established connection: one side seals, the other opens.
pub trait Records {
    /// Seals `payload` bytes `count` times and keeps the records.
    fn seal(&mut self, payload: usize, count: usize);
    /// Opens what was sealed.
    fn open(&mut self);
}

/// Records between two looks at the clock: 64 of them lie in the second-level cache.
const BATCH: usize = 64;
const AWS_LC: &str = "dbmirror + aws-lc";
const RUSTCRYPTO: &str = "dbmirror + RustCrypto";

/// Everybody who is measured; the first is who the others are compared with.
#[must_use]
pub fn contenders() -> Vec<Box<dyn Contender>> {
    let own = own();
    vec![
        Box::new(rustls_peer::Unbuffered::new(&own)),
        Box::new(rustls_peer::Buffered::new(&own)),
        #[cfg(feature = "openssl")]
        Box::new(openssl_peer::OpenSsl::new(&own)),
        Box::new(ours::Ours::<AwsLc>::new(AWS_LC, &own)),
        Box::new(ours::Ours::<RustCrypto>::new(RUSTCRYPTO, &own)),
    ]
}

fn own() -> [Own; 2] {
    [Own::new(1), Own::new(2)]
}

/// Seals and opens batches of records of one side, for a profiler.
pub fn exercise(contender: &mut dyn Contender, payload: usize, batches: usize) {
    let mut records = contender.records();
    for _ in 0..batches {
        records.seal(payload, BATCH);
        records.open();
    }
}

/// Handshakes, sealing and opening, in `turns` turns of `turn` each.
#[must_use]
pub fn measure(turns: usize, turn: Duration) -> Section {
    let mut contenders = contenders();
    // What is set up at first use is not what is measured.
    contenders.iter_mut().for_each(|contender| contender.handshake());
    let mut table: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); 1 + 2 * SIZES.len()]; contenders.len()];
    for _ in 0..turns {
        for (contender, row) in contenders.iter_mut().zip(&mut table) {
            row[0].push(rate(turn, || contender.handshake()));
        }
        for (contender, row) in contenders.iter_mut().zip(&mut table) {
            for (n, payload) in SIZES.into_iter().enumerate() {
                let (seal, open) = bulk(turn, &mut *contender.records(), payload);
                row[1 + 2 * n].push(seal);
                row[2 + 2 * n].push(open);
            }
        }
    }
    let table: Vec<Vec<f64>> = table
        .into_iter()
        .map(|row| row.into_iter().map(median).collect())
        .collect();
    let mut columns = vec!["handshakes/s".to_owned()];
    for payload in SIZES {
        columns.push(format!("seal {payload} B, MB/s"));
        columns.push(format!("open {payload} B, MB/s"));
    }
    let rows = contenders.iter().zip(&table).map(|(contender, row)| Row {
        name: contender.name().to_owned(),
        cells: row
            .iter()
            .zip(&table[0])
            .map(|(value, first)| format!("{value:.0} ({:.2})", value / first))
            .collect(),
    });
    let chart = |file, title: &str, column: usize| Chart {
        file,
        title: title.to_owned(),
        bars: contenders
            .iter()
            .zip(&table)
            .map(|(contender, row)| (contender.name().to_owned(), row[column]))
            .collect(),
        line: Some(table[0][column]),
    };
    Section {
        title: "The secure channel",
        about: format!(
            "Mutual handshakes with both ends on one thread; records sealed and opened in place. {turns} turns of {} ms of processor time, medians; MB = 10^6 bytes; in brackets the \
             ratio to the first line. All sides: TLS 1.3, P-256, AES-128-GCM, ECDSA, pinned self-signed certificates that both show, no tickets.",
            turn.as_millis()
        ),
        columns,
        rows: rows.collect(),
        charts: vec![
            chart("handshakes", "Mutual handshakes a second", 0),
            chart("seal", "MB/s sealed in records of 16 KiB", 5),
            chart("open", "MB/s opened in records of 16 KiB", 6),
        ],
        aims: aims(&contenders, &table),
    }
}

fn aims(contenders: &[Box<dyn Contender>], table: &[Vec<f64>]) -> Vec<Aim> {
    const WHERE: &str = "[the channel's speed](../channel.md)";
    let ratios = |name: &str| -> Vec<f64> {
        let row = contenders
            .iter()
            .position(|contender| contender.name() == name)
            .expect("it was measured");
        table[row]
            .iter()
            .zip(&table[0])
            .map(|(value, first)| value / first)
            .collect()
    };
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let (fast, portable) = (ratios(AWS_LC), ratios(RUSTCRYPTO));
    let at_least = |what: &str, asked, reached| {
        Aim::at_least(format!("{what}, of rustls (unbuffered)"), asked, reached, WHERE)
    };
    vec![
        at_least("handshakes, aws-lc", 1.0, fast[0]),
        at_least(
            "seal, aws-lc, least of three sizes",
            1.1,
            least(&[fast[1], fast[3], fast[5]]),
        ),
        at_least(
            "open, aws-lc, least of three sizes",
            1.0,
            least(&[fast[2], fast[4], fast[6]]),
        ),
        at_least("handshakes, RustCrypto", 0.27, portable[0]),
        at_least(
            "seal, RustCrypto, least of three sizes",
            0.40,
            least(&[portable[1], portable[3], portable[5]]),
        ),
    ]
}

/// A stream of `bytes` over loopback beside plain TCP, `turns` times.
#[must_use]
pub fn loopback(turns: usize, bytes: usize) -> Section {
    stream::measure(turns, bytes, &own())
}

/// Calls a second over one turn.
fn rate(turn: Duration, mut call: impl FnMut()) -> f64 {
    let begun = worked();
    let mut calls = 0_u32;
    while worked() - begun < turn {
        call();
        calls += 1;
    }
    f64::from(calls) / (worked() - begun).as_secs_f64()
}

/// Megabytes a second of payload, sealed and opened.
fn bulk(turn: Duration, records: &mut dyn Records, payload: usize) -> (f64, f64) {
    let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
    let mut batches = 0_u32;
    while sealing + opening < turn {
        let begun = worked();
        records.seal(payload, BATCH);
        let sealed = worked();
        records.open();
        sealing += sealed - begun;
        opening += worked() - sealed;
        batches += 1;
    }
    let bytes = f64::from(batches) * (BATCH * payload) as f64 / 1e6;
    (bytes / sealing.as_secs_f64(), bytes / opening.as_secs_f64())
}
