//! `dbmirror serve`: one instance, from the first start to SIGTERM.

use std::io::Write as _;
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::admin::{Listener, Session};
use crate::cli::ServeArgs;
use crate::exec::SqlSession;
use crate::exit;
use crate::instance::{Instance, Options, StartError};
use crate::messages::M50108;
use crate::terminal::complain;

/// Runs an instance until it is told to end; returns the exit code.
#[must_use]
pub fn run(args: &ServeArgs) -> u8 {
    match serve(args) {
        Ok(()) => exit::DONE,
        Err(error) => {
            complain(format_args!("dbmirror: {error}"));
            error.exit_code()
        }
    }
}

fn serve(args: &ServeArgs) -> Result<(), StartError> {
    let unusable =
        |what: &'static str| move |error: std::io::Error| StartError::Unusable(format!("{what}: {error}"));
    // Before anything is started: a signal that comes early is not lost.
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])
        .map_err(unusable("signals cannot be received"))?;
    let options = Options {
        dir: args.data.clone(),
        name: args.name.clone(),
        bind: args.bind,
        service_key: args.service_key.clone(),
        new_service_key: args.new_service_key,
        offline: false,
    };
    no_core_dumps();
    end_with_a_defect();
    let instance = Instance::start(&options, args.quiet)?;
    let listener = Listener::bind(instance.dir().root())
        .map_err(unusable("the admin socket cannot be made"))
        .inspect_err(|error| tracing::error!("The instance did not start: {error}"))?;
    let stopper = listener.stopper();
    let receiver = signals.handle();
    let waiter = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                tracing::info!(signal, "the instance was told to end");
            }
            stopper.stop();
        })
        .map_err(unusable("no thread can be started"))?;
    print_ready(&instance);
    let open = |_| -> Box<dyn Session> { Box::new(SqlSession::new(Arc::clone(&instance))) };
    let ended = listener.run(instance.name(), open);
    receiver.close();
    let _ = waiter.join();
    instance.stop();
    let _ = std::fs::remove_file(instance.dir().admin_socket());
    crate::errorlog::raised(&M50108.inform(&[&instance.name()]));
    ended.map_err(unusable("the admin socket failed"))
}

/// Keys and passwords are in this process's memory: no file of it is written when it crashes, and no other process of
/// the same user looks into it.
fn no_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let limited = setrlimit(Resource::Core, nothing);
    let closed = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if let Err(error) = limited.and(closed) {
        // Refused by a sandbox, say: the instance is as useful, and the operator knows.
        complain(format_args!(
            "dbmirror: core dumps could not be disabled: {error}"
        ));
    }
}

/// Has a panic written into the error log, and lets it end the process unless it is in a statement, whose connection ends
/// instead: an instance without its loop, or without the thread of a database, would look alive and mirror nothing. Every
/// start reads again what is stored, as after `kill -9`.
fn end_with_a_defect() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("?");
        let place = panic
            .location()
            .map_or_else(|| "?".to_owned(), ToString::to_string);
        tracing::error!("A defect of the server at {place}, in the thread '{name}'.");
        if !name.starts_with("admin-") {
            std::process::abort();
        }
    }));
}

/// `ready name=N admin=PATH endpoint=ADDR:PORT|none pid=N`
fn print_ready(instance: &Instance) {
    let endpoint = instance
        .engine()
        .endpoint_address()
        .map_or_else(|| "none".to_owned(), |address| address.to_string());
    let line = format!(
        "ready name={} admin={} endpoint={endpoint} pid={}\n",
        instance.name(),
        instance.dir().admin_socket().display(),
        std::process::id()
    );
    // Whoever started the instance may have gone: it serves all the same.
    let mut out = std::io::stdout();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
