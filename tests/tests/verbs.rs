//! Every CNI verb, as a runtime calls it.

mod configuration;
mod malformed;
mod refusals;

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use shim::{
    cgroup::Cgroup,
    layout::{Address, PodId, name},
    pins,
    sweep::{EVERY, SHARE},
};
use std::{
    fs,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};
use tests::{
    bare::Bare,
    cni::{self, Call, expect_failure},
    node::Node,
    pod::{CgroupBy, Pod, PodSpec},
    task::PATIENCE,
    trial,
};

pub fn tests() -> Vec<Trial> {
    let here = trials(
        "verbs",
        &[
            ("add_in_all_versions", add_in_all_versions),
            ("add_registers_all_addresses", add_registers_all_addresses),
            ("add_passes_prev_result_through", add_passes_prev_result_through),
            ("add_finds_addresses_in_the_namespace", add_finds_addresses_in_the_namespace),
            ("add_takes_args_in_any_order", add_takes_args_in_any_order),
            ("add_many_at_once", add_many_at_once),
            ("add_sweeps_pods_that_are_gone", add_sweeps_pods_that_are_gone),
            ("add_sweeps_a_share", add_sweeps_a_share),
            ("del_twice_and_twice_at_once", del_twice_and_twice_at_once),
            ("del_without_netns_and_prev_result", del_without_netns_and_prev_result),
            ("del_spares_an_address_with_a_new_owner", del_spares_an_address_with_a_new_owner),
            (
                "del_of_an_older_sandbox_spares_the_new_one",
                del_of_an_older_sandbox_spares_the_new_one,
            ),
            ("check_tells_what_was_lost", check_tells_what_was_lost),
            ("gc_removes_only_what_is_stale", gc_removes_only_what_is_stale),
            ("status_and_version", status_and_version),
        ],
    );
    let parts = [here, configuration::tests(), malformed::tests(), refusals::tests()];
    parts.into_iter().flatten().collect()
}

type Test = (&'static str, fn() -> Result<()>);

fn trials(part: &str, tests: &[Test]) -> Vec<Trial> {
    tests.iter().map(|(name, test)| trial(&format!("{part}::{name}"), *test)).collect()
}

/// What shunt gets on stdin, with ADD's result.
fn conf(pod: &Pod) -> Result<Value> {
    let plugin = pod.chain.only("shunt").plugins.pop().context("no shunt in the chain")?;
    Ok(pod.chain.conf(&plugin, &pod.call, Some(&pod.result)))
}

/// shunt alone, with any configuration.
fn shunt(verb: &str, call: &Call, conf: &Value) -> Result<Option<Value>> {
    cni::answer(&cni::invoke(&cni::shunt()?, &call.env(verb), conf.to_string().as_bytes())?)
}

fn at_once<'a>(calls: impl IntoIterator<Item = (&'a str, &'a Call, &'a Value)>) -> Result<()> {
    thread::scope(|scope| {
        let start = |(verb, call, conf)| scope.spawn(move || shunt(verb, call, conf));
        let running: Vec<_> = calls.into_iter().map(start).collect();
        let wait = |call: thread::ScopedJoinHandle<Result<_>>| {
            call.join().map_err(|_| anyhow!("panicked"))
        };
        running.into_iter().try_for_each(|call| wait(call)?.map(drop))
    })
}

fn owner(node: &Node, ip: impl Into<IpAddr>) -> Result<Option<PodId>> {
    let ip = Address::from(ip.into());
    let mut ips = node.datapath()?.pod_ips()?.into_iter();
    Ok(ips.find(|(address, _)| *address == ip).map(|(_, owner)| owner.pod))
}

fn is_accelerated(node: &Node, pod: &Pod) -> Result<bool> {
    Ok(node.datapath()?.pod(pod.id()?)?.is_some())
}

/// The newest version that Debian 12's containernetworking-plugins speak is 1.0.0, so 1.1.0 is
/// shunt's alone, behind a pod made with 1.0.0: the results of the two have the same form.
fn add_in_all_versions() -> Result<()> {
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
        let node = Node::new("versions")?;
        let mut spec = PodSpec::new(version);
        spec.cni_version = version.into();
        let pod = node.pod_with(spec)?;
        ensure!(pod.result["cniVersion"] == version, "{}", pod.result);
        ensure!(is_accelerated(&node, &pod)?, "{version}");
        if !version.starts_with("0.3") {
            pod.chain.check(&pod.call, &pod.result)?;
        }
        pod.chain.del(&pod.call, Some(&pod.result))?;
        ensure!(!is_accelerated(&node, &pod)?, "{version}");
    }
    let node = Node::new("versions")?;
    let pod = node.pod("1.1.0")?;
    let mut conf = conf(&pod)?;
    conf["cniVersion"] = json!("1.1.0");
    shunt("DEL", &pod.call, &conf)?;
    ensure!(!is_accelerated(&node, &pod)?);
    shunt("ADD", &pod.call, &conf)?;
    ensure!(is_accelerated(&node, &pod)?);
    shunt("CHECK", &pod.call, &conf)?;
    conf["cniVersion"] = json!("0.2.0");
    expect_failure(shunt("ADD", &pod.call, &conf), 1)?;
    Ok(())
}

fn add_registers_all_addresses() -> Result<()> {
    let node = Node::new("addresses")?;
    let pod = node.pod("a")?;
    let (entry, pod_id) = (node.datapath()?.pod(pod.id()?)?.context("no entry")?, pod.id()?);
    ensure!(entry.ipv4 == pod.ipv4.octets() && entry.ipv6 == pod.ipv6.octets(), "{entry:?}");
    ensure!(owner(&node, pod.ipv4)? == Some(pod_id) && owner(&node, pod.ipv6)? == Some(pod_id));
    // Neither the host's end of the veth nor the bridge is the pod's.
    ensure!(node.datapath()?.pod_ips()?.len() == 2);

    // More than one of a family, and the host's own among them.
    let mut conf = conf(&pod)?;
    let ips = conf["prevResult"]["ips"].as_array_mut().context("no ips")?;
    let index = ips[0]["interface"].clone();
    ips.push(json!({"address": "10.9.9.9/32", "interface": index}));
    ips.push(json!({"address": "fd09::9/128", "interface": index}));
    ips.push(json!({"address": "10.9.9.1/32", "interface": 0}));
    shunt("ADD", &pod.call, &conf)?;
    for ip in ["10.9.9.9", "fd09::9"] {
        ensure!(owner(&node, ip.parse::<IpAddr>()?)? == Some(pod_id), "{ip}");
    }
    ensure!(node.datapath()?.pod_ips()?.len() == 4);
    Ok(())
}

fn add_passes_prev_result_through() -> Result<()> {
    let node = Node::new("through")?;
    let pod = node.pod("a")?;
    // Bridge's own result first: what the chain ended with is what it handed to shunt.
    let result = shunt("ADD", &pod.call, &conf(&pod)?)?;
    ensure!(result.as_ref() == Some(&pod.result), "{result:?}");
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        // Order, spaces, unknown keys, escapes, and numbers that no float can hold.
        let prev_result = format!(
            r#"{{"zebra":1.000000000000000000001,"ips":[{{"address":"10.0.0.5/32","version":"4"}}],
            "dns":{{}}, "cniVersion":"{version}","interfaces":null,"\u00e9\/":[1e2,-0,18446744073709551616,{{}}]}}"#
        );
        let conf = format!(
            r#"{{"cniVersion":"{version}","name":"n","type":"shunt","pinPath":{},"lockFile":{},
            "prevResult": {prev_result} }}"#,
            json!(node.pins),
            json!(node.lock),
        );
        let output = cni::invoke(&cni::shunt()?, &pod.call.env("ADD"), conf.as_bytes())?;
        ensure!(output.status.success());
        ensure!(String::from_utf8(output.stdout)?.trim_end() == prev_result, "{version}");
    }
    Ok(())
}

fn add_finds_addresses_in_the_namespace() -> Result<()> {
    let node = Node::new("inside")?;
    let pod = node.pod("a")?;
    let mut conf = conf(&pod)?;
    shunt("DEL", &pod.call, &conf)?;
    conf["prevResult"] = json!({"cniVersion": "1.0.0"});
    shunt("ADD", &pod.call, &conf)?;
    let pod_id = Some(pod.id()?);
    ensure!(owner(&node, pod.ipv4)? == pod_id && owner(&node, pod.ipv6)? == pod_id);
    // Without 127.0.0.1, ::1 and fe80::.
    ensure!(node.datapath()?.pod_ips()?.len() == 2);
    shunt("CHECK", &pod.call, &conf)?;
    Ok(())
}

fn add_takes_args_in_any_order() -> Result<()> {
    let node = Node::new("args")?;
    let mut spec = PodSpec::new("a");
    spec.cgroup_by = CgroupBy::Uid;
    let pod = node.pod_with(spec)?;
    let mut call = pod.call.clone();
    let mut args: Vec<&str> = pod.call.args.split(';').collect();
    for _ in 0..args.len() {
        args.rotate_left(1);
        call.args = args.join(";");
        shunt("DEL", &call, &conf(&pod)?)?;
        ensure!(!is_accelerated(&node, &pod)?);
        shunt("ADD", &call, &conf(&pod)?)?;
        ensure!(is_accelerated(&node, &pod)?, "{}", call.args);
    }
    Ok(())
}

/// A node that starts: nothing is pinned yet, and all pods come at the same time.
fn add_many_at_once() -> Result<()> {
    let node = Node::new("atonce")?;
    let pods = ["a", "b", "c", "d", "e", "f"].map(|name| node.pod(name));
    let pods = pods.into_iter().collect::<Result<Vec<_>>>()?;
    let confs = pods.iter().map(conf).collect::<Result<Vec<_>>>()?;
    at_once(pods.iter().zip(&confs).map(|(pod, conf)| ("DEL", &pod.call, conf)))?;
    ensure!(node.datapath()?.attachments()?.is_empty());
    fs::remove_dir_all(&node.pins)?;
    at_once(pods.iter().zip(&confs).map(|(pod, conf)| ("ADD", &pod.call, conf)))?;
    for pod in &pods {
        ensure!(is_accelerated(&node, pod)? && owner(&node, pod.ipv6)? == Some(pod.id()?));
    }
    Ok(())
}

/// containerd calls GC never, and DEL not after a crash at the wrong moment.
fn add_sweeps_pods_that_are_gone() -> Result<()> {
    let node = Node::new("sweep")?;
    let gone = node.pod("gone")?;
    let gone_id = gone.id()?;
    gone.kill()?;
    tests::cgroup::remove(&gone.cgroup)?;
    ensure!(node.datapath()?.pod(gone_id)?.is_some());
    is_detached(&node, 0)?;
    let next = |number| node.pod(&format!("next-{number}"));
    let _next = (0..EVERY).map(next).collect::<Result<Vec<_>>>()?;
    ensure!(node.datapath()?.pod(gone_id)?.is_none());
    ensure!(owner(&node, gone.ipv4)?.is_none());
    Ok(())
}

/// However many pods are gone, one ADD looks at few, and each at others, until none of them is left.
fn add_sweeps_a_share() -> Result<()> {
    let node = Node::new("share")?;
    let (mut live, mut gone): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
    for number in 0..4 * SHARE as u32 {
        let pod = Bare::new(&node, number)?;
        pod.shunt("ADD")?;
        // Some live among those that are gone.
        if number % 4 == 0 { live.push(pod) } else { gone.push(pod) }
    }
    gone.into_iter().try_for_each(Bare::lose)?;
    is_detached(&node, live.len())?;
    let mut looked = 0;
    while node.datapath()?.attachments()?.len() > live.len() {
        let before = node.datapath()?.attachments()?.len();
        let pod = Bare::new(&node, 1000 + looked)?;
        pod.shunt("ADD")?;
        live.push(pod);
        let forgotten = before + 1 - node.datapath()?.attachments()?.len();
        ensure!(forgotten <= SHARE, "{forgotten} by one ADD");
        looked += 1;
        ensure!(
            looked < 10 * EVERY as u32,
            "{} are left",
            node.datapath()?.attachments()?.len() - live.len()
        );
    }
    ensure!(looked > 2 * EVERY as u32, "one ADD looks at a share only");
    let datapath = node.datapath()?;
    for pod in &live {
        pod.shunt("CHECK")?;
        ensure!(datapath.is_attached(Cgroup::open(&pod.cgroup)?.id)?);
    }
    ensure!(datapath.pods()?.len() == live.len() && datapath.pod_ips()?.len() == live.len());
    // Those of a few pods may be left until the next ones go, or until `watch` sweeps.
    let mut datapath = node.datapath()?;
    datapath.sweep()?;
    let habits = datapath.habits().all()?;
    ensure!(
        habits.iter().all(|(program, _)| datapath.pod(program.pod).is_ok_and(|it| it.is_some()))
    );
    for links in [name::LINKS, name::GUARDS] {
        ensure!(fs::read_dir(node.pin(links))?.count() == live.len(), "{links}");
    }
    Ok(())
}

/// The kernel detaches a removed cgroup's links a little later, from a work queue.
fn is_detached(node: &Node, left: usize) -> Result<()> {
    let (folder, deadline) = (pins::folder(&node.pins), Instant::now() + PATIENCE);
    while pins::attached(&folder).len() > left {
        ensure!(Instant::now() < deadline, "still attached");
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn del_twice_and_twice_at_once() -> Result<()> {
    let node = Node::new("del")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let conf_a = conf(&a)?;
    shunt("DEL", &a.call, &conf_a)?;
    ensure!(!is_accelerated(&node, &a)? && owner(&node, a.ipv4)?.is_none());
    shunt("DEL", &a.call, &conf_a)?;
    a.chain.del(&a.call, Some(&a.result))?;
    a.chain.del(&a.call, Some(&a.result))?;

    ensure!(is_accelerated(&node, &b)?);
    for _ in 0..10 {
        shunt("ADD", &a.call, &conf_a)?;
        at_once([("DEL", &a.call, &conf_a); 2])?;
        ensure!(!is_accelerated(&node, &a)? && owner(&node, a.ipv4)?.is_none());
    }
    ensure!(is_accelerated(&node, &b)? && owner(&node, b.ipv4)? == Some(b.id()?));
    Ok(())
}

fn del_without_netns_and_prev_result() -> Result<()> {
    let node = Node::new("bare")?;
    let pod = node.pod("a")?;
    let mut call = pod.call.clone();
    call.netns.clear();
    call.args.clear();
    call.runtime_config.clear();
    // Through the chain, as after a reboot.
    pod.chain.del(&call, None)?;
    ensure!(!is_accelerated(&node, &pod)? && node.datapath()?.pod_ips()?.is_empty());

    // And where nothing was ever pinned.
    let mut conf = conf(&pod)?;
    conf["pinPath"] = json!(node.pins.join("nothing"));
    shunt("DEL", &call, &conf)?;
    Ok(())
}

fn del_spares_an_address_with_a_new_owner() -> Result<()> {
    let node = Node::new("owner")?;
    let (old, new) = (node.pod("old")?, node.pod("new")?);
    // The pod's primary plugin freed the address, and gave it away, before shunt's DEL came.
    let mut conf_new = conf(&new)?;
    conf_new["prevResult"] = old.result.clone();
    shunt("ADD", &new.call, &conf_new)?;
    shunt("DEL", &old.call, &conf(&old)?)?;
    ensure!(owner(&node, old.ipv4)? == Some(new.id()?));
    ensure!(owner(&node, old.ipv6)? == Some(new.id()?));
    shunt("CHECK", &new.call, &conf_new)?;
    Ok(())
}

/// A kubelet that makes a pod's sandbox anew keeps its cgroup, and may delete the old one late.
fn del_of_an_older_sandbox_spares_the_new_one() -> Result<()> {
    let node = Node::new("sandboxes")?;
    let pod = node.pod("a")?;
    let conf = conf(&pod)?;
    let mut newer = pod.call.clone();
    newer.container_id = "newer".into();
    shunt("ADD", &newer, &conf)?;
    shunt("DEL", &pod.call, &conf)?;
    shunt("CHECK", &newer, &conf)?;
    ensure!(owner(&node, pod.ipv4)? == Some(pod.id()?));
    shunt("DEL", &newer, &conf)?;
    ensure!(!is_accelerated(&node, &pod)? && node.datapath()?.pod_ips()?.is_empty());
    Ok(())
}

fn check_tells_what_was_lost() -> Result<()> {
    let node = Node::new("check")?;
    let pod = node.pod("a")?;
    pod.chain.check(&pod.call, &pod.result)?;
    let (conf, link) = (conf(&pod)?, node.pin("links").join(pod.id()?.to_string()));

    let mut elsewhere = conf.clone();
    elsewhere["prevResult"]["ips"] = json!([{"address": "10.9.9.9/32"}]);
    let failure = expect_failure(shunt("CHECK", &pod.call, &elsewhere), 100)?;
    ensure!(failure.details.contains("10.9.9.9"), "{failure}");

    fs::remove_file(link)?;
    let failure = expect_failure(shunt("CHECK", &pod.call, &conf), 100)?;
    ensure!(failure.details.contains("is not attached"), "{failure}");
    shunt("ADD", &pod.call, &conf)?;
    shunt("CHECK", &pod.call, &conf)?;

    // What is no result, or none at all, is the runtime's mistake.
    let mut none = conf.clone();
    none["prevResult"] = Value::Null;
    expect_failure(shunt("CHECK", &pod.call, &none), 7)?;
    none["cniVersion"] = json!("0.3.1");
    expect_failure(shunt("CHECK", &pod.call, &none), 1)?;
    Ok(())
}

/// Without the chain: Debian 12's plugins do not know GC.
fn gc_removes_only_what_is_stale() -> Result<()> {
    let node = Node::new("gc")?;
    let (a, b) = (node.pod("a")?, node.pod("b")?);
    let mut conf = conf(&a)?;
    conf["cniVersion"] = json!("1.1.0");
    let named = |pods: &[&Pod]| -> Value {
        let name = |pod: &&Pod| json!({"containerID": pod.container_id, "ifname": "eth0"});
        pods.iter().map(name).collect()
    };
    let gc = |key: &str, valid: Value, network: &str| {
        let mut conf = conf.clone();
        conf[key] = valid;
        conf["name"] = json!(network);
        shunt("GC", &Call::default(), &conf)
    };
    let key = "cni.dev/valid-attachments";
    gc(key, named(&[&a, &b]), &node.name)?;
    gc(key, Value::Null, "another-network")?;
    expect_failure(gc("other", Value::Null, &node.name), 7)?;
    expect_failure(gc(key, json!([{"containerID": 5}]), &node.name), 7)?;
    ensure!(is_accelerated(&node, &a)? && is_accelerated(&node, &b)?);

    // Older libraries wrote only this name.
    gc("cni.dev/attachments", named(&[&b]), &node.name)?;
    ensure!(!is_accelerated(&node, &a)? && is_accelerated(&node, &b)?);
    ensure!(owner(&node, a.ipv4)?.is_none() && owner(&node, b.ipv4)? == Some(b.id()?));
    gc(key, Value::Null, &node.name)?;
    ensure!(!is_accelerated(&node, &b)? && node.datapath()?.attachments()?.is_empty());
    Ok(())
}

fn status_and_version() -> Result<()> {
    let node = Node::new("status")?;
    let conf = json!({"cniVersion": "1.1.0", "name": "n", "type": "shunt", "pinPath": node.dir});
    ensure!(shunt("STATUS", &Call::default(), &conf)?.is_none());
    let version = shunt("VERSION", &Call::default(), &json!({"cniVersion": "1.0.0"}))?;
    let spoken = json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    ensure!(version.as_ref().is_some_and(|v| v["supportedVersions"] == spoken), "{version:?}");

    let about = cni::invoke::<&str>(&cni::shunt()?, &[], b"")?;
    let text = String::from_utf8(about.stdout)?;
    ensure!(about.status.success() && text.contains("shunt") && text.contains("1.1.0"), "{text}");
    Ok(())
}
