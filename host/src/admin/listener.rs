//! The instance's side: accepts clients, one thread for each.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::connection::{self, Peer};
use super::session::Session;
use super::socket;

/// Most clients at a time.
const CLIENTS_MAX: usize = 64;

/// How long a batch may go on once the instance is told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// How long to wait before accepting again when the system is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin socket of an instance, bound.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    stop: Stop,
}

/// Ends the listener and its connections. Clones end the same one.
#[derive(Clone, Debug)]
pub struct Stop {
    signal: Arc<Signal>,
}

#[derive(Debug)]
pub(super) struct Signal {
    /// Readable from the moment of stopping on.
    event: OwnedFd,
    stopped: AtomicBool,
}

impl Stop {
    /// Stops: no more clients, idle ones are hung up on, batches are cancelled.
    pub fn stop(&self) {
        self.signal.stopped.store(true, Ordering::SeqCst);
        // Failing would mean that the counter is full, and then it is readable.
        let _ = rustix::io::write(&self.signal.event, &1_u64.to_ne_bytes());
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.signal.stopped.load(Ordering::SeqCst)
    }

    pub(super) fn event(&self) -> &OwnedFd {
        &self.signal.event
    }
}

/// The connections that are open.
#[derive(Default)]
struct Clients {
    open: Mutex<HashMap<u64, UnixStream>>,
    one_left: Condvar,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, UnixStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, number: u64) {
        self.lock().remove(&number);
        self.one_left.notify_all();
    }
}

impl Listener {
    /// Binds `DIR/admin.sock`, mode 0600, replacing what a dead instance left there: the caller holds the
    /// directory's lock.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(dir: &Path) -> io::Result<Self> {
        let socket = socket::bind(dir)?;
        socket.set_nonblocking(true)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let stop = Stop {
            signal: Arc::new(Signal {
                event,
                stopped: AtomicBool::new(false),
            }),
        };
        Ok(Self { socket, stop })
    }

    /// What ends [`Self::run`].
    #[must_use]
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves clients until stopped. `instance` is the name that they are told; `open` makes the session of a
    /// client that may come in: one with the user id of this process, or root.
    ///
    /// # Errors
    /// The system no longer accepts connections.
    pub fn run<'s>(
        &self,
        instance: &str,
        open: impl Fn(Peer) -> Box<dyn Session + 's> + Sync,
    ) -> io::Result<()> {
        let clients = Clients::default();
        std::thread::scope(|scope| {
            let mut number = 0_u64;
            let result = loop {
                let stream = match self.accept() {
                    Ok(Some(stream)) => stream,
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                };
                if clients.lock().len() >= CLIENTS_MAX {
                    connection::refuse(
                        &stream,
                        "Too many admin connections are open. Close one and try again.",
                    );
                    continue;
                }
                let Ok(handle) = stream.try_clone() else { continue };
                number += 1;
                clients.lock().insert(number, handle);
                let (clients, open, stop) = (&clients, &open, &self.stop);
                let serve = move || {
                    // A defect in one statement must not end the instance.
                    let served = std::panic::catch_unwind(AssertUnwindSafe(|| {
                        connection::serve(&stream, instance, stop, open);
                    }));
                    if served.is_err() {
                        tracing::error!(
                            "A statement ended in a defect of the server; its connection is closed."
                        );
                    }
                    clients.leave(number);
                };
                let spawned = std::thread::Builder::new()
                    .name(format!("admin-{number}"))
                    .spawn_scoped(scope, serve);
                if let Err(error) = spawned {
                    tracing::error!(%error, "No thread for an admin connection");
                    clients.leave(number);
                }
            };
            self.stop.stop();
            let open = clients.lock();
            let (open, _) = clients
                .one_left
                .wait_timeout_while(open, GRACE, |open| !open.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            for stream in open.values() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            result
        })
    }

    /// The next client, or nothing when stopped.
    fn accept(&self) -> io::Result<Option<UnixStream>> {
        loop {
            if self.stop.is_stopped() {
                return Ok(None);
            }
            let mut polled = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(self.stop.event(), PollFlags::IN),
            ];
            match poll(&mut polled, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            match self.socket.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(Some(stream));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The client may be gone already, or descriptors may be short for a while.
                Err(error) => {
                    tracing::warn!(%error, "An admin connection was not accepted");
                    std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }
}
