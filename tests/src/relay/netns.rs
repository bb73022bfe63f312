//! Sockets in the network namespaces of others: one thread goes there and comes back.

use crate::{
    ambient::PROXY_MARK,
    istio::{INBOUND, OUTBOUND},
};
use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{getsockopt, setsockopt, sockopt},
};
use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::Path,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub struct Netns {
    there: File,
    home: File,
}

impl Netns {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { there: File::open(path)?, home: File::open("/proc/self/ns/net")? })
    }

    fn within<T>(&self, does: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        setns(&self.there, CloneFlags::CLONE_NEWNET)?;
        let done = does();
        setns(&self.home, CloneFlags::CLONE_NEWNET)?;
        done
    }

    /// Beside others of its like that listen there.
    pub fn listen(&self, port: u16) -> io::Result<TcpListener> {
        self.within(|| {
            let socket = own_socket()?;
            socket.set_reuseport(true)?;
            socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
            socket.listen(1024)
        })
    }

    /// `from`: the address that it shall seem to come from.
    pub async fn connect(&self, from: Option<Ipv4Addr>, to: SocketAddrV4) -> io::Result<TcpStream> {
        let socket = self.within(|| {
            let socket = own_socket()?;
            if let Some(from) = from {
                socket.bind((from, 0).into())?;
            }
            Ok(socket)
        })?;
        let stream = socket.connect(to.into()).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

fn own_socket() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    setsockopt(&socket, sockopt::IpTransparent, &true)?;
    setsockopt(&socket, sockopt::Mark, &PROXY_MARK)?;
    Ok(socket)
}

/// Where a captured connection wanted to go. None: nowhere else, so that it would come back for ever.
pub fn destination(stream: &TcpStream) -> io::Result<Option<SocketAddrV4>> {
    let to = getsockopt(stream, sockopt::OriginalDst)?;
    let to = SocketAddrV4::new(u32::from_be(to.sin_addr.s_addr).into(), u16::from_be(to.sin_port));
    Ok(Some(to).filter(|to| !matches!(to.port(), INBOUND | OUTBOUND)))
}

/// Whom a connection is from.
pub fn source(stream: &TcpStream) -> io::Result<Ipv4Addr> {
    match stream.peer_addr()? {
        SocketAddr::V4(from) => Ok(*from.ip()),
        SocketAddr::V6(from) => Err(io::Error::other(format!("{from} is no IPv4 address"))),
    }
}
