//! A network that means no good.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use dbmirror_firmware_tests::PORT;
use dbmirror_firmware_tests::group::Group;
use dbmirror_tests::processes::text;

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
