//! Every number of the original's catalogue on keys, certificates and principals has a test that raises it through a statement, or
//! a reason in `docs/tsql.md` why it cannot occur.

use std::collections::{BTreeMap, BTreeSet};

/// The part of the catalogue.
const NUMBERS: [u32; 76] = [
    3716, 4621, 15007, 15023, 15025, 15063, 15099, 15113, 15116, 15117, 15118, 15122, 15128, 15138, 15141,
    15146, 15147, 15151, 15170, 15173, 15174, 15187, 15208, 15209, 15212, 15213, 15214, 15215, 15232, 15240,
    15246, 15276, 15282, 15296, 15297, 15299, 15313, 15315, 15317, 15320, 15329, 15332, 15334, 15342, 15345,
    15352, 15353, 15397, 15404, 15434, 15448, 15451, 15455, 15464, 15465, 15466, 15468, 15474, 15506, 15507,
    15508, 15530, 15556, 15557, 15558, 15559, 15563, 15578, 15579, 15580, 15581, 15584, 15585, 33011, 33020,
    33069,
];

/// The test that raises a number: all but these.
const COMMON: &str = "every_error_of_keys_certificates_and_principals";
const ELSEWHERE: [(u32, &str); 5] = [
    (15174, "who_creates_a_database_owns_it_and_owns_nothing_else"),
    (
        15434,
        "a_login_that_a_session_knows_its_partner_by_is_not_dropped",
    ),
    (15508, "a_passphrase_stands_above_everything"),
    (15584, "the_service_master_key_is_saved_changed_and_comes_back"),
    (15585, "a_master_key_is_saved_and_comes_back"),
];
/// Where those tests stand.
const SOURCES: [&str; 3] = [
    include_str!("keys.rs"),
    include_str!("escalation.rs"),
    include_str!("../../../../tests/e2e/files.rs"),
];

/// Numbers of five digits, or of four that begin a list.
fn numbers(text: &str) -> BTreeSet<u32> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|word| (4..=5).contains(&word.len()))
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[test]
fn every_number_has_its_test_or_its_reason() {
    let docs = include_str!("../../../../docs/tsql.md");
    let section = docs
        .split("\n## ")
        .find(|section| section.starts_with("Errors of keys, certificates and principals"))
        .unwrap();
    let (raised, cannot) = section.split_once("cannot occur:").unwrap();
    let raised = numbers(raised);
    let mut reasons = BTreeMap::new();
    for row in cannot
        .lines()
        .filter(|line| line.starts_with("| 1") || line.starts_with("| 3"))
    {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (of, reason) = (cells.next().unwrap(), cells.next().unwrap());
        for number in numbers(of) {
            assert!(reason.len() > 20, "{number} has no reason: {row}");
            assert!(reasons.insert(number, reason).is_none(), "{number} twice");
        }
    }
    let elsewhere: BTreeMap<u32, &str> = ELSEWHERE.into();
    let all: BTreeSet<u32> = NUMBERS.into();
    for number in &all {
        assert!(
            raised.contains(number) != reasons.contains_key(number),
            "{number} is neither raised nor explained, or both"
        );
        if reasons.contains_key(number) {
            continue;
        }
        let test = elsewhere.get(number).copied().unwrap_or(COMMON);
        let body = SOURCES
            .iter()
            .find_map(|source| source.split_once(&format!("#[test]\nfn {test}() {{\n")))
            .and_then(|(_, rest)| rest.split_once("\n}\n"))
            .unwrap_or_else(|| panic!("there is no test {test}"))
            .0;
        assert!(numbers(body).contains(number), "{test} does not raise {number}");
    }
    // Nothing is promised beyond it.
    let listed: BTreeSet<u32> = raised.iter().chain(reasons.keys()).copied().collect();
    assert_eq!(listed, all);
}
