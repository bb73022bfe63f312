//! What shunt keeps: maps, and what is known of sockets and programs.

pub mod callbacks;
pub mod connecting;
pub mod current;
pub mod flow;
pub mod habits;
pub mod listener;
pub mod maps;
pub mod pending;
pub mod shared;
pub mod sockhash;
