//! The short forms of the long measurements.

use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_measure::stream::{Load, run};
use dbmirror_measure::timing::{SUBJECTS, Welch};

#[test]
fn a_stream_with_many_changes_of_keys_both_ways_in_constant_memory() {
    let load = Load {
        records: 600,
        update_every: 50,
    };
    let seen = run::<RustCrypto>("127.77.2.1", load);
    assert_eq!(seen.bytes, 2 * 600 * 16_384);
    assert_eq!(seen.updates, 2 * 11);
    assert!(
        seen.rss_max_kib <= seen.rss_early_kib + 1_024,
        "memory grows: {seen:?}"
    );
}

/// The instrument itself: it sees a difference of a tenth among noise of as much again and more, and none where there is none.
#[test]
fn the_test_statistic_tells_a_leak_from_noise() {
    let (mut same, mut leak) = (Welch::default(), Welch::default());
    let mut state: u32 = 1;
    let mut draw = || {
        // xorshift32: noise that is the same in every run.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state >> 22
    };
    for _ in 0..20_000 {
        let class = draw() >= 512;
        let noise = 1_000.0 + f64::from(draw());
        same.add(class, noise);
        leak.add(class, noise + if class { 100.0 } else { 0.0 });
    }
    assert!(same.t().abs() < 5.0, "{}", same.t());
    assert!(leak.t().abs() > 15.0, "{}", leak.t());
}

#[test]
fn every_subject_can_be_measured() {
    for subject in SUBJECTS {
        let found = subject.measure::<RustCrypto>(40);
        assert_eq!(found.samples, 40, "{}", subject.name());
    }
}
