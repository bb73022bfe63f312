//! Another plugin of the chain refuses a pod: it fails as it would without shunt, and leaves nothing.

use crate::{containerd::Containerd, pod::Pod};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

const VERSION: &str = "1.0.0";

/// A real plugin that cannot do what it is told.
fn refuses() -> Value {
    json!({"type": "tuning", "sysctl": {"net.ipv4.no_such_key": "1"}})
}

pub fn by_the_plugin_before(containerd: &Containerd) -> Result<()> {
    containerd.host.write_list(VERSION, &[refuses()])?;
    let without = refusal(containerd)?;
    containerd.host.install()?;
    is_as(containerd, &without, 0)
}

pub fn by_the_plugin_behind(containerd: &Containerd) -> Result<()> {
    containerd.host.write_list(VERSION, &[refuses()])?;
    let without = refusal(containerd)?;
    containerd.host.write_list(VERSION, &[])?;
    // `watch` would have shunt behind all others again.
    containerd.host.install_without_watch()?;
    containerd.host.append(refuses())?;
    is_as(containerd, &without, 1)
}

/// With shunt, which had attached so many pods before they failed.
fn is_as(containerd: &Containerd, without: &str, attached: u64) -> Result<()> {
    let with = refusal(containerd)?;
    ensure!(with == without, "{with}, without shunt: {without}");
    let status = containerd.host.status()?;
    ensure!(status["node"]["accelerated"] == attached, "{status}");
    containerd.host.has_no_pods()?;

    containerd.host.write_list(VERSION, &[])?;
    containerd.host.install_without_watch()?;
    let pod = Pod::new(containerd, "next", &[])?;
    ensure!(pod.is_accelerated()?, "not accelerated");
    pod.delete()
}

/// What a kubelet is told, without the pod's own id.
fn refusal(containerd: &Containerd) -> Result<String> {
    let refused = Pod::new(containerd, "refused", &[]).err().context("the pod was not refused")?;
    let told = refused.to_string();
    let (_, why) = told.split_once("plugin type=").with_context(|| told.clone())?;
    Ok(why.to_owned())
}
