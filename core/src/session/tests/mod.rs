//! A session by itself, without connections.

mod table;
