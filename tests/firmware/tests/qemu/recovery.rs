//! A memory that cannot be trusted: the device says so, serves nobody, never votes, and can be provisioned anew.

use std::fs;
use std::net::Ipv4Addr;

use dbmirror_adapters::nvm::{Key, Kind, VALUE_LEN_MAX};
use dbmirror_firmware_tests::group::Group;

use crate::image::{self, Sha256};

#[test]
fn a_memory_that_cannot_be_trusted_is_told_and_nothing_is_served() {
    let mut group = Group::new(Ipv4Addr::new(127, 203, 1, 1), &["HOST_A"]);
    let good = fs::read(group.path("nvm.img")).unwrap();

    // Never provisioned.
    fs::write(group.path("nvm.img"), vec![0xff; good.len()]).unwrap();
    let mut board = group.board();
    board.await_line("not in service: the memory was never provisioned");
    assert!(!group.hosts[0].test_connection(&group.url()).status.success());
    board.cut();

    // Rotten: whole pages of noise, and everywhere a bit.
    let mut noise = good.clone();
    for (at, byte) in noise.iter_mut().enumerate() {
        *byte ^= u8::try_from(at.wrapping_mul(2_654_435_761) >> 24 & 0xff).unwrap();
    }
    fs::write(group.path("nvm.img"), &noise).unwrap();
    let mut board = group.board();
    board.await_line("not in service: the memory");
    board.cut();

    // Another device's key.
    fs::write(group.path("nvm.img"), &good).unwrap();
    fs::rename(group.path("device.key"), group.path("right.key")).unwrap();
    let other = Group::new(Ipv4Addr::new(127, 203, 1, 2), &["HOST_A"]);
    fs::copy(other.path("device.key"), group.path("device.key")).unwrap();
    let mut board = group.board();
    board.await_line("not in service: the memory belongs to another device key");
    board.cut();

    // No key at all.
    fs::write(group.path("device.key"), [0; 48]).unwrap();
    let mut board = group.board();
    board.await_line("not in service: no device key");
    board.cut();

    // A layout that this image does not know.
    fs::copy(group.path("right.key"), group.path("device.key")).unwrap();
    let mut store = image::open(&group);
    let mut header = [0; VALUE_LEN_MAX];
    let len = store
        .get::<Sha256>(Key::only(Kind::Header), &mut header)
        .unwrap()
        .unwrap();
    header[0] += 1;
    store
        .put::<Sha256>(Key::only(Kind::Header), &header[..len])
        .unwrap();
    image::close(&group, store);
    let mut board = group.board();
    board.await_line("not in service: the memory has another layout");
    assert!(!group.hosts[0].test_connection(&group.url()).status.success());
    board.cut();

    // The seed is gone: without randomness nothing is served.
    fs::write(group.path("nvm.img"), &good).unwrap();
    let mut store = image::open(&group);
    store.remove::<Sha256>(Key::only(Kind::Start)).unwrap();
    image::close(&group, store);
    let mut board = group.board();
    board.await_line("not in service: the seed is lost");
    assert!(!group.hosts[0].test_connection(&group.url()).status.success());
    board.cut();

    // Provisioned anew, with another certificate, it starts.
    for file in ["nvm.img", "nvm.cer"] {
        fs::rename(group.path(file), group.path(&format!("before.{file}"))).unwrap();
    }
    group.provision();
    let mut board = group.board();
    board.await_line("ready name=WITNESS");
    board.cut();

    // Put right, it serves.
    fs::write(group.path("nvm.img"), &good).unwrap();
    fs::copy(group.path("right.key"), group.path("device.key")).unwrap();
    let mut board = group.board();
    board.await_line("ready name=WITNESS");
    assert!(group.hosts[0].test_connection(&group.url()).status.success());
}

/// The memory of a witness is lost: it knows no session, so it grants nothing, until the session's owner has registered again.
#[test]
fn a_device_that_is_provisioned_anew_is_registered_again() {
    let mut group = Group::new(Ipv4Addr::new(127, 203, 2, 1), &["HOST_A", "HOST_B"]);
    // As it left the factory: the same identity, no sessions.
    let blank = fs::read(group.path("nvm.img")).unwrap();
    let mut board = group.board();
    let _ = group.mirrored("shop", &mut board);
    board.cut();
    fs::write(group.path("nvm.img"), blank).unwrap();
    assert_eq!(group.sessions(), [] as [&str; 0]);
    let mut board = group.board();
    board.await_line("registered by");
    group.ready(0, "shop", 1, &board);
}
