//! Where distributions and clouds have their lists and plugins, and what becomes of a node of each.
//! What they write is in install/fixtures, and where that is told in its README.

use super::{Running, named};
use crate::install::{
    host::Host,
    watch::{Watch, until},
};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub fn tests() -> Vec<Trial> {
    vec![named("layouts", layouts)]
}

struct Layout {
    name: &'static str,
    net_dir: &'static str,
    bin_dir: &'static str,
    /// Of install/fixtures: what the primary writes.
    fixture: &'static str,
    is: Is,
}

/// What is not as on most nodes.
#[derive(Clone, Copy, PartialEq)]
enum Is {
    Plain,
    /// The plugins are links, which lead nowhere in a container.
    LinkedPlugins,
    /// The folders where all others have them are links to these.
    LinkedFolders,
    /// Folders and list are user `kube`'s.
    Owned,
    /// The list stays as it is: why, in words of the message.
    Refused(&'static str),
    ReadOnlyBin,
}

const KUBE: u32 = 4711;

const LAYOUTS: [Layout; 11] = [
    Layout {
        name: "k3s",
        net_dir: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
        bin_dir: "/var/lib/rancher/k3s/data/cni",
        fixture: "k3s",
        is: Is::LinkedPlugins,
    },
    Layout {
        name: "RKE2",
        net_dir: "/etc/cni/net.d",
        bin_dir: "/opt/cni/bin",
        fixture: "calico",
        is: Is::LinkedPlugins,
    },
    Layout {
        name: "MicroK8s",
        net_dir: "/var/snap/microk8s/current/args/cni-network",
        bin_dir: "/var/snap/microk8s/current/opt/cni/bin",
        fixture: "calico",
        is: Is::LinkedFolders,
    },
    Layout {
        name: "Talos",
        net_dir: "/etc/cni/net.d",
        bin_dir: "/opt/cni/bin",
        fixture: "flannel",
        is: Is::Plain,
    },
    Layout {
        name: "OpenShift",
        net_dir: "/etc/kubernetes/cni/net.d",
        bin_dir: "/var/lib/cni/bin",
        fixture: "../../tests/tests/node/openshift",
        is: Is::Refused("from elsewhere"),
    },
    Layout {
        name: "CRI-O",
        net_dir: "/etc/cni/net.d",
        bin_dir: "/usr/libexec/cni",
        fixture: "flannel",
        is: Is::Plain,
    },
    Layout {
        name: "GKE",
        net_dir: "/etc/cni/net.d",
        bin_dir: "/home/kubernetes/bin",
        fixture: "gke",
        is: Is::Plain,
    },
    Layout {
        name: "EKS",
        net_dir: "/etc/cni/net.d",
        bin_dir: "/opt/cni/bin",
        fixture: "eks",
        is: Is::Plain,
    },
    Layout {
        name: "AKS",
        net_dir: "/etc/cni/net.d",
        bin_dir: "/opt/cni/bin",
        fixture: "aks",
        is: Is::Plain,
    },
    Layout {
        name: "kubespray",
        net_dir: "/etc/cni/net.d",
        bin_dir: "/opt/cni/bin",
        fixture: "calico",
        is: Is::Owned,
    },
    Layout {
        name: "Flatcar with its plugins from an image",
        net_dir: "/etc/cni/net.d",
        bin_dir: "/opt/cni/bin",
        fixture: "flannel",
        is: Is::ReadOnlyBin,
    },
];

fn layouts() -> Result<()> {
    for layout in &LAYOUTS {
        of(layout).context(layout.name)?;
    }
    Ok(())
}

impl Layout {
    /// A node with its files.
    fn host(&self, number: usize) -> Result<Host> {
        let mut host = Host::new(&format!("layout-{number}"))?;
        let root = host.node.dir.join("root");
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        (host.net_dir, host.bin_dir) = (at(self.net_dir), at(self.bin_dir));
        fs::create_dir_all(&host.net_dir)?;
        fs::create_dir_all(&host.bin_dir)?;
        for path in self.files()? {
            let name = path.file_name().context("no name")?;
            if path.is_file() {
                fs::copy(&path, host.net_dir.join(name))?;
            }
            for plugin in plugins(&path)? {
                let plugin = host.bin_dir.join(plugin);
                if self.is == Is::LinkedPlugins {
                    let _ = symlink("/var/lib/rancher/data/0123/bin/cni", &plugin);
                } else {
                    fs::write(&plugin, "#!/bin/sh\necho {}\n")?;
                    fs::set_permissions(plugin, fs::Permissions::from_mode(0o755))?;
                }
            }
        }
        if self.is == Is::LinkedFolders {
            for (link, to) in [("/etc/cni", &host.net_dir), ("/opt/cni", &host.bin_dir)] {
                fs::create_dir_all(at(link))?;
                symlink(to, at(link).join("here"))?;
            }
            (host.net_dir, host.bin_dir) = (at("/etc/cni/here"), at("/opt/cni/here"));
        }
        if self.is == Is::Owned {
            let lists = self.lists(&host)?;
            for path in [&host.net_dir, &host.bin_dir].into_iter().chain(&lists) {
                chown(path, Some(KUBE), Some(KUBE))?;
            }
        }
        Ok(host)
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../install/fixtures");
        let before = fixtures.join(self.fixture).join("before");
        fs::read_dir(before)?.map(|file| Ok(file?.path())).collect()
    }

    fn lists(&self, host: &Host) -> Result<Vec<PathBuf>> {
        let names = self.files()?.into_iter().filter(|file| file.is_file());
        Ok(names.filter_map(|file| Some(host.net_dir.join(file.file_name()?))).collect())
    }
}

/// The types that a list names.
fn plugins(list: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(list).unwrap_or_default();
    let Ok(list) = serde_json::from_str::<Value>(&text) else { return Ok(Vec::new()) };
    let plugins = list["plugins"].as_array().into_iter().flatten().chain([&list]);
    Ok(plugins.filter_map(|plugin| plugin["type"].as_str().map(str::to_owned)).collect())
}

fn contents(host: &Host) -> Result<Vec<(PathBuf, u32, String)>> {
    let mut all = Vec::new();
    for folder in [&host.net_dir, &host.bin_dir] {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let file = fs::symlink_metadata(&path)?;
            all.push((path.clone(), file.uid(), fs::read_to_string(&path).unwrap_or_default()));
        }
    }
    all.sort();
    Ok(all)
}

fn of(layout: &Layout) -> Result<()> {
    let number = LAYOUTS.iter().position(|it| it.name == layout.name).context("no number")?;
    let host = layout.host(number)?;
    let before = contents(&host)?;
    match layout.is {
        Is::Refused(why) => refuses(&host, why)?,
        Is::ReadOnlyBin => {
            let (folder, none) = (&host.bin_dir, None::<&str>);
            mount(Some(folder), folder, none, MsFlags::MS_BIND, none)?;
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(none, folder, none, flags, none)?;
            let refused = refuses(&host, "read-only");
            umount2(folder, MntFlags::MNT_DETACH)?;
            refused?;
        }
        _ => installs(layout, &host)?,
    }
    ensure!(host.uninstall()?.code == 0);
    ensure!(contents(&host)? == before, "not as it was");
    Ok(())
}

/// Its list stays, its pods plain TCP, and it is said why.
fn refuses(host: &Host, why: &str) -> Result<()> {
    let before = super::naming(host)?;
    let refused = host.install(&[])?;
    let error = refused.json["error"].as_str().context("no error")?;
    ensure!(refused.code == 1 && error.contains(why), "{refused:?}");
    ensure!(super::naming(host)? == before);
    Ok(())
}

fn installs(layout: &Layout, host: &Host) -> Result<()> {
    let installed = host.install(&[])?;
    ensure!(installed.code == 0, "{installed:?}");
    let list = super::naming(host)?.pop().context("no list")?;
    let _watch = Watch::start(host, &[])?;
    // The primary writes its list anew, as amazon-vpc-cni does whenever it starts.
    let own = layout.files()?.into_iter().find(|file| file.file_name() == list.file_name());
    for _ in 0..2 {
        fs::write(&list, fs::read(own.as_ref().context("no such list")?)?)?;
        let start = Instant::now();
        until("the entry", || {
            let text = fs::read_to_string(&list)?;
            Ok(text.contains("\"shunt\"").then_some(()))
        })?;
        ensure!(start.elapsed() < Duration::from_secs(1), "after {:?}", start.elapsed());
    }
    let uninstall = Running::start(host, "uninstall", &["--settle=0s"])?;
    ensure!(uninstall.code()? == 0);
    ensure!(super::naming(host)?.is_empty());
    Ok(())
}
