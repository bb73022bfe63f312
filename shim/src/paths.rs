//! Where shunt keeps things on a node. All of it can be set, so that two can live side by side.

/// Pin folder, on a bpffs.
pub const PINS: &str = "/sys/fs/bpf/shunt";
/// Held while the datapath is changed.
pub const LOCK: &str = "/run/shunt.lock";
