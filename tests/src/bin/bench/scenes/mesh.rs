//! Through two Envoys: what a mesh's requests gain.

pub mod blocking;
pub mod cell;
pub mod fortio;
pub mod grpc;
pub mod http;
pub mod program;
pub mod stage;
pub mod tcp;
