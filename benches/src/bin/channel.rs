//! The secure channel beside what a user would pick instead (`dbmirror_benches::channel`).
//!
//! ```sh
//! cargo run --release -p dbmirror-benches --bin channel                       # on a quiet machine
//! cargo run --release -p dbmirror-benches --bin channel --features openssl    # with OpenSSL 3.6, built from source
//! cargo run --release -p dbmirror-benches --bin channel -- --quick            # whether it works; the figures mean little
//! cargo run --release -p dbmirror-benches --bin channel -- --only NAME [N]    # N handshakes of one side, for a profiler
//! cargo run --release -p dbmirror-benches --bin channel -- --records NAME SIZE [N] # N batches of records of one side
//! cargo run --release -p dbmirror-benches --bin channel -- --loopback         # the stream alone
//! ```

use std::time::Duration;

use dbmirror_benches::channel;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().position(|argument| argument == name);
    let text = |at: usize| arguments.get(at).map_or("", String::as_str);
    let chosen = |name: &str| {
        channel::contenders()
            .into_iter()
            .filter(|contender| contender.name().contains(name))
            .collect::<Vec<_>>()
    };
    if let Some(at) = given("--only") {
        let count = text(at + 2).parse().unwrap_or(100);
        for mut contender in chosen(text(at + 1)) {
            (0..count).for_each(|_| contender.handshake());
            println!("{count} handshakes of {}", contender.name());
        }
        return;
    }
    if let Some(at) = given("--records") {
        let payload = text(at + 2).parse().expect("bytes of payload");
        for mut contender in chosen(text(at + 1)) {
            channel::exercise(&mut *contender, payload, text(at + 3).parse().unwrap_or(1_000));
        }
        return;
    }
    let quick = given("--quick").is_some();
    let (turns, turn, bytes) = if quick {
        (1, Duration::from_millis(40), 1 << 24)
    } else {
        (9, Duration::from_millis(500), 1 << 28)
    };
    if given("--loopback").is_none() {
        println!("{}", channel::measure(turns, turn).text());
    }
    println!("{}", channel::loopback(4 * turns, bytes).text());
}
