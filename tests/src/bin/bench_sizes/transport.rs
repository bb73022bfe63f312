//! By plain TCP and the short way the same sockets; by AF_UNIX what nothing of shunt's touches.

use crate::cell::Load;
use anyhow::Result;
use libc::linger;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrLike,
        UnixAddr, bind, connect, listen, setsockopt, socket, sockopt,
    },
};
use std::os::fd::{AsRawFd as _, OwnedFd};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a pod that shunt never heard of.
    Plain,
    Unix,
    /// In a pod that is accelerated.
    Shunt,
    /// In a pod that shunt only looks at.
    Observed,
    /// In a pod with a textbook accelerator.
    Textbook,
}

pub const TRANSPORTS: [Transport; 5] =
    [Transport::Plain, Transport::Unix, Transport::Shunt, Transport::Observed, Transport::Textbook];

/// Of [`Load::SmallBuffers`], bytes.
const SMALL: usize = 64 << 10;

impl Transport {
    /// Whether it bears that load: what knows no bounds would fill the memory.
    pub fn bears(self, load: Load) -> bool {
        self != Transport::Textbook || load == Load::Echo
    }

    fn address(self, load: Load) -> Result<Box<dyn SockaddrLike>> {
        let port = 9000 + load as u16;
        Ok(match self {
            Transport::Unix => Box::new(UnixAddr::new_abstract(&port.to_be_bytes())?),
            _ => Box::new(SockaddrIn::new(127, 0, 0, 1, port)),
        })
    }

    fn socket(self, load: Load) -> Result<OwnedFd> {
        let family = match self {
            Transport::Unix => AddressFamily::Unix,
            _ => AddressFamily::Inet,
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
        bind(fd.as_raw_fd(), &*self.address(load)?)?;
        listen(&fd, Backlog::new(128)?)?;
        Ok(fd)
    }

    pub fn connect(self, load: Load) -> Result<OwnedFd> {
        let fd = self.socket(load)?;
        match connect(fd.as_raw_fd(), &*self.address(load)?) {
            // On loopback TCP is connected by then.
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        if self != Transport::Unix {
            setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
        }
        Ok(fd)
    }
}
