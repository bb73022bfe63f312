//! Listeners that were there before their pod was attached, so that no program saw them listen.

use std::{
    collections::HashSet,
    fs,
    io::ErrorKind,
    net::SocketAddr,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use anyhow::Context as _;
use rustix::{
    net::{SocketAddrAny, getsockname, ipproto, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use crate::{
    bpf,
    layout::{MAX_PROGRAM, listener, padded},
};

/// Marks the listeners of some processes of one pod that are TCP's own and not MPTCP's, as the program
/// would have that sees them listen. What their processes are called, and their ports.
///
/// # Errors
/// Their descriptors may not be had (pidfd_getfd(2) needs the right to trace them; to list them, of
/// another user's process, takes CAP_DAC_READ_SEARCH).
pub fn adopt(
    listeners: BorrowedFd,
    processes: &[i32],
) -> anyhow::Result<Vec<([u8; MAX_PROGRAM], u16)>> {
    let mut seen = HashSet::new();
    let mut marked = Vec::new();
    for pid in processes {
        let proc = Path::new("/proc").join(pid.to_string());
        let comm = fs::read(proc.join("comm")).unwrap_or_default();
        let name = padded(comm.trim_ascii_end()).unwrap_or_default();
        let listening = listening(&proc);
        let descriptors = match fs::read_dir(proc.join("fd")) {
            // It has ended meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            descriptors => descriptors.with_context(|| format!("descriptors of process {pid}"))?,
        };
        for entry in descriptors.flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let target = target.to_string_lossy().into_owned();
            let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            if !inode.is_some_and(|inode| listening.contains(inode)) || !seen.insert(target) {
                continue;
            }
            let number = entry.file_name().to_string_lossy().parse().unwrap_or(-1);
            let socket = descriptor(*pid, number).with_context(|| format!("process {pid}"))?;
            if let Some(port) = port(&socket)? {
                let key = socket.as_raw_fd();
                let mark = listener::PLAIN | listener::WAITS;
                bpf::update(listeners, key, mark).context("cannot mark a listener")?;
                marked.push((name, port));
            }
        }
    }
    Ok(marked)
}

/// Inodes of the listening sockets in the process's network namespace.
fn listening(proc: &Path) -> HashSet<String> {
    const LISTEN: &str = "0A";
    let tables = ["net/tcp", "net/tcp6"].map(|table| fs::read_to_string(proc.join(table)));
    let lines = tables.iter().flatten().flat_map(|table| table.lines());
    // Documentation/networking/proc_net_tcp.rst
    lines
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(3) == Some(&LISTEN))
        .filter_map(|fields| fields.get(9).map(|inode| (*inode).to_owned()))
        .collect()
}

fn descriptor(pid: i32, number: i32) -> anyhow::Result<OwnedFd> {
    let process = Pid::from_raw(pid).context("no process")?;
    let process = pidfd_open(process, PidfdFlags::empty()).context("pidfd_open")?;
    pidfd_getfd(process, number, PidfdGetfdFlags::empty()).context("pidfd_getfd")
}

/// Where it listens, if it is TCP's own.
fn port(socket: &OwnedFd) -> anyhow::Result<Option<u16>> {
    let is_tcp = sockopt::socket_protocol(socket)? == Some(ipproto::TCP);
    if !is_tcp || !sockopt::socket_acceptconn(socket)? {
        return Ok(None);
    }
    Ok(match SocketAddrAny::from(getsockname(socket)?).try_into() {
        Ok(SocketAddr::V4(address)) => Some(address.port()),
        Ok(SocketAddr::V6(address)) => Some(address.port()),
        Err(_) => None,
    })
}
