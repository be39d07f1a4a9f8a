//! What a driver drives: connections, channels, messages and sessions composed.
