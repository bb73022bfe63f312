//! What an operator does to a node, and what traffic notices of it: nothing.

mod doctor;

use crate::{load::Load, scale::scaled};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Map, Value, json};
use shim::layout::{VERSION, name};
use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};
use tests::{
    bpftool::bpftool,
    cni, mptcp,
    node::Node,
    pod::Pod,
    shuntctl::{self, Answer},
    task::{PATIENCE, Signal},
    traffic::{Mode::NonBlocking, PORT, Pace, Pattern, Stream, listen, receive, send},
    trial,
};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("operate::doctor_says_what_is_true", doctor::says_what_is_true),
        trial("operate::doctor_names_neighbours", doctor::names_neighbours),
        trial("operate::doctor_tells_of_cgroups_of_version_1", doctor::tells_of_version_1),
        trial("operate::status_shows_pods_and_connections", status_shows_pods_and_connections),
        trial("operate::drain_under_load", drain_under_load),
        trial("operate::drain_tells_what_is_left", drain_tells_what_is_left),
        trial("operate::upgrade_under_load", upgrade_under_load),
        trial("operate::upgrade_to_another_layout", upgrade_to_another_layout),
        trial("operate::adopt_running_pods", adopt_running_pods),
    ]
}

/// shuntctl on this node.
pub fn call(node: &Node, command: &str, args: &[&str]) -> Result<Answer> {
    let paths = ["--pin-path".as_ref(), node.pins.as_os_str(), "--lock-file".as_ref()];
    let paths = paths.into_iter().chain([node.lock.as_os_str()]);
    let args = args.iter().map(AsRef::as_ref);
    shuntctl::run(std::iter::once(command.as_ref()).chain(paths).chain(args))
}

/// Other nodes' pods are not this one's to adopt.
fn keys(node: &Node) -> Map<String, Value> {
    let keys = [("cgroupRoot", json!(node.cgroup)), ("excludedNamespaces", json!(["secret"]))];
    keys.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
}

/// A net.d with the node's list, and the folder of the plugins.
pub fn net_d(node: &Node) -> Result<[String; 4]> {
    let dir = node.dir.join("net.d");
    fs::create_dir_all(&dir)?;
    let chain = node.chain(true, "1.0.0", &keys(node));
    let list = json!({"cniVersion": chain.version, "name": chain.name, "plugins": chain.plugins});
    fs::write(dir.join("10-node.conflist"), list.to_string())?;
    let bin = node.dir.join("bin");
    fs::create_dir_all(&bin)?;
    if !bin.join("shunt").exists() {
        fs::copy(cni::shunt()?, bin.join("shunt"))?;
    }
    let primary = chain.plugins[0]["type"].as_str().context("no type")?;
    // A link is evidence enough: nobody calls it there.
    let _ = symlink(Path::new("/usr/lib/cni").join(primary), bin.join(primary));
    let text = |path: &Path| path.display().to_string();
    Ok(["--net-dir".into(), text(&dir), "--bin-dir".into(), text(&bin)])
}

/// Waits for something that comes by itself.
pub fn until(what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn shunted(node: &Node, pod: &Pod) -> Result<u64> {
    Ok(node.counters(pod)?.shunted.bytes)
}

/// More bytes take the short way than did before.
fn goes_the_short_way(node: &Node, pod: &Pod) -> Result<()> {
    let before = shunted(node, pod)?;
    let more = before + scaled(1 << 20);
    until("bytes take the short way", || Ok(shunted(node, pod)? > more))
}

fn status_shows_pods_and_connections() -> Result<()> {
    let node = Node::new("status")?;
    ensure!(call(&node, "status", &[])?.json["pods"] == json!([]));
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let load = Load::start(&b, &a)?;
    goes_the_short_way(&node, &a)?;
    let status = call(&node, "status", &[])?.json;
    let [of_a, of_b] = [&status["pods"][0], &status["pods"][1]];
    ensure!(of_a["name"] == "default/a" && of_b["name"] == "default/b", "{status}");
    ensure!(of_b["addresses"].as_array().is_some_and(|all| all.contains(&json!(b.ipv4))));
    let short = &of_a["connections"]["shunt"];
    ensure!(short.as_u64().is_some_and(|count| count > 0), "{status}");
    ensure!(of_a["share"].as_f64().is_some_and(|share| share > 0.0 && share <= 1.0), "{status}");
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
    ensure!(of_a["since"].as_u64().is_some_and(|since| since <= now && since + 600 > now));
    load.stop()?;
    let status = call(&node, "status", &[])?.json;
    ensure!(status["pods"][0]["counters"]["shunted"]["bytes"] == shunted(&node, &a)?, "{status}");
    Ok(())
}

/// Until nobody has a map of that id any more: the kernel frees it a little later.
fn is_freed(map: &Value) -> Result<()> {
    let id = map["id"].to_string();
    until("a map is freed", || Ok(bpftool(["map", "show", "id", &id]).is_err()))
}

fn drain_under_load() -> Result<()> {
    let node = Node::new("drain")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let load = Load::start(&b, &a)?;
    goes_the_short_way(&node, &a)?;
    let sockets = bpftool([
        "map".as_ref(),
        "show".as_ref(),
        "pinned".as_ref(),
        node.pin(name::SOCKETS).as_os_str(),
    ])?;

    let drained = call(&node, "drain", &[])?;
    ensure!(drained.code == 0 && drained.json["sockets"] == 0, "{drained:?}");
    ensure!(drained.lines[0]["sockets"].as_u64().is_some_and(|count| count > 0), "{drained:?}");
    ensure!(node.sockets()?.is_empty() && call(&node, "status", &[])?.json["draining"] == true);
    let before = (shunted(&node, &a)?, shunted(&node, &b)?);
    let refused = || Ok(node.counters(&a)?.not_paired.draining > 20);
    until("new connections come", refused)?;
    ensure!(before == (shunted(&node, &a)?, shunted(&node, &b)?));

    // Old connections stay with TCP.
    ensure!(call(&node, "drain", &["--resume"])?.code == 0);
    goes_the_short_way(&node, &a)?;

    let drained = call(&node, "drain", &[])?;
    ensure!(drained.code == 0, "{drained:?}");
    // Nothing keeps the programs: while connections that were accelerated go on.
    fs::remove_dir_all(&node.pins)?;
    is_freed(&sockets)?;
    sleep(Duration::from_millis(500));
    load.stop()?;
    Ok(())
}

/// A reader that does not read is waited for, and then gets what was handed to it.
fn drain_tells_what_is_left() -> Result<()> {
    const TOTAL: u64 = 32 << 10;
    const PATTERN: Pattern = Pattern { seed: 31 };
    const PACE: Pace = Pace { largest: 4 << 10, pause_every: 0 };
    let node = Node::new("left")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let (listening, sent, read) = (Signal::new()?, Signal::new()?, Signal::new()?);
    let reader = b.spawn(|| {
        let listener = listen((b.ipv4, PORT), NonBlocking)?;
        listening.raise()?;
        let mut stream = Stream::accept(&listener, NonBlocking)?;
        // To show how it reads.
        stream.read_exact(&mut [0])?;
        stream.write_all(b"!")?;
        read.wait()?;
        receive(&mut stream, PATTERN, PACE)
    })?;
    listening.wait()?;
    let writer = a.spawn(|| {
        let mut stream = Stream::connect((b.ipv4, PORT), NonBlocking)?;
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])?;
        send(&mut stream, PATTERN, TOTAL, PACE)?;
        sent.raise()
    })?;
    sent.wait()?;
    ensure!(shunted(&node, &a)? > 0, "{:?}", node.counters(&a)?);
    writer.join()?;
    let left = call(&node, "drain", &["--timeout", "1s"])?;
    ensure!(left.code == 4 && left.json["unread"] == json!({"default/b": 1}), "{left:?}");
    read.raise()?;
    ensure!(reader.join()? == TOTAL);
    ensure!(call(&node, "drain", &[])?.code == 0);
    Ok(())
}

fn upgrade_under_load() -> Result<()> {
    let node = Node::new("upgrade")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let load = Load::start(&b, &a)?;
    goes_the_short_way(&node, &a)?;
    let program = |pin: &str| -> Result<Value> {
        let pin = node.pin(pin);
        Ok(bpftool(["prog".as_ref(), "show".as_ref(), "pinned".as_ref(), pin.as_os_str()])?["id"]
            .clone())
    };
    let behind = |pod: &Pod| -> Result<Value> {
        let id = pod.id()?.to_string();
        let pin = node.pin(name::LINKS).join(id);
        Ok(bpftool(["link".as_ref(), "show".as_ref(), "pinned".as_ref(), pin.as_os_str()])?["prog_id"].clone())
    };
    let older = [program(name::ESTABLISH)?, program(name::MESSAGE)?];
    ensure!(behind(&a)? == older[0]);
    for _ in 0..scaled(5).max(1) {
        let upgraded = call(&node, "upgrade", &[])?;
        ensure!(upgraded.code == 0 && upgraded.json["pods"] == 2, "{upgraded:?}");
        goes_the_short_way(&node, &a)?;
    }
    let newer = [program(name::ESTABLISH)?, program(name::MESSAGE)?];
    ensure!(newer[0] != older[0] && newer[1] != older[1], "{newer:?}");
    ensure!(behind(&a)? == newer[0] && behind(&b)? == newer[0]);
    let counters = node.counters(&a)?;
    load.stop()?;
    ensure!(counters.not_paired.refused == 0 && counters.to_tcp.closing == 0, "{counters:?}");
    // New pods get the new programs.
    ensure!(behind(&node.pod("c")?)? == newer[0]);
    Ok(())
}

/// The plugin of a version of shunt with another layout: `tests/other-layout` builds it.
fn other_plugin() -> Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/other-layout/shunt");
    let plugin = env::var_os("OTHER_SHUNT_BIN").map_or(built, PathBuf::from);
    ensure!(plugin.is_file(), "{} is not built: call tests/other-layout", plugin.display());
    Ok(plugin)
}

/// A pod that a runtime has added with another plugin.
fn pod_of(node: &Node, name: &str, plugin: &Path) -> Result<Pod> {
    let pod = node.outside(name)?;
    let chain = node.chain(true, "1.0.0", &Map::new());
    let conf = chain.conf(chain.plugins.last().context("chain")?, &pod.call, Some(&pod.result));
    let output = cni::invoke(plugin, &pod.call.env("ADD"), conf.to_string().as_bytes())?;
    cni::answer(&output)?;
    Ok(pod)
}

fn upgrade_to_another_layout() -> Result<()> {
    let node = Node::new("layouts")?;
    let (plugin, args) = (other_plugin()?, net_d(&node)?);
    let args = args.each_ref().map(String::as_str);
    let (a, b) = (pod_of(&node, "a", &plugin)?, pod_of(&node, "b", &plugin)?);
    let load = Load::start(&b, &a)?;
    let older = shim::pins::folders(&node.pins);
    ensure!(older.len() == 1 && !older[0].ends_with(VERSION), "{older:?}");
    let connections = shim::connections::Connections::open(&older[0])?;
    let on_the_short_way = || Ok(connections.all()?.iter().any(|socket| socket.shunt != 0));
    until("connections are accelerated", on_the_short_way)?;
    ensure!(
        call(&node, "doctor", &args)?
            .lines
            .iter()
            .any(|it| it["todo"] == "call `shuntctl upgrade`")
    );

    let upgraded = call(&node, "upgrade", &args)?;
    ensure!(upgraded.code == 0 && upgraded.json["removed"] == json!(older), "{upgraded:?}");
    ensure!(shim::pins::folders(&node.pins) == [shim::pins::folder(&node.pins)]);
    ensure!(connections.cookies()?.is_empty());
    // The listener is older than the pods' new programs.
    goes_the_short_way(&node, &a)?;
    goes_the_short_way(&node, &b)?;
    load.stop()?;
    // The runtime's DEL finds what was taken over.
    let conf = node.chain(true, "1.0.0", &Map::new());
    conf.only("shunt").del(&a.call, None)?;
    ensure!(node.datapath()?.pods()?.len() == 1);
    Ok(())
}

fn adopt_running_pods() -> Result<()> {
    let node = Node::new("adopt")?;
    let logs = node.dir.join("logs");
    let args = net_d(&node)?;
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.extend(["--pod-logs", logs.to_str().context("path")?]);
    let (a, b) = (node.outside("a")?, node.outside("b")?);
    let (excluded, empty) = (node.outside("excluded")?, node.outside("empty")?);
    for (pod, namespace) in [(&a, "default"), (&excluded, "secret")] {
        fs::create_dir_all(logs.join(format!("{namespace}_{}_{}", pod.name, pod.uid)))?;
    }
    let load = Load::start(&b, &a)?;
    let _idle = excluded.spawn(sleep_long)?;
    let listening = Signal::new()?;
    let _mptcp = b.spawn(|| {
        // Where the kernel has none, TCP's in blocking mode: neither is fit.
        let socket = mptcp::socket().unwrap_or(TcpListener::bind("0.0.0.0:0")?.into());
        nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(1)?)?;
        listening.raise()?;
        sleep_long()
    })?;
    listening.wait()?;
    let mut host = Command::new("sleep").arg("600").spawn()?;
    let host_uid = "5c0ffee0000040008000aaaaaaaaaaaa";
    let host_cgroup = node.cgroup.join(format!("kubepods.slice/kubepods-pod{host_uid}.slice"));
    fs::create_dir_all(&host_cgroup)?;
    fs::write(host_cgroup.join("cgroup.procs"), host.id().to_string())?;

    let adopted = call(&node, "adopt", &args)?;
    host.kill()?;
    host.wait()?;
    let of = |uid: &str| adopted.lines.iter().find(|pod| pod["uid"] == uid).context("not told of");
    let why =
        |uid: &str| Ok::<_, anyhow::Error>(of(uid)?["reason"].as_str().unwrap_or("").to_owned());
    ensure!(adopted.code == 0 && adopted.lines.len() == 5, "{adopted:?}");
    ensure!(of(&a.uid)?["accelerated"] == true && of(&a.uid)?["name"] == "a", "{adopted:?}");
    ensure!(of(&b.uid)?["accelerated"] == true && of(&b.uid)?["listeners"] == 1, "{adopted:?}");
    ensure!(why(&excluded.uid)?.contains("secret is excluded"), "{adopted:?}");
    ensure!(why(&empty.uid)?.contains("nothing runs"), "{adopted:?}");
    ensure!(why(host_uid)?.contains("the node's network"), "{adopted:?}");

    goes_the_short_way(&node, &a)?;
    goes_the_short_way(&node, &b)?;
    ensure!(node.datapath()?.pod_ips()?.len() == 4);
    let again = call(&node, "adopt", &args)?;
    ensure!(again.lines.len() == 5 && again.lines[0] == adopted.lines[0], "{again:?}");
    load.stop()?;
    // The runtime's DEL finds what it never added.
    let chain = node.chain(true, "1.0.0", &Map::new()).only("shunt");
    chain.del(&a.call, None)?;
    chain.del(&b.call, None)?;
    ensure!(node.datapath()?.pods()?.is_empty() && node.datapath()?.pod_ips()?.is_empty());
    Ok(())
}

fn sleep_long() -> Result<()> {
    sleep(PATIENCE);
    Ok(())
}
