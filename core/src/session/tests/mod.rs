//! A session by itself, without connections.

mod answers;
mod greeting;
mod saying;
mod seeds;
mod steps;
mod table;
mod waking;
