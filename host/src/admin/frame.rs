//! Frames: `u32` length of what follows (little-endian), one byte that tells the kind, the payload.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zeroize::Zeroizing;

/// Longest frame, kind included. A batch is at most 1 MiB, a row is cut to fit.
pub(super) const FRAME_LENGTH_MAX: usize = 4 << 20;

/// Once a frame has begun, its rest has to come within this time.
pub(super) const FRAME_TIME_MAX: Duration = Duration::from_secs(30);

/// What was received. The payload may hold passwords, so it is wiped.
pub(super) struct Frame {
    pub kind: u8,
    pub payload: Zeroizing<Vec<u8>>,
}

/// How reading a frame ended without one.
#[derive(Debug)]
pub(super) enum Interrupted {
    /// The other side closed the connection between two frames.
    Closed,
    /// The wait was given up: too slow, or told to stop.
    GivenUp(&'static str),
    /// The bytes are no frame.
    Malformed(&'static str),
    /// The system's word.
    Io(io::Error),
}

impl From<io::Error> for Interrupted {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads one frame of at most `length_max` bytes. Waits for its beginning until `deadline`, or for ever, and until
/// `stop` becomes readable.
pub(super) fn read(
    stream: &UnixStream,
    length_max: usize,
    deadline: Option<Instant>,
    stop: Option<&dyn AsFdDyn>,
) -> Result<Frame, Interrupted> {
    let mut head = [0; 5];
    let mut reader = Reader {
        stream,
        deadline,
        stop,
        begun: false,
    };
    reader.fill(&mut head)?;
    let [a, b, c, d, kind] = head;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length == 0 || length > length_max {
        return Err(Interrupted::Malformed("a frame of an impossible length"));
    }
    let mut payload = Zeroizing::new(vec![0; length - 1]);
    reader.fill(&mut payload)?;
    Ok(Frame { kind, payload })
}

/// `AsFd` as a trait object.
pub(super) trait AsFdDyn {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_>;
}

impl<T: AsFd> AsFdDyn for T {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.as_fd()
    }
}

struct Reader<'a> {
    stream: &'a UnixStream,
    deadline: Option<Instant>,
    stop: Option<&'a dyn AsFdDyn>,
    begun: bool,
}

impl Reader<'_> {
    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), Interrupted> {
        while !buffer.is_empty() {
            self.wait()?;
            let mut stream = self.stream;
            match stream.read(buffer) {
                Ok(0) if !self.begun => return Err(Interrupted::Closed),
                Ok(0) => return Err(Interrupted::Malformed("the connection closed inside a frame")),
                Ok(n) => {
                    if !self.begun {
                        self.begun = true;
                        self.deadline = Some(Instant::now() + FRAME_TIME_MAX);
                    }
                    buffer = buffer.get_mut(n..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Until there is something to read.
    fn wait(&self) -> Result<(), Interrupted> {
        loop {
            let mut polled = vec![PollFd::new(self.stream, PollFlags::IN)];
            let stop = self.stop.map(AsFdDyn::fd);
            if let Some(stop) = &stop {
                polled.push(PollFd::new(stop, PollFlags::IN));
            }
            let timeout = self
                .deadline
                .map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut polled, timeout.as_ref()) {
                Ok(0) => return Err(Interrupted::GivenUp("nothing came in time")),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(Interrupted::Io(error.into())),
            }
            if polled.get(1).is_some_and(|stop| !stop.revents().is_empty()) {
                return Err(Interrupted::GivenUp("the instance is stopping"));
            }
            if polled.first().is_some_and(|stream| !stream.revents().is_empty()) {
                return Ok(());
            }
        }
    }
}

/// Writes one frame.
pub(super) fn write(to: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len() + 1)
        .ok()
        .filter(|length| *length as usize <= FRAME_LENGTH_MAX)
        .ok_or(io::ErrorKind::InvalidInput)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&[kind])?;
    to.write_all(payload)
}
