//! The seam between shunt and the kernel: the one crate that both sides compile.
//!
//! Without the feature `std` this is only [`layout`]: what the eBPF programs and user space must
//! agree on. With it (the default) come the means to load, pin, attach and read.
#![cfg_attr(not(feature = "std"), no_std)]

pub mod layout;

#[cfg(feature = "std")]
mod arch;
#[cfg(feature = "std")]
#[expect(unsafe_code, reason = "raw bpf(2)")]
mod bpf;
#[cfg(feature = "std")]
mod btf;
#[cfg(feature = "std")]
pub mod cgroup;
#[cfg(feature = "std")]
pub mod connections;
#[cfg(feature = "std")]
pub mod datapath;
#[cfg(feature = "std")]
pub mod drain;
#[cfg(feature = "std")]
mod ended;
#[cfg(feature = "std")]
pub mod habits;
#[cfg(feature = "std")]
mod jdk;
#[cfg(feature = "std")]
mod listeners;
#[cfg(feature = "std")]
pub mod load;
#[cfg(feature = "std")]
pub mod lock;
#[cfg(feature = "std")]
pub mod mptcp;
#[cfg(feature = "std")]
pub mod namespace;
#[cfg(feature = "std")]
pub mod neighbours;
#[cfg(feature = "std")]
pub mod paths;
#[cfg(feature = "std")]
pub mod pins;
#[cfg(feature = "std")]
pub mod place;
#[cfg(feature = "std")]
pub mod probe;
#[cfg(feature = "std")]
mod process;
#[cfg(feature = "std")]
pub mod refusal;
#[cfg(feature = "std")]
pub mod sleepers;
#[cfg(feature = "std")]
pub mod sweep;
#[cfg(feature = "std")]
mod trial;
#[cfg(feature = "std")]
pub mod watchers;
