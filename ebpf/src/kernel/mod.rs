//! What the kernel has: its structures, read by the offsets that its BTF gives.

pub mod clock;
pub mod fields;
pub mod memory;
pub mod option;
pub mod psock;
pub mod sock;
pub mod task;
pub mod waitqueue;
