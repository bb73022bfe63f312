//! The least that is a sidecar: it accepts what was captured and connects to where it was bound.

use anyhow::Result;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind, getsockopt,
    socket, sockopt,
};
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream},
    os::fd::AsRawFd,
    process::Command,
    thread,
};
use tests::{
    istio::{INBOUND, OUTBOUND, PROXY_UID},
    pod::Pod,
    task::{Signal, Task},
    traffic::{Mode::NonBlocking, Stream, listen},
};

/// Runs until the task is dropped.
pub fn start(pod: &Pod) -> Result<Task<()>> {
    // 127.0.0.6 is there already; istio-init adds its like for IPv6 so.
    let add = || {
        Ok(Command::new("ip")
            .args(["addr", "add", "::6/128", "dev", "lo"])
            .output()?
            .status
            .success())
    };
    pod.run(add)?;
    let ready = Signal::new()?;
    let task = pod.spawn_as(PROXY_UID, || {
        thread::scope(|scope| -> Result<()> {
            for port in [OUTBOUND, INBOUND] {
                let listener = listen((Ipv6Addr::UNSPECIFIED, port), NonBlocking)?;
                scope.spawn(move || {
                    while let Ok(stream) = Stream::accept(&listener, NonBlocking) {
                        thread::spawn(move || forward(stream, port == INBOUND));
                    }
                });
            }
            ready.raise()
        })
    })?;
    ready.wait()?;
    Ok(task)
}

fn forward(mut down: Stream, inbound: bool) -> Result<()> {
    let mut up = upstream(original_destination(&down.socket)?, inbound)?;
    let (mut down2, mut up2) = (down.try_clone()?, up.try_clone()?);
    let back = thread::spawn(move || pump(&mut up2, &mut down2));
    pump(&mut down, &mut up)?;
    back.join().expect("no panic")
}

fn pump(from: &mut Stream, to: &mut Stream) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(to.shutdown(Shutdown::Write)?);
        }
        to.write_all(&buffer[..read])?;
    }
}

fn original_destination(stream: &TcpStream) -> Result<SocketAddr> {
    Ok(match stream.peer_addr()?.ip().to_canonical() {
        IpAddr::V4(_) => {
            let to = SockaddrIn::from(getsockopt(stream, sockopt::OriginalDst)?);
            SocketAddr::new(to.ip().into(), to.port())
        }
        IpAddr::V6(_) => {
            let to = SockaddrIn6::from(getsockopt(stream, sockopt::Ip6tOriginalDst)?);
            SocketAddr::new(to.ip().into(), to.port())
        }
    })
}

/// Inbound connections have a source that the rules let pass, as Istio's have.
fn upstream(to: SocketAddr, inbound: bool) -> Result<Stream> {
    if !inbound {
        return Stream::connect(to, NonBlocking);
    }
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK, None)?;
    let from = if to.is_ipv4() { "127.0.0.6:0" } else { "[::6]:0" };
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from.parse::<SocketAddr>()?))?;
    Stream::connect_with(fd, to)
}
