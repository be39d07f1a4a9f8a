//! What tests against other people's programs share: certificates that OpenSSL makes, and processes whose every line can be
//! waited for.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two parties and a stranger, each with a key and a certificate that OpenSSL made: NAME.key (PEM), NAME.key.der,
/// NAME.pem, NAME.der.
pub struct Parties(tempfile::TempDir);

impl Parties {
    pub fn new() -> Self {
        let parties = Self(tempfile::tempdir().expect("a directory"));
        for name in ["ours", "theirs", "stranger"] {
            let run = |arguments: &str| parties.openssl(&arguments.replace("NAME", name));
            run("ecparam -name prime256v1 -genkey -noout -out NAME.key");
            run("ec -in NAME.key -outform DER -out NAME.key.der");
            run("req -new -x509 -key NAME.key -days 2 -subj /CN=NAME -out NAME.pem");
            run("x509 -in NAME.pem -outform DER -out NAME.der");
        }
        parties
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn openssl(&self, arguments: &str) -> Output {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.path())
            .output()
            .expect("the openssl command is installed");
        assert!(
            output.status.success(),
            "openssl {arguments}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }
}

/// A process whose every line can be waited for.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    /// The lines that have been waited past.
    pub seen: Vec<String>,
}

impl Process {
    /// Starts it; what it is asked is piped, and so is what it says.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (sender, lines) = mpsc::channel();
        let pump = |stream: Box<dyn Read + Send>, sender: mpsc::Sender<String>| {
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                let mut line = Vec::new();
                while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    line.clear();
                    if sender.send(text).is_err() {
                        break;
                    }
                }
            })
        };
        pump(Box::new(child.stdout.take().expect("piped")), sender.clone());
        pump(Box::new(child.stderr.take().expect("piped")), sender);
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Our side.
    pub fn peer(parties: &Parties, arguments: &str) -> Self {
        Self::start(
            Command::new(env!("CARGO_BIN_EXE_channel-peer"))
                .args(arguments.split(' '))
                .current_dir(parties.path()),
        )
    }

    /// A program in the directory of the parties.
    pub fn of(program: &str, parties: &Parties, arguments: &str) -> Self {
        Self::start(
            Command::new(program)
                .args(arguments.split(' '))
                .current_dir(parties.path()),
        )
    }

    /// Waits for a line that contains `text`.
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {text:?} in:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Types a line.
    pub fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        // In one write: OpenSSL sends what one read of its standard input gives.
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .expect("it listens");
    }

    /// Waits for the end; answers all lines and whether it was a success.
    #[allow(dead_code, reason = "not every test waits for an end")]
    pub fn end(mut self) -> (String, bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                self.seen.extend(self.lines.iter());
                return (self.seen.join("\n"), status.success());
            }
            assert!(Instant::now() < deadline, "it hangs:\n{}", self.seen.join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended, or the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port on `address` that was free a moment ago. The address is this test's own, so it still is.
pub fn free_port(address: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).expect("an address of this machine");
    listener.local_addr().expect("bound").port()
}

/// `channel-peer` as server on `address` with `options`, and where it listens.
pub fn listen(parties: &Parties, address: &str, options: &str) -> (Process, String) {
    let arguments = format!("{options} listen {address}:0 ours.key.der ours.der theirs.der");
    let mut server = Process::peer(parties, arguments.trim_start());
    let line = server.expect("listening ");
    let address = line.trim_start_matches("listening ").to_owned();
    (server, address)
}
