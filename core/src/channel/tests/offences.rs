//! Which test holds which offence of the list in `docs/channel.md`, and that none is forgotten.

use std::vec::Vec;

/// Offence, and the tests that commit it, by file and name.
const TESTS: [(u8, &[&str]); 53] = [
    (1, &["client_hello::versions"]),
    (2, &["client_hello::versions"]),
    (3, &["client_hello::compression"]),
    (4, &["client_hello::extensions_once_and_in_their_place"]),
    (5, &["client_hello::extensions_once_and_in_their_place"]),
    (6, &["client_hello::extensions_that_must_be_there"]),
    (7, &["client_hello::extensions_that_must_be_there"]),
    (8, &["client_hello::key_shares"]),
    (9, &["client_hello::a_share_that_does_not_fit_is_asked_for_again"]),
    (10, &["client_hello::key_shares"]),
    // A hybrid share: without the hybrid, a share of an unknown group, which is passed over.
    (
        11,
        &[
            "client_hello::shares_of_unknown_groups_are_passed_over",
            "hybrid::shares_of_a_client_that_are_none",
        ],
    ),
    (12, &["client_hello::cipher_suites"]),
    (
        13,
        &[
            "client_hello::a_share_that_does_not_fit_is_asked_for_again",
            "client_hello::a_second_hello_that_contradicts_the_first",
        ],
    ),
    (14, &["client_hello::a_second_hello_that_contradicts_the_first"]),
    (15, &["client_hello::application_protocols"]),
    (16, &["auth::no_certificate"]),
    (17, &["auth::certificates_that_are_not_pinned"]),
    (18, &["auth::certificate_messages_out_of_form"]),
    (
        19,
        &[
            "auth::the_order_of_the_flight",
            "signatures::signatures_for_something_else",
            "signatures::signatures_out_of_form",
        ],
    ),
    (20, &["auth::finished"]),
    (21, &["auth::the_order_of_the_flight"]),
    (
        22,
        &[
            "client_hello::anything_but_a_hello_first",
            "auth::the_order_of_the_flight",
        ],
    ),
    (23, &["records::early_data"]),
    (24, &["server_hello::parameters_that_were_not_offered"]),
    (25, &["server_hello::downgrades"]),
    (
        26,
        &[
            "server_hello::retries_that_change_nothing",
            "server_hello::a_cookie_is_repeated_once",
        ],
    ),
    (
        27,
        &[
            "server_hello::an_answer_after_a_retry_that_was_not_offered",
            "suites::the_suite_of_a_retry_stays",
        ],
    ),
    (28, &["server_hello::encrypted_extensions"]),
    (29, &["server_hello::the_server_chooses_one_protocol_of_ours"]),
    (30, &["auth::requests_for_our_certificate"]),
    (31, &["server_hello::retries_that_change_nothing"]),
    (32, &["auth::our_own_certificate_sent_back"]),
    (33, &["records::too_long"]),
    (34, &["records::without_content"]),
    (35, &["records::empty_data_is_taken_but_not_for_ever"]),
    (
        36,
        &[
            "records::types_that_do_not_fit_the_keys",
            "records::an_alert_in_clear_is_heard_only_from_a_client_that_has_shown_no_keys",
        ],
    ),
    (37, &["records::a_change_of_keys_ends_its_record"]),
    (38, &["records::nothing_comes_between_fragments"]),
    (39, &["records::a_handshake_of_one_byte_a_record"]),
    (40, &["pair::every_truncation_of_every_flight"]),
    (41, &["records::any_bit_flipped"]),
    (
        42,
        &[
            "records::replayed_reordered_dropped",
            "suites::replayed_where_nothing_is_hidden",
        ],
    ),
    (43, &["records::change_cipher_spec"]),
    (
        44,
        &[
            "limits::nobody_exceeds_the_others_limit",
            "limits::a_peer_that_exceeds_our_limit",
            "limits::limits_that_a_client_may_ask_for",
            "limits::limits_that_a_server_may_ask_for",
        ],
    ),
    (45, &["traffic::keys_wear_out"]),
    (
        46,
        &[
            "traffic::key_updates_are_followed_and_answered",
            "traffic::crossing_requests",
            "traffic::key_updates_that_must_not_be_taken",
            "traffic::a_flood_of_key_updates_is_cut_and_a_long_stream_is_not",
            "traffic::a_request_to_a_side_that_has_closed",
        ],
    ),
    (47, &["traffic::we_never_ask_for_an_update"]),
    (
        48,
        &[
            "traffic::handshake_messages_after_the_handshake",
            "auth::the_order_of_the_flight",
        ],
    ),
    (49, &["traffic::tickets_are_ignored_by_a_client"]),
    (
        50,
        &[
            "traffic::closing",
            "traffic::a_cut_connection_is_told_from_a_closed_one",
            "traffic::alerts",
        ],
    ),
    (
        51,
        &[
            "suites::integrity_only_is_refused_where_encryption_is_required",
            "suites::keys_of_one_suite_open_nothing_of_another",
        ],
    ),
    (52, &["pair::no_share_is_used_twice"]),
    // With tests/interop/faults.rs, which fails a provider at each of its operations.
    (53, &["pair::failing_entropy_ends_cleanly"]),
];

const FILES: [(&str, &str); 10] = [
    ("auth", include_str!("auth.rs")),
    ("client_hello", include_str!("client_hello.rs")),
    ("hybrid", include_str!("hybrid.rs")),
    ("limits", include_str!("limits.rs")),
    ("pair", include_str!("pair.rs")),
    ("records", include_str!("records.rs")),
    ("server_hello", include_str!("server_hello.rs")),
    ("signatures", include_str!("signatures.rs")),
    ("suites", include_str!("suites.rs")),
    ("traffic", include_str!("traffic.rs")),
];

/// The tests of a file that say that they hold offences: name, numbers.
fn claims(text: &str) -> Vec<(&str, Vec<u8>)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut claims = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let Some(rest) = line
            .strip_prefix("/// Offences ")
            .or_else(|| line.strip_prefix("/// Offence "))
        else {
            continue;
        };
        let said = rest.split([':', '.']).next().unwrap();
        let said = said
            .split(|c: char| !c.is_ascii_digit() && !c.is_ascii_alphabetic() && c != ' ')
            .collect::<Vec<_>>()
            .join(" ");
        let numbers: Vec<u8> = said
            .split(' ')
            .map_while(|word| {
                if word.is_empty() || word == "and" {
                    Some(None)
                } else {
                    word.parse().ok().map(Some)
                }
            })
            .flatten()
            .collect();
        assert!(!numbers.is_empty(), "{line}");
        let test = lines[n..]
            .iter()
            .position(|l| *l == "#[test]")
            .expect("a test follows");
        let name = lines[n + test + 1].strip_prefix("fn ").expect("its name");
        claims.push((name.split('(').next().unwrap(), numbers));
    }
    claims
}

#[test]
fn every_offence_has_its_test() {
    for (index, (number, tests)) in TESTS.iter().enumerate() {
        assert_eq!(usize::from(*number), index + 1);
        assert!(!tests.is_empty(), "{number}");
        for path in *tests {
            let (file, name) = path.split_once("::").unwrap();
            let (_, text) = FILES.iter().find(|(f, _)| *f == file).expect(path);
            assert!(
                text.contains(&std::format!("#[test]\nfn {name}() {{")),
                "{number}: no test {path}"
            );
        }
    }
}

/// What a test says of itself and what the table says of it are the same.
#[test]
fn tests_and_table_agree() {
    for (file, text) in FILES {
        for (name, numbers) in claims(text) {
            for number in numbers {
                let (_, tests) = TESTS[usize::from(number) - 1];
                assert!(
                    tests.contains(&&*std::format!("{file}::{name}")),
                    "{file}::{name} holds {number}, and the table does not know"
                );
            }
        }
    }
}

/// The list for people has a row for each.
#[test]
fn the_documentation_lists_every_offence() {
    let page = include_str!("../../../../docs/channel.md");
    let (_, page) = page.split_once("## Offences").expect("the list");
    let (page, _) = page.split_once("\n## ").expect("its end");
    let mut listed = std::collections::BTreeSet::new();
    for row in page.lines().filter(|l| l.starts_with("| ")) {
        let cell = row.split('|').nth(1).unwrap();
        listed.extend(cell.split(',').filter_map(|n| n.trim().parse::<u8>().ok()));
    }
    for (number, _) in TESTS {
        assert!(listed.contains(&number), "docs/channel.md lacks offence {number}");
    }
}
