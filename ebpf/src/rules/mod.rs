//! One rule a file: whether a message may take the short way, and whether a socket may stay.

pub mod admit;
pub mod budget;
pub mod bulk;
pub mod heartbeat;
pub mod order;
pub mod overruled;
pub mod peek;
pub mod reader;
pub mod size;
pub mod stay;
pub mod trust;
pub mod tunnel;
pub mod verdict;
pub mod wakeup;
pub mod worth;
