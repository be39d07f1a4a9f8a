//! A session by itself, without connections.

mod answers;
mod greeting;
mod steps;
mod table;
mod waking;
