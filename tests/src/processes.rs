//! Instances as child processes, the documented scripts, ordinary SQLite applications, and a relay that records the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// The program under test: the one that stands beside the program that asks, or what `DBMIRROR` names.
#[must_use]
pub fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("DBMIRROR") {
        return named.into();
    }
    let own = std::env::current_exe().expect("a program knows its own file");
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("dbmirror"))
        .find(|path| path.is_file())
        .expect("dbmirror is built: `cargo build -p dbmirror`, or set DBMIRROR")
}
/// The port that the documented scripts name.
pub const PORT: u16 = 7024;
/// Long enough for a machine that is busy with everything else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The documented outbound script of HOST_A, as it stands.
pub const OUTBOUND_A: &str = include_str!("../e2e/scripts/host_a_outbound.sql");
/// The documented outbound script of HOST_B, as it stands.
pub const OUTBOUND_B: &str = include_str!("../e2e/scripts/host_b_outbound.sql");
/// The inbound half on HOST_A.
pub const INBOUND_A: &str = include_str!("../e2e/scripts/host_a_inbound.sql");
/// The inbound half on HOST_B.
pub const INBOUND_B: &str = include_str!("../e2e/scripts/host_b_inbound.sql");

/// One instance. Its process is killed when the value goes.
pub struct Host {
    /// The instance's name.
    pub name: String,
    /// The loopback address that it listens on.
    pub address: String,
    /// Its directory.
    pub dir: PathBuf,
    /// More arguments of `serve`.
    pub options: Vec<String>,
    child: Option<Child>,
    /// The ready line of the last start.
    pub ready: String,
}

impl Host {
    /// An instance under `root`, started.
    pub fn start(root: &Path, name: &str, address: &str) -> Self {
        let mut host = Self {
            name: name.to_owned(),
            address: address.to_owned(),
            dir: root.join(name),
            options: Vec::new(),
            child: None,
            ready: String::new(),
        };
        host.up();
        host
    }

    /// Starts the process and waits for the ready line.
    pub fn up(&mut self) {
        self.up_with(Command::new(program()));
    }

    /// Starts the process through `command`, to which the arguments of `serve` are added.
    pub fn up_with(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "{} is already up", self.name);
        let mut child = command
            .arg("serve")
            .arg("--data")
            .arg(&self.dir)
            .args(["--name", &self.name, "--bind", &self.address, "--quiet"])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("serve starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = lines.read_line(&mut line);
            let _ = sender.send(line);
            let _ = std::io::copy(&mut lines, &mut std::io::sink());
        });
        self.child = Some(child);
        self.ready = receiver.recv_timeout(PATIENCE).unwrap_or_default();
        assert!(
            self.ready.starts_with("ready "),
            "{} is not ready: {:?}\n{}",
            self.name,
            self.ready,
            self.log()
        );
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; the exit status must be 0.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("the instance is up");
        signal(child.id(), "TERM");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("the child can be waited for") {
                assert!(
                    status.success(),
                    "{} ended with {status}\n{}",
                    self.name,
                    self.log()
                );
                return;
            }
            assert!(Instant::now() < deadline, "{} does not stop", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The server network address that a partner names.
    pub fn url(&self) -> String {
        format!("TCP://{}:{PORT}", self.address)
    }

    /// The `sql` client with these arguments, not started.
    fn sql_client(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .arg("sql")
            .arg("-S")
            .arg(&self.dir)
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// The `sql` client with these arguments.
    pub fn sql(&self, args: &[&str]) -> Output {
        self.sql_client(args).output().expect("the sql client runs")
    }

    /// Starts the `sql` client and does not wait for it; what it says is not kept.
    pub fn begin_sql(&self, args: &[&str]) -> Child {
        self.sql_client(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the sql client runs")
    }

    /// Runs a batch that must be accepted; gives stdout.
    pub fn ok(&self, batch: &str) -> String {
        let output = self.sql(&["-b", "-W", "-Q", batch]);
        assert!(
            output.status.success(),
            "{} refused {batch}\n{}{}",
            self.name,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs a batch that must be refused with message `number`; gives what was said.
    pub fn refused(&self, batch: &str, number: u32) -> String {
        let output = self.sql(&["-Q", batch]);
        let said = text(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{} accepted {batch}: {}{said}",
            self.name,
            text(&output.stdout)
        );
        assert!(
            said.contains(&format!("Msg {number}, ")),
            "{} said {said:?} to {batch}, not Msg {number}",
            self.name
        );
        said
    }

    /// Runs a script that must be refused; gives the number of every error.
    #[track_caller]
    pub fn refusals(&self, script: &str) -> Vec<u32> {
        let output = self.sql(&["-Q", script]);
        let said = text(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{} accepted {script}: {}{said}",
            self.name,
            text(&output.stdout)
        );
        said.lines()
            .filter_map(|line| line.strip_prefix("Msg ")?.split(',').next()?.parse().ok())
            .collect()
    }

    /// Rows with their columns joined by `|`.
    #[track_caller]
    pub fn lines(&self, query: &str) -> Vec<String> {
        self.rows(query).iter().map(|row| row.join("|")).collect()
    }

    /// Runs a script file's text, which must be accepted; gives stdout.
    pub fn script(&self, script: &str) -> String {
        let path = self.dir.join("script.sql");
        std::fs::write(&path, script).expect("the script can be written");
        let output = self.sql(&["-b", "-W", "-i", path.to_str().expect("a UTF-8 path")]);
        assert!(
            output.status.success(),
            "{}: {}{}",
            self.name,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Every row of a query, as text.
    pub fn rows(&self, query: &str) -> Vec<Vec<String>> {
        let output = self.sql(&["-b", "-h", "-1", "-W", "-s", "\u{1}", "-Q", query]);
        assert!(
            output.status.success(),
            "{} refused {query}\n{}",
            self.name,
            text(&output.stderr)
        );
        text(&output.stdout)
            .lines()
            .map(str::trim_end)
            .filter(|line| !(line.is_empty() || line.starts_with('(') && line.ends_with("affected)")))
            .map(|line| line.split('\u{1}').map(|cell| cell.trim().to_owned()).collect())
            .collect()
    }

    /// The first column of the only row.
    pub fn value(&self, query: &str) -> String {
        let rows = self.rows(query);
        assert_eq!(rows.len(), 1, "{}: {query} gave {rows:?}", self.name);
        rows[0][0].clone()
    }

    /// `test-connection` from inside this instance, held for so many seconds: exit code, stdout, stderr.
    pub fn held_connection(&self, url: &str, seconds: u32) -> (i32, String, String) {
        command(&[
            "test-connection",
            "-S",
            self.dir.to_str().expect("a UTF-8 path"),
            url,
            "--hold",
            &seconds.to_string(),
        ])
    }

    /// `test-connection` from inside this instance.
    pub fn test_connection(&self, url: &str) -> Output {
        Command::new(program())
            .arg("test-connection")
            .arg("-S")
            .arg(&self.dir)
            .arg(url)
            .stdin(Stdio::null())
            .output()
            .expect("test-connection runs")
    }

    /// The error log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log/errorlog")).unwrap_or_default()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the instance is up").id()
    }

    /// A column of this database's row in `sys.database_mirroring`.
    pub fn mirroring(&self, database: &str, column: &str) -> String {
        self.value(&format!(
            "SELECT {column} FROM sys.database_mirroring WHERE database_id = DB_ID('{database}')"
        ))
    }

    /// Waits until a column of `sys.database_mirroring` shows `wanted`.
    pub fn await_mirroring(&self, database: &str, column: &str, wanted: &str) {
        self.wait(&format!("{database}.{column} = {wanted}"), || {
            let shown = self.mirroring(database, column);
            if shown == wanted { Ok(()) } else { Err(shown) }
        });
    }

    /// Waits until `probe` says `Ok`; fails with its last answer and the error log.
    pub fn wait<T>(&self, what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match probe() {
                Ok(value) => return value,
                Err(last) => assert!(
                    Instant::now() < deadline,
                    "{}: waited in vain for {what}; last seen: {last}\n{}",
                    self.name,
                    self.log()
                ),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Folds the log into the file: (path, LSN, database sum).
    pub fn checkpoint(&self, database: &str) -> (PathBuf, String, String) {
        let rows = self.rows(&format!("EXEC sp_dbmirror_checkpoint '{database}'"));
        assert_eq!(rows.len(), 1, "{rows:?}");
        (PathBuf::from(&rows[0][0]), rows[0][1].clone(), rows[0][2].clone())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs the program under test: exit code, stdout, stderr.
pub fn command(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(program())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    (
        output.status.code().expect("it was not killed"),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status();
    assert!(status.is_ok_and(|s| s.success()), "kill -{name} {pid}");
}

/// Two instances that the documented scripts have introduced to each other.
pub struct Pair {
    /// The principal of most tests.
    pub a: Host,
    /// The mirror of most tests.
    pub b: Host,
    /// Where both live, and the databases.
    pub root: tempfile::TempDir,
}

/// Two configured instances on 127.`block`.0.1 and .2.
pub fn pair(block: u8) -> Pair {
    let pair = strangers(block);
    pair.a.script(OUTBOUND_A);
    pair.b.script(OUTBOUND_B);
    copy_certificate(&pair.a, &pair.b, "HOST_A_cert.cer");
    copy_certificate(&pair.b, &pair.a, "HOST_B_cert.cer");
    pair.a.script(INBOUND_A);
    pair.b.script(INBOUND_B);
    pair
}

/// Two instances that know nothing yet.
pub fn strangers(block: u8) -> Pair {
    let root = tempfile::tempdir().expect("a temporary directory");
    let a = Host::start(root.path(), "HOST_A", &format!("127.{block}.0.1"));
    let b = Host::start(root.path(), "HOST_B", &format!("127.{block}.0.2"));
    Pair { a, b, root }
}

impl Pair {
    /// A database `name` attached to A, mirrored to B by automatic seeding, level. Gives A's file.
    pub fn mirrored(&self, name: &str) -> PathBuf {
        let file = self.attached(name);
        mirror(&self.a, &self.b, name);
        file
    }

    /// A database `name` attached to A.
    pub fn attached(&self, name: &str) -> PathBuf {
        attach(&self.a, self.root.path(), name)
    }

    /// As [`assert_equal`], with A as the principal, whose file is `file`.
    pub fn assert_level_and_equal(&self, name: &str, file: &Path) {
        let (folded, _) = assert_equal(&self.a, &self.b, name);
        let inode = |path: &Path| std::fs::metadata(path).expect("a file").ino();
        assert_eq!(inode(&folded), inode(file), "it is the application's file");
    }

    /// Waits until the mirror is level.
    pub fn level(&self, name: &str) {
        await_level(&self.a, &self.b, name);
    }
}

/// A database `name` in `root` with a table `t`, attached to `host`. Gives its file.
pub fn attach(host: &Host, root: &Path, name: &str) -> PathBuf {
    let file = root.join(format!("{name}.db"));
    let db = open(&file);
    db.pragma_update(None, "journal_mode", "WAL").expect("WAL mode");
    db.execute_batch("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT)")
        .expect("a table");
    drop(db);
    host.ok(&format!(
        "CREATE DATABASE [{name}] ON (FILENAME = '{}') FOR ATTACH",
        file.display()
    ));
    file
}

/// Mirrors a database of `principal` by automatic seeding, and waits until the mirror is level.
pub fn mirror(principal: &Host, mirror: &Host, name: &str) {
    mirror.ok(&format!(
        "ALTER DATABASE [{name}] SET PARTNER = '{}' WITH (SEEDING_MODE = AUTOMATIC)",
        principal.url()
    ));
    principal.ok(&format!(
        "ALTER DATABASE [{name}] SET PARTNER = '{}'",
        mirror.url()
    ));
    principal.await_mirroring(name, "mirroring_state_desc", "SYNCHRONIZED");
}

/// Waits until the session is SYNCHRONIZED and both ends of log are equal.
pub fn await_level(principal: &Host, mirror: &Host, name: &str) {
    principal.wait(&format!("{name} level"), || {
        let state = principal.mirroring(name, "mirroring_state_desc");
        let ends = (
            principal.mirroring(name, "mirroring_end_of_log_lsn"),
            mirror.mirroring(name, "mirroring_end_of_log_lsn"),
        );
        if state == "SYNCHRONIZED" && ends.0 == ends.1 {
            Ok(())
        } else {
            Err(format!("{state} {ends:?}"))
        }
    });
}

/// Folds both files, which nobody writes meanwhile, and compares them byte by byte; gives their paths.
pub fn assert_equal(principal: &Host, mirror: &Host, name: &str) -> (PathBuf, PathBuf) {
    // A checkpoint captures what is committed: until then both ends can be equal, and old.
    let (left, lsn_left, sum_left) = principal.checkpoint(name);
    await_level(principal, mirror, name);
    let (right, lsn_right, sum_right) = mirror.checkpoint(name);
    assert_eq!((lsn_left, sum_left), (lsn_right, sum_right));
    let bytes = [&left, &right].map(|file| std::fs::read(file).expect("a file"));
    assert!(
        bytes[0] == bytes[1],
        "the files differ: {} and {} bytes",
        bytes[0].len(),
        bytes[1].len()
    );
    assert_eq!(integrity(&right), "ok");
    (left, right)
}

/// The secure copy that the documents ask for.
pub fn copy_certificate(from: &Host, to: &Host, file: &str) {
    std::fs::copy(
        from.dir.join("backup").join(file),
        to.dir.join("backup").join(file),
    )
    .expect("a certificate to copy");
}

/// An ordinary application's connection.
pub fn open(file: &Path) -> rusqlite::Connection {
    let db = rusqlite::Connection::open(file).expect("a SQLite file");
    db.busy_timeout(Duration::from_secs(20)).expect("a busy timeout");
    db
}

/// SQLite's verdict on a file.
pub fn integrity(file: &Path) -> String {
    open(file)
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("an integrity check")
}

/// The rows of table `t`.
pub fn count(file: &Path) -> i64 {
    open(file)
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .expect("a count")
}

/// Whether `needle` stands anywhere in the files under `dir`; gives the first such file.
pub fn find_bytes(dir: &Path, needle: &[u8], skip: &[&str]) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).expect("a readable directory") {
        let entry = entry.expect("an entry");
        let path = entry.path();
        if skip
            .iter()
            .any(|name| path.file_name().is_some_and(|own| own == *name))
        {
            continue;
        }
        let kind = entry.file_type().expect("a file type");
        if kind.is_dir() {
            if let Some(found) = find_bytes(&path, needle, skip) {
                return Some(found);
            }
        } else if kind.is_file() && contains(&std::fs::read(&path).unwrap_or_default(), needle) {
            return Some(path);
        }
    }
    None
}

/// Whether `needle` is part of `bytes`.
pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// Lossy text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A man in the middle who only listens: connections to `listen` go on to `target`, and every byte is kept.
pub struct Relay {
    /// Every byte of both directions, in the order of arrival.
    pub captured: Arc<Mutex<Vec<u8>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// Listens on `listen`:7024 and passes everything on to `target`:7024.
    pub fn start(listen: &str, target: &str) -> Self {
        let listener = TcpListener::bind((listen, PORT)).expect("the relay's address is free");
        let captured = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(Mutex::new(Vec::new()));
        let relay = Self {
            captured: Arc::clone(&captured),
            open: Arc::clone(&open),
        };
        let target = target.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                let Ok(server) = TcpStream::connect((target.as_str(), PORT)) else {
                    continue;
                };
                open.lock().expect("no panic").extend([
                    client.try_clone().expect("a clone"),
                    server.try_clone().expect("a clone"),
                ]);
                pump(
                    client.try_clone().expect("a clone"),
                    server.try_clone().expect("a clone"),
                    &captured,
                );
                pump(server, client, &captured);
            }
        });
        relay
    }

    /// Cuts every connection that is open now; new ones are relayed again.
    pub fn cut(&self) {
        for stream in self.open.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, captured: &Arc<Mutex<Vec<u8>>>) {
    let captured = Arc::clone(captured);
    std::thread::spawn(move || {
        let mut buffer = vec![0u8; 64 * 1024];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 || to.write_all(&buffer[..n]).is_err() {
                break;
            }
            captured.lock().expect("no panic").extend_from_slice(&buffer[..n]);
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
