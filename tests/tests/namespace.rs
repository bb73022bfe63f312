//! Pods that have no cgroup of their own in version 2, or whose runtime names none: shunt knows them by their
//! network namespaces.

use crate::pairing::{answer, answering, ask};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::sched::{CloneFlags, setns};
use serde_json::{Map, json};
use shim::{
    layout::{is_namespace, name},
    namespace::Namespace,
    pins,
    sweep::EVERY,
};
use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    thread::sleep,
    time::Duration,
};
use tests::{
    bare::Bare,
    bpftool::bpftool,
    cni, mptcp, needs, netns,
    node::Node,
    pod::{Pod, PodSpec},
    task::Signal,
    traffic::{Mode::NonBlocking, PORT, Stream, listen},
    trial,
};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("namespace::each_pod_by_its_own", each_pod_by_its_own),
        trial("namespace::beside_pods_with_cgroups", beside_pods_with_cgroups),
        trial("namespace::a_proxy_in_its_network", a_proxy_in_its_network),
        trial("namespace::others_are_left_alone", others_are_left_alone),
        trial("namespace::ends_with_the_pod", ends_with_the_pod),
        trial("namespace::sockets_that_outlive_their_pods", sockets_that_outlive_their_pods),
        trial("namespace::another_with_its_number", another_with_its_number),
        trial("namespace::no_version_2_is_mounted", no_version_2_is_mounted),
        trial("namespace::programs_are_upgraded", programs_are_upgraded),
        needs(
            trial("namespace::no_mptcp_where_it_is_refused", no_mptcp_where_it_is_refused),
            mptcp::socket().is_ok() && !shim::mptcp::is_safe(),
            "no MPTCP, or one that need not be refused",
        ),
    ]
}

fn pod(node: &Node, name: &str) -> Result<Pod> {
    node.pod_with(PodSpec::new(name).by_namespace(node))
}

fn converse(server: &Pod, client: &Pod) -> Result<()> {
    let answering = answering(server, server.ipv4.into())?;
    client.run(|| ask(Stream::connect((server.ipv4, PORT), NonBlocking)?))?;
    answering.join().map(drop)
}

/// How many of its messages took the short way, if it is accelerated.
fn shunted(node: &Node, pod: &Pod) -> Result<Option<u64>> {
    let known = node.datapath()?.pod(pod.id()?)?;
    Ok(known.map(|pod| pod.counters.shunted.messages))
}

/// What is pinned of the programs that run for all sockets.
fn for_all(node: &Node) -> bool {
    [name::LINKS, name::GUARDS].iter().any(|folder| node.pin(folder).join(name::ALL).exists())
}

fn each_pod_by_its_own() -> Result<()> {
    let node = Node::new("bynetns")?;
    let (a, b, c) = (pod(&node, "a")?, pod(&node, "b")?, pod(&node, "c")?);
    let mut spec = PodSpec::new("left").by_namespace(&node);
    spec.namespace = "left".into();
    spec.conf.insert("excludedNamespaces".into(), json!(["left"]));
    let left = node.pod_with(spec)?;
    ensure!([&a, &b, &c].iter().all(|pod| pod.id().is_ok_and(is_namespace)));
    converse(&b, &a)?;
    for pod in [&a, &b] {
        ensure!(shunted(&node, pod)? >= Some(90), "{}: {:?}", pod.name, node.counters(pod)?);
    }
    ensure!(shunted(&node, &c)? == Some(0), "{:?}", node.counters(&c)?);
    converse(&left, &a)?;
    ensure!(shunted(&node, &left)?.is_none());
    ensure!(node.counters(&a)?.not_paired.remote == 1, "{:?}", node.counters(&a)?);
    a.chain.check(&a.call, &a.result)
}

fn beside_pods_with_cgroups() -> Result<()> {
    let node = Node::new("bothkinds")?;
    let (a, b) = (pod(&node, "a")?, node.pod("b")?);
    for (server, client) in [(&a, &b), (&b, &a)] {
        converse(server, client)?;
    }
    for pod in [&a, &b] {
        let counters = node.counters(pod)?;
        let sent =
            (counters.shunted.messages, counters.shunted.messages + counters.by_tcp.messages);
        ensure!(
            counters.paired == 2 && sent.0 >= 180 && sent.1 == 200,
            "{}: {counters:?}",
            pod.name
        );
    }
    Ok(())
}

/// As ztunnel listens: the socket is its own pod's, for which a program runs, too.
fn a_proxy_in_its_network() -> Result<()> {
    let node = Node::new("proxied")?;
    let (app, proxy, client) = (pod(&node, "app")?, node.pod("proxy")?, node.pod("client")?);
    let listening = Signal::new()?;
    let server = proxy.spawn(|| {
        setns(File::open(&app.netns)?, CloneFlags::CLONE_NEWNET)?;
        let listener = listen((app.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        answer(Stream::accept(&listener, NonBlocking)?)
    })?;
    listening.wait()?;
    client.run(|| ask(Stream::connect((app.ipv4, PORT), NonBlocking)?))?;
    server.join()?;
    ensure!(shunted(&node, &proxy)? >= Some(90), "{:?}", node.counters(&proxy)?);
    let counters = node.counters(&app)?;
    ensure!((counters.paired, counters.shunted.messages) == (0, 0), "{counters:?}");
    Ok(())
}

/// Programs then run for sockets that are no pod's, too.
fn others_are_left_alone() -> Result<()> {
    let node = Node::new("others")?;
    let (_a, b) = (pod(&node, "a")?, pod(&node, "b")?);
    let (outside, other) = (node.outside("outside")?, node.outside("other")?);
    converse(&outside, &other)?;
    ensure!(node.sockets()?.is_empty());
    converse(&b, &outside)?;
    ensure!(node.counters(&b)?.not_paired.no_peer == 1, "{:?}", node.counters(&b)?);
    Ok(())
}

fn ends_with_the_pod() -> Result<()> {
    let mut node = Node::new("ends")?;
    let (a, b) = (pod(&node, "a")?, pod(&node, "b")?);
    let folder = pins::folder(&node.pins);
    drop(a);
    ensure!(pins::attached(&folder) == [b.id()?] && for_all(&node));
    drop(b);
    ensure!(pins::attached(&folder).is_empty() && !for_all(&node));
    let datapath = node.datapath()?;
    ensure!(datapath.pods()?.is_empty() && datapath.pod_ips()?.is_empty());
    drop(datapath);
    // A runtime that loses DEL: the kernel tells that the namespace is gone.
    node.conf.insert("cgroupRoot".into(), json!(node.cgroup));
    let add = |number| {
        let mut pod = Bare::new(&node, number)?;
        let path = node.dir.join(format!("lost-{number}"));
        netns::create(&path)?;
        (pod.call.netns, pod.call.runtime_config) =
            (path.display().to_string(), Default::default());
        pod.shunt("ADD")?;
        anyhow::Ok((pod, path))
    };
    let (_lost, path) = add(1)?;
    ensure!(pins::attached(&folder).len() == 1);
    netns::remove(&path)?;
    let there = (2..2 + EVERY as u32).map(add).collect::<Result<Vec<_>>>()?;
    let known = node.datapath()?.attachments()?.len();
    there.iter().try_for_each(|(_, path)| netns::remove(path))?;
    ensure!(known == EVERY, "{known}");
    node.datapath()?.sweep()?;
    ensure!(node.datapath()?.pods()?.is_empty() && !for_all(&node));
    Ok(())
}

/// Nobody is told when they end: what was known of them is forgotten with their pods, of either kind.
fn sockets_that_outlive_their_pods() -> Result<()> {
    let node = Node::new("outlive")?;
    for (a, b) in [(pod(&node, "a")?, pod(&node, "b")?), (node.pod("c")?, node.pod("d")?)] {
        let (open, end) = (Signal::new()?, Signal::new()?);
        let task = a.spawn(|| {
            let listener = listen((a.ipv4, PORT), NonBlocking)?;
            let stream = Stream::connect((a.ipv4, PORT), NonBlocking)?;
            let accepted = Stream::accept(&listener, NonBlocking)?;
            open.raise()?;
            end.wait()?;
            drop((stream, accepted));
            Ok(())
        })?;
        open.wait()?;
        ensure!(watched(&node)? > 0, "nothing is watched");
        for pod in [&a, &b] {
            pod.chain.only("shunt").del(&pod.call, None)?;
        }
        end.raise()?;
        task.join()?;
        ensure!(watched(&node)? == 0, "{} sockets are left", watched(&node)?);
    }
    Ok(())
}

/// How many sockets are.
fn watched(node: &Node) -> Result<usize> {
    let pin = node.pin(name::WATCHED);
    let dumped = bpftool(["map", "dump", "pinned", pin.to_str().context("pin")?])?;
    Ok(dumped.as_array().context("no array")?.len())
}

/// A runtime loses DEL, and the kernel gives the number to the next pod, which is to be left alone.
fn another_with_its_number() -> Result<()> {
    let mut node = Node::new("number")?;
    node.conf.insert("cgroupRoot".into(), json!(node.cgroup));
    let add = |number, accelerate: &str| {
        let mut bare = Bare::new(&node, number)?;
        let path = node.dir.join(format!("number-{number}"));
        netns::create(&path)?;
        bare.call.netns = path.display().to_string();
        let annotations = json!({"shunt/accelerate": accelerate});
        bare.call.runtime_config =
            Map::from_iter([("io.kubernetes.cri.pod-annotations".into(), annotations)]);
        bare.shunt("ADD")?;
        anyhow::Ok((Namespace::open(&path)?.id, path))
    };
    let known = |id| anyhow::Ok(node.datapath()?.pod(id)?.is_some());
    let mut others = vec![add(1, "on")?.1];
    for (number, accelerate) in [(2, "off"), (20, "on")] {
        let (former, path) = add(number, "on")?;
        netns::remove(&path)?;
        ensure!(known(former)?);
        // The lowest number that is free, once the kernel has let it go.
        let next = (1..10).find_map(|more| {
            sleep(Duration::from_millis(100));
            let (id, path) = add(number + more, accelerate).ok()?;
            others.push(path);
            (id == former).then_some(())
        });
        next.context("the kernel gives other numbers")?;
        ensure!(known(former)? == (accelerate == "on"));
        let theirs = node.datapath()?.attachments()?;
        let theirs = theirs.iter().filter(|(_, attached)| attached.pod == former).count();
        ensure!(theirs == usize::from(accelerate == "on"), "{theirs}");
    }
    Ok(others.iter().try_for_each(|path| netns::remove(path))?)
}

/// As on nodes with cgroup v1 only: the plugin finds no mount, and takes one that nobody sees. In a cgroup
/// namespace its root is the node's.
fn no_version_2_is_mounted() -> Result<()> {
    let node = Node::new("version1")?;
    let bin_dir = node.dir.join("bin");
    fs::create_dir(&bin_dir)?;
    for plugin in ["bridge", "host-local"] {
        symlink(cni::find(plugin)?, bin_dir.join(plugin))?;
    }
    let wrapper = bin_dir.join("shunt");
    let script = format!(
        "#!/bin/bash -e\necho $$ >{}/cgroup.procs\nexec unshare --mount --cgroup bash -ec '\n\
         for at in $(findmnt --noheadings --types cgroup2 --output TARGET --list); do umount --lazy $at; done\n\
         exec {}'\n",
        node.cgroup.display(),
        cni::shunt()?.display()
    );
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    let pod = |name: &str| {
        let mut spec = PodSpec::new(name);
        let mut chain = node.chain(true, &spec.cni_version, &spec.conf);
        chain.bin_dir = Some(bin_dir.clone());
        spec.chain = Some(chain);
        node.pod_with(spec)
    };
    let (a, b) = (pod("a")?, pod("b")?);
    let log = || fs::read_to_string(node.log()).unwrap_or_default();
    converse(&b, &a)?;
    let known = node.datapath()?.pods()?;
    ensure!(known.len() == 2 && known.iter().all(|(id, _)| is_namespace(*id)), "{}", log());
    for (_, pod) in known {
        ensure!(pod.counters.shunted.messages >= 90, "{:?}", pod.counters);
    }
    drop((a, b));
    ensure!(pins::attached(&pins::folder(&node.pins)).is_empty() && !for_all(&node));
    Ok(())
}

fn programs_are_upgraded() -> Result<()> {
    let node = Node::new("upgraded")?;
    let (a, b) = (pod(&node, "a")?, pod(&node, "b")?);
    let program = || anyhow::Ok(link(&node.pin(name::LINKS).join(name::ALL))?["prog_id"].clone());
    let before = program()?;
    ensure!(node.datapath()?.upgrade()? == 2);
    ensure!(program()? != before);
    converse(&b, &a)?;
    ensure!(shunted(&node, &a)? >= Some(90), "{:?}", node.counters(&a)?);
    Ok(())
}

fn link(pin: &Path) -> Result<serde_json::Value> {
    bpftool(["link", "show", "pinned", pin.to_str().context("pin")?])
}

fn no_mptcp_where_it_is_refused() -> Result<()> {
    let node = Node::new("nomptcp")?;
    let captured = node.pod_with(
        PodSpec::new("a").annotate("sidecar.istio.io/status", "{}").by_namespace(&node),
    )?;
    let other = pod(&node, "b")?;
    ensure!(captured.run(|| Ok(mptcp::socket().is_err()))?);
    ensure!(other.run(|| Ok(mptcp::socket().is_ok()))?);
    Ok(())
}
