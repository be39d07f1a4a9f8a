//! The dbmirror instance: Transact-SQL, catalog, daemon, command line.
pub mod admin;
pub mod backup;
pub mod catalog;
pub mod cli;
pub mod engine;
pub mod errorlog;
pub mod exec;
pub mod exit;
pub mod instance;
pub mod messages;
pub mod pair;
pub mod quickstart;
pub mod rotation;
pub mod serve;
pub mod sqlcmd;
mod steps;
pub mod test_connection;
pub mod tsql;
