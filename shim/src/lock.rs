//! One at a time: whoever changes the datapath holds this lock.

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

/// Released on drop, and by the kernel when the process dies.
pub struct Lock {
    _held: Flock<std::fs::File>,
}

impl Lock {
    /// Waits up to `patience`, as whoever holds it may hang and a pod must not wait for that.
    pub fn take(path: &Path, patience: Duration) -> anyhow::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            // A fifo in its place must not wait for a reader.
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .with_context(|| format!("cannot open the lock file {}", path.display()))?;
        let deadline = Instant::now() + patience;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Self { _held: held }),
                Err((file, Errno::EAGAIN)) if Instant::now() < deadline => file,
                Err((_, Errno::EAGAIN)) => bail!("{} is held by another process", path.display()),
                Err((_, errno)) => bail!("cannot lock {}: {errno}", path.display()),
            };
            // Who holds it does so for a millisecond or two.
            sleep(Duration::from_millis(1));
        }
    }
}
