//! Garbage, half-open connections and peers that say nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use dbmirror_tests::processes::*;

#[test]
fn garbage_and_half_open_connections_leave_the_instance_alone() {
    let pair = pair(111);
    let at = (pair.a.address.as_str(), PORT);
    let mut open = Vec::new();
    for round in 0..40u8 {
        let mut stream = TcpStream::connect(at).expect("the endpoint listens");
        let bytes: Vec<u8> = match round % 5 {
            0 => Vec::new(),
            1 => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            2 => vec![round; 4_096],
            3 => [&[0x16, 3, 1, 0x40, 0][..], &vec![1; 0x4000]].concat(),
            _ => vec![0x16, 3, 1, 2, 0, 1, 0, 1],
        };
        let _ = stream.write_all(&bytes);
        open.push(stream);
    }
    assert!(
        pair.b.test_connection(&pair.a.url()).status.success(),
        "a real peer still gets in"
    );
    // Every one of them is closed in the end, by the endpoint.
    let deadline = Instant::now() + PATIENCE;
    for stream in &mut open {
        stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .expect("a timeout");
        loop {
            let mut rest = [0u8; 1_024];
            match stream.read(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e)
                    if matches!(
                        e.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    assert!(
                        Instant::now() < deadline,
                        "a half-open connection is never closed"
                    );
                }
                Err(_) => break,
            }
        }
    }
    assert!(pair.b.test_connection(&pair.a.url()).status.success());
    let rows = pair.a.rows("SELECT number FROM sys.dm_dbmirror_errors");
    assert!(!rows.is_empty(), "the refusals are listed");
}
