//! The searches as a program.
//!
//! ```text
//! dbmirror-model                        every large setting: bounds, states, depth, violations
//! dbmirror-model --small                settings of seconds to a minute each
//! dbmirror-model --only NAME            one setting
//! dbmirror-model --mutants              every mutant with the length of its shortest counterexample
//! dbmirror-model --show MUTANT          one mutant's counterexample as a sequence of messages
//! ```

use dbmirror_model::hunt::{Verdict, hunt};
use dbmirror_model::machine::WRONGS;
use dbmirror_model::mutation::Mutation;
use dbmirror_model::search::{Found, search};
use dbmirror_model::settings::{DEEP, HUNTED, LARGE, SMALL, Setting, TINY};
use dbmirror_model::show;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let good = match words.as_slice() {
        [] => report_all(LARGE),
        ["--small"] => report_all(SMALL),
        ["--only", name] => match named(name) {
            Some(setting) => report(setting),
            None => return unknown("setting", name, &names()),
        },
        ["--mutants"] => mutants(Mutation::ALL),
        ["--mutants", name] | ["--show", name] => {
            let Some(mutation) = Mutation::ALL.iter().find(|m| m.name() == *name) else {
                let all: Vec<&str> = Mutation::ALL.iter().map(|m| m.name()).collect();
                return unknown("mutant", name, &all);
            };
            if words[0] == "--show" {
                tell(*mutation)
            } else {
                mutants(&[*mutation])
            }
        }
        _ => {
            eprintln!("usage: dbmirror-model [--small | --only SETTING | --mutants [NAME] | --show NAME]");
            return ExitCode::from(2);
        }
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> ExitCode {
    eprintln!("there is no {what} {name}; there are {}", known.join(", "));
    ExitCode::from(2)
}

fn every() -> impl Iterator<Item = &'static Setting> {
    TINY.iter().chain(SMALL).chain(HUNTED).chain(LARGE).chain(DEEP)
}

fn names() -> Vec<&'static str> {
    every().map(|s| s.name).collect()
}

fn named(name: &str) -> Option<&'static Setting> {
    every().find(|s| s.name == name)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// States to search at most in each setting: `DBMIRROR_MODEL_MOST`, or as the setting says.
fn most() -> u64 {
    std::env::var("DBMIRROR_MODEL_MOST")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(u64::MAX)
}

/// Searches a setting and prints what was found. Whether nothing was wrong.
fn report(setting: &Setting) -> bool {
    let began = Instant::now();
    println!("{}: {}", setting.name, setting.about);
    println!("    bounds: {}", setting.bounds());
    let setting = &Setting {
        most: setting.most.min(most()),
        ..*setting
    };
    let found = search(setting, None, threads());
    println!(
        "    {} states, depth {}, {:.1} s: {}",
        found.states,
        found.depth,
        began.elapsed().as_secs_f64(),
        outcome(&found)
    );
    if let Some((_, way)) = &found.violation {
        print!("{}", show::story(setting, None, way));
    }
    found.violation.is_none() && found.complete
}

/// Searches all of them, also after one that was violated.
fn report_all(settings: &[Setting]) -> bool {
    let results: Vec<bool> = settings.iter().map(report).collect();
    results.into_iter().all(|good| good)
}

fn outcome(found: &Found) -> String {
    match &found.violation {
        None if found.complete => "complete, no violation".to_owned(),
        None => "stopped at the bound of states, no violation so far".to_owned(),
        Some((what, way)) => format!(
            "VIOLATED after {} steps: {}",
            way.len(),
            WRONGS[usize::from(*what)]
        ),
    }
}

/// Hunts each mutant and prints the table. Whether each was caught that is not a known survivor.
fn mutants(list: &[Mutation]) -> bool {
    println!(
        "{:26} {:20} {:>5}  what became false, where",
        "mutant", "rule", "steps"
    );
    let mut good = true;
    for mutation in list {
        let verdict = hunt(*mutation, threads(), most());
        let (steps, text) = match &verdict {
            Verdict::Caught { setting, what, way } => (
                way.len().to_string(),
                format!("{} ({})", WRONGS[usize::from(*what)], setting.name),
            ),
            Verdict::Survived { states } => {
                let why = mutation.survives();
                good &= why.is_some();
                (
                    "–".to_owned(),
                    format!("survived {states} states: {}", why.unwrap_or("NOT EXPLAINED")),
                )
            }
        };
        println!(
            "{:26} {:20} {:>5}  {}",
            mutation.name(),
            mutation.rule(),
            steps,
            text
        );
    }
    good
}

/// Prints one mutant's counterexample.
fn tell(mutation: Mutation) -> bool {
    println!("{} ({}):{}", mutation.name(), mutation.rule(), mutation.text());
    match hunt(mutation, threads(), most()) {
        Verdict::Caught { setting, what, way } => {
            println!("setting {}: {}", setting.name, setting.bounds());
            print!("{}", show::story(setting, Some(mutation), &way));
            println!("Now {}.", WRONGS[usize::from(what)]);
            true
        }
        Verdict::Survived { states } => {
            println!(
                "survived {states} states: {}",
                mutation.survives().unwrap_or("not explained")
            );
            false
        }
    }
}
