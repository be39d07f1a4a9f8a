//! The floor of time, by which a device without a clock judges the end of certificates: it moves when two logins tell the time.

use std::net::Ipv4Addr;
use std::time::Duration;

use dbmirror_adapters::nvm::Store;
use dbmirror_adapters::nvm::settings::Floor;
use dbmirror_core::time::UnixSeconds;
use dbmirror_firmware_tests::group::Group;

use crate::image::{self, Image, Sha256};

const DAY: i64 = 86_400;

fn floor_of(group: &Group) -> (i64, Store<Image>) {
    let mut store = image::open(group);
    (Floor::read::<Sha256, _>(&mut store).unwrap().0.0, store)
}

/// As if the device had lain on a shelf for ten days.
fn age(group: &Group) -> i64 {
    let (provisioned, mut store) = floor_of(group);
    let old = provisioned - 10 * DAY;
    Floor(UnixSeconds(old)).write::<Sha256, _>(&mut store).unwrap();
    image::close(group, store);
    old
}

#[test]
fn two_partners_move_it_and_it_stays_moved() {
    let mut group = Group::new(Ipv4Addr::new(127, 206, 1, 1), &["HOST_A", "HOST_B"]);
    let old = age(&group);
    let mut board = group.board();
    board.await_line("the floor of time is now");
    board.cut();
    let (moved, _) = floor_of(&group);
    assert!((old + 10 * DAY..old + 11 * DAY).contains(&moved), "{old} {moved}");
    // It is there, so nothing is to be moved.
    let mut board = group.board();
    board.await_line("HOST_A_login is online");
    board.await_line("HOST_B_login is online");
    std::thread::sleep(Duration::from_secs(2));
    let log = board.log();
    assert!(
        !log.iter().any(|line| line.contains("the floor of time")),
        "{}",
        log.join("\n")
    );
}

#[test]
fn one_partner_alone_does_not_move_it() {
    let mut group = Group::new(Ipv4Addr::new(127, 206, 2, 1), &["HOST_A"]);
    let old = age(&group);
    let mut board = group.board();
    board.await_line("HOST_A_login is online");
    assert!(group.hosts[0].test_connection(&group.url()).status.success());
    std::thread::sleep(Duration::from_secs(2));
    board.assert_one_start();
    board.cut();
    assert_eq!(floor_of(&group).0, old);
}
