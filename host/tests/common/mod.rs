//! A real instance: the `dbmirror` binary on a temporary directory, spoken to over its admin socket.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dbmirror::admin::{Cancelled, Client, Message, Sink};
use dbmirror::tsql::{Column, Value};
use rusqlite::Connection;

/// What a batch reported.
#[derive(Debug, Default)]
pub struct Reported {
    pub messages: Vec<Message>,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
}

impl Sink for Reported {
    fn columns(&mut self, columns: &[Column]) -> Result<(), Cancelled> {
        self.columns = columns.to_vec();
        Ok(())
    }
    fn row(&mut self, values: &[Value]) -> Result<(), Cancelled> {
        self.rows.push(values.to_vec());
        Ok(())
    }
    fn rows_affected(&mut self, _: u64) -> Result<(), Cancelled> {
        Ok(())
    }
    fn message(&mut self, message: &Message) -> Result<(), Cancelled> {
        self.messages.push(message.clone());
        Ok(())
    }
    fn database_changed(&mut self, _: &str) -> Result<(), Cancelled> {
        Ok(())
    }
    fn check(&mut self) -> Result<(), Cancelled> {
        Ok(())
    }
}

impl Reported {
    /// Numbers of what refused a statement.
    pub fn errors(&self) -> Vec<u32> {
        self.messages
            .iter()
            .filter(|m| m.is_error())
            .map(|m| m.number)
            .collect()
    }
}

/// A value as text.
pub fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Binary(bytes) => bytes.iter().map(|b| format!("{b:02X}")).collect(),
    }
}

/// A running `dbmirror serve`; killed when dropped.
pub struct Server {
    pub dir: PathBuf,
    pub name: String,
    pub address: String,
    pub ready: String,
    child: Child,
}

impl Server {
    pub fn start(root: &Path, name: &str, address: &str) -> Self {
        Self::start_at(&root.join(name), name, address)
    }

    pub fn start_at(dir: &Path, name: &str, address: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dbmirror"))
            .args(["serve", "--quiet", "--name", name, "--bind", address, "--data"])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut ready)
            .unwrap();
        if !ready.starts_with("ready ") {
            let mut error = String::new();
            child.stderr.as_mut().unwrap().read_to_string(&mut error).unwrap();
            panic!("{name} did not start: {ready}{error}");
        }
        Self {
            dir: dir.to_owned(),
            name: name.to_owned(),
            address: address.to_owned(),
            ready,
            child,
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.dir, Duration::from_secs(10)).unwrap()
    }

    /// Runs a script, batch by batch.
    pub fn run(&self, script: &str) -> Reported {
        let mut client = self.client();
        let mut reported = Reported::default();
        let mut batch = String::new();
        for line in script.lines().chain(["GO"]) {
            if line.trim().eq_ignore_ascii_case("GO") {
                client.batch(&std::mem::take(&mut batch), &mut reported).unwrap();
            } else {
                batch.push_str(line);
                batch.push('\n');
            }
        }
        reported
    }

    /// Runs what must succeed.
    #[track_caller]
    pub fn ok(&self, script: &str) -> Reported {
        let reported = self.run(script);
        assert_eq!(
            reported.errors(),
            [0; 0],
            "{}: {script}: {:?}",
            self.name,
            reported.messages
        );
        reported
    }

    /// Runs what must be refused; returns the numbers.
    #[track_caller]
    pub fn refused(&self, script: &str) -> Vec<u32> {
        let errors = self.run(script).errors();
        assert!(!errors.is_empty(), "{}: not refused: {script}", self.name);
        errors
    }

    /// Rows as text, columns separated by `|`.
    #[track_caller]
    pub fn rows(&self, query: &str) -> Vec<String> {
        let reported = self.ok(query);
        reported
            .rows
            .iter()
            .map(|row| row.iter().map(show).collect::<Vec<_>>().join("|"))
            .collect()
    }

    /// The error log, whole.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log/errorlog")).unwrap()
    }

    /// Runs another command of the binary against this instance; returns exit code, stdout, stderr.
    pub fn command(&self, args: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_dbmirror"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Ends it by SIGTERM and returns its exit code.
    pub fn stop(mut self) -> i32 {
        self.signal("-TERM");
        self.child.wait().unwrap().code().unwrap()
    }

    /// Ends it by SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `is` says so, or fails with `what`.
#[track_caller]
pub fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The documented scripts.
pub const OUTBOUND_A: &str = include_str!("../../../tests/e2e/scripts/host_a_outbound.sql");
pub const OUTBOUND_B: &str = include_str!("../../../tests/e2e/scripts/host_b_outbound.sql");
pub const INBOUND_A: &str = include_str!("../../../tests/e2e/scripts/host_a_inbound.sql");
pub const INBOUND_B: &str = include_str!("../../../tests/e2e/scripts/host_b_inbound.sql");

/// Two instances, configured for each other by the documented scripts.
pub fn pair(root: &Path, addresses: [&str; 2]) -> [Server; 2] {
    let a = Server::start(root, "HOST_A", addresses[0]);
    let b = Server::start(root, "HOST_B", addresses[1]);
    a.ok(OUTBOUND_A);
    b.ok(OUTBOUND_B);
    for (from, to, file) in [(&a, &b, "HOST_A_cert.cer"), (&b, &a, "HOST_B_cert.cer")] {
        std::fs::copy(
            from.dir.join("backup").join(file),
            to.dir.join("backup").join(file),
        )
        .unwrap();
    }
    a.ok(INBOUND_A);
    b.ok(INBOUND_B);
    [a, b]
}

/// A database in WAL mode with some rows, as an application would have made it.
pub fn sample(path: &Path, rows: i64) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT NOT NULL);",
    )
    .unwrap();
    write(&db, rows);
}

/// Commits so many rows, one by one.
pub fn write(db: &Connection, rows: i64) {
    db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    for _ in 0..rows {
        db.execute("INSERT INTO orders (note) VALUES (hex(randomblob(40)))", [])
            .unwrap();
    }
}

/// Role, state and safety of the one session.
pub const STATE: &str = "SELECT m.mirroring_role_desc, m.mirroring_state_desc, m.mirroring_safety_level_desc
    FROM sys.database_mirroring m JOIN sys.databases d ON d.database_id = m.database_id WHERE d.name = 'Sales'";

/// Waits until both sides show SYNCHRONIZED at one end of log.
pub fn level(a: &Server, b: &Server, safety: &str) {
    wait_for("both are SYNCHRONIZED", || {
        let ends = [a, b].map(|server| {
            server.rows("SELECT mirroring_end_of_log_lsn FROM sys.database_mirroring WHERE mirroring_guid IS NOT NULL")
        });
        a.rows(STATE) == [format!("PRINCIPAL|SYNCHRONIZED|{safety}")]
            && b.rows(STATE) == [format!("MIRROR|SYNCHRONIZED|{safety}")]
            && ends[0] == ends[1]
    });
}

/// Folds both copies and returns their files, which must be equal.
pub fn equal_files(a: &Server, b: &Server) -> (PathBuf, PathBuf) {
    let fold = |server: &Server| {
        let row = server.rows("EXEC sp_dbmirror_checkpoint 'Sales'").remove(0);
        let parts: Vec<String> = row.split('|').map(str::to_owned).collect();
        (PathBuf::from(&parts[0]), parts[1].clone(), parts[2].clone())
    };
    let mut folded = (fold(a), fold(b));
    wait_for("both copies are at one LSN", || {
        folded = (fold(a), fold(b));
        folded.0.1 == folded.1.1
    });
    let ((file_a, _, sum_a), (file_b, _, sum_b)) = folded;
    assert_eq!(sum_a, sum_b, "{}\n{}", a.log(), b.log());
    assert!(
        std::fs::read(&file_a).unwrap() == std::fs::read(&file_b).unwrap(),
        "the files differ"
    );
    (file_a, file_b)
}

/// Rows of the sample's table.
pub fn count(file: &Path) -> i64 {
    Connection::open(file)
        .unwrap()
        .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
        .unwrap()
}
