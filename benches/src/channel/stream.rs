//! A stream over loopback: one thread seals and writes, another reads and opens, beside the same without a channel.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use dbmirror_adapters::aws_lc::AwsLc;
use dbmirror_core::channel::{HEAD_ROOM, PAYLOAD_LEN_MAX, ReadEvent, TAIL_ROOM};
use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_foreign::Own;

use super::ours::Ours;
use super::{AWS_LC, RUSTCRYPTO};
use crate::report::{Aim, Chart, Row, Section};
use crate::{median, worked};

/// Records to one write.
const RECORDS: usize = 4;
/// Bytes of payload to one write.
const WRITE: usize = RECORDS * PAYLOAD_LEN_MAX;

/// What one turn came to: megabytes of payload a second of the clock, and a second of processor time of who sends and who receives.
#[derive(Clone, Copy)]
struct Rates([f64; 3]);

impl Rates {
    fn of(bytes: usize, seconds: [Duration; 3]) -> Self {
        Self(seconds.map(|time| bytes as f64 / 1e6 / time.as_secs_f64()))
    }
}

/// Megabytes a second of payload, and the ratio to plain TCP. Two threads and the kernel need both processors, and whatever
/// else runs only ever takes from them: so it is the fastest of many short turns that counts, and not the middle one. What a turn
/// costs either thread hardly depends on that: the busier of them is what bounds a stream on a quiet machine.
pub(super) fn measure(turns: usize, bytes: usize, own: &[Own; 2]) -> Section {
    let mut rows = [
        ("plain TCP", Vec::new()),
        (AWS_LC, Vec::new()),
        (RUSTCRYPTO, Vec::new()),
    ];
    let fast = Ours::<AwsLc>::new("", own);
    let portable = Ours::<RustCrypto>::new("", own);
    for _ in 0..turns {
        rows[0].1.push(plain(bytes));
        rows[1].1.push(sealed(&fast, bytes));
        rows[2].1.push(sealed(&portable, bytes));
    }
    let rows = rows.map(|(name, turns): (_, Vec<Rates>)| {
        let column = |n: usize| turns.iter().map(move |rates| rates.0[n]);
        (
            name,
            [
                column(0).fold(0.0, f64::max),
                median(column(1).collect()),
                median(column(2).collect()),
            ],
        )
    });
    let first = rows[0].1;
    Section {
        title: "A stream over loopback",
        about: format!(
            "{} KiB to a write, {} MiB to a turn, the fastest of {turns} turns; in brackets the ratio to plain TCP. Both ends share the machine's processors with the kernel's copying.",
            WRITE / 1_024,
            bytes >> 20
        ),
        columns: ["MB/s", "MB/CPU s of the sender", "MB/CPU s of the receiver"]
            .map(String::from)
            .into(),
        rows: rows
            .iter()
            .map(|(name, values)| Row {
                name: (*name).to_owned(),
                cells: values
                    .iter()
                    .zip(first)
                    .map(|(value, first)| format!("{value:.0} ({:.2})", value / first))
                    .collect(),
            })
            .collect(),
        charts: vec![Chart {
            file: "loopback",
            title: "MB/s of payload over loopback".to_owned(),
            bars: rows
                .iter()
                .map(|(name, values)| ((*name).to_owned(), values[0]))
                .collect(),
            line: Some(first[0]),
        }],
        aims: vec![Aim::at_least(
            "stream over loopback, aws-lc, of plain TCP",
            0.95,
            rows[1].1[0] / first[0],
            "both processors are full of copying: [the channel's speed](../channel.md)",
        )],
    }
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
    let (from, _) = listener.accept().expect("it dials");
    to.set_nodelay(true).expect("a socket");
    (to, from)
}

fn plain(bytes: usize) -> Rates {
    let (mut to, mut from) = connected();
    let (begun, before) = (Instant::now(), worked());
    let sending = std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let buf = vec![0x5a; WRITE];
            for _ in 0..bytes / WRITE {
                to.write_all(&buf).expect("it writes");
            }
            worked()
        });
        let mut buf = vec![0; 2 * WRITE];
        let mut left = bytes / WRITE * WRITE;
        while left > 0 {
            left -= from.read(&mut buf).expect("it reads");
        }
        sender.join().expect("it sent")
    });
    Rates::of(bytes, [begun.elapsed(), sending, worked() - before])
}

fn sealed<P: Provider>(parties: &Ours<P>, bytes: usize) -> Rates
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
    let (begun, before) = (Instant::now(), worked());
    let sending = std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            const STRIDE: usize = HEAD_ROOM + PAYLOAD_LEN_MAX + TAIL_ROOM;
            let mut buf = vec![0x5a; RECORDS * STRIDE];
            for _ in 0..bytes / WRITE {
                // Back to back: each record begins where the one before it ended.
                let mut end = 0;
                for _ in 0..RECORDS {
                    end += writer.seal(&mut buf[end..], PAYLOAD_LEN_MAX).expect("it seals");
                }
                to.write_all(&buf[..end]).expect("it writes");
            }
            worked()
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
        sender.join().expect("it sent")
    });
    Rates::of(bytes, [begun.elapsed(), sending, worked() - before])
}
