//! Certificates are replaced over connections that stand: the device's own, and a partner's, while the device is the witness of a session.

use std::net::Ipv4Addr;
use std::time::Duration;

use dbmirror_firmware_tests::budget;
use dbmirror_firmware_tests::group::Group;
use dbmirror_tests::processes::open;

/// That many days from today, for a statement.
fn day(group: &std::path::Path, days: i32) -> String {
    open(group)
        .query_row("SELECT date('now', ?1 || ' days')", [days], |row| row.get(0))
        .expect("a date")
}

#[test]
fn the_device_and_a_partner_replace_theirs_and_the_session_stays() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let calendar = dir.path().join("calendar");
    // In its last third from the first day on.
    let validity = format!(
        ", START_DATE = '{}', EXPIRY_DATE = '{}'",
        day(&calendar, -300),
        day(&calendar, 60)
    );
    let mut group = Group::with_validity(Ipv4Addr::new(127, 210, 1, 1), &["HOST_A", "HOST_B"], &validity);
    let mut board = group.board();
    let _files = group.mirrored("shop", &mut board);
    for line in [
        "own certificate: a successor is made",
        "own certificate: the successor is stored by HOST_A_login",
        "own certificate: the successor is stored by HOST_B_login",
        "own certificate: the successor is used",
        "own certificate: the successor is accepted by HOST_A_login",
        "own certificate: the successor is accepted by HOST_B_login",
        "own certificate: the predecessor is given up",
        "own certificate: the rotation is done",
    ] {
        board.await_line(line);
    }
    for host in &group.hosts {
        assert!(host.log().contains("WITNESS_cert_2"), "{}", host.log());
    }

    // The partner's turn: the device is one of those that it waits for.
    group.hosts[0].ok("EXEC sp_dbmirror_rotate_certificate");
    board.await_line("HOST_A_login: its successor certificate is stored as");
    assert!(
        !board.log().iter().any(|line| line.contains("is refused")),
        "{}",
        board.log().join("\n")
    );
    group.ready(0, "shop", 1, &board);
    board.assert_one_start();
    // A key, a certificate and its proof were made: the deepest that the device goes.
    std::thread::sleep(Duration::from_millis(1_500));
    let stack = board.stack();
    println!("stack {stack}");
    let limits = include_str!("../../../../firmware/boards/mps2-an386/budget.toml");
    assert!(stack > 0 && stack <= budget::limit(limits, "stack"), "{stack}");
    board.cut();

    // All that was in the memory before anybody relied on it: after a power cut they know each other by the new ones.
    let mut board = group.board();
    for host in ["HOST_A", "HOST_B"] {
        board.await_line(&format!("{host}_login is online"));
    }
    group.ready(0, "shop", 1, &board);
    assert!(
        !board.log().iter().any(|line| line.contains("own certificate")),
        "{}",
        board.log().join("\n")
    );
}
