//! A stream over loopback: one thread seals and writes, another reads and opens, beside the same without a channel.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use dbmirror_adapters::aws_lc::AwsLc;
use dbmirror_core::channel::{HEAD_ROOM, PAYLOAD_LEN_MAX, ReadEvent, TAIL_ROOM};
use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_foreign::Own;

use crate::ours::Ours;

/// Bytes of payload to one write: four records of full size.
const WRITE: usize = 4 * PAYLOAD_LEN_MAX;

/// Prints megabytes a second of payload, and the ratio to plain TCP. Two threads and the kernel need both processors, and whatever
/// else runs only ever takes from them: so it is the fastest of many short turns that counts, and not the middle one.
pub fn measure(turns: usize, bytes: usize, own: &[Own; 2]) {
    let mut rows = [
        ("plain TCP", Vec::new()),
        ("dbmirror + aws-lc", Vec::new()),
        ("dbmirror + RustCrypto", Vec::new()),
    ];
    let fast = Ours::<AwsLc>::new("", own);
    let portable = Ours::<RustCrypto>::new("", own);
    for _ in 0..turns {
        rows[0].1.push(plain(bytes));
        rows[1].1.push(sealed(&fast, bytes));
        rows[2].1.push(sealed(&portable, bytes));
    }
    println!("\n{:<24}{:>20}", "loopback, 64 KiB writes", "MB/s");
    let rows = rows.map(|(name, values)| (name, values.into_iter().fold(0.0, f64::max)));
    for (name, value) in rows {
        println!(
            "{name:<24}{:>20}",
            format!("{value:.0} ({:.2})", value / rows[0].1)
        );
    }
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
    let (from, _) = listener.accept().expect("it dials");
    to.set_nodelay(true).expect("a socket");
    (to, from)
}

fn plain(bytes: usize) -> f64 {
    let (mut to, mut from) = connected();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let buf = vec![0x5a; WRITE];
            for _ in 0..bytes / WRITE {
                to.write_all(&buf).expect("it writes");
            }
        });
        let mut buf = vec![0; 2 * WRITE];
        let mut left = bytes / WRITE * WRITE;
        while left > 0 {
            left -= from.read(&mut buf).expect("it reads");
        }
    });
    bytes as f64 / 1e6 / begun.elapsed().as_secs_f64()
}

fn sealed<P: Provider>(parties: &Ours<P>, bytes: usize) -> f64
where
    dbmirror_core::channel::Writer<P>: Send,
{
    let [client, server] = parties.shake();
    let mut writer = client
        .split()
        .map_err(|_| "no channel")
        .expect("it stands")
        .writer;
    let mut reader = server
        .split()
        .map_err(|_| "no channel")
        .expect("it stands")
        .reader;
    let (mut to, mut from) = connected();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            const STRIDE: usize = HEAD_ROOM + PAYLOAD_LEN_MAX + TAIL_ROOM;
            let mut buf = vec![0x5a; 4 * STRIDE];
            for _ in 0..bytes / WRITE {
                // Back to back: each record begins where the one before it ended.
                let mut end = 0;
                for _ in 0..4 {
                    end += writer.seal(&mut buf[end..], PAYLOAD_LEN_MAX).expect("it seals");
                }
                to.write_all(&buf[..end]).expect("it writes");
            }
        });
        let mut buf = vec![0; 4 * WRITE];
        let (mut at, mut len, mut left) = (0, 0, bytes / WRITE * WRITE);
        while left > 0 {
            if len - at < PAYLOAD_LEN_MAX + 64 {
                buf.copy_within(at..len, 0);
                len -= at;
                at = 0;
                len += from.read(&mut buf[len..]).expect("it reads");
            }
            loop {
                let read = reader.read(&mut buf[at..len]).expect("it opens");
                if let ReadEvent::Data(data) = read.event {
                    left -= data.len();
                }
                at += read.consumed;
                if read.consumed == 0 {
                    break;
                }
            }
        }
    });
    bytes as f64 / 1e6 / begun.elapsed().as_secs_f64()
}
