//! A throw-away root file system: what is written there is in memory only.

use crate::{
    sandbox::{self, Pins},
    task::{self, Task},
};
use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, chdir, pivot_root, setpgid},
};
use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// What is seen there as it is outside.
const SHARED: [&str; 3] = ["dev", "proc", "sys"];

/// A system in a throw-away root, with mount, network, pid, ipc and uts namespaces and a bpffs of
/// its own. On drop all that runs and lies there is gone, but for the cgroups made there: those go
/// with the sandbox, where they are below its own.
pub struct Root(Task<()>);

impl Root {
    /// Over the system that lies in that folder, which stays as it is. Each of `files` is seen at
    /// the path that goes with it.
    ///
    /// # Errors
    /// Not in a sandbox, or the kernel refuses a namespace or mount.
    pub fn new(system: &Path, files: &[(PathBuf, &str)]) -> Result<Root> {
        let (mut ready, mut raise) = io::pipe()?;
        let own = File::open("/proc/self/ns/pid")?;
        // The next child is its init. A process can do it once, so it goes back.
        unshare(CloneFlags::CLONE_NEWPID).context("new pid namespace")?;
        let init = task::fork(|| {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
            unshare(flags | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)?;
            sandbox::settle(Pins::Private)?;
            enter(system, files)?;
            raise.write_all(b".")?;
            reap()
        });
        setns(&own, CloneFlags::CLONE_NEWPID).context("the old pid namespace")?;
        let init = init?;
        drop(raise);
        match ready.read_exact(&mut [0]) {
            Ok(()) => Ok(Root(init)),
            Err(_) => Err(init.join().err().context("ended")?.context("a throw-away root")),
        }
    }

    /// Where a path of it is seen from outside.
    pub fn path(&self, of: &str) -> PathBuf {
        format!("/proc/{}/root{of}", self.0.pid).into()
    }

    /// A program of it, to be run there.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.0.pid));
        command.args(["--mount", "--net", "--pid", "--ipc", "--uts", "--root", "--wd", program]);
        command
    }

    /// What a script of bash prints there.
    ///
    /// # Errors
    /// It fails, with all it printed.
    pub fn run(&self, script: &str) -> Result<String> {
        let output = self.command("bash").args(["-euo", "pipefail", "-c", script]).output()?;
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        ensure!(output.status.success(), "{script}: {}: {out}{err}", output.status);
        Ok(out)
    }
}

/// Called inside a [`crate::sandbox`]: from here on, everything but /dev, /proc and /sys is a layer
/// in memory over that system, and /run is empty. Mounts propagate, as where systemd runs. It is a
/// root that runc can leave, which a chroot(2) is not.
///
/// # Errors
/// The kernel refuses a mount.
pub fn enter(system: &Path, files: &[(PathBuf, &str)]) -> Result<()> {
    let none = None::<&str>;
    let mount_at = |kind, at: &Path, options: Option<&str>| {
        fs::create_dir_all(at)?;
        mount(Some(kind), at, Some(kind), MsFlags::empty(), options)
            .with_context(|| format!("mount {kind} at {}", at.display()))
    };
    let bind = |from: &Path, to: &Path| {
        mount(Some(from), to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
            .with_context(|| format!("bind {}", from.display()))
    };
    let base = Path::new("/run/root");
    mount_at("tmpfs", base, Some("mode=755"))?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| base.join(name));
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    let layers = [("lowerdir", system), ("upperdir", &upper), ("workdir", &work)];
    let layers = layers.map(|(layer, path)| format!("{layer}={}", path.display())).join(",");
    mount_at("overlay", &root, Some(&layers))?;
    for (from, to) in files {
        let to = root.join(to.trim_start_matches('/'));
        File::create(&to).with_context(|| to.display().to_string())?;
        bind(from, &to)?;
    }
    for name in SHARED {
        bind(&Path::new("/").join(name), &root.join(name))?;
    }
    mount_at("tmpfs", &root.join("run"), Some("mode=755"))?;
    mount_at("tmpfs", &root.join("tmp"), Some("mode=1777"))?;
    chdir(&root)?;
    // The old one lies over the new: pivot_root(2), "Notes".
    pivot_root(".", ".").context("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).context("leave the old root")?;
    chdir("/")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none).context("share mounts")
}

/// What an init does for those whose parents have ended.
fn reap() -> Result<()> {
    let mut ended = SigSet::empty();
    ended.add(Signal::SIGCHLD);
    ended.thread_block()?;
    loop {
        while !matches!(
            waitpid(None, Some(WaitPidFlag::WNOHANG)),
            Ok(WaitStatus::StillAlive) | Err(_)
        ) {}
        ended.wait()?;
    }
}
