//! Finds a pod's cgroup in the cgroup2 hierarchy, also where that is only one of several (hybrid).

use std::{
    fs::{self, File},
    os::{fd::AsFd, fd::BorrowedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail, ensure};

use rustix::{
    fs::{Mode, OFlags, openat},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};

use crate::{layout::PodId, namespace::Namespace};

/// Deeper than kubelets nest pods below their own cgroup root.
const SEARCH_DEPTH: usize = 6;

/// A cgroup of the cgroup2 hierarchy, held open.
#[derive(Debug)]
pub struct Cgroup {
    pub path: PathBuf,
    pub id: PodId,
    dir: File,
}

/// Where this mount namespace has the cgroup2 hierarchy.
///
/// # Errors
/// None is mounted.
pub fn root() -> anyhow::Result<PathBuf> {
    mounts("cgroup2")?.into_iter().next().context("no cgroup2 hierarchy is mounted")
}

/// Where kubelets have put pods' cgroups: in a hierarchy of version 1 where they are in none of version 2. The
/// first one where there is no pod.
///
/// # Errors
/// None is mounted.
pub fn pods_root() -> anyhow::Result<PathBuf> {
    let all = [mounts("cgroup2")?, mounts("cgroup")?].concat();
    let with_pods = all.iter().find(|root| !PodCgroup::all(root).is_empty());
    with_pods.or(all.first()).cloned().context("no cgroups are mounted")
}

/// Where this mount namespace has file systems of a type.
fn mounts(kind: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    // proc_pid_mountinfo(5): … (5) mount point … - (9) type …
    let all = mounts.lines().filter_map(|line| line.split_once(" - "));
    let of_kind = all.filter(|(_, fs)| fs.split(' ').next() == Some(kind));
    Ok(of_kind.filter_map(|(mount, _)| mount.split(' ').nth(4)).map(PathBuf::from).collect())
}

impl Cgroup {
    /// The root, also where version 2 is mounted nowhere: by a mount that is seen nowhere, and gone with this.
    ///
    /// # Errors
    /// The kernel has no version 2, or refuses the mount.
    pub fn root() -> anyhow::Result<Self> {
        if let Ok(root) = root() {
            return Self::open(&root);
        }
        let mount = || {
            let fs = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(&fs)?;
            let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
            openat(&mount, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        };
        let dir = File::from(mount().context("cannot mount cgroup2")?);
        Ok(Self { path: "/".into(), id: dir.metadata()?.ino(), dir })
    }

    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let dir = File::open(path).with_context(|| path.display().to_string())?;
        let fs = nix::sys::statfs::fstatfs(&dir).with_context(|| path.display().to_string())?;
        ensure!(
            fs.filesystem_type() == nix::sys::statfs::CGROUP2_SUPER_MAGIC,
            "{} is not in a cgroup2 hierarchy",
            path.display()
        );
        // The id that BPF knows a cgroup by is its inode number: kernfs, 64-bit, since 5.5.
        let id = dir.metadata()?.ino();
        Ok(Self { path: path.to_owned(), id, dir })
    }

    /// The cgroup that holds all containers of a pod: below `root` as the runtime names it
    /// (`/kubepods/burstable/pod…`, `…-pod….slice`, `…-pod….slice:cri-containerd:…`), or else
    /// searched by the pod's uid.
    ///
    /// # Errors
    /// Nothing names it, or what is named does not exist.
    pub fn of_pod(root: &Path, named: Option<&str>, uid: Option<&str>) -> anyhow::Result<Self> {
        let uid = uid.filter(|uid| !uid.is_empty());
        if let Some(named) = named.filter(|named| !named.is_empty()) {
            let path = pod_level(&root.join(below_root(named)?), uid);
            match Self::open(&path) {
                Err(error) if uid.is_none() => return Err(error),
                Err(error) => log::debug!("cgroupPath {named}: {error:#}; searching by uid"),
                ok => return ok,
            }
        }
        let uid = uid.context("the runtime gave neither a cgroupPath nor a pod uid")?;
        let names = [format!("pod{uid}"), format!("pod{}.slice", uid.replace('-', "_"))];
        let found = search(root, &names, SEARCH_DEPTH).or_else(|| as_in_version_1(root, &names));
        let path =
            found.ok_or_else(|| anyhow!("no cgroup of pod {uid} below {}", root.display()))?;
        Self::open(&path)
    }
}

/// Where runc looks for version 2 beside version 1 (libcontainer/cgroups, `hybridMountpoint`). Others mount it for
/// themselves, and no container is ever there.
const HYBRID: &str = "/sys/fs/cgroup/unified";

/// Where both versions are mounted, a kubelet that makes cgroups itself makes a pod's in those of
/// version 1 only. A runtime takes the same path in the other for its containers (runc from 1.1),
/// but after the network: so the pod's is made here.
fn as_in_version_1(root: &Path, names: &[String; 2]) -> Option<PathBuf> {
    if root != Path::new(HYBRID) {
        return None;
    }
    let path = mounts("cgroup").ok()?.into_iter().find_map(|other| {
        Some(root.join(search(&other, names, SEARCH_DEPTH)?.strip_prefix(&other).ok()?))
    })?;
    fs::create_dir_all(&path).ok()?;
    Some(path)
}

/// A pod's cgroup, as a kubelet named it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodCgroup {
    pub uid: String,
    pub path: PathBuf,
}

impl PodCgroup {
    /// All that are below `root`, of both drivers and all QoS classes.
    pub fn all(root: &Path) -> Vec<Self> {
        let mut all = Vec::new();
        walk(root, SEARCH_DEPTH, &mut all);
        all.sort();
        all
    }

    /// What the programs may know it by: its cgroup, if it is one of version 2, and its network namespace, if
    /// something runs in it.
    pub fn ids(&self) -> Vec<PodId> {
        let cgroup = Cgroup::open(&self.path).ok().map(|cgroup| cgroup.id);
        let namespace = self.process().and_then(|pid| Namespace::of(pid).ok());
        cgroup.into_iter().chain(namespace.map(|namespace| namespace.id)).collect()
    }

    /// One that is in its network namespace: what the sandbox runs, as others may have one of their own.
    pub fn process(&self) -> Option<i32> {
        let sandbox = self.first_container().map(|(dir, _)| processes(&dir)).unwrap_or_default();
        sandbox.into_iter().chain(self.processes()).next()
    }

    /// The processes of all its containers.
    pub fn processes(&self) -> Vec<i32> {
        processes(&self.path)
    }

    /// Id of the container that was there first, which is the sandbox that a runtime names in ADD
    /// and DEL: ids of cgroups only grow. `None` where the runtime has none or names it otherwise.
    pub fn sandbox(&self) -> Option<String> {
        self.first_container().map(|(_, id)| id)
    }

    fn first_container(&self) -> Option<(PathBuf, String)> {
        let created = |(dir, _): &(PathBuf, String)| fs::metadata(dir).map(|dir| dir.ino()).ok();
        let containers = children(&self.path).into_iter().filter_map(|dir| {
            let id = container_id(dir.file_name()?.to_str()?)?.to_owned();
            Some((dir, id))
        });
        containers.min_by_key(|container| created(container).unwrap_or(u64::MAX))
    }
}

fn processes(dir: &Path) -> Vec<i32> {
    let told = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let below = children(dir).into_iter().flat_map(|dir| processes(&dir));
    // 0: it is in a pid namespace that is not below ours.
    told.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid > 0).chain(below).collect()
}

fn walk(dir: &Path, depth: usize, found: &mut Vec<PodCgroup>) {
    for path in children(dir) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(uid) = pod_uid(&name) {
            found.push(PodCgroup { uid, path });
        } else if let Some(deeper) = depth.checked_sub(1) {
            walk(&path, deeper, found);
        }
    }
}

/// Of `pod<uid>` or `…-pod<uid>.slice`: a UUID, or for static pods 32 digits without dashes.
fn pod_uid(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        Some(stem) => stem.rsplit_once("-pod")?.1.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    let digits = uid.replace('-', "");
    (digits.len() == 32 && digits.bytes().all(|c| c.is_ascii_hexdigit())).then_some(uid)
}

/// Of `<id>` or `cri-containerd-<id>.scope`.
fn container_id(name: &str) -> Option<&str> {
    let id = name.strip_suffix(".scope").and_then(|scope| scope.rsplit('-').next());
    let id = id.unwrap_or(name);
    (id.len() == 64 && id.bytes().all(|c| c.is_ascii_hexdigit())).then_some(id)
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// A runtime's name for a cgroup as a path below the root.
fn below_root(named: &str) -> anyhow::Result<PathBuf> {
    let path = match named.split(':').collect::<Vec<_>>()[..] {
        // systemd's form names a scope of one container; the slice is the pod's.
        [slice, _prefix, _name] => slice_path(slice),
        [slice] if slice.ends_with(".slice") && !slice.contains('/') => slice_path(slice),
        _ => PathBuf::from(named.trim_start_matches('/')),
    };
    if path.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        bail!("cgroupPath {named:?} leads out of the hierarchy");
    }
    ensure!(path.components().next().is_some(), "cgroupPath {named:?} is all of the hierarchy");
    Ok(path)
}

/// `a-b-c.slice` lies in `a.slice/a-b.slice`: systemd.slice(5).
fn slice_path(slice: &str) -> PathBuf {
    let stem = slice.trim_end_matches(".slice");
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    ends.map(|end| format!("{}.slice", &stem[..end])).collect()
}

/// The pod's own cgroup where `path` names one of its containers'.
fn pod_level(path: &Path, uid: Option<&str>) -> PathBuf {
    let Some(uid) = uid else { return path.to_owned() };
    let escaped = uid.replace('-', "_");
    path.ancestors()
        .find(|dir| {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            name.contains(uid) || name.contains(&escaped)
        })
        .unwrap_or(path)
        .to_owned()
}

fn search(dir: &Path, names: &[String; 2], depth: usize) -> Option<PathBuf> {
    let children = children(dir);
    let is_pod = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        *name == names[0] || name.strip_suffix(&names[1]).is_some_and(|rest| rest.ends_with('-'))
    };
    if let Some(found) = children.iter().find(is_pod) {
        return Some(found.clone());
    }
    let deeper = depth.checked_sub(1)?;
    children.iter().find_map(|child| search(child, names, deeper))
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_known_by_their_names() {
        let uid = "01234567-89ab-cdef-0123-456789abcdef";
        for (name, expected) in [
            (format!("pod{uid}"), Some(uid.to_owned())),
            (
                format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_")),
                Some(uid.to_owned()),
            ),
            (format!("kubepods-pod{}.slice", uid.replace('-', "")), Some(uid.replace('-', ""))),
            ("kubepods-burstable.slice".to_owned(), None),
            ("pod-of-something-else".to_owned(), None),
            (format!("pod{uid}x"), None),
        ] {
            assert_eq!(pod_uid(&name), expected, "{name}");
        }
        let id = "0f".repeat(32);
        assert_eq!(container_id(&format!("cri-containerd-{id}.scope")), Some(&*id));
        assert_eq!(container_id(&id), Some(&*id));
        assert_eq!(container_id("container"), None);
    }

    #[test]
    fn names_of_all_runtimes_lead_to_the_pods_cgroup() {
        for (named, path) in [
            ("/kubepods/burstable/pod1-2", "kubepods/burstable/pod1-2"),
            ("/kubepods/besteffort/pod1-2/abc", "kubepods/besteffort/pod1-2"),
            (
                "kubepods-burstable-pod1_2.slice",
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice",
            ),
            ("kubepods-pod1_2.slice:cri-containerd:abc", "kubepods.slice/kubepods-pod1_2.slice"),
            (
                "/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-abc.scope",
                "kubepods.slice/kubepods-pod1_2.slice",
            ),
        ] {
            let below = below_root(named).unwrap();
            assert_eq!(pod_level(&below, Some("1-2")), PathBuf::from(path), "{named}");
        }
        for wrong in ["/kubepods/../../etc", "/", "//"] {
            assert!(below_root(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn search_finds_both_drivers_names_and_no_others() {
        let root = std::env::temp_dir().join(format!("shunt-cgroup-{}", std::process::id()));
        let pods = [
            ("1-2", "kubepods/besteffort/pod1-2"),
            ("3-4", "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod3_4.slice"),
            ("5", "kubepods/pod5"),
        ];
        for (_, path) in pods {
            fs::create_dir_all(root.join(path).join("container")).unwrap();
        }
        let find = |uid: &str| {
            let names = [format!("pod{uid}"), format!("pod{}.slice", uid.replace('-', "_"))];
            search(&root, &names, SEARCH_DEPTH)
        };
        let found = pods.map(|(uid, path)| (find(uid), Some(root.join(path))));
        let absent = find("2");
        fs::remove_dir_all(&root).unwrap();
        for (found, expected) in found {
            assert_eq!(found, expected);
        }
        assert_eq!(absent, None);
    }
}
