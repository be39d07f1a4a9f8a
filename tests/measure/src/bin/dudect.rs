//! Times compare, ECDH, sign and record open over two classes of secrets each, and says whether they can be told apart.
//!
//! ```text
//! cargo run --release -p dbmirror-measure --bin dudect [-- --samples 100000]
//! ```
//!
//! The exit status is 1 when a |t| is 5 or more. Run it on a machine that does nothing else, in the build that ships.

use std::process::ExitCode;

use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_measure::timing::SUBJECTS;

/// From here on it is a leak until shown otherwise.
const T_LIMIT: f64 = 5.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let samples = match arguments.as_slice() {
        [] => Some(100_000),
        [name, number] if name == "--samples" => number.parse().ok(),
        _ => None,
    };
    let Some(samples) = samples else {
        eprintln!("usage: dudect [--samples N]");
        return ExitCode::FAILURE;
    };
    let constant = examine::<RustCrypto>("rustcrypto", samples);
    #[cfg(feature = "aws-lc")]
    let constant = examine::<dbmirror_adapters::aws_lc::AwsLc>("aws-lc", samples) && constant;
    if constant {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn examine<P: Provider>(provider: &str, samples: usize) -> bool {
    let mut constant = true;
    for subject in SUBJECTS {
        let found = subject.measure::<P>(samples);
        println!(
            "{provider:10} {:34} {} samples, median {:9.0} ns, t {:+6.2}, max |t| {:5.2}",
            subject.name(),
            found.samples,
            found.median_ns,
            found.t,
            found.t_max
        );
        constant &= found.t_max < T_LIMIT;
    }
    constant
}
