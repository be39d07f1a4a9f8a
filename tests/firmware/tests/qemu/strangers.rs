//! A network that means no good.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dbmirror_firmware_tests::group::Group;
use dbmirror_firmware_tests::{PORT, budget};
use dbmirror_tests::processes::{Host, text};

/// Strangers who never finish a handshake do not keep a partner out, and do not stop the device.
#[test]
fn stalled_strangers_keep_nobody_out() {
    let at = Ipv4Addr::new(127, 204, 1, 1);
    let mut group = Group::new(at, &["HOST_A"]);
    let mut board = group.board();
    board.await_line("ready name=WITNESS");
    board.await_line("HOST_A_login is online");
    let address = SocketAddr::from((at, PORT));
    let mut stalled: Vec<TcpStream> = Vec::new();
    for number in 0..12 {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
        if number % 2 == 0 {
            // Garbage: not even a record.
            let _ = stream.write_all(&[b'x'; 900]);
        }
        stalled.push(stream);
        std::thread::sleep(Duration::from_millis(30));
    }
    // While they are there a partner gets through: its handshake evicts the oldest of them.
    let tested = group.hosts[0].test_connection(&group.url());
    assert!(
        tested.status.success(),
        "{}{}\n{}",
        text(&tested.stdout),
        text(&tested.stderr),
        board.log().join("\n")
    );
    // Each of them is ended by the device, within its handshake time.
    for mut stream in stalled {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < 100, "no more than an alert: {}", rest.len());
    }
    board.assert_one_start();
}

/// More strangers than the device has places for, of every kind and all the time: the session goes on, and after a blip of the network,
/// with the strangers still there, the partners come back. (Who dials the device meanwhile is a stranger too, and may be pushed out by the
/// next one; the device's own dials have places of their own.)
#[test]
fn a_flood_disturbs_no_session_and_partners_come_back_after_a_blip() {
    let at = Ipv4Addr::new(127, 204, 2, 1);
    let mut group = Group::new(at, &["HOST_A", "HOST_B"]);
    let mut board = group.board();
    let _ = group.mirrored("shop", &mut board);
    // The mirror finds the device a moment after the principal.
    for host in &group.hosts {
        host.await_mirroring("shop", "mirroring_witness_state_desc", "CONNECTED");
    }
    let address = SocketAddr::from((at, PORT));
    let stop = Arc::new(AtomicBool::new(false));
    let attackers: Vec<_> = (0..4)
        .map(|kind| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut connections = 0;
                let mut held = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
                        continue;
                    };
                    connections += 1;
                    // The stream may be gone before all is written.
                    let _ = match kind {
                        // A scan: connected and gone.
                        0 => Ok(()),
                        // Garbage.
                        1 => stream.write_all(&[0xa5; 1_500]),
                        // The head of a ClientHello that never goes on.
                        2 => stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
                        // Silence.
                        _ => Ok(()),
                    };
                    if kind > 1 {
                        held.push(stream);
                        if held.len() > 20 {
                            held.remove(0);
                        }
                    }
                    std::thread::sleep(Duration::from_millis(40));
                }
                connections
            })
        })
        .collect();

    // Ten seconds of it are a partner timeout: a session that had lost its witness would show it.
    let states = |host: &Host| host.mirroring("shop", "mirroring_witness_state_desc");
    let until = Instant::now() + Duration::from_secs(12);
    while Instant::now() < until {
        for host in &group.hosts {
            assert_eq!(states(host), "CONNECTED", "{}", board.log().join("\n"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    // Its cable is out until both have missed it. (A device that stands still for so long is reset by its watchdog.)
    board.cable(false);
    for host in &group.hosts {
        host.await_mirroring("shop", "mirroring_witness_state_desc", "DISCONNECTED");
    }
    board.cable(true);
    for host in &group.hosts {
        host.await_mirroring("shop", "mirroring_witness_state_desc", "CONNECTED");
    }
    group.ready(0, "shop", 1, &board);

    stop.store(true, Ordering::Relaxed);
    let connections: u32 = attackers
        .into_iter()
        .map(|attacker| attacker.join().expect("no panic"))
        .sum();
    assert!(connections > 100, "{connections} connections are no flood");
    board.assert_one_start();
    // Everything that the device has is placed when it is built; only the stack could grow, which the device tells within two seconds.
    // (A partner that comes back may go deeper than its first handshake did, so it is not that which strangers are held against.)
    std::thread::sleep(Duration::from_secs(2));
    let most = budget::limit(
        include_str!("../../../../firmware/boards/mps2-an386/budget.toml"),
        "stack",
    );
    let stack = board.stack();
    assert!(stack > 0 && stack <= most, "{stack}");
    println!("{connections} connections, stack {stack}");
}
