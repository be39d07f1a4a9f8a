//! The thin binary over the library: it reads the command line and hands over.

use std::process::ExitCode;

use clap::Parser as _;
use dbmirror::cli::{Cli, Command};
use dbmirror::{exit, pair, provision, quickstart, serve, sqlcmd, test_connection};

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
        Command::Quickstart(args) => {
            let options = quickstart::Options {
                dir: args.dir,
                database: args.database,
                exit: args.exit,
            };
            match quickstart::run(&options) {
                Ok(true) => exit::DONE,
                Ok(false) => exit::CHECK_FAILED,
                Err(failure) => {
                    eprintln!("dbmirror: {failure}");
                    exit::CHECK_FAILED
                }
            }
        }
        Command::QuickstartWriter(args) => {
            match quickstart::write_transactions(&args.file, args.transactions) {
                Ok(()) => exit::DONE,
                Err(failure) => {
                    eprintln!("dbmirror: {failure}");
                    exit::CHECK_FAILED
                }
            }
        }
    })
}
