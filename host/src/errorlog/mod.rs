//! The error log: what happened in the instance, one line per event, in `DIR/log/errorlog` and on stderr.
//!
//! ```text
//! 2026-05-04T10:20:30.123456Z ERROR Msg 28047, Level 10, State 1: text key=value key="a value"
//! ```
//!
//! Any room of the instance logs through `tracing`: the fields `msg`, `level` and `state` (numbers) become the prefix,
//! the message is the text, every other field is printed behind it. Control characters are escaped, so that nothing a peer
//! sends can forge a line. Secrets have no `Debug` and never come here.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::messages::Raised;

/// The most bytes of the file's end that [`read`] looks at.
const READ_MAX: u64 = 8 << 20;
/// The size at which the file is put aside as `errorlog.1`, whose place it takes: what strangers can cause to be written
/// is bounded by twice this.
const ROTATE_AT: u64 = 64 << 20;

/// The layer that writes the lines.
struct Lines {
    file: Mutex<Current>,
    stderr: bool,
}

/// The file that is being written.
struct Current {
    path: PathBuf,
    file: File,
    length: u64,
    rotate_at: u64,
}

impl Current {
    fn open(path: &Path, rotate_at: u64) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        if std::fs::metadata(path).is_ok_and(|found| found.len() > rotate_at) {
            std::fs::rename(path, path.with_extension("1"))?;
        }
        let file = File::options().append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            rotate_at,
        })
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        if self.length > self.rotate_at {
            match Self::open(&self.path, self.rotate_at) {
                Ok(next) => *self = next,
                // It goes on in the old file, and is tried again when that has grown by as much.
                Err(_) => self.length = 0,
            }
        }
        self.length = self
            .length
            .saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        self.file.write_all(line.as_bytes())
    }
}

/// Opens the log under `path` and makes it the process's log; `quiet` silences stderr.
///
/// # Errors
/// When the file cannot be opened.
pub fn install(path: &Path, quiet: bool) -> io::Result<()> {
    let lines = Lines {
        file: Mutex::new(Current::open(path, ROTATE_AT)?),
        stderr: !quiet,
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter_level());
    // A process runs one instance; in tests a second call keeps the first log.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// Logs a message that was raised: an error as ERROR, information as INFO.
pub fn raised(message: &Raised) {
    let (msg, level, state) = (message.number, message.severity, message.state);
    if message.is_error() {
        tracing::error!(msg, level, state, "{}", message.text);
    } else {
        tracing::info!(msg, level, state, "{}", message.text);
    }
}

impl Lines {
    fn with_filter_level(
        self,
    ) -> tracing_subscriber::filter::Filtered<
        Self,
        tracing_subscriber::filter::LevelFilter,
        tracing_subscriber::Registry,
    > {
        use tracing_subscriber::Layer as _;
        self.with_filter(tracing_subscriber::filter::LevelFilter::INFO)
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let now = jiff::Timestamp::now();
        let mut line = format!("{now:.6} {}", event.metadata().level());
        if let Some(number) = parts.msg {
            let _ = write!(
                line,
                " Msg {number}, Level {}, State {}:",
                parts.level.unwrap_or(10),
                parts.state.unwrap_or(1)
            );
        }
        line.push(' ');
        line.push_str(&parts.text);
        line.push_str(&parts.rest);
        line.push('\n');
        // The log is the last place to tell of trouble: when it fails there is nobody left to tell.
        if let Ok(mut file) = self.file.lock() {
            let _ = file.line(&line);
        }
        if self.stderr {
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}

/// The fields of one event.
#[derive(Default)]
struct Parts {
    msg: Option<u64>,
    level: Option<u64>,
    state: Option<u64>,
    text: String,
    rest: String,
}

impl Parts {
    fn pair(&mut self, name: &str, value: &str) {
        let quoted = value.is_empty() || value.contains([' ', '"', '=']);
        self.rest.push(' ');
        self.rest.push_str(name);
        self.rest.push('=');
        if quoted {
            self.rest.push('"');
        }
        for c in value.chars() {
            match c {
                '"' | '\\' if quoted => {
                    self.rest.push('\\');
                    self.rest.push(c);
                }
                _ => escape(c, &mut self.rest),
            }
        }
        if quoted {
            self.rest.push('"');
        }
    }
}

impl Visit for Parts {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "msg" => self.msg = Some(value),
            "level" => self.level = Some(value),
            "state" => self.state = Some(value),
            name => self.pair(name, &value.to_string()),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.record_u64(field, value),
            Err(_) => self.pair(field.name(), &value.to_string()),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.pair(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        if field.name() == "message" {
            value.chars().for_each(|c| escape(c, &mut self.text));
        } else {
            self.pair(field.name(), &value);
        }
    }
}

/// A control character as `\n` or `\u{…}`, any other as it is.
fn escape(c: char, out: &mut String) {
    if c.is_control() {
        let _ = write!(out, "{}", c.escape_default());
    } else {
        out.push(c);
    }
}

/// One line as `sp_readerrorlog` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When (UTC, `YYYY-MM-DD hh:mm:ss.mmm`).
    pub date: String,
    /// The level word.
    pub level: String,
    /// The rest.
    pub text: String,
}

/// The last lines of the log, oldest first, at most 8 MiB of them.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    use std::io::Seek as _;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(READ_MAX);
    file.seek(io::SeekFrom::Start(skipped))?;
    let mut lines = Vec::new();
    for (number, line) in io::BufReader::new(file).split(b'\n').enumerate() {
        if number == 0 && skipped > 0 {
            continue; // cut in two
        }
        let line = line?;
        lines.push(parse(&String::from_utf8_lossy(&line)));
    }
    Ok(lines)
}

fn parse(line: &str) -> Line {
    let (date, rest) = line.split_once(' ').unwrap_or(("", line));
    let (level, text) = rest.split_once(' ').unwrap_or(("", rest));
    let date = match date.get(..23) {
        Some(date) => date.replace('T', " "),
        None => date.to_owned(),
    };
    Line {
        date,
        level: level.to_owned(),
        text: text.to_owned(),
    }
}

/// Where the log lies under the directory of an instance.
#[must_use]
pub fn path_in(dir: &Path) -> PathBuf {
    dir.join("log").join("errorlog")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{M15578, M28047};

    #[test]
    fn lines_carry_numbers_pairs_and_no_forged_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("errorlog");
        let lines = Lines {
            file: Mutex::new(Current::open(&path, ROTATE_AT).unwrap()),
            stderr: false,
        };
        let subscriber = tracing_subscriber::registry().with(lines.with_filter_level());
        tracing::subscriber::with_default(subscriber, || {
            raised(&M15578.refuse(&[&"master"]));
            raised(&M28047.inform(&[&"x\n2026-01-01T00:00:00Z INFO forged"]));
            tracing::warn!(peer = "127.0.0.1:7024", step = "tcp connect", "plain");
            tracing::debug!("not shown");
        });
        let read = read(&path).unwrap();
        assert_eq!(read.len(), 3, "{read:?}");
        assert_eq!(read[0].level, "ERROR");
        assert!(
            read[0].text.starts_with("Msg 15578, Level 16, State 1: "),
            "{read:?}"
        );
        assert!(read[1].text.contains("x\\n2026"), "{read:?}");
        assert_eq!(read[2].level, "WARN");
        assert_eq!(read[2].text, "plain peer=127.0.0.1:7024 step=\"tcp connect\"");
        assert_eq!(read[0].date.len(), 23);
        assert_eq!(&read[0].date[10..11], " ");
    }

    #[test]
    fn the_log_is_put_aside_while_it_runs_and_stays_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("errorlog");
        let mut current = Current::open(&path, 1000).unwrap();
        for n in 0..200 {
            current.line(&format!("line {n} of a flood\n")).unwrap();
        }
        let length = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert!(length(&path) <= 1100, "{}", length(&path));
        assert!(length(&path.with_extension("1")) <= 1100);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("line 199 of a flood\n"), "{text}");
    }
}
