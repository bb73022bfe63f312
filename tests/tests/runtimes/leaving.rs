//! README's `uninstall`.

use crate::{containerd::Containerd, pod::Pod};
use anyhow::{Result, ensure};
use tests::listing::Listing;

const FOLDERS: [&str; 5] = ["/etc/cni", "/opt/cni", "/run", "/var", "/sys/fs/bpf"];
/// The runtime's database, and the last address that was given.
const OTHERS: [&str; 2] = ["/var/lib/containerd", "/var/lib/cni/networks/pods/last_reserved_ip.0"];

pub fn the_node_is_as_it_was(containerd: &Containerd) -> Result<()> {
    let listing = || Listing::of(&containerd.host.root.path(""), &FOLDERS, &OTHERS);
    // What a first pod leaves is there before.
    Pod::with_sidecar(containerd, "first")?.delete()?;
    let before = listing()?;
    containerd.host.install()?;
    ensure!(!listing()?.differences(&before).is_empty(), "nothing was installed");
    let (a, b) = (Pod::with_sidecar(containerd, "a")?, Pod::with_sidecar(containerd, "b")?);
    a.talk_to(&b)?.goes_on_to(&b)?;
    b.delete()?;
    containerd.host.uninstall()?;
    // One that shunt knew, and one that it never saw.
    a.delete()?;
    Pod::new(containerd, "c", &[])?.delete()?;
    let differences = listing()?.differences(&before);
    ensure!(differences.is_empty(), "{differences:#?}");
    Ok(())
}
