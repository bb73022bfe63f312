//! What this kernel does right, found with a pair of sockets of one's own in a sockhash of one's own.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use anyhow::Context as _;
use aya::{Ebpf, maps::Map, programs::SkMsg};

use crate::{
    bpf,
    layout::{Fionread, name},
};

/// Bits of [`Fionread`]: in which cases FIONREAD tells all that can be read.
///
/// # Errors
/// The kernel refuses the program, or there is no loopback device to try it with.
pub fn fionread(ebpf: &mut Ebpf) -> anyhow::Result<u64> {
    let redirects: &mut SkMsg = ebpf.program_mut(name::TRIAL).context(name::TRIAL)?.try_into()?;
    redirects.load()?;
    let program = redirects.fd()?.try_clone()?;
    let Some(Map::SockHash(sockets)) = ebpf.map(name::SOCKETS) else {
        anyhow::bail!("the object has no {}", name::SOCKETS);
    };
    let sockets = sockets.fd().as_fd();
    bpf::attach_sk_msg(program.as_fd(), sockets).context("attach")?;
    let (mut sender, mut reader) = pair()?;
    let enter = |key: u64, socket: &TcpStream| {
        bpf::update(sockets, key, socket.as_raw_fd() as u64).context("enter a socket")
    };
    let mut right = 0;
    let mut case = |bit, reader: &TcpStream, there: u64| -> anyhow::Result<()> {
        if rustix::io::ioctl_fionread(reader)? == there {
            right |= bit;
        }
        Ok(())
    };
    enter(0, &reader)?;
    sender.write_all(b"by TCP ")?;
    reader.peek(&mut [0]).context("by TCP")?;
    case(Fionread::TCP_ONLY, &reader, 7)?;
    enter(1, &sender)?;
    sender.write_all(b"short")?;
    case(Fionread::BOTH, &reader, 12)?;
    // What was redirected comes first.
    reader.read_exact(&mut [0; 5])?;
    case(Fionread::DRAINED, &reader, 7)?;
    reader.read_exact(&mut [0; 7])?;
    sender.write_all(b"alone")?;
    case(Fionread::REDIRECTED_ONLY, &reader, 5)?;
    Ok(right)
}

fn pair() -> anyhow::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen on loopback")?;
    let address = listener.local_addr()?;
    let patience = Duration::from_secs(1);
    let sender = TcpStream::connect_timeout(&address, patience).context("connect by loopback")?;
    let (reader, _) = listener.accept()?;
    reader.set_read_timeout(Some(patience))?;
    Ok((sender, reader))
}
