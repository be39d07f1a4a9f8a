//! Every comparison that there is, in one run, as a page with charts: `docs/benchmarks/`.
//!
//! ```sh
//! cargo build --release -p dbmirror && cargo run --release -p dbmirror-benches --features openssl --bin report
//! … --bin report -- --quick --out /tmp/report     # whether it works; the figures mean little
//! … --bin report -- --only failover               # one, to the terminal: channel, loopback, cost, seeding, failover, footprint
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use dbmirror_benches::report::{Section, aims};
use dbmirror_benches::{channel, cost, failover, footprint, seeding};

/// A measurement, quick or not.
type Measurement = fn(bool) -> Section;

const ALL: [(&str, Measurement); 6] = [
    ("channel", |quick| match quick {
        true => channel::measure(1, Duration::from_millis(40)),
        false => channel::measure(9, Duration::from_millis(500)),
    }),
    ("loopback", |quick| match quick {
        true => channel::loopback(2, 1 << 24),
        false => channel::loopback(36, 1 << 28),
    }),
    ("cost", |quick| match quick {
        true => cost::measure(1, Duration::from_millis(200)),
        false => cost::measure(5, Duration::from_secs(2)),
    }),
    ("seeding", |quick| match quick {
        true => seeding::measure(1, 8),
        false => seeding::measure(3, 500),
    }),
    ("failover", |quick| failover::measure(if quick { 1 } else { 5 })),
    ("footprint", |quick| {
        footprint::measure(Duration::from_secs(if quick { 1 } else { 20 }))
    }),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let only = value("--only");
    let mut sections = Vec::new();
    for (name, measure) in ALL {
        if only.as_deref().is_none_or(|only| only == name) {
            let section = measure(quick);
            println!("{}", section.text());
            sections.push(section);
        }
    }
    if only.is_some() {
        assert_eq!(
            sections.len(),
            1,
            "--only takes channel, loopback, cost, seeding, failover or footprint"
        );
        return;
    }
    let out = value("--out").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks")),
        PathBuf::from,
    );
    fs::create_dir_all(&out).expect("a directory");
    for chart in sections.iter().flat_map(|section| &section.charts) {
        fs::write(out.join(format!("{}.svg", chart.file)), chart.svg()).expect("a chart");
    }
    fs::write(out.join("README.md"), page(&sections, quick)).expect("the page");
    println!("{}", out.join("README.md").display());
}

fn page(sections: &[Section], quick: bool) -> String {
    let mut page = format!(
        "# Benchmarks\n\nWritten by `cargo run --release -p dbmirror-benches --bin report`{} on {}, beside what a user would pick instead, all in one run on one machine. Ratios travel; \
         absolute figures do not.\n\n{}\n## What was aimed at\n\n{}",
        if quick {
            " with `--quick`: whether it works, not how fast it is"
        } else {
            ""
        },
        said("date", &["-u", "+%F"]),
        machine(),
        aims(sections)
    );
    for section in sections {
        let _ = write!(page, "\n{}", section.markdown());
    }
    page
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model)
        .to_owned();
    let memory = read("/proc/meminfo");
    let memory = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .split(' ')
                .next()?
                .parse::<f64>()
                .ok()
        })
        .unwrap_or_default();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("unknown");
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "Machine: {processors} processors ({processor}), {:.0} GiB of memory, Linux {}; load at the end {load}. {}; SQLite {}; rustls and OpenSSL as `Cargo.lock` has them.\n",
        memory * 1024.0 / (1u64 << 30) as f64,
        said("uname", &["-r"]),
        said("rustc", &["--version"]),
        rusqlite::version(),
    )
}

/// What a program says, on one line.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
