//! `doctor`: what this node can do, and why not. Found by trying, never by a version.

mod in_list;
mod lockdown;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use serde::Serialize;
use shim::{
    cgroup,
    datapath::{self, Datapath},
    drain,
    layout::{Fionread, VERSION, Watch},
    lock::Lock,
    neighbours::{self, Neighbour},
    probe::{self, Attached},
    watchers::Found,
};

use crate::{
    output::{Exit, Output},
    paths,
    width::{count, width, wrap},
};

/// Tell what this node can do for its pods, and what to do about the rest
///
/// Ends with 0 also where something is limited, and with 3 where pods cannot be accelerated.
#[derive(clap::Args)]
pub struct Doctor {
    #[command(flatten)]
    datapath: paths::Datapath,
    #[command(flatten)]
    cni: paths::Cni,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Limited,
    No,
}

#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub verdict: Verdict,
    /// What was found, and what it means.
    pub found: String,
    /// What to do about it.
    pub todo: Option<String>,
    /// What the kernel told of it, with `--verbose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Doctor {
    pub fn run(self, output: Output) -> anyhow::Result<Exit> {
        self.datapath.may_look()?;
        let mut findings = findings(&self.datapath, &self.cni);
        if !output.verbose {
            findings.iter_mut().for_each(|finding| finding.detail = None);
        }
        output.print(&verdict(&findings));
        findings.iter().for_each(|finding| output.print(finding));
        let cannot = findings.iter().any(|finding| finding.verdict == Verdict::No);
        Ok(if cannot { Exit::CannotAccelerate } else { Exit::Done })
    }
}

/// All that can be known before a pod comes.
pub fn findings(datapath: &paths::Datapath, cni: &paths::Cni) -> Vec<Finding> {
    let mut findings = vec![kernel(), lockdown::lockdown(), fields()];
    findings.extend(programs());
    findings.extend([jit(), bpffs(&datapath.pin_path), cgroups()]);
    findings.extend([foreign_programs(), neighbours(), net_cls(), mptcp()]);
    findings.extend([pins(&datapath.pin_path), lock(&datapath.lock_file), in_list::conflist(cni)]);
    findings
}

/// What follows from all of them.
fn verdict(findings: &[Finding]) -> Finding {
    let of = |verdict| {
        let checks = findings.iter().filter(|finding| finding.verdict == verdict);
        checks.map(|finding| finding.check).collect::<Vec<_>>().join("; ")
    };
    let (no, limited) = (of(Verdict::No), of(Verdict::Limited));
    const CHECK: &str = "verdict";
    if !no.is_empty() {
        let found = format!("pods of this node cannot be accelerated: {no}");
        Finding { todo: None, ..Finding::no(CHECK, found, "") }
    } else if !limited.is_empty() {
        let found = format!("pods of this node can be accelerated, with limits: {limited}");
        Finding { todo: None, ..Finding::limited(CHECK, found, "") }
    } else {
        Finding::ok(CHECK, "pods of this node can be accelerated")
    }
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), todo: None, detail: None }
    }

    fn limited(check: &'static str, found: impl Into<String>, todo: &str) -> Self {
        let (verdict, todo) = (Verdict::Limited, Some(todo.to_owned()));
        Self { check, verdict, found: found.into(), todo, detail: None }
    }

    fn no(check: &'static str, found: impl Into<String>, todo: &str) -> Self {
        Self { verdict: Verdict::No, ..Self::limited(check, found, todo) }
    }
}

impl Finding {
    fn with_detail(self, why: &anyhow::Error) -> Self {
        Self { detail: Some(format!("{why:#}")), ..self }
    }
}

/// For the reader: nothing follows from a version, as vendors' kernels have what newer ones have.
fn kernel() -> Finding {
    let read = |file| fs::read_to_string(Path::new("/proc/sys/kernel").join(file));
    let [system, release] =
        ["ostype", "osrelease"].map(|file| read(file).unwrap_or_default().trim().to_owned());
    Finding::ok("kernel", format!("{system} {release}"))
}

fn fields() -> Finding {
    match probe::fields() {
        Ok(()) => Finding::ok("btf", "the kernel tells where it keeps what the programs read"),
        Err(why) => Finding::no(
            "btf",
            format!("{why:#}"),
            "use a kernel that was built with CONFIG_DEBUG_INFO_BTF",
        ),
    }
}

fn programs() -> Vec<Finding> {
    match probe::programs() {
        Ok(found) => vec![
            Finding::ok("programs", "the kernel takes all programs and maps"),
            watch(&found),
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
fn watch(found: &Found) -> Finding {
    const CHECK: &str = "watch";
    let why = |errno: u64| Errno::from_raw(errno as i32).desc();
    match found.choose(None) {
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
             system call of the node some 50 ns",
        ),
    }
}

fn fionread(found: &Found) -> Finding {
    const CHECK: &str = "FIONREAD";
    let cases = [
        (Fionread::TCP_ONLY, "what came by TCP"),
        (Fionread::REDIRECTED_ONLY, "what took the short way"),
        (Fionread::BOTH, "both together"),
        (Fionread::DRAINED, "what is left of TCP's"),
    ];
    let wrong: Vec<_> =
        cases.iter().filter(|(case, _)| found.fionread & case == 0).map(|(_, of)| *of).collect();
    if wrong.is_empty() {
        return Finding::ok(CHECK, "counts right: programs that ask it are accelerated too");
    }
    let found = format!("does not count {}: programs that ask it stay TCP", wrong.join(", "));
    Finding::ok(CHECK, found)
}

/// The kernel's own word, without what its verifier wrote.
fn brief(why: &anyhow::Error) -> String {
    let mut errors = why.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    let told = errors.next().map_or_else(|| format!("{why:#}"), |error| error.to_string());
    told.lines().next().unwrap_or_default().chars().take(100).collect()
}

fn jit() -> Finding {
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

fn bpffs(pins: &Path) -> Finding {
    let there = pins.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match statfs(there).map(|fs| fs.filesystem_type()) {
        Ok(BPF_FS_MAGIC) => Finding::ok("bpffs", format!("{} is on one", pins.display())),
        _ => Finding::no(
            "bpffs",
            format!("{} is not on a bpffs", pins.display()),
            "mount -t bpf bpf /sys/fs/bpf, or name another folder with --pin-path",
        ),
    }
}

fn cgroups() -> Finding {
    let hierarchies = v1_hierarchies();
    match cgroup::root() {
        Ok(root) if hierarchies.is_empty() => {
            Finding::ok("cgroups", format!("version 2 at {}", root.display()))
        }
        Ok(root) => Finding::ok(
            "cgroups",
            format!("hybrid: version 2 at {}, beside version 1", root.display()),
        ),
        Err(_) if hierarchies.is_empty() => {
            Finding::no("cgroups", "none are mounted here", "mount the node's /sys/fs/cgroup here")
        }
        Err(_) => Finding::no(
            "cgroups",
            "the pods' cgroups are of version 1 only, and programs attach to none but version 2",
            "boot with systemd.unified_cgroup_hierarchy=1",
        ),
    }
}

/// Mount points and options of what cgroup v1 has.
fn v1_hierarchies() -> Vec<(PathBuf, String)> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let v1 = fields.filter(|fields| fields.get(2) == Some(&"cgroup") && fields.len() > 3);
    v1.map(|fields| (fields[1].into(), fields[3].to_owned())).collect()
}

/// On the root, and where kubelets put pods: a pod's own cgroup is not there yet.
fn foreign_programs() -> Finding {
    const CHECK: &str = "foreign programs";
    let Ok(root) = cgroup::root() else {
        return Finding::ok(CHECK, "none, as there is no cgroup of version 2");
    };
    let pods = ["kubepods", "kubepods.slice"].map(|name| root.join(name));
    let ancestors = std::iter::once(root).chain(pods).filter(|dir| dir.exists());
    for cgroup in ancestors {
        let at = cgroup.display();
        match probe::sock_ops(&cgroup) {
            Ok(Attached::None | Attached::Multi) => (),
            Ok(Attached::Overridable) => {
                return Finding::limited(
                    CHECK,
                    format!("a sock_ops program on {at} does not run in pods that shunt attaches"),
                    "attach it with BPF_F_ALLOW_MULTI: see `bpftool cgroup tree`",
                );
            }
            Ok(Attached::Exclusive) => {
                return Finding::no(
                    CHECK,
                    format!("a sock_ops program on {at} allows no other below it"),
                    "attach it with BPF_F_ALLOW_MULTI: see `bpftool cgroup tree`",
                );
            }
            Err(why) => return Finding::limited(CHECK, format!("{why:#}"), "run it as root"),
        }
    }
    Finding::ok(CHECK, "no sock_ops program is in the way")
}

/// Who may hold a socket that shunt would enter (`busy`), or take its callbacks away (`overruled`).
fn neighbours() -> Finding {
    const CHECK: &str = "neighbours";
    let root = cgroup::root().unwrap_or_default();
    let found = match neighbours::all(&root) {
        Ok(found) => found,
        Err(why) => return Finding::limited(CHECK, format!("{why:#}"), "run it as root"),
    };
    if found.is_empty() {
        return Finding::ok(CHECK, "no sock_ops or sk_msg program but shunt's");
    }
    let told: Vec<String> = found.iter().map(tell).collect();
    Finding::limited(
        CHECK,
        told.join(", "),
        "connections of theirs stay TCP: see `busy` and `overruled` in `shuntctl status`",
    )
}

fn tell(Neighbour { id, name, cgroup }: &Neighbour) -> String {
    match cgroup {
        Some(cgroup) => format!("sock_ops {name} (id {id}) at {}", cgroup.display()),
        None => format!("sk_msg {name} (id {id})"),
    }
}

fn net_cls() -> Finding {
    const CHECK: &str = "net_cls, net_prio";
    if !probe::net_cls_takes_over().unwrap_or(false) {
        return Finding::ok(CHECK, "do not touch programs on this kernel");
    }
    let is_one = |options: &str| options.split(',').any(|it| it == "net_cls" || it == "net_prio");
    let used = v1_hierarchies().into_iter().filter(|(_, options)| is_one(options));
    match used.map(|(dir, _)| dir).find(|dir| is_classified(dir)) {
        None => Finding::ok(CHECK, "not in use"),
        Some(dir) => Finding::no(
            CHECK,
            format!("in use below {}: on this kernel, programs of pods never run", dir.display()),
            "use a newer kernel, or none of the two and boot anew",
        ),
    }
}

/// Whether any cgroup below has a class or a priority.
fn is_classified(dir: &Path) -> bool {
    let is_set = |file, column: usize| {
        let text = fs::read_to_string(dir.join(file)).unwrap_or_default();
        let mut values = text.lines().filter_map(|line| line.split_whitespace().nth(column));
        values.any(|value| value != "0")
    };
    let mut below = fs::read_dir(dir).into_iter().flatten().flatten();
    is_set("net_cls.classid", 0)
        || is_set("net_prio.ifpriomap", 1)
        || below.any(|it| it.file_type().is_ok_and(|it| it.is_dir()) && is_classified(&it.path()))
}

fn mptcp() -> Finding {
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

fn pins(pins: &Path) -> Finding {
    let others = datapath::folders(pins).into_iter().filter(|folder| !folder.ends_with(VERSION));
    let others: Vec<_> = others.map(|folder| folder.display().to_string()).collect();
    if !others.is_empty() {
        let found = format!("{} are of another layout", others.join(", "));
        return Finding::limited("pins", found, "call `shuntctl upgrade`");
    }
    match Datapath::open(pins) {
        Ok(None) => {
            Finding::ok("pins", "nothing is pinned; that is done when the first pod is made")
        }
        Ok(Some(datapath)) if drain::is_draining(&datapath::folder(pins)).unwrap_or(false) => {
            let found = format!("{}, drained: no connection is accelerated", pods(&datapath));
            Finding::limited("pins", found, "call `shuntctl drain --resume`")
        }
        Ok(Some(datapath)) => Finding::ok("pins", format!("layout {VERSION}, {}", pods(&datapath))),
        Err(why) => {
            let todo = "call `shuntctl drain`, and remove the folder";
            Finding::no("pins", why.to_string(), todo)
        }
    }
}

fn pods(datapath: &Datapath) -> String {
    count(datapath.pods().map_or(0, |pods| pods.len() as u64), "pod")
}

fn lock(file: &Path) -> Finding {
    if file.exists() && Lock::take(file, Duration::ZERO).is_err() {
        let found = format!("{} is held", file.display());
        return Finding::limited("lock", found, "if it stays so: /proc/locks tells by whom");
    }
    Finding::ok("lock", "free")
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Limited => "limited",
            Verdict::No => "no",
        };
        let mut text = format!("{verdict:8}{:18}{}", self.check, self.found);
        text.extend(self.todo.iter().map(|todo| format!("; {todo}")));
        text.extend(self.detail.iter().map(|detail| format!("\n{detail}")));
        f.write_str(&wrap(&text, width(), 26))
    }
}
