//! Two engines in one process, each with its own directory and address.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert::{self, CERTIFICATE_LEN_MAX};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{Provider, SigningKey as _};
use dbmirror_core::entropy::Entropy as _;
use dbmirror_core::secret::Secret;
use dbmirror_core::time::UnixSeconds;

use super::*;

mod files;

/// Each test has a network of its own on the loopback.
static NETWORK: AtomicU8 = AtomicU8::new(1);

struct Log {
    name: &'static str,
    lines: Mutex<Vec<LogLine>>,
}

impl Notices for Log {
    fn log(&self, line: LogLine) {
        eprintln!("{}: {} {} {:?}", self.name, line.number, line.text, line.fields);
        self.lines.lock().unwrap().push(line);
    }
    fn database_changed(&self, _: i32, _: DatabaseChange) {}
}

struct Member {
    name: &'static str,
    dir: tempfile::TempDir,
    ip: std::net::IpAddr,
    scalar: [u8; 32],
    der: Vec<u8>,
    point: [u8; 65],
    id: Guid,
    log: Arc<Log>,
    engine: Option<Engine>,
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .cast_signed()
}

impl Member {
    fn new(name: &'static str, network: u8, host: u8) -> Self {
        let mut scalar = Secret::zero();
        OsEntropy.fill_secret(scalar.expose_mut()).unwrap();
        scalar.expose_mut()[0] = 0x11;
        let key = <RustCrypto as Provider>::SigningKey::from_scalar(&scalar).unwrap();
        let request = cert::Request {
            subject: name,
            not_before: UnixSeconds(now() - 300),
            not_after: UnixSeconds(now() + 3600),
        };
        let mut der = [0; CERTIFICATE_LEN_MAX];
        let len = cert::issue::<RustCrypto>(&request, &key, &mut OsEntropy, &mut der).unwrap();
        let mut id = [0; 16];
        OsEntropy.fill_public(&mut id).unwrap();
        Self {
            name,
            dir: tempfile::tempdir().unwrap(),
            ip: std::net::Ipv4Addr::new(127, 77, network, host).into(),
            scalar: *scalar.expose(),
            der: der[..len].to_vec(),
            point: key.public_point(),
            id,
            log: Arc::new(Log {
                name,
                lines: Mutex::new(Vec::new()),
            }),
            engine: None,
        }
    }

    fn pin(&self, own: bool, connect: Connect) -> Pin {
        Pin {
            certificate_id: if own { 1 } else { 2 },
            der: self.der.clone(),
            point: self.point,
            not_before: now() - 300,
            not_after: now() + 3600,
            login_id: (!own).then_some(260),
            login_name: format!("{}_login", self.name),
            connect,
            own,
        }
    }

    fn start(&mut self, partner: &Self) {
        let config = EngineConfig {
            dir: self.dir.path().to_path_buf(),
            instance_id: self.id,
            instance_name: self.name.into(),
        };
        let notices: Arc<dyn Notices> = self.log.clone();
        let engine = Engine::start(config, notices).unwrap();
        engine.set_directory(vec![
            self.pin(true, Connect::None),
            partner.pin(false, Connect::Granted),
        ]);
        self.engine = Some(engine);
    }

    fn listen(&self) {
        self.engine().start_endpoint(self.endpoint()).unwrap();
    }

    fn endpoint(&self) -> EndpointConfig {
        EndpointConfig {
            bind: self.ip,
            port: 7024,
            role: EndpointRole::Partner,
            encryption: dbmirror_core::channel::Encryption::Required,
            identity: EndpointIdentity {
                certificate_id: 1,
                certificate_der: self.der.clone(),
                signing_key: Secret::new(self.scalar),
            },
        }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn stop(&mut self) {
        self.engine.take().unwrap().shutdown();
    }

    fn address(&self) -> String {
        format!("TCP://{}:7024", self.ip)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("x.db")
    }

    fn database(&self, state: DatabaseState) -> DatabaseConfig {
        DatabaseConfig {
            database_id: 5,
            name: "x".into(),
            family_guid: [9; 16],
            path: self.file(),
            state,
        }
    }
}

fn pair() -> (Member, Member) {
    let network = NETWORK.fetch_add(1, Ordering::Relaxed);
    let (mut a, mut b) = (
        Member::new("HOST_A", network, 1),
        Member::new("HOST_B", network, 2),
    );
    a.start(&b);
    b.start(&a);
    a.listen();
    b.listen();
    (a, b)
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < until, "timed out waiting for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_test_connection_walks_the_steps_and_is_listed_on_both_sides() {
    let (mut a, mut b) = pair();
    let (engine, address) = (a.engine().clone(), b.address());
    let thread = std::thread::spawn(move || {
        let mut steps = Vec::new();
        let outcome = engine.test_connection(&address, Duration::from_secs(2), &mut |s| steps.push(s));
        (outcome, steps)
    });
    wait_for("the connection is online on both sides", || {
        [&a, &b].iter().all(|m| {
            let all = m.engine().connections();
            all.len() == 1
                && all[0].login_state == LoginState::Online
                && all[0].state == ConnectionState::LoggedIn
        })
    });
    let (at_a, at_b) = (&a.engine().connections()[0], &b.engine().connections()[0]);
    assert!(!at_a.is_accept && at_b.is_accept);
    assert_eq!(at_b.principal_name.as_deref(), Some("HOST_A_login"));
    assert_eq!(at_a.peer_certificate_id, Some(2));
    assert_eq!(at_a.peer_arbitration_id, Some(b.id));
    let (outcome, steps) = thread.join().unwrap();
    outcome.unwrap();
    let names: Vec<&str> = steps.iter().map(|s| s.step.as_str()).collect();
    assert_eq!(
        names,
        [
            "resolve",
            "connect",
            "tls",
            "certificate",
            "login",
            "ready",
            "hold"
        ]
    );
    assert!(steps.iter().all(|s| s.ok));
    assert!(a.engine().errors().is_empty() && b.engine().errors().is_empty());
    wait_for("it is closed", || {
        a.engine().connections().is_empty() && b.engine().connections().is_empty()
    });
    a.stop();
    b.stop();
}

#[test]
fn refusals_say_why_on_both_sides() {
    let (mut a, mut b) = pair();
    let test = |to: &str| {
        let mut last = None;
        let error = a
            .engine()
            .test_connection(to, Duration::ZERO, &mut |s| last = Some(s))
            .unwrap_err();
        (error, last)
    };
    let (error, last) = test(&format!("TCP://{}:9", b.ip));
    assert_eq!((error.number, last.unwrap().step.as_str()), (1418, "connect"));
    assert_eq!(test("TCP://nowhere").0.number, 1449);
    b.engine()
        .set_directory(vec![b.pin(true, Connect::None), a.pin(false, Connect::Denied)]);
    let (error, last) = test(&b.address());
    assert_eq!(error.number, 1418);
    assert!(error.text.contains("CONNECT"), "{error}");
    assert!(!last.unwrap().ok);
    let row = b.engine().errors().pop().unwrap();
    assert_eq!(
        (row.number, row.direction, row.step.as_str()),
        (28034, "inbound", "login")
    );
    assert!(row.reason.contains("HOST_A_login"), "{}", row.reason);
    b.engine().set_directory(vec![b.pin(true, Connect::None)]);
    let (error, _) = test(&b.address());
    assert!(error.text.contains("CREATE CERTIFICATE"), "{error}");
    wait_for("the other side knows", || {
        b.engine().errors().last().is_some_and(|r| r.number == 28035)
    });
    assert_eq!(b.engine().errors().last().unwrap().step, "certificate");
    b.engine().stop_endpoint().unwrap();
    assert_eq!(b.engine().stop_endpoint().unwrap_err().number, 9666);
    assert_eq!(test(&b.address()).0.number, 1418);
    a.stop();
    b.stop();
}

#[test]
fn denying_closes_what_is_open_and_garbage_closes_nothing_else() {
    use std::io::Write as _;
    let (mut a, mut b) = pair();
    let (engine, address) = (a.engine().clone(), b.address());
    let held =
        std::thread::spawn(move || engine.test_connection(&address, Duration::from_secs(20), &mut |_| {}));
    wait_for("it is online", || {
        b.engine()
            .connections()
            .iter()
            .any(|c| c.login_state == LoginState::Online)
    });
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff], &[]] {
        let mut stranger = std::net::TcpStream::connect((b.ip, 7024)).unwrap();
        stranger.write_all(garbage).unwrap();
    }
    wait_for("garbage is told", || b.engine().errors().len() >= 2);
    assert!(
        b.engine()
            .connections()
            .iter()
            .any(|c| c.login_state == LoginState::Online)
    );
    assert_eq!(b.engine().close_connections_of(PeerSelector::Login(999)), 0);
    assert_eq!(b.engine().close_connections_of(PeerSelector::Login(260)), 1);
    held.join().unwrap().unwrap_err();
    a.stop();
    b.stop();
}

fn write_rows(path: &std::path::Path, from: i64, rows: i64) {
    let db = rusqlite::Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT)")
        .unwrap();
    for id in from..from + rows {
        db.execute("INSERT INTO t VALUES (?1, hex(randomblob(50)))", [id])
            .unwrap();
    }
}

fn make_database(path: &std::path::Path) {
    let db = rusqlite::Connection::open(path).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    drop(db);
    write_rows(path, 0, 10);
}

fn rows(path: &std::path::Path) -> i64 {
    let db = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    db.query_row("SELECT count(*) FROM t", [], |r| r.get(0)).unwrap()
}

fn synchronized(m: &Member) -> bool {
    m.engine()
        .sessions()
        .first()
        .is_some_and(|s| s.state == Some(MirroringState::Synchronized))
}

/// Waits until `b` holds all that is committed in `a`'s file now, and compares the files byte by byte.
fn level(a: &Member, b: &Member) {
    let mut ca = None;
    // A database whose capture has just been started again may not be ready for it.
    wait_for("the principal folds its file", || {
        ca = a.engine().checkpoint(5).ok();
        ca.is_some()
    });
    let ca = ca.unwrap();
    wait_for("both are synchronized and level", || {
        synchronized(a) && synchronized(b) && b.engine().sessions()[0].redone_lsn == Some(ca.lsn)
    });
    let cb = b.engine().checkpoint(5).unwrap();
    assert_eq!((ca.lsn, ca.sum), (cb.lsn, cb.sum));
    // Read by another process: a descriptor closed in this one would drop SQLite's locks.
    let same = std::process::Command::new("cmp")
        .arg(&ca.path)
        .arg(&cb.path)
        .status()
        .unwrap();
    assert!(same.success(), "the files differ");
}

fn mirrored() -> (Member, Member) {
    let (a, b) = pair();
    make_database(&a.file());
    a.engine()
        .attach_database(a.database(DatabaseState::Online))
        .unwrap();
    let request = |m: &Member, to: &Member, state| SetPartner {
        database: m.database(state),
        address: to.address(),
        seeding: SeedingMode::Automatic,
    };
    b.engine()
        .set_partner(request(&b, &a, DatabaseState::Restoring))
        .unwrap();
    a.engine()
        .set_partner(request(&a, &b, DatabaseState::Online))
        .unwrap();
    (a, b)
}

#[test]
fn a_database_is_seeded_and_followed() {
    let (mut a, mut b) = mirrored();
    write_rows(&a.file(), 1000, 100);
    level(&a, &b);
    assert_eq!(rows(&b.file()), 110);
    a.engine().set_safety(5, SafetyLevel::Off).unwrap();
    assert_eq!(
        b.engine().set_safety(5, SafetyLevel::Full).unwrap_err().number,
        1470
    );
    write_rows(&a.file(), 2000, 50);
    level(&a, &b);
    a.engine().partner_off(5).unwrap();
    wait_for("both have no session", || {
        a.engine().sessions().is_empty() && b.engine().sessions().is_empty()
    });
    a.stop();
    b.stop();
}

#[test]
fn a_session_resumes_after_either_side_restarts() {
    let (mut a, mut b) = mirrored();
    write_rows(&a.file(), 1000, 20);
    level(&a, &b);
    b.stop();
    write_rows(&a.file(), 2000, 20);
    b.start(&a);
    b.engine()
        .attach_database(b.database(DatabaseState::Restoring))
        .unwrap();
    b.listen();
    level(&a, &b);
    a.stop();
    write_rows(&a.file(), 3000, 20);
    a.start(&b);
    a.engine()
        .attach_database(a.database(DatabaseState::Online))
        .unwrap();
    a.listen();
    level(&a, &b);
    assert_eq!(rows(&b.file()), 70);
    a.stop();
    b.stop();
}

#[test]
fn a_session_cannot_start_where_it_should_not() {
    let (mut a, mut b) = pair();
    make_database(&a.file());
    a.engine()
        .attach_database(a.database(DatabaseState::Online))
        .unwrap();
    let request = |to: String| SetPartner {
        database: a.database(DatabaseState::Online),
        address: to,
        seeding: SeedingMode::Manual,
    };
    let number = |r: SetPartner| a.engine().set_partner(r).unwrap_err().number;
    assert_eq!(number(request("nonsense".into())), 1449);
    assert_eq!(number(request(a.address())), 1452);
    assert_eq!(number(request(format!("TCP://{}:9", b.ip))), 1418);
    assert_eq!(number(request(b.address())), 1448);
    assert!(a.engine().sessions().is_empty() && b.engine().sessions().is_empty());
    a.stop();
    b.stop();
}

fn restore(engine: &Engine, to: &DatabaseConfig, input: &mut dyn Read) -> Result<Lsn, EngineError> {
    let file = engine.read_backup(&to.name, &to.path, input)?;
    engine.restore_database(to, file, false)
}

#[test]
fn a_copy_restored_from_backups_becomes_a_mirror() {
    let (mut a, mut b) = pair();
    make_database(&a.file());
    a.engine()
        .attach_database(a.database(DatabaseState::Online))
        .unwrap();
    write_rows(&a.file(), 1000, 5);
    let (mut full, mut log, mut later) = (Vec::new(), Vec::new(), Vec::new());
    let at = a.engine().backup_database(5, &mut full).unwrap();
    write_rows(&a.file(), 2000, 30);
    let end = a.engine().backup_log(5, at, &mut log).unwrap();
    assert_eq!(end.0 - at.0, 30);
    write_rows(&a.file(), 3000, 5);
    let last = a.engine().backup_log(5, end, &mut later).unwrap();
    assert_eq!(a.engine().end_of_log(5).unwrap().0, last);

    let engine = b.engine();
    let config = || b.database(DatabaseState::Restoring);
    let number = |r: Result<Lsn, EngineError>| r.unwrap_err().number;
    // Nothing of a damaged backup stays.
    for cut in [0, 7, 30, full.len() / 2, full.len() - 1] {
        assert_eq!(
            number(restore(engine, &config(), &mut &full[..cut])),
            3241,
            "cut at {cut}"
        );
        assert!(!b.file().exists());
    }
    let mut flipped = full.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    assert_eq!(number(restore(engine, &config(), &mut &flipped[..])), 3241);
    assert_eq!(number(restore(engine, &config(), &mut &log[..])), 3241);
    assert_eq!(restore(engine, &config(), &mut &full[..]).unwrap(), at);
    assert_eq!(number(engine.restore_log(5, &mut &later[..])), 4305);
    assert_eq!(engine.restore_log(5, &mut &log[..]).unwrap(), end);
    assert_eq!(
        engine.restore_log(5, &mut &log[..]).unwrap(),
        end,
        "the same again changes nothing"
    );
    assert_eq!(number(engine.backup_database(5, &mut Vec::new())), 954);
    assert_eq!(engine.end_of_log(5).unwrap().0, end);

    let request = |m: &Member, to: &Member, state| SetPartner {
        database: m.database(state),
        address: to.address(),
        seeding: SeedingMode::Manual,
    };
    engine
        .set_partner(request(&b, &a, DatabaseState::Restoring))
        .unwrap();
    assert_eq!(number(engine.restore_log(5, &mut &later[..])), 3104);
    a.engine()
        .set_partner(request(&a, &b, DatabaseState::Online))
        .unwrap();
    level(&a, &b);
    assert_eq!(rows(&b.file()), 50);
    assert!(
        !a.log
            .lines
            .lock()
            .unwrap()
            .iter()
            .any(|l| l.text.contains("seed")),
        "nothing was seeded"
    );
    a.stop();
    b.stop();
}

#[test]
fn a_recovered_copy_goes_its_own_way() {
    let (mut a, mut b) = pair();
    make_database(&a.file());
    a.engine()
        .attach_database(a.database(DatabaseState::Online))
        .unwrap();
    let (mut full, mut log) = (Vec::new(), Vec::new());
    let at = a.engine().backup_database(5, &mut full).unwrap();
    write_rows(&a.file(), 2000, 3);
    let end = a.engine().backup_log(5, at, &mut log).unwrap();
    restore(b.engine(), &b.database(DatabaseState::Restoring), &mut &full[..]).unwrap();
    b.engine().restore_log(5, &mut &log[..]).unwrap();
    b.engine().recover_database(5).unwrap();
    assert_eq!(b.engine().recover_database(5).unwrap_err().number, 3117);
    write_rows(&b.file(), 9000, 2);
    let mine = b.engine().checkpoint(5).unwrap().lsn;
    assert!(mine > end && mine.0 / 1_000_000_000_000_000 > end.0 / 1_000_000_000_000_000);
    assert_eq!(rows(&b.file()), 15);
    a.stop();
    b.stop();
}

/// A copy that cannot be opened is a copy still: what was refused may be repeated, and later log backups fit.
#[test]
fn a_copy_whose_opening_fails_stays_a_copy() {
    let (mut a, mut b) = pair();
    make_database(&a.file());
    a.engine()
        .attach_database(a.database(DatabaseState::Online))
        .unwrap();
    let (mut full, mut log) = (Vec::new(), Vec::new());
    let at = a.engine().backup_database(5, &mut full).unwrap();
    write_rows(&a.file(), 2000, 3);
    a.engine().backup_log(5, at, &mut log).unwrap();
    restore(b.engine(), &b.database(DatabaseState::Restoring), &mut &full[..]).unwrap();
    // Only a capture records which file it is.
    let records = rusqlite::Connection::open(b.dir.path().join("engine.db")).unwrap();
    records
        .execute_batch(
            "CREATE TRIGGER no_capture BEFORE INSERT ON engine_database WHEN NEW.identity IS NOT NULL
                 BEGIN SELECT RAISE(ABORT, 'refused by the test'); END;",
        )
        .unwrap();
    assert_eq!(b.engine().recover_database(5).unwrap_err().number, 1451);
    b.engine().restore_log(5, &mut &log[..]).unwrap();
    assert_eq!(b.engine().recover_database(5).unwrap_err().number, 1451);
    records.execute_batch("DROP TRIGGER no_capture").unwrap();
    b.engine().recover_database(5).unwrap();
    write_rows(&b.file(), 9000, 2);
    b.engine().checkpoint(5).unwrap();
    assert_eq!(rows(&b.file()), 15);
    a.stop();
    b.stop();
}

#[test]
fn a_mirror_that_restarts_before_its_seed_is_complete_is_seeded() {
    let (mut a, mut b) = mirrored();
    // At whatever point the seed is.
    b.stop();
    write_rows(&a.file(), 1000, 5);
    b.start(&a);
    b.engine()
        .attach_database(b.database(DatabaseState::Restoring))
        .unwrap();
    b.listen();
    level(&a, &b);
    assert_eq!(rows(&b.file()), 15);
    a.stop();
    b.stop();
}

#[test]
fn a_stranger_cannot_fill_the_log() {
    let (mut a, mut b) = pair();
    for _ in 0..40 {
        let mut stranger = std::net::TcpStream::connect((b.ip, 7024)).unwrap();
        std::io::Write::write_all(&mut stranger, b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let _ = std::io::Read::read_to_end(&mut stranger, &mut Vec::new());
    }
    assert!((1..=20).contains(&b.engine().errors().len()));
    assert!(
        b.log
            .lines
            .lock()
            .unwrap()
            .iter()
            .filter(|l| l.severity > 10)
            .count()
            <= 20
    );
    a.stop();
    b.stop();
}

/// A mirror whose file is behind its log, and whose principal is gone: what it hardened, it may have been counted on for.
#[test]
fn a_recovered_mirror_has_all_that_it_hardened() {
    let (mut a, mut b) = mirrored();
    write_rows(&a.file(), 1000, 5);
    level(&a, &b);
    // By another process: a descriptor closed in this one would drop SQLite's locks.
    let earlier = b.dir.path().join("earlier.db");
    let copied = std::process::Command::new("cp")
        .arg(b.file())
        .arg(&earlier)
        .status()
        .unwrap();
    assert!(copied.success());
    write_rows(&a.file(), 2000, 7);
    let end = a.engine().checkpoint(5).unwrap().lsn;
    wait_for("the mirror hardens and redoes the rows", || {
        b.engine().sessions()[0].redone_lsn == Some(end)
    });
    a.stop();
    b.stop();
    // As after a power cut: nothing of the mirror's log had been synced yet.
    for suffix in ["-wal", "-shm"] {
        let mut name = b.file().into_os_string();
        name.push(suffix);
        std::fs::remove_file(name).unwrap();
    }
    std::fs::rename(&earlier, b.file()).unwrap();
    b.start(&a);
    b.engine()
        .attach_database(b.database(DatabaseState::Restoring))
        .unwrap();
    b.engine().partner_off(5).unwrap();
    wait_for("no session is left", || b.engine().sessions().is_empty());
    b.engine().recover_database(5).unwrap();
    assert_eq!(rows(&b.file()), 22);
    b.stop();
}
