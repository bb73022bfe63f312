//! Two programs and one connection, or many, between them: without proxies.

pub mod cell;
pub mod client;
pub mod link;
pub mod place;
pub mod server;
pub mod stage;
