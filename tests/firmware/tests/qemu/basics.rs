//! Both directions of the handshake, restarts, and what the image takes.

use std::net::Ipv4Addr;
use std::time::Duration;

use dbmirror_firmware_tests::group::Group;
use dbmirror_firmware_tests::{budget, decode, image};
use dbmirror_tests::processes::text;

#[test]
fn instance_and_device_prove_who_they_are_in_both_directions() {
    let mut group = Group::new(Ipv4Addr::new(127, 200, 1, 1), &["HOST_A"]);
    let mut board = group.board();
    let ready = board.await_line("ready name=WITNESS");
    assert!(ready.contains("boot=1 peers=1 port=7024"), "{ready}");

    // The device dials by itself.
    board.await_line("dialing HOST_A_login at TCP://10.0.2.2:");
    board.await_line("HOST_A_login is online");

    // And answers.
    let tested = group.hosts[0].test_connection(&group.url());
    assert!(
        tested.status.success(),
        "{}{}\n{}",
        text(&tested.stdout),
        text(&tested.stderr),
        board.log().join("\n")
    );
    let logins = |lines: &[String]| lines.iter().filter(|line| line.contains("Msg 28046")).count();
    assert!(logins(&board.log()) >= 2, "{:?}", board.log());

    // The power is cut; the same memory serves again, and counts its start.
    board.cut();
    let mut board = group.board();
    let ready = board.await_line("ready name=WITNESS");
    assert!(ready.contains("boot=2"), "{ready}");
    assert!(group.hosts[0].test_connection(&group.url()).status.success());

    // What it takes is within the budget.
    let limits = include_str!("../../../../firmware/boards/mps2-an386/budget.toml");
    let sizes = budget::sizes(&image());
    std::thread::sleep(Duration::from_millis(1_500));
    let stack = board.stack();
    println!("{sizes:?}, stack {stack}");
    assert!(stack > 0 && stack <= budget::limit(limits, "stack"), "{stack}");
    assert!(sizes.flash <= budget::limit(limits, "flash"), "{sizes:?}");
    assert!(sizes.ram <= budget::limit(limits, "ram"), "{sizes:?}");
}

#[test]
fn a_log_is_cut_anywhere() {
    // Bytes that are no log are told as such, and do not end the reading.
    let lines = decode(&image(), &[0xff, 0x12, 0x00, 0x03, 0x00]);
    assert!(lines.len() <= 3, "{lines:?}");
}
