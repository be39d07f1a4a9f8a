//! Whole-system tests: real `dbmirror` processes, real SQLite files, third-party peers, `kill -9`.
//!
//! Each test binds loopback addresses of its own (127.x.0.1, .2, …), so that all of them run side by side although the
//! documented scripts name one port.

mod admission;
mod backups;
mod crash;
mod damage;
mod databases;
mod encryption;
mod files;
mod hostile;
mod identity;
mod instance;
mod keys;
mod mirroring;
mod openssl;
mod openssl_keys;
mod pairing;
mod principals;
mod provision;
mod quickstart;
mod rotation;
mod secrets;
mod sql_client;
mod strangers;
mod witness;
