//! One instance of the walk: a `dbmirror serve` process, and the commands that an operator would type at it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Failure, PORT};

/// How long an instance may take to print its ready line.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an instance may take to end after SIGTERM before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// A running instance. Dropping it stops the process.
pub(super) struct Instance {
    name: String,
    address: String,
    dir: PathBuf,
    child: Option<Child>,
}

impl Instance {
    /// Starts `dbmirror serve` on `root/name`, listening on `address`, and waits for its ready line.
    pub(super) fn start(root: &Path, name: &str, address: &str) -> Result<Self, Failure> {
        let dir = root.join(name);
        let mut child = command()?
            .arg("serve")
            .arg("--data")
            .arg(&dir)
            .args(["--name", name, "--bind", address, "--quiet"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Failure::new(format!("cannot start {name}: {e}")))?;
        let stdout = child.stdout.take();
        let mut instance = Self {
            name: name.to_owned(),
            address: address.to_owned(),
            dir,
            child: Some(child),
        };
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let Some(stdout) = stdout else { return };
            let mut lines = BufReader::new(stdout);
            let mut line = String::new();
            let read = lines.read_line(&mut line);
            let _ = sender.send(read.map(|_| line));
            // Whatever else comes is read and dropped, so that the process never blocks on a full pipe.
            let _ = std::io::copy(&mut lines, &mut std::io::sink());
        });
        let line = match receiver.recv_timeout(READY_TIMEOUT) {
            Ok(Ok(line)) => line,
            _ => String::new(),
        };
        if line.starts_with("ready ") {
            return Ok(instance);
        }
        let log = std::fs::read_to_string(instance.dir.join("log/errorlog")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(3).collect();
        instance.kill();
        Err(Failure::new(format!(
            "{name} did not become ready within {} s. The last lines of its log: {}",
            READY_TIMEOUT.as_secs(),
            tail.into_iter().rev().collect::<Vec<_>>().join(" | ")
        )))
    }

    /// The instance's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The instance's directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process id; 0 once stopped.
    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// The server network address that a partner names.
    pub(super) fn url(&self) -> String {
        format!("TCP://{}:{PORT}", self.address)
    }

    /// Runs a script file's text; a refused statement is a failure that shows the server's own words.
    pub(super) fn script(&self, text: &str) -> Result<(), Failure> {
        let path = self.dir.join("quickstart.sql");
        std::fs::write(&path, text)
            .map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))?;
        let output = self.sql(&["-b", "-i"], path.as_os_str())?;
        let _ = std::fs::remove_file(&path);
        self.accepted(&output, "the documented script")
    }

    /// Runs one statement.
    pub(super) fn statement(&self, text: &str) -> Result<(), Failure> {
        let output = self.sql(&["-b", "-Q"], text.as_ref())?;
        self.accepted(&output, text)
    }

    /// The rows of a query, as a table for people.
    pub(super) fn table(&self, query: &str) -> Result<String, Failure> {
        let output = self.sql(&["-b", "-W", "-Q"], query.as_ref())?;
        self.accepted(&output, query)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The columns of a query's first row.
    pub(super) fn row(&self, query: &str) -> Result<Option<Vec<String>>, Failure> {
        let output = self.sql(&["-b", "-h", "-1", "-W", "-s", "\u{1}", "-Q"], query.as_ref())?;
        self.accepted(&output, query)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let first = text
            .lines()
            .map(str::trim_end)
            .find(|line| !line.is_empty() && !line.starts_with('('));
        Ok(first.map(|line| line.split('\u{1}').map(|cell| cell.trim().to_owned()).collect()))
    }

    /// The first column of a query's first row.
    pub(super) fn value(&self, query: &str) -> Result<Option<String>, Failure> {
        Ok(self.row(query)?.and_then(|row| row.into_iter().next()))
    }

    /// Dials `peer` from inside this instance; whether it worked, and the last step it reported.
    pub(super) fn test_connection(&self, peer: &Self) -> Result<(bool, String), Failure> {
        let output = command()?
            .arg("test-connection")
            .arg("-S")
            .arg(&self.dir)
            .arg(peer.url())
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Failure::new(format!("cannot run test-connection: {e}")))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        let last = text
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        Ok((output.status.success(), last.trim().to_owned()))
    }

    /// Ends the process by SIGTERM and expects it to end cleanly.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        terminate(&child);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(Failure::new(format!(
                        "{} ended with {status} when asked to stop",
                        self.name
                    )));
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Err(e) => return Err(Failure::new(format!("cannot watch {}: {e}", self.name))),
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(Failure::new(format!(
            "{} did not stop within {} s and was killed",
            self.name,
            STOP_TIMEOUT.as_secs()
        )))
    }

    fn sql(&self, flags: &[&str], last: &std::ffi::OsStr) -> Result<Output, Failure> {
        command()?
            .arg("sql")
            .arg("-S")
            .arg(&self.dir)
            .args(flags)
            .arg(last)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Failure::new(format!("cannot run the sql client: {e}")))
    }

    fn accepted(&self, output: &Output, what: &str) -> Result<(), Failure> {
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!(
            "{} refused {what}\n{}",
            self.name,
            said.trim_end()
        )))
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            terminate(child);
            let deadline = Instant::now() + STOP_TIMEOUT;
            while Instant::now() < deadline {
                match self.child.as_mut().map(Child::try_wait) {
                    Some(Ok(None)) => std::thread::sleep(Duration::from_millis(20)),
                    _ => break,
                }
            }
            self.kill();
        }
    }
}

/// Raised by SIGINT and SIGTERM.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(|e| Failure::new(format!("cannot listen for signals: {e}")))?;
    }
    Ok(flag)
}

/// Sleeps until `flag` is raised.
pub(super) fn wait_until(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Refuses a busy port by name, before anything is started.
pub(super) fn port_is_free(address: &str, port: u16) -> Result<(), Failure> {
    match TcpListener::bind((address, port)) {
        Ok(_) => Ok(()),
        Err(e) => Err(Failure::new(format!(
            "{address}:{port} cannot be used: {e}. The documented scripts name port {port}; \
             stop what listens there (`ss -ltnp 'sport = :{port}'` names it) and try again."
        ))),
    }
}

/// A fresh directory of this user's own under the system's temporary directory.
pub(super) fn temporary_directory() -> Result<PathBuf, Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let mut seed = [0u8; 6];
    getrandom::fill(&mut seed).map_err(|e| Failure::new(format!("no randomness from the system: {e}")))?;
    let tail: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let dir = std::env::temp_dir().join(format!("dbmirror-quickstart-{tail}"));
    std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|e| {
        Failure::new(format!(
            "cannot make {}: {e}. Choose a place with --dir.",
            dir.display()
        ))
    })?;
    Ok(dir)
}

/// Copies a backed-up certificate to the other host's backup folder, unless it is there.
pub(super) fn copy_certificate(from: &Instance, to: &Instance, file: &str) -> Result<(), Failure> {
    let (source, target) = (
        from.dir.join("backup").join(file),
        to.dir.join("backup").join(file),
    );
    if target.exists() {
        return Ok(());
    }
    std::fs::copy(&source, &target).map(|_| ()).map_err(|e| {
        Failure::new(format!(
            "cannot copy {} to {}: {e}",
            source.display(),
            target.display()
        ))
    })
}

/// A string constant of T-SQL.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A delimited identifier of T-SQL.
pub(super) fn bracket(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// This same program.
pub(super) fn command() -> Result<Command, Failure> {
    std::env::current_exe()
        .map(Command::new)
        .map_err(|e| Failure::new(format!("cannot find this program's own file: {e}")))
}

fn terminate(child: &Child) {
    if let Some(pid) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quote("it's"), "'it''s'");
        assert_eq!(bracket("a]b"), "[a]]b]");
    }

    #[test]
    fn a_busy_port_is_named() {
        let taken = TcpListener::bind("127.61.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = port_is_free("127.61.0.1", port).unwrap_err();
        assert!(error.0.contains(&format!("127.61.0.1:{port}")), "{error}");
        drop(taken);
        port_is_free("127.61.0.1", port).unwrap();
    }
}
