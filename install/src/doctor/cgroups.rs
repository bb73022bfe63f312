//! The pods' cgroups, and whose programs are there too.

use std::{
    fs,
    path::{Path, PathBuf},
};

use shim::{
    cgroup::{self, Cgroup},
    neighbours::{self, Neighbour},
    probe::{self, Attached},
};

use super::Finding;

pub fn cgroups() -> Finding {
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
        Err(_) => match Cgroup::root().and_then(|root| probe::sock_ops(&root)) {
            Ok(_) => Finding::ok(
                "cgroups",
                "version 1 only: programs run for all sockets, and know pods by their network namespaces",
            ),
            Err(why) => Finding::limited(
                "cgroups",
                format!("version 1 only, and version 2 cannot be tried: {why:#}"),
                "run it as root, on a kernel with CONFIG_CGROUP_BPF",
            ),
        },
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
pub fn foreign_programs() -> Finding {
    const CHECK: &str = "foreign programs";
    let root = match Cgroup::root() {
        Ok(root) => root,
        Err(why) => return Finding::limited(CHECK, format!("{why:#}"), "run it as root"),
    };
    let pods = ["kubepods", "kubepods.slice"].map(|name| Cgroup::open(&root.path.join(name)));
    for cgroup in [Ok(root)].into_iter().chain(pods).flatten() {
        let at = cgroup.path.display();
        match probe::sock_ops(&cgroup) {
            Ok(Attached::None | Attached::Multi) => (),
            Ok(Attached::Overridable) if cgroup::root().is_err() => {
                return Finding::no(
                    CHECK,
                    "a sock_ops program at the root of version 2 allows no other beside it",
                    "attach it with BPF_F_ALLOW_MULTI: see `bpftool cgroup tree`",
                );
            }
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
pub fn neighbours() -> Finding {
    const CHECK: &str = "neighbours";
    let found = match Cgroup::root().and_then(neighbours::all) {
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

pub fn net_cls() -> Finding {
    const CHECK: &str = "net_cls, net_prio";
    // Sockets are then taken for the root's, and so are those programs.
    if !probe::net_cls_takes_over().unwrap_or(false) || cgroup::root().is_err() {
        return Finding::ok(CHECK, "do not touch programs here");
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
