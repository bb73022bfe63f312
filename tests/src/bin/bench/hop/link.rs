//! How the two programs reach each other: what they do is the same.

use super::cell::Load;
use anyhow::Result;
use libc::linger;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrLike,
        UnixAddr, bind, connect, listen, setsockopt, socket, sockopt,
    },
};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd as _, OwnedFd},
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// By AF_UNIX, which nothing of shunt's touches.
    Unix,
    /// By TCP, to that address.
    Tcp(Ipv4Addr),
}

/// Of [`Load::SmallBuffers`], bytes.
const SMALL: usize = 64 << 10;
const FIRST_PORT: u16 = 9000;

/// Of all loads.
pub fn ports() -> impl Iterator<Item = u16> {
    Load::ALL.into_iter().map(port)
}

fn port(load: Load) -> u16 {
    FIRST_PORT + load as u16
}

impl Link {
    fn address(self, load: Load, ip: Ipv4Addr) -> Result<Box<dyn SockaddrLike>> {
        let port = port(load);
        Ok(match self {
            Link::Unix => Box::new(UnixAddr::new_abstract(&port.to_be_bytes())?),
            Link::Tcp(_) => Box::new(SockaddrIn::from(SocketAddrV4::new(ip, port))),
        })
    }

    fn socket(self, load: Load) -> Result<OwnedFd> {
        let family = match self {
            Link::Unix => AddressFamily::Unix,
            Link::Tcp(_) => AddressFamily::Inet,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Stream, flags, None::<SockProtocol>)?;
        if load == Load::Beside {
            // Else what nobody reads would outlive it.
            setsockopt(&fd, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
        }
        if load == Load::SmallBuffers {
            setsockopt(&fd, sockopt::SndBuf, &SMALL)?;
            setsockopt(&fd, sockopt::RcvBuf, &SMALL)?;
        }
        Ok(fd)
    }

    pub fn listen(self, load: Load) -> Result<OwnedFd> {
        let fd = self.socket(load)?;
        bind(fd.as_raw_fd(), &*self.address(load, Ipv4Addr::UNSPECIFIED)?)?;
        listen(&fd, Backlog::new(128)?)?;
        Ok(fd)
    }

    /// It can be written to once it is connected.
    pub fn connect(self, load: Load) -> Result<OwnedFd> {
        let fd = self.socket(load)?;
        let to = match self {
            Link::Unix => Ipv4Addr::UNSPECIFIED,
            Link::Tcp(to) => to,
        };
        match connect(fd.as_raw_fd(), &*self.address(load, to)?) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        if self != Link::Unix {
            setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
        }
        Ok(fd)
    }
}
