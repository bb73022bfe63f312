//! One hop: what two programs gain without proxies between them.

pub mod cells;
pub mod loopback;
pub mod veth;
