//! io_uring, one request after the other.

use io_uring::{IoUring, cqueue, squeue::Entry};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    time::Duration,
};

pub struct Ring {
    ring: IoUring,
    /// How long a completion may take.
    patience: Duration,
}

impl Ring {
    /// # Errors
    /// The kernel has none, or refuses it.
    pub fn new(patience: Duration) -> io::Result<Self> {
        Ok(Self { ring: IoUring::new(8)?, patience })
    }

    /// What it points to must stay until it is complete: see [`memory`].
    ///
    /// # Errors
    /// Of io_uring_enter(2), or the queue is full.
    pub fn submit(&mut self, entry: &Entry) -> io::Result<()> {
        // SAFETY: the entry's memory stays.
        unsafe { self.ring.submission().push(entry) }.map_err(io::Error::other)?;
        self.ring.submit().map(drop)
    }

    /// The next completion. None: none came in time.
    pub fn completion(&mut self) -> Option<cqueue::Entry> {
        // SAFETY: the descriptor is the ring's.
        let fd = unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) };
        let timeout = PollTimeout::try_from(self.patience).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout);
        self.ring.completion().next()
    }

    /// Submits it and waits: what it gives.
    ///
    /// # Errors
    /// Its own; or it does not complete in time.
    pub fn run(&mut self, entry: &Entry) -> io::Result<usize> {
        self.submit(entry)?;
        result(&self.completion().ok_or(io::ErrorKind::TimedOut)?)
    }
}

/// What a completed request gives.
///
/// # Errors
/// Its own.
pub fn result(entry: &cqueue::Entry) -> io::Result<usize> {
    usize::try_from(entry.result()).map_err(|_| io::Error::from_raw_os_error(-entry.result()))
}

/// What the kernel may read or fill in later: it may, after all that uses it is gone.
pub fn memory(len: usize) -> &'static mut [u8] {
    vec![b'-'; len].leak()
}
