//! A session by itself, without connections.

mod greeting;
mod steps;
mod table;
mod waking;
