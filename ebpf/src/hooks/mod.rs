//! Where the kernel calls shunt.

pub mod handshake;
pub mod inspect;
pub mod message;
pub mod setsockopt;
pub mod sock_ops;
pub mod watch;
