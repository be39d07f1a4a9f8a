//! The dbmirror instance: Transact-SQL, catalog, daemon, command line.
pub mod admin;
pub mod cli;
pub mod engine;
pub mod exit;
pub mod sqlcmd;
pub mod tsql;
