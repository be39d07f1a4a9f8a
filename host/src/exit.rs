//! Exit codes of the `dbmirror` command, fixed from the first release (`docs/operations.md`, "Exit codes").

/// Everything that was asked for was done.
pub const DONE: u8 = 0;
/// A statement failed: an error of severity above 10 was reported, or a script could not be understood.
pub const STATEMENT_ERROR: u8 = 1;
/// The command line is wrong, a file named on it cannot be read or written, or the output cannot be written.
pub const USAGE: u8 = 2;
/// The instance could not be reached, or the connection to it was lost.
pub const NOT_REACHED: u8 = 3;
/// Another process serves the data directory.
pub const DIRECTORY_IN_USE: u8 = 4;
/// The data directory cannot be used, or belongs to another instance.
pub const DIRECTORY_UNUSABLE: u8 = 5;
/// A check that the command was asked to make did not pass.
pub const CHECK_FAILED: u8 = 6;
