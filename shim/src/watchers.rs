//! How programs are watched on this kernel: by fentry, by kprobes, by the tracepoint of system calls,
//! or not at all.

use std::io;

use anyhow::Context as _;
use aya::{
    Btf, Ebpf,
    programs::{FEntry, KProbe, RawTracePoint, links::FdLink},
};

use crate::{
    btf,
    layout::{Watch, name},
    load::program,
    trial,
};

/// What this kernel was found to do.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The errno with which it refuses fentry programs; 0: it takes them.
    pub no_fentry: u64,
    /// Likewise kprobes that outlive who attached them (from 5.15 on). 0 also where nobody needs them.
    pub no_kprobe: u64,
    /// Bits of [`crate::layout::Fionread`].
    pub fionread: u64,
}

impl Found {
    /// The way that is wanted, or else the best that the kernel takes.
    pub fn choose(&self, wanted: Option<Watch>) -> Watch {
        match wanted {
            Some(Watch::Fentry) if self.no_fentry != 0 => Watch::Names,
            Some(Watch::Kprobe) if self.no_kprobe != 0 => Watch::Names,
            Some(way) => way,
            None if self.no_fentry == 0 => Watch::Fentry,
            None if self.no_kprobe == 0 => Watch::Kprobe,
            None => Watch::Names,
        }
    }
}

/// Tries what can be told without traffic of others. Leaves nothing behind.
pub fn try_out(ebpf: &mut Ebpf, wanted: Option<Watch>) -> Found {
    let mut refused = |way| {
        let why = attach(ebpf, way).err()?;
        log::debug!("{way:?}: {why:#}");
        Some(errno(&why))
    };
    let no_fentry = refused(Watch::Fentry).unwrap_or(0);
    let is_needed = no_fentry != 0 || wanted == Some(Watch::Kprobe);
    let no_kprobe = is_needed.then(|| refused(Watch::Kprobe)).flatten().unwrap_or(0);
    let fionread = trial::fionread(ebpf).unwrap_or_else(|why| {
        log::warn!("cannot try what FIONREAD counts: {why:#}");
        0
    });
    Found { no_fentry, no_kprobe, fionread }
}

/// Attaches the watchers of one way, all or none, with their names.
///
/// # Errors
/// The kernel refuses one.
pub fn attach(ebpf: &mut Ebpf, way: Watch) -> anyhow::Result<Vec<(String, FdLink)>> {
    let mut links = Vec::new();
    match way {
        Watch::Names => (),
        Watch::Syscalls => {
            let watcher: &mut RawTracePoint = program(ebpf, name::SYSCALLS)?;
            watcher.load()?;
            let link = watcher.attach("sys_enter").context("sys_enter")?;
            links.push((name::SYSCALLS.to_owned(), FdLink::from(watcher.take_link(link)?)));
        }
        // Before Linux 6.1 the kernel warns of such programs with maps that grow, in its log.
        Watch::Kprobe if !btf::has_structure("bpf_mem_alloc")? => {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP).into());
        }
        Watch::Fentry | Watch::Kprobe => {
            let btf = Btf::from_sys_fs()?;
            for (watcher, function, is_everywhere) in name::WATCHERS {
                if is_everywhere || btf::has_function(function)? {
                    let link = watch(ebpf, way, watcher, function, &btf).context(function)?;
                    links.push(link);
                }
            }
        }
    }
    Ok(links)
}

fn watch(
    ebpf: &mut Ebpf,
    way: Watch,
    watcher: &str,
    function: &str,
    btf: &Btf,
) -> anyhow::Result<(String, FdLink)> {
    if way == Watch::Fentry {
        let name = format!("fentry_{watcher}");
        let watcher: &mut FEntry = program(ebpf, &name)?;
        if watcher.fd().is_err() {
            watcher.load(function, btf)?;
        }
        let link = watcher.attach()?;
        return Ok((name, FdLink::from(watcher.take_link(link)?)));
    }
    let name = format!("kprobe_{watcher}");
    let watcher: &mut KProbe = program(ebpf, &name)?;
    if watcher.fd().is_err() {
        watcher.load()?;
    }
    let link = watcher.attach(function, 0)?;
    Ok((name, FdLink::try_from(watcher.take_link(link)?)?))
}

fn errno(error: &anyhow::Error) -> u64 {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.find_map(io::Error::raw_os_error).unwrap_or(libc::ENOTSUP) as u64
}
