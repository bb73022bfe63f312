//! Code and programs that run inside a pod.

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns},
    sys::{
        eventfd::{EfdFlags, EventFd},
        prctl,
        signal::{self, kill},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Gid, Pid, Uid, pipe2, setgid, setgroups, setpgid, setuid},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    any::Any,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    marker::PhantomData,
    ops::{Deref, DerefMut},
    os::{fd::AsFd, unix::process::CommandExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

/// How long [`Task::join`] and [`Signal::wait`] wait: long enough for emulated kernels.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Where a process is to run.
pub(crate) struct Place {
    procs: File,
    netns: File,
    uid: Uid,
}

impl Place {
    pub(crate) fn new(cgroup: &Path, netns: &Path, uid: u32) -> Result<Place> {
        let procs = cgroup.join("cgroup.procs");
        Ok(Place {
            procs: OpenOptions::new()
                .write(true)
                .open(&procs)
                .with_context(|| format!("open {}", procs.display()))?,
            netns: File::open(netns).with_context(|| format!("open {}", netns.display()))?,
            uid: Uid::from_raw(uid),
        })
    }

    /// Moves the calling process there. System calls only, so fit for after a fork.
    pub(crate) fn enter(&self) -> io::Result<()> {
        // A group of its own: the terminal's ctrl-C is the sandbox's to handle.
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        (&self.procs).write_all(b"0")?;
        setns(&self.netns, CloneFlags::CLONE_NEWNET)?;
        if !self.uid.is_root() {
            setgroups(&[])?;
            setgid(Gid::from_raw(self.uid.as_raw()))?;
            setuid(self.uid)?;
        }
        // Last, as a change of user clears it.
        Ok(prctl::set_pdeathsig(signal::Signal::SIGKILL)?)
    }

    pub(crate) fn start(self, command: &mut Command) -> Result<Process> {
        // SAFETY: system calls only.
        unsafe { command.pre_exec(move || self.enter()) };
        let child =
            command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        Ok(Process(child))
    }

    pub(crate) fn spawn<T, F>(self, f: F) -> Result<Task<T>>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Result<T>,
    {
        fork(|| self.enter().context("enter the pod").and_then(|()| f()))
    }
}

/// Runs code in a process of its own.
pub(crate) fn fork<T, F>(f: F) -> Result<Task<T>>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce() -> Result<T>,
{
    let (read, write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: the test harness runs one thread.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => {
            Ok(Task { pid: child, pipe: read.into(), reaped: false, outcome: PhantomData })
        }
        ForkResult::Child => {
            drop(read);
            let outcome = match catch_unwind(AssertUnwindSafe(f)) {
                Ok(outcome) => outcome.map_err(|e| format!("{e:#}")),
                Err(panic) => Err(panic_text(&*panic)),
            };
            let sent = serde_json::to_writer(File::from(write), &outcome);
            // SAFETY: always sound; the parent's destructors must not run here.
            unsafe { libc::_exit(sent.is_err().into()) }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("?"))
}

/// Code that runs in a pod as a process of its own; killed on drop.
pub struct Task<T> {
    /// To be signalled with [`Task::kill`].
    pub pid: Pid,
    pipe: File,
    reaped: bool,
    outcome: PhantomData<T>,
}

impl<T: DeserializeOwned> Task<T> {
    /// Waits for at most [`PATIENCE`] and gives what the code gave.
    ///
    /// # Errors
    /// The code's own error or panic as text; it was killed; it still runs (it is then killed).
    pub fn join(self) -> Result<T> {
        self.join_within(PATIENCE)
    }

    /// As [`Task::join`], with another patience.
    ///
    /// # Errors
    /// As [`Task::join`].
    pub fn join_within(mut self, patience: Duration) -> Result<T> {
        let deadline = Instant::now() + patience;
        let mut text = Vec::new();
        loop {
            if !readable(&self.pipe, deadline)? {
                bail!("a task still runs after {patience:?}");
            }
            let mut buffer = [0; 65536];
            match self.pipe.read(&mut buffer)? {
                0 => break,
                n => text.extend_from_slice(&buffer[..n]),
            }
        }
        let status = self.reap()?;
        if text.is_empty() {
            bail!("a task ended without an answer: {status:?}");
        }
        let outcome: Result<T, String> = serde_json::from_slice(&text)?;
        outcome.map_err(|e| anyhow!(e))
    }
}

impl<T> Task<T> {
    /// Still running after this time?
    ///
    /// # Errors
    /// Of poll(2).
    pub fn runs_after(&self, time: Duration) -> Result<bool> {
        Ok(!readable(&self.pipe, Instant::now() + time)?)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&self, signal: signal::Signal) -> Result<()> {
        Ok(kill(self.pid, signal)?)
    }

    fn reap(&mut self) -> Result<WaitStatus> {
        self.reaped = true;
        Ok(waitpid(self.pid, None)?)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = kill(self.pid, signal::Signal::SIGKILL);
            let _ = self.reap();
        }
    }
}

/// An external program in a pod; killed and reaped on drop.
pub struct Process(Child);

impl Deref for Process {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Process {
    /// All that it prints until it closes its standard output, which must be a pipe.
    ///
    /// # Errors
    /// It does not within that time.
    pub fn stdout_within(&mut self, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        let mut stdout = self.0.stdout.take().context("no stdout")?;
        let mut text = Vec::new();
        loop {
            if !readable(&stdout, deadline)? {
                bail!("a program still runs after {patience:?}");
            }
            let mut buffer = [0; 65536];
            match stdout.read(&mut buffer)? {
                0 => return Ok(String::from_utf8_lossy(&text).into()),
                n => text.extend_from_slice(&buffer[..n]),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tells another process "go on", across a fork: made before the tasks that use it.
pub struct Signal(EventFd);

impl Signal {
    /// # Errors
    /// No file descriptor is left.
    pub fn new() -> Result<Signal> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_SEMAPHORE | EfdFlags::EFD_NONBLOCK;
        Ok(Signal(EventFd::from_value_and_flags(0, flags)?))
    }

    /// Lets one [`Signal::wait`] go on, now or later.
    ///
    /// # Errors
    /// Of eventfd(2).
    pub fn raise(&self) -> Result<()> {
        self.0.write(1)?;
        Ok(())
    }

    /// Waits until it was raised once more than it was waited for.
    ///
    /// # Errors
    /// Not raised within [`PATIENCE`].
    pub fn wait(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if !readable(&self.0, deadline)? {
                bail!("not raised within {PATIENCE:?}");
            }
            match self.0.read() {
                // Another process was faster.
                Err(Errno::EAGAIN) => {}
                outcome => return Ok(outcome.map(drop)?),
            }
        }
    }
}

fn readable(fd: impl AsFd, deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            outcome => return Ok(outcome? > 0),
        }
    }
}
