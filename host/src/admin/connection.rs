//! One client, on the instance's side.

use std::io::{self, BufWriter, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::frame::{self, Interrupted};
use super::listener::Stop;
use super::session::{Cancelled, Message, Session, Sink};
use super::socket;
use super::wire::{self, Reply, Request};
use crate::tsql::value::{Column, Value};

/// How long a client may take for its first frame.
const HELLO_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a client may leave what was sent to it unread.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// Rows are gathered for this long at most before they are sent.
const FLUSH_AFTER: Duration = Duration::from_millis(50);

/// Who a client is, as the system knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User id: this process's own, or 0.
    pub uid: u32,
    /// Process id at the time of connecting.
    pub pid: i32,
}

/// Tells a client that it cannot come in.
pub(super) fn refuse(stream: &UnixStream, text: &str) {
    let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
    let (kind, payload) = Reply::Refused {
        text: text.to_owned(),
    }
    .encode();
    let mut stream = stream;
    // It may be gone already.
    let _ = frame::write(&mut stream, kind, &payload);
}

/// Serves one client until it goes, or until stopped.
pub(super) fn serve<'s>(
    stream: &UnixStream,
    instance: &str,
    stop: &Stop,
    open: &(impl Fn(Peer) -> Box<dyn Session + 's> + ?Sized),
) {
    let Ok((uid, pid)) = socket::credentials(stream) else {
        return;
    };
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        tracing::warn!(
            uid,
            pid,
            "An admin connection was refused: it comes from another user"
        );
        refuse(
            stream,
            "Only root and the user that runs the instance may administer it.",
        );
        return;
    }
    let deadline = Instant::now() + HELLO_TIME_MAX;
    let hello = frame::read(stream, wire::HELLO_LENGTH_MAX, Some(deadline), Some(stop.event()));
    let version = match hello.map(Request::decode) {
        Ok(Ok(Request::Hello { version })) => version,
        Ok(Ok(Request::Batch { .. })) => return refuse(stream, "The first frame must be a hello."),
        Ok(Err(malformed)) => return refuse(stream, malformed.0),
        Err(Interrupted::Malformed(what) | Interrupted::GivenUp(what)) => return refuse(stream, what),
        Err(Interrupted::Closed | Interrupted::Io(_)) => return,
    };
    if version != wire::VERSION {
        let spoken = wire::VERSION;
        let text =
            format!("The client speaks version {version} of the admin protocol, the instance {spoken}.");
        return refuse(stream, &text);
    }
    if stream.set_write_timeout(Some(WRITE_TIME_MAX)).is_err() {
        return;
    }
    let mut session = open(Peer { uid, pid });
    let mut replies = Replies::new(stream, stop);
    let welcome = Reply::Welcome {
        version,
        instance: instance.to_owned(),
        database: session.database().to_owned(),
    };
    if replies.send(&welcome).and_then(|()| replies.flush()).is_err() {
        return;
    }
    loop {
        let request = match frame::read(stream, wire::REQUEST_LENGTH_MAX, None, Some(stop.event())) {
            Ok(frame) => Request::decode(frame),
            Err(Interrupted::Malformed(what) | Interrupted::GivenUp(what)) => return refuse(stream, what),
            Err(Interrupted::Closed | Interrupted::Io(_)) => return,
        };
        match request {
            Ok(Request::Batch { text }) => session.batch(&text, &mut replies),
            Ok(Request::Hello { .. }) => return refuse(stream, "A hello may only be the first frame."),
            Err(malformed) => return refuse(stream, malformed.0),
        }
        if replies.send(&Reply::Done).and_then(|()| replies.flush()).is_err() {
            return;
        }
    }
}

/// The sink of a batch: replies go out as frames, gathered for a moment.
struct Replies<'a> {
    stream: &'a UnixStream,
    stop: &'a Stop,
    buffer: BufWriter<&'a UnixStream>,
    flushed: Instant,
    gone: bool,
}

impl<'a> Replies<'a> {
    fn new(stream: &'a UnixStream, stop: &'a Stop) -> Self {
        let buffer = BufWriter::with_capacity(32 << 10, stream);
        Self {
            stream,
            stop,
            buffer,
            flushed: Instant::now(),
            gone: false,
        }
    }

    fn send(&mut self, reply: &Reply) -> Result<(), Cancelled> {
        let (kind, payload) = reply.encode();
        self.write(|buffer| frame::write(buffer, kind, &payload))
    }

    fn flush(&mut self) -> Result<(), Cancelled> {
        self.flushed = Instant::now();
        self.write(BufWriter::flush)
    }

    /// A client that is gone, or does not read, is not written to again.
    fn write(
        &mut self,
        write: impl FnOnce(&mut BufWriter<&'a UnixStream>) -> io::Result<()>,
    ) -> Result<(), Cancelled> {
        if self.gone || self.stop.is_stopped() {
            return Err(Cancelled);
        }
        write(&mut self.buffer).map_err(|_| {
            self.gone = true;
            Cancelled
        })
    }
}

impl Drop for Replies<'_> {
    fn drop(&mut self) {
        // A write that ran out of time has left half a frame: nothing may follow it.
        if self.gone {
            let _ = self.stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Sink for Replies<'_> {
    fn columns(&mut self, columns: &[Column]) -> Result<(), Cancelled> {
        self.send(&Reply::Columns(columns.to_vec()))
    }

    fn row(&mut self, values: &[Value]) -> Result<(), Cancelled> {
        let (values, cut) = wire::fitting(values);
        self.send(&Reply::Row(values))?;
        if cut {
            let text = "A row was too long for the admin connection; its longest values are cut.".to_owned();
            self.send(&Reply::Message(Message {
                number: 50003,
                severity: 10,
                state: 1,
                text,
                ..Message::default()
            }))?;
        }
        if self.flushed.elapsed() >= FLUSH_AFTER {
            self.check()
        } else {
            Ok(())
        }
    }

    fn rows_affected(&mut self, rows: u64) -> Result<(), Cancelled> {
        self.send(&Reply::RowsAffected(rows))
    }

    fn message(&mut self, message: &Message) -> Result<(), Cancelled> {
        self.send(&Reply::Message(message.clone()))?;
        self.flush()
    }

    fn database_changed(&mut self, name: &str) -> Result<(), Cancelled> {
        self.send(&Reply::Database(name.to_owned()))
    }

    fn check(&mut self) -> Result<(), Cancelled> {
        self.flush()?;
        if socket::is_closed(self.stream) {
            self.gone = true;
            return Err(Cancelled);
        }
        Ok(())
    }
}
