//! Listeners that were there before their pod was attached, so that no program saw them listen.

use std::{collections::HashSet, fs, io::ErrorKind, net::SocketAddr, os::fd::OwnedFd};

use anyhow::Context as _;
use rustix::{
    fs::{OFlags, fcntl_getfl},
    io::Errno,
    net::{getsockname, ipproto, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use crate::{
    layout::{Listener, MAX_PROGRAM},
    process,
};

/// A socket that listens.
pub struct Found {
    /// What its process is called.
    pub name: [u8; MAX_PROGRAM],
    pub port: u16,
    /// As the program would have marked it that sees them listen.
    pub listener: Listener,
}

/// The listeners of some processes of one pod. A proxy of the node listens in the network namespaces of
/// others, so each socket is asked itself.
///
/// # Errors
/// Their descriptors may not be had (pidfd_getfd(2) needs the right to trace them; to list them, of
/// another user's process, takes CAP_DAC_READ_SEARCH).
pub fn of(processes: &[i32]) -> anyhow::Result<Vec<Found>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for pid in processes {
        let context = || format!("process {pid}");
        let name = process::name(*pid);
        let descriptors = descriptors(*pid).with_context(context)?;
        let has_ring = descriptors.iter().any(|(_, what)| what == "anon_inode:[io_uring]");
        for (number, what) in descriptors {
            if !what.starts_with("socket:") || !seen.insert(what) {
                continue;
            }
            let Some(socket) = descriptor(*pid, number).with_context(context)? else { continue };
            if let Some((kind, port)) = listens(&socket)? {
                let blocks = !fcntl_getfl(&socket)?.contains(OFlags::NONBLOCK);
                let obscure = (has_ring || blocks).into();
                let listener = Listener { kind, obscure, ..Listener::default() };
                found.push(Found { name, port, listener });
            }
        }
    }
    Ok(found)
}

/// A process's descriptors, and what they are. None, if it has ended.
fn descriptors(pid: i32) -> anyhow::Result<Vec<(i32, String)>> {
    let descriptors = match fs::read_dir(process::folder(pid).join("fd")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        descriptors => descriptors.context("its descriptors")?,
    };
    let named = descriptors.flatten().filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, target))
    });
    Ok(named.collect())
}

/// `None`: it was closed meanwhile.
fn descriptor(pid: i32, number: i32) -> anyhow::Result<Option<OwnedFd>> {
    let process = Pid::from_raw(pid).context("no process")?;
    let got = pidfd_open(process, PidfdFlags::empty())
        .and_then(|process| pidfd_getfd(process, number, PidfdGetfdFlags::empty()));
    match got {
        Err(Errno::SRCH | Errno::BADF) => Ok(None),
        got => Ok(Some(got.context("pidfd_getfd")?)),
    }
}

/// Whose it is, and where it listens.
fn listens(socket: &OwnedFd) -> anyhow::Result<Option<(u32, u16)>> {
    let kind = match sockopt::socket_protocol(socket)? {
        Some(ipproto::TCP) => Listener::PLAIN,
        Some(ipproto::MPTCP) => Listener::MPTCP,
        _ => return Ok(None),
    };
    if !sockopt::socket_acceptconn(socket)? {
        return Ok(None);
    }
    Ok(match getsockname(socket)?.try_into() {
        Ok(SocketAddr::V4(address)) => Some((kind, address.port())),
        Ok(SocketAddr::V6(address)) => Some((kind, address.port())),
        Err(_) => None,
    })
}
