//! Streams many gigabytes each way between two endpoints of the channel, with a change of keys every 1,000 records.
//!
//! ```text
//! cargo run --release -p dbmirror-measure --features aws-lc --bin stream -- --gb 20 [--provider rustcrypto|aws-lc]
//! ```

use std::process::ExitCode;

use dbmirror_core::channel::PAYLOAD_LEN_MAX;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_measure::stream::{Load, run};

/// An address of this machine that nothing else here uses.
const ADDRESS: &str = "127.77.1.1";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let Some(gigabytes) = value("--gb").and_then(|text| text.parse::<u64>().ok()) else {
        eprintln!("usage: stream --gb N [--provider rustcrypto|aws-lc]");
        return ExitCode::FAILURE;
    };
    let record = u64::try_from(PAYLOAD_LEN_MAX).expect("a small number");
    let load = Load {
        records: (gigabytes * 1_000_000_000).div_ceil(record),
        update_every: 1_000,
    };
    let provider = value("--provider").map_or("rustcrypto", String::as_str);
    let seen = match provider {
        "rustcrypto" => run::<RustCrypto>(ADDRESS, load),
        #[cfg(feature = "aws-lc")]
        "aws-lc" => run::<dbmirror_adapters::aws_lc::AwsLc>(ADDRESS, load),
        other => {
            eprintln!("no provider {other} in this build");
            return ExitCode::FAILURE;
        }
    };
    println!(
        "{provider}: {} records each way, {} bytes in all, {} changes of keys, {:.1} s",
        load.records,
        seen.bytes,
        seen.updates,
        seen.elapsed.as_secs_f64()
    );
    println!(
        "resident after 1 %: {} KiB, most later: {} KiB",
        seen.rss_early_kib, seen.rss_max_kib
    );
    ExitCode::SUCCESS
}
