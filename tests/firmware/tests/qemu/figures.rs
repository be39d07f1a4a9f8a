//! What the device takes, measured: `tests/firmware/figures` prints it. Counted instructions, so that the host's speed plays no part.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use dbmirror_firmware_tests::group::Group;
use dbmirror_firmware_tests::{Board, Cable, budget, image};
use dbmirror_tests::processes::signal;

/// Handshakes of which the middle one counts.
const ROUNDS: usize = 5;

/// The lines that tell how long the device has worked: all of it, the turn that ended, logins, votes. One microsecond is a thousand
/// instructions.
fn work(board: &Board) -> Vec<[u64; 4]> {
    let numbers = |line: &String| {
        let (_, rest) = line.split_once(" worked ")?;
        let all: Vec<u64> = rest
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|word| word.parse().ok())
            .collect();
        all.try_into().ok()
    };
    board.log().iter().filter_map(numbers).collect()
}

/// Processor time of a process so far, in clock ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = rest.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn middle(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

#[test]
#[ignore = "a measurement: tests/firmware/figures"]
fn figures() {
    let at = Ipv4Addr::new(127, 207, 1, 1);
    let sizes = budget::sizes(&image());
    println!(
        "flash {} bytes, RAM without the stack {} bytes",
        sizes.flash, sizes.ram
    );

    let mut group = Group::new(at, &["HOST_A"]);
    let mut board = group.board_with(Cable::Host(at), true);
    board.await_line("HOST_A_login is online");
    let mut spans = Vec::new();
    for _ in 0..ROUNDS {
        let began = std::time::Instant::now();
        assert!(group.hosts[0].test_connection(&group.url()).status.success());
        spans.push(u64::try_from(began.elapsed().as_millis()).unwrap());
    }
    let work_done = work(&board);
    let deltas: Vec<u64> = work_done.windows(2).map(|two| two[1][0] - two[0][0]).collect();
    println!("all of {deltas:?}");
    println!(
        "a connection as the server (handshake, both hellos, end): {} thousand instructions",
        middle(deltas)
    );
    println!("as seen by the tool on the host: {} ms", middle(spans));
    let before = ticks(board.pid());
    std::thread::sleep(Duration::from_secs(10));
    println!("stack {} bytes", board.stack());
    println!(
        "idle with one connection, instructions counted: {} ms of a host's core in 10 s",
        (ticks(board.pid()) - before) * 10
    );
    board.cut();
    drop(group);

    let mut group = Group::new(at, &["HOST_A", "HOST_B"]);
    let mut board = group.board_with(Cable::Host(at), true);
    let _ = group.mirrored("shop", &mut board);
    group.hosts[0].ok("ALTER DATABASE shop SET PARTNER TIMEOUT 5");
    let pid = group.hosts[0].pid();
    signal(pid, "STOP");
    board.await_line("the role is granted to");
    // The line about the turn follows when the turn is over.
    std::thread::sleep(Duration::from_secs(1));
    let lines = work(&board);
    signal(pid, "CONT");
    let votes = lines.windows(2).filter(|two| two[1][3] > two[0][3]);
    let turns: Vec<u64> = votes.map(|two| two[1][1]).collect();
    println!("turns with a vote, denials first: {turns:?}");
    println!(
        "a vote that is granted (heard, decided, recorded durably, answered): {} thousand instructions",
        turns.iter().max().unwrap()
    );
    board.cut();

    // Idle as it is run.
    let mut board = group.board();
    board.await_line("HOST_A_login is online");
    board.await_line("HOST_B_login is online");
    std::thread::sleep(Duration::from_secs(2));
    let before = ticks(board.pid());
    std::thread::sleep(Duration::from_secs(10));
    println!(
        "idle with two partners: {} ms of a host's core in 10 s",
        (ticks(board.pid()) - before) * 10
    );
}
