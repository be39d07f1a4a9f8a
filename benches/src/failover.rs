//! How long nobody serves: from the loss of a principal, or the command, until an application can write to the other file.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dbmirror_tests::group::{Group, group};
use dbmirror_tests::processes::{open, signal};

use crate::median;
use crate::report::{Aim, Chart, Row, Section};

/// How long is waited for a take-over.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time-out that a session has unless an operator sets another, and one ping more: what a hang may cost.
const TIMEOUT_AND_PING: f64 = 11.0;

/// Measures each way `turns` times.
#[must_use]
pub fn measure(turns: usize) -> Section {
    let mut group = group(203);
    let files = group.mirrored("shop");
    let mut service = Service {
        files: [files.0, files.1],
        principal: 0,
    };
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..turns {
        times[0].push(service.by_command(&group));
        times[1].push(service.by_kill(&mut group));
        times[2].push(service.by_hang(&group));
    }
    let [command, kill, hang] = times.map(|times| {
        let worst = times.iter().copied().fold(0.0, f64::max);
        (median(times), worst)
    });
    let rows = [
        ("dbmirror, SET PARTNER FAILOVER", command),
        ("dbmirror, principal killed (-9)", kill),
        ("dbmirror, principal hangs (-STOP)", hang),
    ];
    Section {
        title: "Failover",
        about: format!(
            "Two partners and a witness over loopback, the time-out as it is set by default (10 s), {turns} turns: from the loss or the command until a row is committed in the other \
             partner's file, as an application sees it that tries every millisecond."
        ),
        columns: vec!["median, s".to_owned(), "worst, s".to_owned()],
        rows: rows
            .iter()
            .map(|(name, (middle, worst))| Row {
                name: (*name).to_owned(),
                cells: vec![format!("{middle:.3}"), format!("{worst:.3}")],
            })
            .collect(),
        charts: vec![Chart {
            file: "failover",
            title: "Seconds until the other partner takes a row".to_owned(),
            bars: rows
                .iter()
                .map(|(name, (middle, _))| ((*name).to_owned(), *middle))
                .collect(),
            line: None,
        }],
        aims: vec![Aim::at_most(
            "seconds of a failover when the principal hangs (time-out and one ping)",
            TIMEOUT_AND_PING,
            hang.0,
            "see docs/safety.md, R9",
        )],
    }
}

/// Who serves which file.
struct Service {
    files: [PathBuf; 2],
    principal: usize,
}

impl Service {
    fn by_command(&mut self, group: &Group) -> f64 {
        let hosts = [&group.a, &group.b];
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| hosts[self.principal].ok("ALTER DATABASE shop SET PARTNER FAILOVER"));
            until_written(&self.files[1 - self.principal]);
        });
        let time = begun.elapsed().as_secs_f64();
        self.turned(group);
        time
    }

    fn by_kill(&mut self, group: &mut Group) -> f64 {
        let begun = Instant::now();
        let host = if self.principal == 0 {
            &mut group.a
        } else {
            &mut group.b
        };
        host.kill();
        until_written(&self.files[1 - self.principal]);
        let time = begun.elapsed().as_secs_f64();
        host.up();
        self.turned(group);
        time
    }

    fn by_hang(&mut self, group: &Group) -> f64 {
        let pid = [&group.a, &group.b][self.principal].pid();
        let begun = Instant::now();
        signal(pid, "STOP");
        until_written(&self.files[1 - self.principal]);
        let time = begun.elapsed().as_secs_f64();
        signal(pid, "CONT");
        self.turned(group);
        time
    }

    /// The roles have changed; everything is as it was, the other way round.
    fn turned(&mut self, group: &Group) {
        self.principal = 1 - self.principal;
        group.ready([&group.a, &group.b][self.principal], "shop");
    }
}

/// Tries to commit a row, as an application does that knows no better.
fn until_written(file: &Path) {
    let db = open(file);
    db.busy_timeout(Duration::ZERO).expect("a time-out");
    let begun = Instant::now();
    while db.execute("INSERT INTO t (v) VALUES ('served')", []).is_err() {
        assert!(begun.elapsed() < PATIENCE, "nobody took over");
        std::thread::sleep(Duration::from_millis(1));
    }
}
