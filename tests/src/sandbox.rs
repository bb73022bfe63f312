//! A process of its own namespaces: whatever a test makes vanishes with it.

use crate::{cgroup, link};
use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount, umount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        statfs::{self, statfs},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, geteuid},
};
use std::{
    env, fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, exit, id},
};

const BPFFS: &str = "/sys/fs/bpf";
/// Names of a sandbox's cgroups: this and the process id of who made it.
const PREFIX: &str = "shunt-";
/// Set for the process inside.
const CGROUP: &str = "SHUNT_SANDBOX_CGROUP";
const PINS: &str = "SHUNT_SANDBOX_PINS";

/// Which bpffs lies at /sys/fs/bpf inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pins {
    /// A fresh one that nobody else sees.
    Private,
    /// The host's, so that a person can look at [`pins`] from another shell. It is mounted if it
    /// was not, and taken away again.
    Host,
}

/// Called first in `main`, with one thread running: returns inside the sandbox, as init of a new
/// pid namespace, with mount, network, uts and ipc namespaces of its own, an empty /run, and
/// loopback up. The calling process stays outside, ends with the inner one's exit code, and then
/// removes the sandbox's cgroups and pins, also when it is told to end by SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// Not root, no cgroup2, or the kernel refuses a namespace or mount.
pub fn enter(kind: Pins) -> Result<()> {
    if env::var_os(CGROUP).is_some() {
        return settle(kind);
    }
    ensure!(
        geteuid().is_root(),
        "this needs root: it makes network namespaces, cgroups and loads eBPF"
    );
    let code = outside(kind)?;
    if kind == Pins::Host {
        println!("The pods are gone, and what else was made for them.");
    }
    exit(code)
}

/// The sandbox's cgroup, an absolute path.
///
/// # Errors
/// Not called inside a sandbox.
pub fn cgroup() -> Result<PathBuf> {
    variable(CGROUP)
}

/// The same as runtimes and kubelets name it: in every hierarchy, from its root on.
///
/// # Errors
/// Not called inside a sandbox.
pub fn cgroup_parent() -> Result<PathBuf> {
    Ok(Path::new("/").join(cgroup()?.file_name().context("no name")?))
}

/// The pin folder that [`Pins::Host`] chose: /sys/fs/bpf/shunt, or shunt-demo beside a shunt that
/// is there already. The sandbox removes it at its end.
///
/// # Errors
/// Not called inside a sandbox of that kind.
pub fn pins() -> Result<PathBuf> {
    variable(PINS)
}

fn variable(name: &str) -> Result<PathBuf> {
    let value = env::var_os(name).context("sandbox::enter was not called")?;
    Ok(value.into())
}

fn outside(kind: Pins) -> Result<i32> {
    // Blocked, to be waited for below; the child unblocks them.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals.thread_block()?;

    cgroup::hierarchies()?.iter().try_for_each(|root| sweep(root))?;
    let name = format!("{PREFIX}{}", id());
    let path = shim::cgroup::root()?.join(&name);
    let _cgroup = OwnCgroup(name);
    fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
    let pins = match kind {
        Pins::Private => None,
        Pins::Host => Some(HostPins::new()?),
    };

    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).env(CGROUP, &path);
    if let Some(pins) = &pins {
        command.env(PINS, &pins.folder);
    }
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            signals.thread_unblock()?;
            let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
            unshare(flags | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)?;
            Ok(())
        });
    }
    // Holds for the children of this process only.
    unshare(CloneFlags::CLONE_NEWPID).context("new pid namespace")?;
    let inner = command.spawn().context("start inside new namespaces")?;
    let pid = Pid::from_raw(inner.id() as i32);
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => match waitpid(pid, Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::Exited(_, code) => return Ok(code),
                WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as i32),
                _ => {}
            },
            signal => {
                // It is init of its pid namespace: all that runs there goes before waitpid returns.
                kill(pid, Signal::SIGKILL)?;
                waitpid(pid, None)?;
                return Ok(128 + signal as i32);
            }
        }
    }
}

/// Removes the cgroups of sandboxes that were killed.
fn sweep(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let Some(pid) = pid.and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
            // Not empty: not ours to end.
            let _ = cgroup::remove_empty(&entry.path());
        }
    }
    Ok(())
}

/// What is needed in new namespaces: mounts of one's own, loopback, a node's settings.
pub(crate) fn settle(kind: Pins) -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("make mounts private")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context("mount /proc")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .context("mount /run")?;
    if kind == Pins::Private {
        mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none).context("mount bpffs")?;
    }
    // A kubelet's settings; and no waiting for duplicate addresses of bridges.
    for (key, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/conf/default/accept_dad", "0"),
    ] {
        let path = Path::new("/proc/sys/net").join(key);
        fs::write(&path, value).with_context(|| format!("write {}", path.display()))?;
    }
    link::up("lo")
}

/// By its name. Runtimes make one of that name in the hierarchies of version 1 too.
struct OwnCgroup(String);

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        for root in cgroup::hierarchies().unwrap_or_default() {
            if let Err(e) = cgroup::remove(&root.join(&self.0)) {
                eprintln!("{e:#}");
            }
        }
    }
}

struct HostPins {
    folder: PathBuf,
    mounted: bool,
}

impl HostPins {
    fn new() -> Result<Self> {
        let mounted = statfs(BPFFS)?.filesystem_type() != statfs::BPF_FS_MAGIC;
        if mounted {
            let none = None::<&str>;
            mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none)
                .context("mount bpffs")?;
        }
        let folder = ["shunt", "shunt-demo"]
            .map(|name| Path::new(BPFFS).join(name))
            .into_iter()
            .find(|folder| !folder.exists())
            .context(
                "/sys/fs/bpf/shunt-demo is there: another demo runs, or one was killed with \
                 SIGKILL; if none runs, remove that folder",
            )?;
        Ok(HostPins { folder, mounted })
    }
}

impl Drop for HostPins {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                eprintln!("remove {}: {e}", self.folder.display());
            }
            _ => {}
        }
        if self.mounted
            && let Err(e) = umount(BPFFS)
        {
            eprintln!("unmount {BPFFS}: {e}");
        }
    }
}
