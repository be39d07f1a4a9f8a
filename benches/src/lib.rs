//! Measurements beside what a user would pick instead, as ratios in one run. `--bin report` runs all of them and writes
//! `docs/benchmarks/`.

pub mod channel;
pub mod cost;
pub mod failover;
pub mod footprint;
pub mod report;
pub mod seeding;

use std::time::Duration;

/// Processor time of this thread.
#[must_use]
pub fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The middle one; 0 of none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
