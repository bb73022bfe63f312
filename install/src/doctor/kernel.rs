//! What the kernel is, and what it takes of shunt's programs.

use std::{fs, path::Path};

use nix::errno::Errno;
use shim::{
    layout::{Fionread, Watch},
    probe,
    watchers::Found,
};

use super::Finding;

/// The kernel's own, which no libc knows.
const ENOTSUPP: u64 = 524;

/// For the reader: nothing follows from a version, as vendors' kernels have what newer ones have.
pub fn kernel() -> Finding {
    let read = |file| fs::read_to_string(Path::new("/proc/sys/kernel").join(file));
    let [system, release] =
        ["ostype", "osrelease"].map(|file| read(file).unwrap_or_default().trim().to_owned());
    Finding::ok("kernel", format!("{system} {release}"))
}

pub fn fields() -> Finding {
    match probe::fields() {
        Ok(()) => Finding::ok("btf", "the kernel tells where it keeps what the programs read"),
        Err(why) => Finding::no(
            "btf",
            format!("{why:#}"),
            "use a kernel that was built with CONFIG_DEBUG_INFO_BTF",
        ),
    }
}

/// `loaded` is how the programs watch that are loaded already.
pub fn programs(loaded: Option<Watch>) -> Vec<Finding> {
    match probe::programs() {
        Ok(found) => vec![
            Finding::ok("programs", "the kernel takes all programs and maps"),
            watch(&found, loaded),
            fionread(&found),
        ],
        Err(why) => {
            let todo = "run it as root, with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; else this \
                        kernel lacks what shunt needs";
            vec![Finding::no("programs", brief(&why), todo).with_detail(&why)]
        }
    }
}

/// How it becomes known what programs do with their sockets.
fn watch(found: &Found, loaded: Option<Watch>) -> Finding {
    const CHECK: &str = "watch";
    let why = |errno: u64| match errno {
        ENOTSUPP => Errno::ENOTSUP.desc(),
        _ => Errno::from_raw(errno as i32).desc(),
    };
    match found.choose(loaded) {
        Watch::Syscalls => Finding::ok(CHECK, "by every system call, as the entry said at load"),
        Watch::Fentry => Finding::ok(CHECK, "by fentry: programs are known after one exchange"),
        Watch::Kprobe => {
            let found = format!(
                "by kprobes (fentry: {}): programs are known after one exchange",
                why(found.no_fentry)
            );
            Finding::ok(CHECK, found)
        }
        _ => Finding::limited(
            CHECK,
            format!(
                "by name: the kernel takes neither fentry ({}) nor kprobes ({}), so only the \
                 programs in `trustedPrograms` are accelerated",
                why(found.no_fentry),
                why(found.no_kprobe)
            ),
            "name your programs there, or set `\"watch\": \"syscalls\"`, which costs every \
             system call of the node some 50 ns: in a file, `shuntctl install --entry FILE`. `watch` counts when shunt is \
             loaded: where it is, uninstall it first",
        ),
    }
}

fn fionread(found: &Found) -> Finding {
    const CHECK: &str = "FIONREAD";
    let cases = [
        (Fionread::TCP_ONLY, "what came by TCP"),
        (Fionread::REDIRECTED_ONLY, "what took the short way"),
        (Fionread::BOTH, "both together"),
        (Fionread::DRAINED, "what is left of TCP's bytes after the others"),
    ];
    let wrong: Vec<_> =
        cases.iter().filter(|(case, _)| found.fionread & case == 0).map(|(_, of)| *of).collect();
    if wrong.is_empty() {
        return Finding::ok(CHECK, "counts right: programs that ask it are accelerated too");
    }
    let found = format!(
        "programs that ask it stay TCP, as this kernel does not count {}",
        wrong.join(", nor ")
    );
    Finding::ok(CHECK, found)
}

/// The kernel's own word, without what its verifier wrote.
fn brief(why: &anyhow::Error) -> String {
    let mut errors = why.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    let told = errors.next().map_or_else(|| format!("{why:#}"), |error| error.to_string());
    told.lines().next().unwrap_or_default().chars().take(100).collect()
}

pub fn jit() -> Finding {
    const FILE: &str = "/proc/sys/net/core/bpf_jit_enable";
    match fs::read_to_string(FILE).as_deref().map(str::trim) {
        Ok("0") => Finding::limited(
            "jit",
            "programs are interpreted, which costs more than the short way gains",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        Ok(_) => Finding::ok("jit", "programs are compiled"),
        Err(_) => Finding::ok("jit", "not shown in this network namespace"),
    }
}

pub fn mptcp() -> Finding {
    let enabled = fs::read_to_string("/proc/sys/net/mptcp/enabled");
    match enabled.as_deref().map(str::trim) {
        Ok("1") if shim::mptcp::is_safe() => Finding::ok(
            "mptcp",
            "on: MPTCP's own connections stay TCP; what its listeners accept from others takes part",
        ),
        Ok("1") => Finding::ok("mptcp", "on: what MPTCP sockets connect or accept stays TCP"),
        _ => Finding::ok("mptcp", "off"),
    }
}
