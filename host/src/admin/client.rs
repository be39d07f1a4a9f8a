//! The client's side.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::frame::{self, FRAME_LENGTH_MAX, Interrupted};
use super::session::{Message, Sink};
use super::socket;
use super::wire::{self, Reply, Request};

/// How long an instance may take to welcome a client.
const WELCOME_TIME_MAX: Duration = Duration::from_secs(10);

/// A connection to an instance.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    /// Name of the instance.
    pub instance: String,
    /// Current database, as last told.
    pub database: String,
}

/// Why no connection came about.
#[derive(Debug)]
pub enum ConnectError {
    /// Nobody answers there.
    NotRunning(io::Error),
    /// The instance refuses, and says why.
    Refused(String),
    /// Something else answers there.
    Protocol(&'static str),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                write!(
                    f,
                    "no access to it: {error}; run as the instance's user or as root"
                )
            }
            Self::NotRunning(error) => write!(
                f,
                "no instance answers there ({error}); start it with `dbmirror serve`"
            ),
            Self::Refused(text) => write!(f, "the instance refuses: {text}"),
            Self::Protocol(what) => write!(f, "what answers there is no instance of this version: {what}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Why a batch did not come to its end.
#[derive(Debug)]
pub enum ClientError {
    /// The connection broke, or the instance was stopped.
    Lost(String),
    /// The sink did not want more.
    Cancelled,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(why) => write!(f, "the connection to the instance is lost: {why}"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<Interrupted> for ClientError {
    fn from(interrupted: Interrupted) -> Self {
        Self::Lost(match interrupted {
            Interrupted::Closed => "it was closed".to_owned(),
            Interrupted::GivenUp(what) | Interrupted::Malformed(what) => what.to_owned(),
            Interrupted::Io(error) => error.to_string(),
        })
    }
}

impl Client {
    /// Connects to the instance of data directory `dir`, trying for so long.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(dir: &Path, wait: Duration) -> Result<Self, ConnectError> {
        let deadline = Instant::now() + wait;
        let stream = loop {
            match socket::connect(dir) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= deadline => return Err(ConnectError::NotRunning(error)),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        Self::greet(stream)
    }

    fn greet(stream: UnixStream) -> Result<Self, ConnectError> {
        let (kind, payload) = Request::Hello {
            version: wire::VERSION,
        }
        .encode();
        let mut to = &stream;
        // A refusal may already be on its way, and then the hello cannot be written.
        let sent = frame::write(&mut to, kind, &payload);
        let deadline = Instant::now() + WELCOME_TIME_MAX;
        let reply = match frame::read(&stream, FRAME_LENGTH_MAX, Some(deadline), None) {
            Ok(frame) => Reply::decode(&frame).map_err(|malformed| ConnectError::Protocol(malformed.0))?,
            Err(Interrupted::Closed) => {
                return Err(ConnectError::NotRunning(
                    sent.err()
                        .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
                ));
            }
            Err(Interrupted::Io(error)) => return Err(ConnectError::NotRunning(error)),
            Err(Interrupted::GivenUp(what) | Interrupted::Malformed(what)) => {
                return Err(ConnectError::Protocol(what));
            }
        };
        match reply {
            Reply::Welcome {
                version: wire::VERSION,
                instance,
                database,
            } => Ok(Self {
                stream,
                instance,
                database,
            }),
            Reply::Refused { text } => Err(ConnectError::Refused(text)),
            _ => Err(ConnectError::Protocol("it does not greet as expected")),
        }
    }

    /// Runs one batch, at most 1 MiB, and reports what comes of it.
    ///
    /// # Errors
    /// See [`ClientError`]; the connection is of no use then.
    pub fn batch(&mut self, text: &str, sink: &mut dyn Sink) -> Result<(), ClientError> {
        if text.len() > crate::tsql::BATCH_LENGTH_MAX {
            // The parser of the instance says the same; this saves it the reading.
            let text = format!(
                "The batch has {} bytes; {} are allowed.",
                text.len(),
                crate::tsql::BATCH_LENGTH_MAX
            );
            let message = Message {
                number: 50001,
                severity: 16,
                state: 1,
                line: 1,
                text,
                ..Message::default()
            };
            return sink.message(&message).map_err(|_| ClientError::Cancelled);
        }
        let (kind, payload) = Request::Batch {
            text: Zeroizing::new(text.to_owned()),
        }
        .encode();
        let mut to = &self.stream;
        frame::write(&mut to, kind, &payload).map_err(|error| ClientError::Lost(error.to_string()))?;
        loop {
            let frame = frame::read(&self.stream, FRAME_LENGTH_MAX, None, None)?;
            let reply =
                Reply::decode(&frame).map_err(|malformed| ClientError::Lost(malformed.0.to_owned()))?;
            let reported = match reply {
                Reply::Columns(columns) => sink.columns(&columns),
                Reply::Row(values) => sink.row(&values),
                Reply::RowsAffected(rows) => sink.rows_affected(rows),
                Reply::Message(message) => sink.message(&message),
                Reply::Database(name) => {
                    let reported = sink.database_changed(&name);
                    self.database = name;
                    reported
                }
                Reply::Done => return Ok(()),
                Reply::Refused { text } => return Err(ClientError::Lost(text)),
                Reply::Welcome { .. } => return Err(ClientError::Lost("an unexpected welcome".to_owned())),
            };
            reported.map_err(|_| ClientError::Cancelled)?;
        }
    }
}
