//! What this kernel can do, found by trying it.

use std::os::fd::AsFd as _;

use anyhow::Context as _;
use aya_obj::generated::bpf_attach_type::BPF_CGROUP_SOCK_OPS;

use crate::{bpf, btf, cgroup::Cgroup, load, watchers::Found};

/// # Errors
/// Which field of the kernel's structures is missing, or BTF as a whole.
pub fn fields() -> anyhow::Result<()> {
    btf::offsets().map(drop)
}

/// Whether the kernel takes the programs and their maps, how programs can be watched, and what
/// FIONREAD counts. Nothing is left behind.
///
/// # Errors
/// What it refuses.
pub fn programs() -> anyhow::Result<Found> {
    load::try_out()
}

/// How sock_ops programs are attached to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    None,
    /// With others, as shunt's are.
    Multi,
    /// One, which a pod's own takes the place of.
    Overridable,
    /// One that allows no other below it.
    Exclusive,
}

/// # Errors
/// The kernel refuses to tell.
pub fn sock_ops(cgroup: &Cgroup) -> anyhow::Result<Attached> {
    let (flags, programs) = bpf::query(cgroup.as_fd(), BPF_CGROUP_SOCK_OPS)
        .with_context(|| cgroup.path.display().to_string())?;
    Ok(match flags {
        _ if programs.is_empty() => Attached::None,
        // BPF_F_ALLOW_OVERRIDE and BPF_F_ALLOW_MULTI of linux/bpf.h.
        flags if flags & 2 != 0 => Attached::Multi,
        flags if flags & 1 != 0 => Attached::Overridable,
        _ => Attached::Exclusive,
    })
}

/// Whether net_cls and net_prio of cgroup v1 take a socket's place in cgroup v2 away once they are
/// used (until 5.15, which gave each a field of its own).
pub fn net_cls_takes_over() -> anyhow::Result<bool> {
    btf::has_field("sock_cgroup_data", "is_data")
}
