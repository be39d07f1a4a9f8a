//! The dbmirror instance: Transact-SQL, catalog, daemon, command line.
pub mod engine;
