//! Where the kernel calls shunt.

pub mod connect;
pub mod handshake;
pub mod inspect;
pub mod message;
pub mod setsockopt;
pub mod sock_create;
pub mod sock_ops;
pub mod trial;
pub mod watch;
pub mod watch_functions;
pub mod watch_syscalls;
