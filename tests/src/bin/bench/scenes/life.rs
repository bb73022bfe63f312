//! Connections that come, go away, stay without use, or are on a full node.

pub mod connect;
pub mod crowd;
pub mod idle;
pub mod leaving;
pub mod populated;
