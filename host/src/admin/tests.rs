use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::frame::Frame;
use super::wire::{self, Reply, Request};
use super::*;
use crate::tsql::value::{Column, SqlType, Value};

/// What came out of a batch, in order.
#[derive(Default)]
struct Collected(Vec<Reply>);

impl Sink for Collected {
    fn columns(&mut self, columns: &[Column]) -> Result<(), Cancelled> {
        self.0.push(Reply::Columns(columns.to_vec()));
        Ok(())
    }
    fn row(&mut self, values: &[Value]) -> Result<(), Cancelled> {
        self.0.push(Reply::Row(values.to_vec()));
        Ok(())
    }
    fn rows_affected(&mut self, rows: u64) -> Result<(), Cancelled> {
        self.0.push(Reply::RowsAffected(rows));
        Ok(())
    }
    fn message(&mut self, message: &Message) -> Result<(), Cancelled> {
        self.0.push(Reply::Message(message.clone()));
        Ok(())
    }
    fn database_changed(&mut self, name: &str) -> Result<(), Cancelled> {
        self.0.push(Reply::Database(name.to_owned()));
        Ok(())
    }
    fn check(&mut self) -> Result<(), Cancelled> {
        Ok(())
    }
}

struct Fake<'a> {
    database: String,
    /// How many batches have seen that their client is gone.
    cancelled: &'a AtomicUsize,
}

fn everything() -> Vec<Reply> {
    let columns = [
        SqlType::Bit,
        SqlType::TinyInt,
        SqlType::SmallInt,
        SqlType::Int,
        SqlType::BigInt,
        SqlType::Numeric(25, 0),
        SqlType::Float,
        SqlType::Char(2),
        SqlType::VarChar(None),
        SqlType::NChar(3),
        SqlType::NVarChar(Some(60)),
        SqlType::SysName,
        SqlType::DateTime,
        SqlType::UniqueIdentifier,
        SqlType::VarBinary(Some(32)),
        SqlType::SqlVariant,
    ];
    vec![
        Reply::Columns(
            columns
                .iter()
                .map(|&sql_type| Column::new(format!("{sql_type}"), sql_type))
                .collect(),
        ),
        Reply::Row(vec![
            Value::Null,
            Value::Int(i64::MIN),
            Value::Float(-0.5),
            Value::Text("ü🦀".to_owned()),
            Value::Binary(vec![0, 255]),
        ]),
        Reply::RowsAffected(u64::MAX),
        Reply::Message(Message {
            number: 15_581,
            severity: 16,
            state: 3,
            line: 7,
            procedure: Some("sp_x".to_owned()),
            text: "no key".to_owned(),
        }),
        Reply::Message(Message::print("hello")),
        Reply::Database("Sales".to_owned()),
    ]
}

fn report(replies: &[Reply], sink: &mut dyn Sink) -> Result<(), Cancelled> {
    for reply in replies {
        match reply {
            Reply::Columns(columns) => sink.columns(columns)?,
            Reply::Row(values) => sink.row(values)?,
            Reply::RowsAffected(rows) => sink.rows_affected(*rows)?,
            Reply::Message(message) => sink.message(message)?,
            Reply::Database(name) => sink.database_changed(name)?,
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

impl Session for Fake<'_> {
    fn batch(&mut self, text: &str, sink: &mut dyn Sink) {
        let result = match text {
            "everything" => report(&everything(), sink),
            "wait" => {
                while sink.check().is_ok() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Cancelled)
            }
            "flood" => {
                let row = [Value::Text("x".repeat(10_000))];
                while sink.row(&row).is_ok() {}
                Err(Cancelled)
            }
            "long row" => sink.row(&[Value::Text("ü".repeat(3 << 20)), Value::Int(1)]),
            "panic" => panic!("on purpose"),
            other => {
                self.database.push_str(other);
                sink.database_changed(&self.database)
            }
        };
        if result.is_err() {
            self.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
    fn database(&self) -> &str {
        &self.database
    }
}

/// Runs a listener in `dir` while `test` runs, and ends it.
fn with_listener(dir: &Path, test: impl FnOnce(Stop, &AtomicUsize)) {
    let cancelled = AtomicUsize::new(0);
    let listener = Listener::bind(dir).unwrap();
    let stop = listener.stopper();
    std::thread::scope(|scope| {
        let cancelled = &cancelled;
        let open = move |peer: Peer| -> Box<dyn Session + '_> {
            assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
            assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
            Box::new(Fake {
                database: "master".to_owned(),
                cancelled,
            })
        };
        let served = scope.spawn(move || listener.run("HOST_A", open));
        /// Ends the listener even if the test fails, so that the failure is seen.
        struct Ending(Stop);
        impl Drop for Ending {
            fn drop(&mut self) {
                self.0.stop();
            }
        }
        let ending = Ending(stop.clone());
        test(stop, cancelled);
        drop(ending);
        served.join().unwrap().unwrap();
    });
}

fn client(dir: &Path) -> Client {
    Client::connect(dir, Duration::ZERO).unwrap()
}

fn answers(client: &mut Client, text: &str) -> Vec<Reply> {
    let mut collected = Collected::default();
    client.batch(text, &mut collected).unwrap();
    collected.0
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn batches_go_and_answers_come() {
    let dir = tempfile::tempdir().unwrap();
    with_listener(dir.path(), |_, _| {
        let mut one = client(dir.path());
        let mut two = client(dir.path());
        assert_eq!(
            (one.instance.as_str(), one.database.as_str()),
            ("HOST_A", "master")
        );
        assert_eq!(answers(&mut one, "everything"), everything());
        assert_eq!(one.database, "Sales");
        // A session lives as long as its connection, and is nobody else's.
        answers(&mut two, "1");
        answers(&mut two, "2");
        assert_eq!(two.database, "master12");
        let long = answers(&mut one, "long row");
        let [Reply::Row(row), Reply::Message(note)] = long.as_slice() else {
            panic!("{}", long.len())
        };
        assert!(matches!(row.as_slice(), [Value::Text(cut), Value::Int(1)] if cut.len() > 1 << 20));
        assert_eq!(note.number, 50003);
        let long = answers(&mut one, &"x".repeat((1 << 20) + 1));
        let [Reply::Message(refused)] = long.as_slice() else {
            panic!("{long:?}")
        };
        assert_eq!(refused.number, 50001);
        answers(&mut one, &"x".repeat(1 << 20));
    });
}

#[test]
fn socket_is_private_and_replaced() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(SOCKET_NAME);
    assert!(matches!(
        Client::connect(dir.path(), Duration::ZERO),
        Err(ConnectError::NotRunning(_))
    ));
    with_listener(dir.path(), |_, _| {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600)
    });
    // The socket of a dead instance answers nobody and is in nobody's way.
    assert!(path.exists());
    assert!(matches!(
        Client::connect(dir.path(), Duration::ZERO),
        Err(ConnectError::NotRunning(_))
    ));
    with_listener(dir.path(), |_, _| drop(client(dir.path())));
}

#[test]
fn long_directories() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(120)).join("e".repeat(120));
    std::fs::create_dir_all(&deep).unwrap();
    with_listener(&deep, |_, _| {
        assert_eq!(answers(&mut client(&deep), "everything").len(), 6)
    });
}

#[test]
fn a_client_that_waits_finds_a_late_instance() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let early = scope.spawn(|| Client::connect(dir.path(), Duration::from_secs(20)).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        with_listener(dir.path(), |_, _| {
            assert_eq!(early.join().unwrap().instance, "HOST_A")
        });
    });
}

#[test]
fn cancelled_when_the_client_goes() {
    let dir = tempfile::tempdir().unwrap();
    with_listener(dir.path(), |_, cancelled| {
        for batch in ["wait", "flood"] {
            let before = cancelled.load(Ordering::SeqCst);
            let (kind, payload) = Request::Batch {
                text: Zeroizing::new(batch.to_owned()),
            }
            .encode();
            let mut stream = hello(dir.path());
            frame::write(&mut stream, kind, &payload).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            drop(stream);
            until(batch, || cancelled.load(Ordering::SeqCst) > before);
        }
        // A sink that wants no more ends the batch as well.
        struct Full;
        impl Sink for Full {
            fn columns(&mut self, _: &[Column]) -> Result<(), Cancelled> {
                Err(Cancelled)
            }
            fn row(&mut self, _: &[Value]) -> Result<(), Cancelled> {
                Err(Cancelled)
            }
            fn rows_affected(&mut self, _: u64) -> Result<(), Cancelled> {
                Ok(())
            }
            fn message(&mut self, _: &Message) -> Result<(), Cancelled> {
                Ok(())
            }
            fn database_changed(&mut self, _: &str) -> Result<(), Cancelled> {
                Ok(())
            }
            fn check(&mut self) -> Result<(), Cancelled> {
                Ok(())
            }
        }
        assert!(matches!(
            client(dir.path()).batch("flood", &mut Full),
            Err(ClientError::Cancelled)
        ));
    });
}

#[test]
fn stopping_ends_idle_and_busy_connections() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        with_listener(dir.path(), |stop, _| {
            let mut idle = client(dir.path());
            let mut busy = client(dir.path());
            let busy = scope.spawn(move || busy.batch("wait", &mut Collected::default()));
            std::thread::sleep(Duration::from_millis(50));
            stop.stop();
            assert!(matches!(busy.join().unwrap(), Err(ClientError::Lost(_))));
            assert!(matches!(
                idle.batch("x", &mut Collected::default()),
                Err(ClientError::Lost(_))
            ));
        });
    });
    assert!(started.elapsed() < Duration::from_secs(10));
}

/// A connection whose hello has been answered.
fn hello(dir: &Path) -> std::os::unix::net::UnixStream {
    let mut stream = socket::connect(dir).unwrap();
    let (kind, payload) = Request::Hello {
        version: wire::VERSION,
    }
    .encode();
    frame::write(&mut stream, kind, &payload).unwrap();
    let frame = frame::read(&stream, 1 << 20, None, None).unwrap();
    assert!(matches!(Reply::decode(&frame), Ok(Reply::Welcome { .. })));
    stream
}

#[test]
fn garbage_is_refused_and_the_listener_lives() {
    let dir = tempfile::tempdir().unwrap();
    with_listener(dir.path(), |_, _| {
        let answer = |bytes: &[u8], greeted: bool| {
            let mut stream = if greeted {
                hello(dir.path())
            } else {
                socket::connect(dir.path()).unwrap()
            };
            // The other side may have hung up before all of it is written.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            answer
        };
        let refused = |answer: Vec<u8>| answer.get(4) == Some(&0x82);
        assert!(refused(answer(b"GET / HTTP/1.1\r\n\r\n", false)));
        assert!(refused(answer(&[0, 0, 0, 0, 0], false)), "an empty frame");
        assert!(refused(answer(&[255; 64], false)), "a giant frame");
        assert!(
            refused(answer(&[7, 0, 0, 0, 1, b'D', b'B', b'M', b'A', 9, 0], false)),
            "another version"
        );
        assert!(
            refused(answer(&[7, 0, 0, 0, 1, b'D', b'B', b'M', b'X', 1, 0], false)),
            "another magic"
        );
        assert!(
            refused(answer(&[3, 0, 0, 0, 2, b'x', b'y'], false)),
            "a batch before the hello"
        );
        assert!(
            refused(answer(&[3, 0, 0, 0, 9, b'x', b'y'], true)),
            "an unknown kind"
        );
        assert!(
            refused(answer(&[3, 0, 0, 0, 2, 0xff, b'y'], true)),
            "a batch that is not UTF-8"
        );
        assert!(
            refused(answer(&[7, 0, 0, 0, 1, b'D', b'B', b'M', b'A', 1, 0], true)),
            "a second hello"
        );
        assert!(refused(answer(&[9, 0, 0, 0, 2, b'x'], true)), "half a frame");
        assert!(refused(answer(&[9, 0], true)), "half a head");
        assert!(answer(&[], false).is_empty());
        let mut state = 1_u64;
        for _ in 0..200 {
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .take(40)
            .collect();
            answer(&noise, false);
        }
        assert_eq!(answers(&mut client(dir.path()), "everything").len(), 6);
    });
}

#[test]
fn silence_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    with_listener(dir.path(), |_, _| {
        let mut silent = socket::connect(dir.path()).unwrap();
        let started = Instant::now();
        let mut answer = Vec::new();
        silent.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.get(4), Some(&0x82));
        assert!(started.elapsed() >= Duration::from_secs(4));
    });
}

#[test]
fn clients_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    with_listener(dir.path(), |_, _| {
        let mut clients: Vec<Client> = (0..64).map(|_| client(dir.path())).collect();
        assert!(matches!(
            Client::connect(dir.path(), Duration::ZERO),
            Err(ConnectError::Refused(_))
        ));
        clients.pop();
        until("a place becomes free", || {
            Client::connect(dir.path(), Duration::ZERO).is_ok()
        });
    });
}

#[test]
fn a_defect_ends_one_connection_only() {
    let dir = tempfile::tempdir().unwrap();
    with_listener(dir.path(), |_, _| {
        let mut other = client(dir.path());
        let mut one = client(dir.path());
        assert!(matches!(
            one.batch("panic", &mut Collected::default()),
            Err(ClientError::Lost(_))
        ));
        assert_eq!(answers(&mut other, "everything").len(), 6);
        assert_eq!(answers(&mut client(dir.path()), "everything").len(), 6);
    });
}

fn decode(kind: u8, payload: &[u8]) -> Result<Reply, wire::Malformed> {
    Reply::decode(&Frame {
        kind,
        payload: Zeroizing::new(payload.to_vec()),
    })
}

#[test]
fn replies_survive_the_wire_and_nothing_else_does() {
    let mut replies = everything();
    replies.push(Reply::Done);
    replies.push(Reply::Refused {
        text: "no".to_owned(),
    });
    replies.push(Reply::Welcome {
        version: 1,
        instance: "A".to_owned(),
        database: "master".to_owned(),
    });
    for reply in replies {
        let (kind, payload) = reply.encode();
        assert_eq!(decode(kind, &payload).as_ref(), Ok(&reply));
        for length in 0..payload.len() {
            assert!(
                decode(kind, &payload[..length]).is_err(),
                "{reply:?} cut to {length}"
            );
        }
        let mut longer = payload.clone();
        longer.push(0);
        assert!(decode(kind, &longer).is_err());
        // Any byte changed to anything: an answer or an error, never a panic.
        for at in 0..payload.len() {
            for byte in [0, 1, 127, 128, 255] {
                let mut changed = payload.clone();
                changed[at] = byte;
                let _ = decode(kind, &changed);
            }
        }
    }
    assert!(decode(0x99, &[]).is_err());
}
