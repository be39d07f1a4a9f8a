//! The thin binary over the library: it reads the command line and hands over.

use std::process::ExitCode;

use clap::Parser as _;
use dbmirror::cli::{Cli, Command};
use dbmirror::{pair, provision, quickstart, serve, sqlcmd, test_connection};

// A test build of the whole workspace may have it, a release never.
const _: () = assert!(
    cfg!(debug_assertions) || !dbmirror_core::SIMULATION,
    "core is built for the simulator: build the server by itself"
);

const _: () = assert!(
    dbmirror_core::PARTNER,
    "core is built for a device: a server has the roles of partners"
);

fn main() -> ExitCode {
    ExitCode::from(match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Sql(args) => sqlcmd::run(&args),
        Command::TestConnection(args) => test_connection::run(&args),
        Command::Rotate(args) => sqlcmd::run(&args.as_sql()),
        Command::Pair(args) => pair::run(&args),
        Command::Provision(args) => provision::run(&args),
        Command::Quickstart(args) => quickstart::run(&args),
        Command::QuickstartWriter(args) => quickstart::run_writer(&args),
    })
}
