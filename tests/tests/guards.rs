//! What a socket must not lose by being accelerated: refused, left to TCP, or watched for.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::{
    errno::Errno,
    fcntl::{SpliceFFlags, splice},
    poll::PollFlags,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socket},
    unistd::pipe,
};
use shim::layout::name;
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};
use tests::{
    bpftool, needs,
    node::Node,
    pod::{Pod, PodSpec},
    smc, sockopt,
    task::{Signal, Task},
    traffic::{Mode::NonBlocking, PORT, Pace, Pattern, Stream, converse, listen, receive, send},
    trial,
};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("guards::options_are_refused", options_are_refused),
        trial("guards::zerocopy_stays_tcp", zerocopy_stays_tcp),
        // On arm64's 5.10 and 6.1, emulated, it comes to no end, for a reason that is not known.
        needs(
            trial("guards::smc_stays_tcp", smc_stays_tcp),
            smc::socket().is_ok() && !cfg!(target_arch = "aarch64"),
            "no SMC, or arm64",
        ),
        trial("guards::unanswered_leaves", unanswered_leaves),
        trial("guards::unaccepted_leaves", unaccepted_leaves),
        trial("guards::full_sockhash_is_tcp", full_sockhash_is_tcp),
        trial("guards::splicing_proxy", splicing_proxy),
        trial("guards::splices_and_closes", splices_and_closes),
        trial("guards::turns_to_splice", turns_to_splice),
        trial("guards::urgent_data", urgent_data),
    ]
}

const THERE: Pattern = Pattern { seed: 31 };
const BACK: Pattern = Pattern { seed: 32 };
const ANY: Pace = Pace { largest: 1 << 16, pause_every: 0 };

/// So many bytes each way, in turn: then both directions are on the short way.
fn warm(stream: &mut Stream, first: bool) -> Result<()> {
    for turn in 0..20 {
        if (turn % 2 == 0) == first {
            stream.write_all(b"warm")?;
        } else {
            stream.read_exact(&mut [0; 4])?;
        }
    }
    Ok(())
}

/// What becomes of TCP_ULP and SO_ZEROCOPY on a connected socket.
fn options(stream: &Stream) -> [Option<i32>; 2] {
    let ulp = sockopt::set_ulp(&stream.socket, "tls").err();
    let zerocopy = sockopt::set_zerocopy(&stream.socket).err();
    [ulp, zerocopy].map(|error| error.and_then(|error| error.raw_os_error()))
}

fn options_are_refused() -> Result<()> {
    let node = Node::new("options")?;
    let observe = |a: &Pod, b: &Pod| {
        let serve = |mut stream: Stream| {
            warm(&mut stream, false)?;
            stream.read_exact(&mut [0])?;
            Ok(options(&stream))
        };
        let drive = |mut stream: Stream| {
            warm(&mut stream, true)?;
            let seen = options(&stream);
            stream.write_all(b"!")?;
            Ok(seen)
        };
        let (served, driven) = converse((b, a), b.ipv4.into(), NonBlocking, serve, drive)?;
        Ok::<_, anyhow::Error>([driven, served])
    };
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let refused = Some(libc::EPERM);
    assert_eq!(observe(&a, &b)?, [[refused; 2]; 2]);
    for pod in [&a, &b] {
        assert_eq!(node.counters(pod)?.refused_options, 2);
    }
    // The same sockets by TCP keep both, where the kernel has them at all.
    let mut excluded = PodSpec::new("d");
    excluded.conf.insert("excludedPorts".into(), vec![PORT].into());
    let (c, d) = (node.outside("c")?, node.pod_with(excluded)?);
    let plain = observe(&c, &d)?;
    ensure!(plain.iter().flatten().all(|error| *error != refused), "{plain:?}");
    assert_eq!(plain[0][1], None, "SO_ZEROCOPY by TCP");
    // A longer option than a program is shown reaches the kernel.
    let long = a.run(|| {
        let listener = listen((a.ipv4, PORT), NonBlocking)?;
        Ok(sockopt::set_raw(&listener, libc::SOL_SOCKET, libc::SO_RCVBUF, &[0; 8192]).is_ok())
    })?;
    assert!(long, "an option of 8192 bytes");
    Ok(())
}

/// SMC takes its sockets' bytes elsewhere where both ends have it, so they are not TCP's to hand over.
fn smc_stays_tcp() -> Result<()> {
    let node = Node::new("smc")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let to = SocketAddr::from((b.ipv4, PORT));
    let by_tcp = || Stream::connect(to, NonBlocking);
    let by_smc = || Stream::connect_with(smc::socket()?, to);
    for connect in [&by_tcp, &by_smc] as [&dyn Fn() -> Result<Stream>; 2] {
        let listening = Signal::new()?;
        let server: Task<()> = b.spawn(|| {
            let listener = smc::listen(to)?;
            listening.raise()?;
            warm(&mut Stream::accept(&listener, NonBlocking)?, false)
        })?;
        listening.wait()?;
        a.run(|| {
            let mut stream = connect()?;
            stream.socket.set_nonblocking(true)?;
            warm(&mut stream, true)
        })?;
        server.join()?;
    }
    let (client, server) = (node.counters(&a)?, node.counters(&b)?);
    ensure!(client.shunted.messages + server.shunted.messages == 0, "{client:?} {server:?}");
    ensure!(server.plain.listener == 2 && client.plain.listener == 1, "{client:?} {server:?}");
    Ok(())
}

/// Whoever asks for completions before the connection is made gets them.
fn zerocopy_stays_tcp() -> Result<()> {
    let node = Node::new("zerocopy")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let listening = Signal::new()?;
    let server = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        receive(&mut Stream::accept(&listener, NonBlocking)?, THERE, ANY)
    })?;
    listening.wait()?;
    let completions = a.run(|| {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        sockopt::set_zerocopy(&fd)?;
        let stream = Stream::connect_with(fd, SocketAddr::from((b.ipv4, PORT)))?;
        let mut message = vec![0; 10_000];
        THERE.fill(0, &mut message);
        sockopt::send_zerocopy(&stream.socket, &message)?;
        stream.shutdown(Shutdown::Write)?;
        Ok(sockopt::wait_for_completion(&stream.socket, Duration::from_secs(60))?)
    })?;
    assert_eq!(server.join()?, 10_000);
    assert_eq!(completions, 1);
    let counters = node.counters(&a)?;
    assert_eq!((counters.plain.zerocopy, counters.paired), (1, 0), "{counters:?}");
    Ok(())
}

/// An end whose peer takes no part leaves the sockhash with the first answer, and is TCP's then.
fn unanswered_leaves() -> Result<()> {
    let node = Node::new("unanswered")?;
    let a = node.pod("a")?;
    let mut excluding = PodSpec::new("b");
    excluding.conf.insert("excludedPorts".into(), vec![PORT].into());
    let b = node.pod_with(excluding)?;
    let (asked, go) = (Signal::new()?, Signal::new()?);
    let listening = Signal::new()?;
    let server = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        let mut stream = Stream::accept(&listener, NonBlocking)?;
        warm(&mut stream, false)?;
        asked.raise()?;
        go.wait()
    })?;
    listening.wait()?;
    let client = a.spawn(|| {
        let mut stream = Stream::connect((b.ipv4, PORT), NonBlocking)?;
        warm(&mut stream, true)?;
        let seen = options(&stream);
        go.wait()?;
        Ok(seen)
    })?;
    asked.wait()?;
    assert_eq!(node.sockets()?.len(), 0, "sockets in the sockhash");
    go.raise()?;
    go.raise()?;
    server.join()?;
    let [ulp, zerocopy] = client.join()?;
    assert!(ulp != Some(libc::EPERM) && zerocopy.is_none(), "{ulp:?} {zerocopy:?}");
    assert_eq!(node.counters(&a)?.not_paired.unanswered, 1);
    Ok(())
}

/// Sockets that nobody accepted leave with their listener; 5.10.80 to 5.10.221 forgot them.
fn unaccepted_leaves() -> Result<()> {
    let node = Node::new("unaccepted")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let (listening, stop) = (Signal::new()?, Signal::new()?);
    let server: Task<()> = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        stop.wait()?;
        drop(listener);
        Ok(())
    })?;
    listening.wait()?;
    a.run(|| {
        let mut streams = (0..20)
            .map(|_| Stream::connect((b.ipv4, PORT), NonBlocking))
            .collect::<Result<Vec<_>>>()?;
        for stream in &mut streams {
            stream.write_all(b"?")?;
        }
        ensure!(node.sockets()?.len() == 40, "{} in the sockhash", node.sockets()?.len());
        stop.raise()?;
        for stream in &mut streams {
            let error = stream.read(&mut [0]).err().map(|error| error.kind());
            ensure!(error == Some(ErrorKind::ConnectionReset), "{error:?}");
        }
        Ok(())
    })?;
    server.join()?;
    assert_eq!(node.sockets()?.len(), 0, "in the sockhash");
    Ok(())
}

/// No room is no error: plain TCP.
fn full_sockhash_is_tcp() -> Result<()> {
    let node = Node::new("full")?;
    // What is pinned is used, whatever its size.
    let pin = node.pin(name::SOCKETS);
    fs::create_dir_all(pin.parent().context("folder")?)?;
    let pin = pin.display().to_string();
    let map = ["type", "sockhash", "key", "8", "value", "8", "entries", "1", "name", name::SOCKETS];
    bpftool::text([["map", "create", &pin].as_slice(), &map].concat())?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let serve = |mut stream: Stream| receive(&mut stream, THERE, ANY);
    let drive = |mut stream: Stream| {
        send(&mut stream, THERE, 1 << 20, ANY)?;
        Ok(stream.shutdown(Shutdown::Write)?)
    };
    let (received, ()) = converse((&b, &a), b.ipv4.into(), NonBlocking, serve, drive)?;
    assert_eq!(received, 1 << 20);
    let counters = node.counters(&a)?;
    // The client's own end took the only place, so it is the server's that had none.
    assert_eq!(counters.shunted.messages, 0, "{counters:?}");
    assert_eq!(node.counters(&b)?.not_paired.full, 1);
    Ok(())
}

/// Moves what comes from one socket to another through a pipe, to the end of the stream.
pub fn pump(from: &Stream, to: &Stream) -> Result<()> {
    let (out, into) = pipe()?;
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    loop {
        let n = match splice(&from.socket, None, &into, None, 1 << 16, flags) {
            Ok(0) => return Ok(to.shutdown(Shutdown::Write)?),
            Ok(n) => n,
            Err(Errno::EAGAIN) => {
                from.wait(PollFlags::POLLIN)?;
                continue;
            }
            Err(errno) => return Err(errno.into()),
        };
        let mut left = n;
        while left > 0 {
            match splice(&out, None, &to.socket, None, left, flags) {
                Ok(n) => left -= n,
                Err(Errno::EAGAIN) => to.wait(PollFlags::POLLOUT)?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// As Go's io.Copy between TCP connections: from the first byte.
fn splicing_proxy() -> Result<()> {
    const TOTAL: u64 = 4 << 20;
    let node = Node::learning("proxy")?;
    let (client, proxy, server) = (node.pod("client")?, node.pod("proxy")?, node.pod("server")?);
    let (listening, proxying) = (Signal::new()?, Signal::new()?);
    let end = |mut stream: Stream, mine: Pattern, other: Pattern| -> Result<u64> {
        let mut writer = stream.try_clone()?;
        std::thread::scope(|scope| {
            let sending = scope.spawn(move || -> Result<()> {
                send(&mut writer, mine, TOTAL, Pace { largest: 1 << 14, pause_every: 40 })?;
                Ok(writer.shutdown(Shutdown::Write)?)
            });
            let received = receive(&mut stream, other, ANY);
            sending.join().expect("no panic")?;
            received
        })
    };
    let serving = server.spawn(|| {
        let listener = listen((server.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        end(Stream::accept(&listener, NonBlocking)?, BACK, THERE)
    })?;
    listening.wait()?;
    let pumping = proxy.spawn(|| {
        let listener = listen((proxy.ipv4, PORT), NonBlocking)?;
        proxying.raise()?;
        let down = Stream::accept(&listener, NonBlocking)?;
        let up = Stream::connect((server.ipv4, PORT), NonBlocking)?;
        std::thread::scope(|scope| {
            let there = scope.spawn(|| pump(&down, &up));
            pump(&up, &down)?;
            there.join().expect("no panic")
        })
    })?;
    proxying.wait()?;
    let received = client
        .run(|| end(Stream::connect((proxy.ipv4, PORT), NonBlocking)?, THERE, BACK))
        .context("client")?;
    // The server first: its reason is why the proxy cannot go on.
    let served = serving.join().context("server")?;
    pumping.join().context("proxy")?;
    assert_eq!((received, served), (TOTAL, TOTAL));
    let counters = node.counters(&proxy)?;
    assert_eq!(counters.late.splice, 0, "{counters:?}");
    let spliced: u32 = node.habits(&proxy)?.iter().map(|(_, habit)| habit.bad.splice).sum();
    assert_eq!(spliced, 2, "the connection that it accepted, and the one that it made");
    Ok(())
}

/// Who was never handed bytes is not counted as late, also where it ends the connection.
fn splices_and_closes() -> Result<()> {
    let node = Node::learning("closes")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let serve = |mut stream: Stream| {
        let (_out, into) = pipe()?;
        stream.wait(PollFlags::POLLIN)?;
        stream.write_all(b"!")?;
        Ok(splice(&stream.socket, None, &into, None, 4, SpliceFFlags::SPLICE_F_NONBLOCK)?)
    };
    let drive = |mut stream: Stream| {
        stream.write_all(b"tcp!")?;
        stream.read_exact(&mut [0])?;
        Ok(stream.read(&mut [0])?)
    };
    assert_eq!(converse((&b, &a), b.ipv4.into(), NonBlocking, serve, drive)?, (4, 0));
    let spliced: u32 = node.habits(&b)?.iter().map(|(_, habit)| habit.bad.splice).sum();
    assert_eq!((spliced, node.counters(&b)?.late.splice), (1, 0));
    Ok(())
}

/// Read by recv(2), handed bytes, then read by splice(2): its program is left to TCP.
fn turns_to_splice() -> Result<()> {
    let node = Node::watching("turns")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let serve = |mut stream: Stream| {
        warm(&mut stream, false)?;
        let (out, into) = pipe()?;
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
        // Nothing has come yet: this is how shunt learns.
        ensure!(splice(&stream.socket, None, &into, None, 4, flags) == Err(Errno::EAGAIN));
        stream.write_all(b"go")?;
        stream.wait(PollFlags::POLLIN)?;
        let n = splice(&stream.socket, None, &into, None, 4, flags)?;
        let mut text = [0; 4];
        nix::unistd::read(out.as_fd(), &mut text)?;
        Ok((n, text))
    };
    let drive = |mut stream: Stream| {
        warm(&mut stream, true)?;
        stream.read_exact(&mut [0; 2])?;
        stream.write_all(b"tcp!")?;
        stream.read(&mut [0]).map_err(Into::into)
    };
    let (spliced, _) = converse((&b, &a), b.ipv4.into(), NonBlocking, serve, drive)?;
    assert_eq!(spliced, (4, *b"tcp!"));
    let (sender, reader) = (node.counters(&a)?, node.counters(&b)?);
    // Nothing was in its queue then.
    assert_eq!((sender.to_tcp.distrusted, reader.late.splice), (1, 0), "{sender:?} {reader:?}");
    let idle = |_: Stream| Ok(());
    converse((&b, &a), b.ipv4.into(), NonBlocking, idle, idle)?;
    assert_eq!(node.counters(&b)?.plain.splices, 1);
    Ok(())
}

/// The urgent byte is urgent, and the bytes around it come in order.
fn urgent_data() -> Result<()> {
    let node = Node::watching("urgent")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let serve = |mut stream: Stream| {
        warm(&mut stream, false)?;
        let (mut urgent, mut text) = ([0], [0; 8]);
        // What was handed over before is read first: the kernel would give it as the urgent byte.
        stream.read_exact(&mut text[..4])?;
        stream.wait(PollFlags::POLLPRI)?;
        recv(stream.socket.as_raw_fd(), &mut urgent, MsgFlags::MSG_OOB)?;
        stream.read_exact(&mut text[4..])?;
        Ok((text, urgent))
    };
    let drive = |mut stream: Stream| {
        warm(&mut stream, true)?;
        stream.write_all(b"then")?;
        nix::sys::socket::send(stream.socket.as_raw_fd(), b"!", MsgFlags::MSG_OOB)?;
        stream.write_all(b"more")?;
        stream.read(&mut [0]).map_err(Into::into)
    };
    let (seen, _) = converse((&b, &a), b.ipv4.into(), NonBlocking, serve, drive)?;
    assert_eq!(seen, (*b"thenmore", *b"!"));
    assert_eq!(node.counters(&a)?.to_tcp.oob, 1);
    Ok(())
}
