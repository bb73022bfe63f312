//! shunt on a cluster: the DaemonSet as it is, pods with Envoy sidecars, and what they notice of it.

mod cluster;
mod mesh;

use anyhow::{Context as _, Result, ensure};
use cluster::Cluster;
use mesh::Mesh;
use shim::{
    datapath::Datapath,
    layout::{Counters, text},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tests::{listing::Listing, root, talk, trial};

const PINS: &str = "/sys/fs/bpf/shunt";
const NAMESPACE: &str = "kube-system";

fn main() -> ExitCode {
    // What runs in pods is this program too.
    talk::is_called().unwrap_or_else(|| {
        tests::run(
            || root::enter("/".as_ref(), &[]),
            || vec![trial("k8s::a_daemon_set_comes_and_goes", a_daemon_set_comes_and_goes)],
        )
    })
}

fn a_daemon_set_comes_and_goes() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.told(steps(&cluster))
}

fn steps(cluster: &Cluster) -> Result<()> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/generic/shunt.yaml");
    let manifest = manifest.to_str().context("path")?;
    let before = node()?;
    let mut mesh = Mesh::new(cluster)?;

    // One pod was there before, the other comes after.
    let ready = ["-n", NAMESPACE, "rollout", "status", "ds/shunt", "--timeout=60s"];
    cluster.kubectl(&["apply", "-f", manifest])?;
    cluster.kubectl(&ready)?;
    mesh.scale(2)?;
    let [adopted, added] = mesh.pods()?.try_into().ok().context("two pods")?;
    // All that answers is accepted by listeners that were there before.
    let talk = mesh.talk(&added, &adopted)?;
    talk.goes_on_until(|| Ok(short(&adopted)? > 1 << 20 && short(&added)? > 1 << 20))?;

    // A new version, here the same by another name: the links stay, and so does what they carry.
    let links = links()?;
    let image = ["install=shunt:new", "watch=shunt:new"];
    cluster.kubectl(&[&["-n", NAMESPACE, "set", "image", "ds/shunt"], &image[..]].concat())?;
    cluster.kubectl(&ready)?;
    ensure!(self::links()? == links, "links have changed");
    let (a, b) = (short(&adopted)?, short(&added)?);
    talk.goes_on_until(|| Ok(short(&adopted)? > a + (1 << 20) && short(&added)? > b + (1 << 20)))?;

    // Of everything at once, its account too; then of the DaemonSet alone.
    cluster.kubectl(&["delete", "-f", manifest])?;
    cluster.has_no_pods_in(NAMESPACE)?;
    is_as(&before)?;
    cluster.kubectl(&["apply", "-f", manifest])?;
    cluster.kubectl(&ready)?;
    cluster.kubectl(&["-n", NAMESPACE, "delete", "ds/shunt"])?;
    cluster.has_no_pods_in(NAMESPACE)?;
    is_as(&before)?;
    talk.end()?;
    mesh.scale(3)
}

/// What took the short way from a pod's sockets, in bytes.
fn short(pod: &mesh::Pod) -> Result<u64> {
    Ok(counters(pod)?.map_or(0, |counters| counters.shunted.bytes))
}

fn counters(pod: &mesh::Pod) -> Result<Option<Counters>> {
    let Some(datapath) = Datapath::open(Path::new(PINS))? else { return Ok(None) };
    let attachments = datapath.attachments()?;
    let is_it = |(_, attached): &&(_, shim::layout::Attached)| text(&attached.name) == pod.name;
    let Some((_, attached)) = attachments.iter().find(is_it) else { return Ok(None) };
    Ok(datapath.pod(attached.pod)?.map(|pod| pod.counters))
}

fn links() -> Result<Vec<PathBuf>> {
    let links = fs::read_dir(shim::datapath::folder(Path::new(PINS)).join("links"))?;
    let mut links = links.map(|link| Ok(link?.path())).collect::<Result<Vec<_>>>()?;
    links.sort();
    Ok(links)
}

/// Where shunt could leave something.
fn node() -> Result<Listing> {
    Listing::of(Path::new("/"), &["/etc/cni", "/opt/cni", "/sys/fs/bpf", "/run"], &[])
}

fn is_as(before: &Listing) -> Result<()> {
    let mut differences = node()?.differences(before);
    // In /run others leave something too, there also of containers of shunt's.
    let is_ours = |path: &PathBuf| {
        path.iter().nth(2).is_some_and(|name| name.to_string_lossy().contains("shunt"))
    };
    differences.retain(|path| !path.starts_with("/run") || is_ours(path));
    ensure!(differences.is_empty(), "not as it was: {differences:?}");
    Ok(())
}
