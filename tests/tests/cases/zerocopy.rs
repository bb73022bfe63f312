//! Ways to send without a copy: from user memory, from files and from pipes.

use anyhow::{Context as _, Result};
use io_uring::{cqueue, opcode, squeue::Entry, types::Fd};
use libc::MSG_ZEROCOPY;
use nix::{
    fcntl::{SpliceFFlags, splice},
    sys::{
        memfd::{MFdFlags, memfd_create},
        sendfile::sendfile,
        socket::{MsgFlags, send},
    },
    unistd::pipe,
};
use std::{
    fs::File,
    io::{self, Write as _},
    net::TcpStream,
    os::fd::AsRawFd as _,
};
use tests::{
    ring::{Ring, memory, result},
    sockopt::{set_zerocopy, wait_for_completion},
    traffic::Mode::{Blocking, NonBlocking},
};

use super::{
    conversation::Program,
    patience,
    talk::{Does::Writes, Write},
};

pub const PROGRAMS: &[Program] = &[
    Program::new("zerocopy::send_zc", Blocking, Blocking, Writes(send_zc)),
    Program::new("zerocopy::send_zc_if_made_nonblocking", NonBlocking, Blocking, Writes(send_zc)),
    Program::new("zerocopy::sendmsg_zc", NonBlocking, Blocking, Writes(sendmsg_zc)),
    Program::new("zerocopy::send_zc_of_a_ring_before", NonBlocking, Blocking, Writes(send_zc))
        .with_ring(),
    Program::new(
        "zerocopy::sendmsg_zc_of_a_ring_before",
        NonBlocking,
        Blocking,
        Writes(sendmsg_zc),
    )
    .with_ring(),
    Program::new("zerocopy::flag_without_option", NonBlocking, Blocking, Writes(flag_alone)),
    Program::new("zerocopy::option_or_a_copy", NonBlocking, Blocking, Writes(option_or_copy)),
    Program::new("zerocopy::sendfile", NonBlocking, Blocking, Writes(from_file)),
    Program::new("zerocopy::splice_from_pipe", NonBlocking, Blocking, Writes(from_pipe)),
];

/// Sends by one request after the other; each is to be followed by a notification.
fn by_ring(request: impl Fn(&'static [u8]) -> Entry + 'static) -> Result<Write<'static>> {
    let mut ring = Ring::new(patience()).context("io_uring")?;
    Ok(Box::new(move |bytes| {
        let copy = memory(bytes.len());
        copy.copy_from_slice(bytes);
        let mut left: &'static [u8] = copy;
        while !left.is_empty() {
            ring.submit(&request(left))?;
            let sent = ring.completion().ok_or(io::ErrorKind::TimedOut)?;
            left = &left[result(&sent)?..];
            if !cqueue::more(sent.flags()) {
                return Err(io::Error::other("no notification"));
            }
            let notice = ring.completion().ok_or(io::ErrorKind::TimedOut)?;
            if !cqueue::notif(notice.flags()) {
                return Err(io::Error::other("no notification"));
            }
        }
        Ok(())
    }))
}

fn send_zc(socket: &TcpStream) -> Result<Write<'_>> {
    let fd = Fd(socket.as_raw_fd());
    by_ring(move |bytes| opcode::SendZc::new(fd, bytes.as_ptr(), bytes.len() as u32).build())
}

fn sendmsg_zc(socket: &TcpStream) -> Result<Write<'_>> {
    let fd = Fd(socket.as_raw_fd());
    by_ring(move |bytes| {
        let base = bytes.as_ptr().cast_mut().cast();
        let part = Box::leak(Box::new(libc::iovec { iov_base: base, iov_len: bytes.len() }));
        // SAFETY: all zeroes is a message without anything.
        let message: &mut libc::msghdr = Box::leak(Box::new(unsafe { std::mem::zeroed() }));
        (message.msg_iov, message.msg_iovlen) = (part, 1);
        opcode::SendMsgZc::new(fd, message).build()
    })
}

fn send_with(socket: &TcpStream, bytes: &[u8], flags: i32) -> io::Result<usize> {
    Ok(send(socket.as_raw_fd(), bytes, MsgFlags::from_bits_retain(flags))?)
}

/// MSG_ZEROCOPY means nothing where SO_ZEROCOPY is not set.
fn flag_alone(socket: &TcpStream) -> Result<Write<'_>> {
    Ok(Box::new(|mut bytes| {
        while !bytes.is_empty() {
            bytes = &bytes[send_with(socket, bytes, MSG_ZEROCOPY)?..];
        }
        Ok(())
    }))
}

/// A program that copies where the option is refused, and else waits for completions.
fn option_or_copy(socket: &TcpStream) -> Result<Write<'_>> {
    if set_zerocopy(socket).is_err() {
        return Ok(Box::new(|bytes| (&mut &*socket).write_all(bytes)));
    }
    Ok(Box::new(|bytes| {
        let mut left = bytes;
        while !left.is_empty() {
            left = &left[send_with(socket, left, MSG_ZEROCOPY)?..];
            wait_for_completion(socket, patience())?;
        }
        Ok(())
    }))
}

fn from_file(socket: &TcpStream) -> Result<Write<'_>> {
    Ok(Box::new(move |bytes| {
        let mut file = File::from(memfd_create("message", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(bytes)?;
        let mut at = 0;
        while (at as usize) < bytes.len() {
            sendfile(socket, &file, Some(&mut at), bytes.len())?;
        }
        Ok(())
    }))
}

fn from_pipe(socket: &TcpStream) -> Result<Write<'_>> {
    let (from, into) = pipe()?;
    let mut into = File::from(into);
    Ok(Box::new(move |bytes| {
        // As much as a pipe takes.
        for part in bytes.chunks(1 << 16) {
            into.write_all(part)?;
            let mut left = part.len();
            while left > 0 {
                left -= splice(&from, None, socket, None, left, SpliceFFlags::empty())?;
            }
        }
        Ok(())
    }))
}
