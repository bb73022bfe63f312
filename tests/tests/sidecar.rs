//! The least that is a sidecar: it accepts what was captured and connects to where it was bound.

use anyhow::Result;
use nix::{
    sys::{
        prctl,
        signal::Signal,
        socket::{
            AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind,
            getsockopt, setsockopt, socket, sockopt,
        },
    },
    unistd::{Uid, setuid},
};
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream},
    os::fd::AsRawFd,
    thread,
};
use tests::{
    istio::{Capture, ISTIO},
    link,
    pod::Pod,
    task::{self, Task},
    traffic::{Mode::NonBlocking, Stream, listen},
};

/// Istio's. Runs until the task is dropped.
pub fn start(pod: &Pod) -> Result<Task<()>> {
    start_as(pod, &ISTIO)
}

/// That of a mesh which captures otherwise.
pub fn start_as(pod: &Pod, capture: &Capture) -> Result<Task<()>> {
    // 127.0.0.6 is there already; istio-init adds its like for IPv6 so.
    pod.run(|| link::add_address("lo", "::6/128".parse()?))?;
    let ready = task::Signal::new()?;
    let task = pod.spawn(|| {
        let Capture { uid, outbound, inbound, tproxy } = *capture;
        let mut listeners = Vec::new();
        for port in [outbound, inbound] {
            let listener = listen((Ipv6Addr::UNSPECIFIED, port), NonBlocking)?;
            setsockopt(&listener, sockopt::IpTransparent, &(tproxy && port == inbound))?;
            listeners.push((listener, port == inbound));
        }
        setuid(Uid::from_raw(uid))?;
        // A change of user clears it.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        thread::scope(|scope| -> Result<()> {
            for (listener, inbound) in listeners {
                scope.spawn(move || {
                    while let Ok(stream) = Stream::accept(&listener, NonBlocking) {
                        thread::spawn(move || forward(stream, inbound, tproxy));
                    }
                });
            }
            ready.raise()
        })
    })?;
    ready.wait()?;
    Ok(task)
}

fn forward(mut down: Stream, inbound: bool, tproxy: bool) -> Result<()> {
    let to = if inbound && tproxy {
        let to = down.socket.local_addr()?;
        SocketAddr::new(to.ip().to_canonical(), to.port())
    } else {
        original_destination(&down.socket)?
    };
    let mut up = upstream(to, inbound)?;
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
