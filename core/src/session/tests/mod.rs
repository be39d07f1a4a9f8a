//! A session by itself, without connections.

mod greeting;
mod table;
