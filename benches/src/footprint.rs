//! What an instance takes of its machine.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dbmirror_tests::processes::{Host, pair, program};

use crate::report::{Row, Section};

/// Looks at an instance that has nothing to do for `rest`.
#[must_use]
pub fn measure(rest: Duration) -> Section {
    let pair = pair(204);
    let empty = memory(&pair.a);
    let _file = pair.mirrored("small");
    let one = memory(&pair.a);
    let before = ticks(&pair.a);
    std::thread::sleep(rest);
    let idle = (ticks(&pair.a) - before) as f64 / TICKS / rest.as_secs_f64() * 100.0;
    let binary = stripped(&pair.root.path().join("stripped")) as f64 / 1e6;
    let row = |name: &str, value: String| Row {
        name: name.to_owned(),
        cells: vec![value],
    };
    Section {
        title: "Footprint of an instance",
        about: format!(
            "The server as it is built for release, its memory as the kernel counts it (VmRSS), its processor time over {} s with one session and no commits. What the appliance takes: \
             [the appliance](../appliance.md).",
            rest.as_secs()
        ),
        columns: vec!["dbmirror".to_owned()],
        rows: vec![
            row(
                "program file without debugging information, MB",
                format!("{binary:.1}"),
            ),
            row("resident, no session, MB", format!("{empty:.1}")),
            row("resident, one session, MB", format!("{one:.1}")),
            row("idle, % of one processor", format!("{idle:.2}")),
        ],
        charts: Vec::new(),
        aims: Vec::new(),
    }
}

/// Bytes of the program without what only a debugger reads.
fn stripped(to: &Path) -> u64 {
    let done = Command::new("strip").arg("-o").arg(to).arg(program()).status();
    let file = if done.is_ok_and(|status| status.success()) {
        to.to_path_buf()
    } else {
        program()
    };
    fs::metadata(file).expect("the program").len()
}

/// Ticks of the clock in `/proc/PID/stat`.
const TICKS: f64 = 100.0;

fn memory(host: &Host) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    kilobytes.expect("a number") * 1024.0 / 1e6
}

fn ticks(host: &Host) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", host.pid())).expect("it runs");
    // Behind the name, which may hold anything: user and system time are the 12th and 13th.
    let rest = stat.rsplit_once(')').expect("a name").1;
    let field = |n: usize| rest.split_whitespace().nth(n).and_then(|f| f.parse::<u64>().ok());
    field(11).expect("a number") + field(12).expect("a number")
}
