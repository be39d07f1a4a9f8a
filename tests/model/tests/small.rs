//! A small part of the search in every test run; the rest is a program (docs/model.md).

use dbmirror_model::hunt::{Verdict, hunt};
use dbmirror_model::machine::WRONGS;
use dbmirror_model::mutation::Mutation;
use dbmirror_model::search::{fingerprint, search, successors};
use dbmirror_model::settings::{DEEP, HUNTED, LARGE, SMALL, TINY};
use dbmirror_model::show;

#[test]
fn tiny_groups_are_searched_completely_without_a_violation() {
    for setting in TINY {
        let found = search(setting, None, 2);
        if let Some((what, way)) = &found.violation {
            panic!(
                "{}: {}\n{}",
                setting.name,
                WRONGS[usize::from(*what)],
                show::story(setting, None, way)
            );
        }
        assert!(found.complete, "{} has more states than it says", setting.name);
        assert!(found.states > 10_000, "{}: {} states", setting.name, found.states);
    }
}

#[test]
fn a_clause_left_out_is_caught_by_a_shortest_way() {
    for (mutation, wrong) in [
        (Mutation::AckWithoutMirror, 1),
        (Mutation::AloneUnconfirmed, 1),
        (Mutation::GrantUnsync, 1),
        (Mutation::Withdraw, 3),
    ] {
        let Verdict::Caught { setting, what, way } = hunt(mutation, 2, 200_000) else {
            panic!("{} survived", mutation.name());
        };
        assert_eq!(WRONGS[usize::from(what)], WRONGS[wrong], "{}", mutation.name());
        let story = show::story(setting, Some(mutation), &way);
        assert!(!story.contains("cannot happen"), "{}:\n{story}", mutation.name());
        assert_eq!(story.lines().count(), way.len());
    }
}

#[test]
fn a_search_is_the_same_on_one_thread_and_on_two() {
    let setting = &TINY[0];
    let (one, two) = (search(setting, None, 1), search(setting, None, 2));
    assert_eq!((one.states, one.depth), (two.states, two.depth));
}

#[test]
fn settings_are_told_apart_and_begin_with_something_to_do() {
    let mut names: Vec<&str> = TINY
        .iter()
        .chain(SMALL)
        .chain(HUNTED)
        .chain(LARGE)
        .chain(DEEP)
        .map(|setting| {
            let start = setting.start();
            let next = successors(setting, None, &start);
            assert!(next.len() > 1, "{}", setting.name);
            assert!(next.iter().any(|(_, s)| fingerprint(s) != fingerprint(&start)));
            setting.name
        })
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
