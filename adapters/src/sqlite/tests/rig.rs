//! A principal's file, a log in memory, a mirror's file, and other processes to use them.

use std::format;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::string::{String, ToString};
use std::vec::Vec;

use dbmirror_core::message::block::{BlockHeader, HEADER_LEN};
use dbmirror_core::message::{FamilyGuid, LogEnd};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::sqlite::{
    Anchor, Applied, Applier, ApplierOptions, Block, BlockSink, Error, Result, SeedSink, SeedSource, Tail,
    TailOptions, create_database,
};

pub const FAMILY: FamilyGuid = FamilyGuid(*b"family of a test");

/// Stored blocks, as the block log would hold them.
#[derive(Default)]
pub struct Log {
    pub blocks: Vec<Vec<u8>>,
    /// How often somebody waited for the disk, and how many blocks there were then.
    pub waits: Vec<usize>,
}

impl Log {
    pub fn append(&mut self, block: &Block) {
        let bytes = block.to_vec().unwrap();
        assert_eq!(bytes.len() as u64, block.stored_len());
        assert_eq!(block.header().position.sequence, self.blocks.len() as u64 + 1);
        self.blocks.push(bytes);
    }

    /// Keeps the headers only.
    pub fn forget_bytes(&mut self) {
        for block in &mut self.blocks {
            block.truncate(HEADER_LEN);
            block.shrink_to_fit();
        }
    }

    /// Header of the block numbered `sequence`.
    pub fn header(&self, sequence: u64) -> Option<BlockHeader> {
        let block = self.blocks.get(sequence as usize - 1)?;
        Some(BlockHeader::parse(block[..HEADER_LEN].try_into().unwrap()).unwrap())
    }

    pub fn last(&self) -> Option<Anchor> {
        self.header(self.blocks.len() as u64)
            .map(|header| Anchor::of(&header))
    }
}

impl BlockSink for Log {
    fn append(&mut self, block: Block) -> Result<()> {
        Self::append(self, &block);
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        self.waits.push(self.blocks.len());
        Ok(())
    }
}

pub struct Rig {
    // Connections of tail and applier before anything else.
    pub tail: Option<Tail>,
    pub applier: Option<Applier>,
    pub log: Log,
    /// Where the principal's log begins.
    pub start: Anchor,
    /// What the mirror was seeded at.
    pub seeded: Option<Anchor>,
    pub source: PathBuf,
    pub mirror: PathBuf,
    _dir: TempDir,
}

impl Rig {
    /// A new database, filled by `setup`, with its capture started.
    pub fn new(setup: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source.db");
        create_database(&source, 4096).unwrap();
        Self::over(dir, source, setup)
    }

    /// The same over a file that exists.
    pub fn over(dir: TempDir, source: PathBuf, setup: &str) -> Self {
        shell(&source, setup);
        let tail = Tail::start(&source, tail_options(), LogEnd::START, 1).unwrap();
        Self {
            start: *tail.anchor(),
            tail: Some(tail),
            applier: None,
            log: Log::default(),
            seeded: None,
            mirror: dir.path().join("mirror.db"),
            source,
            _dir: dir,
        }
    }

    pub fn tail(&mut self) -> &mut Tail {
        self.tail.as_mut().unwrap()
    }

    pub fn applier(&mut self) -> &mut Applier {
        self.applier.as_mut().unwrap()
    }

    /// Captures what there is; returns how many blocks that were.
    pub fn capture(&mut self) -> usize {
        let before = self.log.blocks.len();
        while let Some(block) = self.tail.as_mut().unwrap().next_block().unwrap() {
            self.log.append(&block);
        }
        self.log.blocks.len() - before
    }

    pub fn checkpoint(&mut self) -> bool {
        self.tail
            .as_mut()
            .unwrap()
            .checkpoint(&mut self.log)
            .unwrap()
            .complete
    }

    pub fn snapshot(&mut self) -> SeedSource {
        self.tail.as_mut().unwrap().snapshot(&mut self.log).unwrap()
    }

    /// Drops the capture and resumes it from the log.
    pub fn resume(&mut self) -> Result<()> {
        self.tail = None;
        let from = self.log.last().unwrap_or(self.start);
        self.tail = Some(Tail::resume(&self.source, tail_options(), &from, 1)?);
        Ok(())
    }

    /// Seeds the mirror from the principal as it is.
    pub fn seed(&mut self) {
        self.applier = None;
        let mut source = self.snapshot();
        let anchor = copy_seed(&mut source, &self.mirror, 100_000).unwrap();
        assert_eq!(anchor.sum, source.anchor().sum);
        self.seeded = Some(anchor);
        drop(source);
        self.open_applier().unwrap();
    }

    /// Opens the mirror's file with what a restarted daemon has: an old anchor and the log.
    pub fn open_applier(&mut self) -> Result<()> {
        self.applier = None;
        let log = &self.log;
        self.applier = Some(Applier::open(
            &self.mirror,
            ApplierOptions::new(FAMILY),
            &self.seeded.unwrap(),
            &mut |sequence| Ok(log.header(sequence)),
        )?);
        Ok(())
    }

    /// Applies what the mirror does not have yet.
    pub fn apply(&mut self) {
        let applier = self.applier.as_mut().unwrap();
        let done = applier.anchor().end.position.sequence as usize;
        for block in &self.log.blocks[done..] {
            assert_eq!(applier.apply(&mut block.as_slice()).unwrap(), Applied::Now);
        }
    }

    pub fn pump(&mut self) {
        self.capture();
        self.apply();
    }

    /// Folds both, compares the files byte by byte, and has SQLite check the mirror.
    pub fn prove_equal(&mut self) {
        let source = self.tail.as_mut().unwrap().fold(&mut self.log).unwrap();
        self.apply();
        let mirror = self.applier().fold().unwrap();
        assert_eq!(mirror.anchor.sum, source.anchor.sum);
        assert_eq!(mirror.anchor.end, source.anchor.end);
        let same = Command::new("cmp")
            .arg(&self.source)
            .arg(&self.mirror)
            .status()
            .unwrap();
        assert!(same.success(), "files differ");
        assert_eq!(shell(&self.mirror, "PRAGMA integrity_check;"), "ok\n");
    }
}

pub fn tail_options() -> TailOptions {
    TailOptions::new(FAMILY)
}

/// Copies a held snapshot into a new file, `step` bytes at a time.
pub fn copy_seed(source: &mut SeedSource, to: &Path, step: usize) -> Result<Anchor> {
    let mut sink = SeedSink::create(to, source.anchor().page_size, source.bytes())?;
    let mut buffer = std::vec![0; step];
    let mut offset = 0;
    loop {
        let n = source.read_at(offset, &mut buffer)?;
        if n == 0 {
            let complete = sink.complete(source.end(), source.anchor().sum)?;
            return Ok(complete.install_keeping(&mut None)?.anchor);
        }
        sink.write(offset, &buffer[..n])?;
        offset += n as u64;
    }
}

/// Runs SQL in Debian's `sqlite3` shell: another process, another version of SQLite.
pub fn shell(path: &Path, sql: &str) -> String {
    let out = shell_result(path, sql);
    out.unwrap_or_else(|e| panic!("sqlite3: {e}"))
}

pub fn shell_result(path: &Path, sql: &str) -> Result<String, String> {
    let mut child = Command::new("sqlite3")
        .args(["-batch", "-bail", "-cmd", ".timeout 10000"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Debian's sqlite3 is installed");
    child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).to_string());
    }
    Ok(String::from_utf8(out.stdout).unwrap())
}

/// A shell that stays, to be told SQL line by line.
pub struct Shell {
    child: Child,
}

impl Shell {
    pub fn open(path: &Path) -> Self {
        let child = Command::new("sqlite3")
            .args(["-batch", "-cmd", ".timeout 10000"])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Runs SQL and returns what it printed.
    pub fn run(&mut self, sql: &str) -> String {
        use std::io::{BufRead, BufReader};
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{sql}\n.print -done-").unwrap();
        stdin.flush().unwrap();
        let mut printed = String::new();
        // One byte at a time: nothing behind the mark may be lost in a buffer.
        let mut lines = BufReader::with_capacity(1, self.child.stdout.as_mut().unwrap());
        loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the shell has died");
            if line == "-done-\n" {
                return printed;
            }
            printed.push_str(&line);
        }
    }

    /// Closes the database in order.
    pub fn quit(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another process that does not outlive its test.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the test `name` of this binary as another process, with `role` telling it what to do.
pub fn child(name: &str, role: &[(&str, &Path)]) -> Guard {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            &format!("sqlite::tests::{name}"),
            "--exact",
            "--nocapture",
            "--include-ignored",
        ])
        .stdout(Stdio::null());
    for (key, value) in role {
        command.env(key, value);
    }
    Guard(command.spawn().unwrap())
}

/// What such a process was told.
pub fn role(key: &str) -> Option<PathBuf> {
    std::env::var_os(key).map(PathBuf::from)
}

/// A connection as an application has one, in this process. Only where no lock is at stake.
pub fn application(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .busy_timeout(std::time::Duration::from_secs(10))
        .unwrap();
    connection
}

/// Random numbers from a seed (xorshift64*).
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

pub fn gap(result: Result<()>) -> bool {
    matches!(result, Err(Error::Gap(_)))
}
