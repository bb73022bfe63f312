//! io_uring. Where its program waits in the ring, its sockets block, so most is in blocking mode.

use anyhow::Result;
use io_uring::{opcode, squeue::Entry, types::Fd};
use nix::{errno::Errno, sys::epoll::EpollFlags, unistd::pipe};
use std::{fs::File, io::Read as _, net::Shutdown, os::fd::AsRawFd as _};
use tests::ring::{self, memory as buffer};

use super::{
    LACKS, Row,
    end::{flags, patience, seen, text},
    scene::Scene,
};

pub const ROWS: &[Row] = &[
    ("uring_send_and_recv", send_and_recv),
    ("uring_recv_of_nothing", recv_of_nothing),
    ("uring_poll", poll),
    ("uring_send_zerocopy", send_zerocopy),
    ("uring_splice", splice),
];

pub const BLOCKING_ROWS: &[Row] = &[
    ("uring_recv_waits", recv_waits),
    ("uring_recv_and_own_half_close", recv_and_own_half_close),
    ("uring_recv_ends", recv_ends),
    ("uring_recv_waitall", recv_waitall),
    ("uring_recv_multishot", recv_multishot),
];

struct Ring(ring::Ring);

impl Ring {
    /// `Err`: this kernel has none, or refuses it.
    fn new() -> Result<Self, String> {
        let ring = ring::Ring::new(patience());
        ring.map(Self).map_err(|error| format!("{LACKS}io_uring for this program: {error}"))
    }

    fn submit(&mut self, entry: &Entry) -> Result<()> {
        Ok(self.0.submit(entry)?)
    }

    /// The next completion's result, and its flags without a buffer's number.
    fn complete(&mut self) -> String {
        let Some(entry) = self.0.completion() else { return "hangs".into() };
        let more = if io_uring::cqueue::more(entry.flags()) { " and more" } else { "" };
        match entry.result() {
            n if n < 0 => format!("{:?}{more}", Errno::from_raw(-n)),
            n => format!("{n}{more}"),
        }
    }

    fn run(&mut self, entry: &Entry) -> Result<String> {
        self.submit(entry)?;
        Ok(self.complete())
    }
}

/// The ring, or why there is none.
macro_rules! ring {
    () => {
        match Ring::new() {
            Ok(ring) => ring,
            Err(lacks) => return Ok(lacks),
        }
    };
}

fn recv(s: &Scene, into: &mut [u8], flags: i32) -> Entry {
    let len = into.len() as u32;
    opcode::Recv::new(Fd(s.b.fd()), into.as_mut_ptr(), len).flags(flags).build()
}

fn send_and_recv(s: Scene) -> Result<String> {
    let mut ring = ring!();
    let hello = b"hello";
    let send = opcode::Send::new(Fd(s.a.fd()), hello.as_ptr(), 5).build();
    let sent = ring.run(&send)?;
    s.a.arrived();
    let into = buffer(10);
    seen![sent, ring.run(&recv(&s, into, 0))?, text(into)]
}

fn recv_of_nothing(s: Scene) -> Result<String> {
    let mut ring = ring!();
    let into = buffer(10);
    seen![ring.run(&recv(&s, into, libc::MSG_DONTWAIT))?]
}

fn poll(s: Scene) -> Result<String> {
    let mut ring = ring!();
    ring.submit(&opcode::PollAdd::new(Fd(s.b.fd()), libc::POLLIN as u32).build())?;
    s.a.deliver("hello");
    let came = ring.complete().parse().map(EpollFlags::from_bits_retain).map(flags);
    seen![came?, s.b.recv(10)]
}

/// A result, and a notice that the kernel has let go of the buffer.
fn send_zerocopy(s: Scene) -> Result<String> {
    let mut ring = ring!();
    let bytes = buffer(20_000);
    super::end::PATTERN.fill(0, bytes);
    let send = opcode::SendZc::new(Fd(s.a.fd()), bytes.as_ptr(), bytes.len() as u32).build();
    let sent = ring.run(&send)?;
    if sent == "EINVAL" {
        return Ok(format!("{LACKS}IORING_OP_SEND_ZC"));
    }
    let got = s.b.recv_exactly(20_000);
    seen![sent, got, ring.complete()]
}

fn splice(s: Scene) -> Result<String> {
    let mut ring = ring!();
    s.a.deliver("hello");
    let (from, to) = pipe()?;
    let (socket, pipe) = (Fd(s.b.fd()), Fd(to.as_raw_fd()));
    let moved = ring.run(&opcode::Splice::new(socket, -1, pipe, -1, 100).build())?;
    drop(to);
    let mut bytes = Vec::new();
    File::from(from).read_to_end(&mut bytes)?;
    seen![moved, text(&bytes)]
}

/// What a receive gives that waits when `then` happens.
fn while_it_waits(s: &Scene, flags: i32, then: impl FnOnce()) -> Result<String> {
    let mut ring = ring!();
    let into = buffer(10);
    ring.submit(&recv(s, into, flags))?;
    super::blocking::moment();
    then();
    seen![ring.complete(), text(into)]
}

fn recv_waits(s: Scene) -> Result<String> {
    while_it_waits(&s, 0, || s.a.deliver("hello"))
}

fn recv_and_own_half_close(s: Scene) -> Result<String> {
    while_it_waits(&s, 0, || {
        s.b.shutdown(Shutdown::Write);
        s.b.arrived();
        super::blocking::moment();
        s.a.deliver("hello");
    })
}

fn recv_ends(s: Scene) -> Result<String> {
    while_it_waits(&s, 0, || drop(s.a.shutdown(Shutdown::Write)))
}

fn recv_waitall(s: Scene) -> Result<String> {
    while_it_waits(&s, libc::MSG_WAITALL, || super::blocking::in_two_parts(&s))
}

fn recv_multishot(s: Scene) -> Result<String> {
    const GROUP: u16 = 1;
    let mut ring = ring!();
    let buffers = buffer(4 * 10);
    let provide = opcode::ProvideBuffers::new(buffers.as_mut_ptr(), 10, 4, GROUP, 0).build();
    let provided = ring.run(&provide)?;
    ring.submit(&opcode::RecvMulti::new(Fd(s.b.fd()), GROUP).build())?;
    let mut seen = vec![provided];
    for _ in 0..3 {
        super::blocking::moment();
        s.a.deliver("hello");
        let got = ring.complete();
        if got == "EINVAL" {
            return Ok(format!("{LACKS}multishot receive"));
        }
        seen.push(got);
    }
    s.a.shutdown(Shutdown::Write);
    seen![seen.join(" "), ring.complete(), text(buffers)]
}
