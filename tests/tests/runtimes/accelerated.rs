//! Two pods with sidecars whose bytes take the short way.

use crate::{containerd::Containerd, pod::Pod};
use anyhow::{Result, ensure};

pub fn until_they_are_deleted(containerd: &Containerd) -> Result<()> {
    containerd.host.install()?;
    let (a, b) = (Pod::with_sidecar(containerd, "a")?, Pod::with_sidecar(containerd, "b")?);
    a.talk_to(&b)?.goes_on_to(&b)?;
    a.delete()?;
    ensure!(b.is_accelerated()?, "went with the other");
    b.delete()?;
    containerd.host.has_no_pods()
}

/// Pods keep what they have, and the runtime finds it again when it deletes them.
pub fn while_the_runtime_restarts(containerd: &Containerd) -> Result<()> {
    containerd.host.install()?;
    let (a, b) = (Pod::with_sidecar(containerd, "a")?, Pod::with_sidecar(containerd, "b")?);
    let talk = a.talk_to(&b)?;
    talk.goes_on_to(&b)?;
    let before = a.shunted()?;
    containerd.restart()?;
    ensure!(a.shunted()? >= before, "counted anew");
    talk.goes_on_to(&b)?;
    let c = Pod::with_sidecar(containerd, "c")?;
    c.talk_to(&b)?.goes_on_to(&b)?;
    [a, b, c].into_iter().try_for_each(Pod::delete)?;
    containerd.host.has_no_pods()
}

/// The runtime hands on a pod's annotations.
pub fn as_annotated(containerd: &Containerd) -> Result<()> {
    containerd.host.install()?;
    let on = Pod::new(containerd, "on", &[("shunt/accelerate", "on")])?;
    let off = Pod::new(containerd, "off", &[("shunt/accelerate", "off")])?;
    ensure!(on.is_accelerated()?, "not accelerated");
    ensure!(!off.is_accelerated()?, "accelerated in spite of its annotation");
    [on, off].into_iter().try_for_each(Pod::delete)?;
    containerd.host.has_no_pods()
}
