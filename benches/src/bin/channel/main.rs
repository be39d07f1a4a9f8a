//! The secure channel beside what a user would pick instead, in turns of one run on one machine, as ratios to rustls's fastest
//! (unbuffered) interface: mutual handshakes a second with both ends on one thread, megabytes a second sealed and opened in
//! place in records of 1, 4 and 16 KiB, and a stream over loopback beside plain TCP. The first two are counted in processor time of
//! the one thread that does them, so that what else runs on the machine takes no part.
//!
//! All sides restricted to TLS 1.3, P-256, AES-128-GCM, ECDSA, pinned self-signed certificates that both show, no tickets.
//!
//! ```sh
//! cargo run --release -p dbmirror-benches --bin channel                       # on a quiet machine
//! cargo run --release -p dbmirror-benches --bin channel --features openssl    # with OpenSSL 3.6, built from source
//! cargo run --release -p dbmirror-benches --bin channel -- --quick            # whether it works; the figures mean little
//! cargo run --release -p dbmirror-benches --bin channel -- --only NAME [N]    # N handshakes of one side, for a profiler
//! cargo run --release -p dbmirror-benches --bin channel -- --records NAME SIZE [N] # N batches of records of one side
//! cargo run --release -p dbmirror-benches --bin channel -- --loopback         # the stream alone
//! ```

#[cfg(feature = "openssl")]
mod openssl_peer;
mod ours;
mod rustls_peer;
mod stream;

use std::time::Duration;

use dbmirror_adapters::aws_lc::AwsLc;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_foreign::Own;

/// Sizes of the payload in a record.
const SIZES: [usize; 3] = [1_024, 4_096, 16_384];

/// One implementation under measurement.
trait Contender {
    /// For the table.
    fn name(&self) -> &'static str;
    /// One mutual handshake, both ends on this thread.
    fn handshake(&mut self);
    /// An established pair for records.
    fn records(&mut self) -> Box<dyn Records>;
}

/// An established connection: one side seals, the other opens.
trait Records {
    /// Seals `payload` bytes `count` times and keeps the records.
    fn seal(&mut self, payload: usize, count: usize);
    /// Opens what was sealed.
    fn open(&mut self);
}

/// Records between two looks at the clock: 64 of them lie in the second-level cache.
const BATCH: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let own = [Own::new(1), Own::new(2)];
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(rustls_peer::Unbuffered::new(&own)),
        Box::new(rustls_peer::Buffered::new(&own)),
        #[cfg(feature = "openssl")]
        Box::new(openssl_peer::OpenSsl::new(&own)),
        Box::new(ours::Ours::<AwsLc>::new("dbmirror + aws-lc", &own)),
        Box::new(ours::Ours::<RustCrypto>::new("dbmirror + RustCrypto", &own)),
    ];
    if let Some(at) = arguments.iter().position(|argument| argument == "--only") {
        let name = arguments.get(at + 1).map_or("", String::as_str);
        let count = arguments
            .get(at + 2)
            .and_then(|text| text.parse().ok())
            .unwrap_or(100);
        for contender in contenders
            .iter_mut()
            .filter(|contender| contender.name().contains(name))
        {
            (0..count).for_each(|_| contender.handshake());
            println!("{count} handshakes of {}", contender.name());
        }
        return;
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "--records") {
        let text = |n: usize| arguments.get(at + n).map_or("", String::as_str);
        let payload = text(2).parse().expect("bytes of payload");
        for contender in contenders
            .iter_mut()
            .filter(|contender| contender.name().contains(text(1)))
        {
            let mut records = contender.records();
            for _ in 0..text(3).parse().unwrap_or(1_000) {
                records.seal(payload, BATCH);
                records.open();
            }
        }
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let (turns, turn) = if quick {
        (1, Duration::from_millis(40))
    } else {
        (9, Duration::from_millis(500))
    };

    let loopback = |turns| stream::measure(turns, if quick { 1 << 24 } else { 1 << 28 }, &own);
    if arguments.iter().any(|argument| argument == "--loopback") {
        loopback(4 * turns);
        return;
    }

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
    println!(
        "{turns} turns of {} ms, medians; MB = 10^6 bytes; in brackets the ratio to the first line",
        turn.as_millis()
    );
    print!("{:<24}{:>20}", "", "handshakes/s");
    for payload in SIZES {
        print!(
            "{:>20}{:>20}",
            format!("seal {payload} MB/s"),
            format!("open {payload} MB/s")
        );
    }
    println!();
    for (contender, row) in contenders.iter().zip(&table) {
        print!("{:<24}", contender.name());
        for (value, first) in row.iter().zip(&table[0]) {
            print!("{:>20}", format!("{value:.0} ({:.2})", value / first));
        }
        println!();
    }
    loopback(4 * turns);
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

/// Processor time of this thread.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
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

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
