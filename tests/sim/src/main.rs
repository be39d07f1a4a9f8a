//! `dbmirror-sim`: seeds, one seed, one seed to look at, mutants (docs/simulator.md).

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use dbmirror_sim::coverage::Coverage;
use dbmirror_sim::mutants::Mutant;
use dbmirror_sim::plan::Focus;
use dbmirror_sim::run::{Outcome, Settings, run};

const USAGE: &str = "dbmirror-sim [--seeds N] [--first SEED] [--jobs N] [--real] [--no-coverage]
dbmirror-sim --seed SEED [--show] [--real] [--focus NAME]
dbmirror-sim --ci
dbmirror-sim --mutants [--mutant NAME] [--most N]

  --seeds N      runs so many seeds (1000)
  --first SEED   beginning with this one (1)
  --jobs N       at a time (the machine's cores)
  --focus NAME   seeds about one thing: take-over, failover, force, logs, links, witness, ends, restarts, writes, moments
  --real         with the real cryptography, which is slow and hides messages
  --no-coverage  says nothing about what never happened
  --keep-going   goes on after a seed that failed
  --seed SEED    runs one
  --show         prints its message flow
  --ci           some thousand seeds, then fresh ones, which it prints
  --mutants      plants one bug at a time, and says how many seeds it took to find it
  --caught       plants those that are known to be found, and fails if one is not
  --mutant NAME  plants that one; with --seed, to look at it
  --most N       for at most so many seeds each (3000)";

#[derive(Default)]
struct Args {
    seeds: Option<u64>,
    first: Option<u64>,
    jobs: Option<usize>,
    seed: Option<u64>,
    most: Option<u64>,
    show: bool,
    real: bool,
    ci: bool,
    mutants: bool,
    caught: bool,
    no_coverage: bool,
    keep_going: bool,
    mutant: Option<String>,
    focus: Option<Focus>,
}

fn parse() -> Result<Args, String> {
    let mut args = Args::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            words
                .next()
                .and_then(|text| text.parse::<u64>().ok())
                .ok_or_else(|| format!("{word} needs a number"))
        };
        match word.as_str() {
            "--seeds" => args.seeds = Some(number()?),
            "--first" => args.first = Some(number()?),
            "--jobs" => args.jobs = Some(number()? as usize),
            "--seed" => args.seed = Some(number()?),
            "--most" => args.most = Some(number()?),
            "--show" => args.show = true,
            "--real" => args.real = true,
            "--ci" => args.ci = true,
            "--mutants" => args.mutants = true,
            "--caught" => args.caught = true,
            "--no-coverage" => args.no_coverage = true,
            "--keep-going" => args.keep_going = true,
            "--mutant" => args.mutant = words.next(),
            "--focus" => {
                let name = words.next().unwrap_or_default();
                let known = Focus::ALL.iter().find(|(_, known)| *known == name);
                args.focus = Some(
                    known
                        .map(|(focus, _)| *focus)
                        .ok_or_else(|| format!("unknown focus: {name}"))?,
                );
            }
            "--help" | "-h" => return Err(String::new()),
            _ => return Err(format!("unknown: {word}")),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let args = match parse() {
        Ok(args) => args,
        Err(text) => {
            eprintln!("{text}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let settings = Settings {
        real: args.real,
        show: args.show,
        bug: None,
        focus: args.focus,
    };
    let mut settings = settings;
    let named = args
        .mutant
        .as_deref()
        .and_then(|name| Mutant::all().into_iter().find(|known| known.name() == name));
    if args.mutant.is_some() && named.is_none() {
        eprintln!("no such mutant; there are");
        for mutant in Mutant::all() {
            eprintln!("  {:20} {}", mutant.name(), mutant.text());
        }
        return ExitCode::from(2);
    }
    if let Some(mutant) = named {
        settings.bug = mutant.plant();
    }
    if let Some(seed) = args.seed {
        return one(seed, settings);
    }
    // A panic is told with the seed that led to it.
    std::panic::set_hook(Box::new(|_| {}));
    let jobs = args
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    if args.mutants || args.caught {
        let wanted = |mutant: &Mutant| {
            named.is_none_or(|named| named == *mutant) && (args.mutants || mutant.is_caught())
        };
        return mutants(wanted, args.most.unwrap_or(3_000), jobs, settings);
    }
    let mut coverage = Coverage::default();
    let clean = if args.ci {
        let fresh = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |now| now.as_micros() as u64);
        println!("fresh seeds begin with {fresh}");
        seeds(
            1,
            args.seeds.unwrap_or(3_000),
            jobs,
            args.keep_going,
            settings,
            &mut coverage,
        ) && seeds(fresh, 1_000, jobs, args.keep_going, settings, &mut coverage)
    } else {
        seeds(
            args.first.unwrap_or(1),
            args.seeds.unwrap_or(1_000),
            jobs,
            args.keep_going,
            settings,
            &mut coverage,
        )
    };
    if !clean {
        return ExitCode::FAILURE;
    }
    if args.no_coverage || args.real || args.focus.is_some() {
        return ExitCode::SUCCESS;
    }
    let (table, wrong) = coverage.table();
    print!("{table}");
    for text in &wrong {
        println!("{text}");
    }
    if wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn one(seed: u64, settings: Settings) -> ExitCode {
    let started = Instant::now();
    let outcome = run(seed, settings);
    figures(&outcome.coverage, started);
    match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(_) => {
            tell(&outcome, settings);
            ExitCode::FAILURE
        }
    }
}

fn tell(outcome: &Outcome, settings: Settings) {
    if let Some(violation) = &outcome.violation {
        let real = if settings.real { " --real" } else { "" };
        let focus = settings
            .focus
            .map_or_else(String::new, |focus| format!(" --focus {}", focus.name()));
        println!(
            "seed {} at {:.6} s: {}",
            outcome.seed,
            violation.at as f64 / 1e6,
            violation.text
        );
        println!(
            "replay: cargo run --release -p dbmirror-sim -- --seed {}{real}{focus} --show",
            outcome.seed
        );
    }
}

/// Plants one bug after the other.
fn mutants(wanted: impl Fn(&Mutant) -> bool, most: u64, jobs: usize, settings: Settings) -> ExitCode {
    let mut clean = true;
    for mutant in Mutant::all().into_iter().filter(wanted) {
        let settings = Settings {
            bug: mutant.plant(),
            ..settings
        };
        let (seeds, found) = hunt(most, jobs, settings);
        match (found, mutant.survives()) {
            (Some((_, text)), None) => {
                println!("{:20} {seeds:>5} turns  {}: {text}", mutant.name(), mutant.text());
            }
            (None, Some(why)) => println!("{:20}     - survives  {}: {why}", mutant.name(), mutant.text()),
            (Some((_, text)), Some(why)) => {
                clean = false;
                println!(
                    "{:20} {seeds:>5} seeds  FOUND, and listed as one that survives ({why}): {text}",
                    mutant.name()
                );
            }
            (None, None) => {
                clean = false;
                println!(
                    "{:20} {seeds:>5} seeds  SURVIVES  {}",
                    mutant.name(),
                    mutant.text()
                );
            }
        }
    }
    if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The seed of a turn, and what it is about: everything first, then one thing after the other.
fn of_turn(turn: u64) -> (u64, Option<Focus>) {
    let turn = turn.saturating_sub(1);
    let kinds = Focus::ALL.len() as u64 + 1;
    let focus = (turn % kinds)
        .checked_sub(1)
        .and_then(|at| Focus::ALL.get(at as usize))
        .map(|(focus, _)| *focus);
    (turn / kinds + 1, focus)
}

/// How many turns it takes until one fails: of all kinds, or about one thing only.
fn hunt(most: u64, jobs: usize, settings: Settings) -> (u64, Option<(u64, String)>) {
    let next = AtomicU64::new(1);
    let stop = AtomicBool::new(false);
    let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > most {
                        break;
                    }
                    let (seed_run, focus) = settings
                        .focus
                        .map_or_else(|| of_turn(seed), |focus| (seed, Some(focus)));
                    let settings = Settings { focus, ..settings };
                    if let Some(violation) = run(seed_run, settings).violation {
                        stop.store(true, Ordering::Relaxed);
                        if let Ok(mut found) = found.lock()
                            && found.as_ref().is_none_or(|(first, _)| *first > seed)
                        {
                            let name = focus.map_or("", Focus::name);
                            *found = Some((seed, format!("seed {seed_run} {name}: {}", violation.text)));
                        }
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_default();
    (found.as_ref().map_or(most, |(seed, _)| *seed), found)
}

fn figures(coverage: &Coverage, started: Instant) {
    let took = started.elapsed().as_secs_f64().max(1e-6);
    let seeds = coverage.seeds.max(1) as f64;
    println!(
        "{} seeds in {took:.1} s ({:.1} a second); each on average {:.0} commits, {:.1} faults and commands, {:.1} minutes, {:.0} events; \
         each second {:.1} hours and {:.0} faults",
        coverage.seeds,
        seeds / took,
        coverage.commits as f64 / seeds,
        coverage.faults as f64 / seeds,
        coverage.micros as f64 / 60e6 / seeds,
        coverage.events as f64 / seeds,
        coverage.micros as f64 / 3.6e9 / took,
        coverage.faults as f64 / took,
    );
}

/// Runs seeds on all cores until one fails. Whether none did.
fn seeds(
    first: u64,
    count: u64,
    jobs: usize,
    keep_going: bool,
    settings: Settings,
    into: &mut Coverage,
) -> bool {
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let coverage = Mutex::new(Coverage::default());
    let failed = Mutex::new(0_u64);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let outcome = run(first.wrapping_add(number), settings);
                    if let Ok(mut coverage) = coverage.lock() {
                        coverage.add(&outcome.coverage);
                    }
                    if outcome.violation.is_some() {
                        stop.store(!keep_going, Ordering::Relaxed);
                        // At once: a long run that is stopped has told what it found.
                        if let Ok(mut failed) = failed.lock() {
                            tell(&outcome, settings);
                            *failed += 1;
                        }
                    }
                }
            });
        }
    });
    let coverage = coverage.into_inner().unwrap_or_default();
    figures(&coverage, started);
    into.add(&coverage);
    failed.into_inner().is_ok_and(|failed| failed == 0)
}
