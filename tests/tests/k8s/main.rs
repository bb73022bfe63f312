//! shunt on a cluster: the DaemonSet as it is, pods with Envoy sidecars, and what they notice of it.

mod at_once;
mod chart;
mod cluster;
mod comes_and_goes;
mod late;
mod manifest;
mod mesh;
mod owners;
mod schemas;
mod unable;

use anyhow::{Result, anyhow, ensure};
use cluster::{Cluster, release::Release};
use libtest_mimic::Trial;
use shim::{
    datapath::Datapath,
    layout::{Counters, text},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::LazyLock,
};
use tests::{listing::Listing, root, talk, trial};

const PINS: &str = "/sys/fs/bpf/shunt";
/// Of all tests. Its processes end with this one.
static CLUSTER: LazyLock<Result<Cluster>> = LazyLock::new(Cluster::start);

fn main() -> ExitCode {
    // What runs in pods is this program too.
    talk::is_called().unwrap_or_else(|| {
        tests::run(
            || root::enter("/".as_ref(), &[]),
            || {
                vec![
                    named("a_daemon_set_comes_and_goes", comes_and_goes::test),
                    named("folders_of_another_owner", owners::test),
                    named("deleted_and_applied_at_once", at_once::test),
                    named("who_goes_late_leaves_the_node_to_who_came", late::test),
                    named("the_chart_comes_and_goes", chart::test),
                    named("a_node_that_cannot_is_told_of", unable::test),
                    named("its_schemas_take_manifests_and_chart", schemas::test),
                ]
            },
        )
    })
}

fn named(name: &str, test: fn(&Cluster) -> Result<()>) -> Trial {
    let release = Release::chosen().map_or("", Release::name);
    trial(&format!("k8s::{release}::{name}"), move || {
        let cluster = CLUSTER.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        cluster.told(test(cluster))
    })
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
    let links = fs::read_dir(shim::pins::folder(Path::new(PINS)).join("links"))?;
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
