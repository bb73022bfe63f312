//! Why a pod is not accelerated.

use std::path::PathBuf;

/// None of these may fail the pod: they are logged and counted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{} is not on a bpffs: mount one with `mount -t bpf bpf /sys/fs/bpf`", .0.display())]
    NoBpffs(PathBuf),
    #[error("{} was pinned with another layout: {detail}", pin.display())]
    Layout { pin: PathBuf, detail: String },
    #[error("no cgroup for the pod: {0:#}")]
    NoCgroup(anyhow::Error),
    #[error(
        "a sock_ops program on {} or above it allows no other: see `bpftool cgroup tree`",
        cgroup.display()
    )]
    ForeignProgram { cgroup: PathBuf },
    #[error("the map {0} is full")]
    Full(&'static str),
    #[error("the container's id and interface name are longer than {0} bytes")]
    NameTooLong(usize),
    #[error("{0:#}")]
    Kernel(#[from] anyhow::Error),
}
