//! What shunt keeps: maps, and what is known of sockets.

pub mod callbacks;
pub mod flow;
pub mod listener;
pub mod maps;
pub mod marks;
pub mod shared;
pub mod sockhash;
