//! The library itself: pods come, talk, and go without a trace.

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;
use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    time::Duration,
};
use tests::{
    istio,
    node::Node,
    pod::{Pod, PodSpec},
    task::Signal,
    trial,
};

pub fn tests() -> Vec<Trial> {
    vec![
        trial("pod::two_pods_talk", two_pods_talk),
        trial("pod::leaves_nothing", leaves_nothing),
        trial("pod::sidecar_captures", sidecar_captures),
        trial("pod::task_failures_are_told", task_failures_are_told),
    ]
}

fn two_pods_talk() -> Result<()> {
    let node = Node::new("talk")?;
    let (a, b) = (node.outside("a")?, node.outside("b")?);
    let v4 = (IpAddr::from(b.ipv4), IpAddr::from(a.ipv4));
    let v6 = (IpAddr::from(b.ipv6), IpAddr::from(a.ipv6));
    for (ip, client) in [v4, v6] {
        let listening = Signal::new()?;
        let server = b.spawn(|| {
            let listener = TcpListener::bind((ip, 80))?;
            listening.raise()?;
            let (mut stream, peer) = listener.accept()?;
            stream.write_all(b"hello")?;
            Ok(peer.ip())
        })?;
        listening.wait()?;
        let text = a.run(|| {
            let mut text = String::new();
            TcpStream::connect((ip, 80))?.read_to_string(&mut text)?;
            Ok(text)
        })?;
        assert_eq!(text, "hello");
        assert_eq!(server.join()?, client);
    }
    Ok(())
}

fn leaves_nothing() -> Result<()> {
    let node = Node::new("nothing")?;
    let pod = node.outside("a")?;
    let (cgroup, netns) = (pod.cgroup.clone(), pod.netns.clone());
    let sleeper = pod.spawn(sleep_long)?;
    ensure(cgroup.exists() && netns.exists())?;
    drop(pod);
    ensure(sleeper.join().is_err())?;
    ensure(!cgroup.exists() && !netns.exists())?;
    let (cgroup, dir) = (node.cgroup.clone(), node.dir.clone());
    drop(node);
    ensure(!cgroup.exists() && !dir.exists())?;
    ensure(!fs::read_to_string("/proc/self/mountinfo")?.contains("nothing"))?;
    Ok(())
}

fn ensure(holds: bool) -> Result<()> {
    ensure!(holds, "is still there");
    Ok(())
}

fn task_failures_are_told() -> Result<()> {
    let node = Node::new("failures")?;
    let pod = node.outside("a")?;
    let failed = pod.run(|| -> Result<()> { bail!("on purpose") });
    assert_eq!(failed.unwrap_err().to_string(), "on purpose");
    let panicked = pod.run(|| -> Result<()> { panic!("on purpose") });
    assert_eq!(panicked.unwrap_err().to_string(), "panicked: on purpose");
    let slow = pod.spawn(sleep_long)?;
    let slow = slow.join_within(Duration::from_millis(50)).unwrap_err();
    assert!(slow.to_string().contains("still runs"), "{slow}");
    Ok(())
}

/// Connections out of and into a pod with Istio's rules land at the sidecar's ports.
fn sidecar_captures() -> Result<()> {
    let node = Node::new("captures")?;
    let peer = node.outside("peer")?;
    let mut spec = PodSpec::new("mesh");
    (spec.shunt, spec.redirect) = (false, true);
    let mesh = node.pod_with(spec)?;
    for ip in [IpAddr::from(peer.ipv4), peer.ipv6.into()] {
        assert_eq!(captured(&mesh, istio::OUTBOUND, &mesh, ip)?, istio::OUTBOUND);
    }
    for ip in [IpAddr::from(mesh.ipv4), mesh.ipv6.into()] {
        assert_eq!(captured(&mesh, istio::INBOUND, &peer, ip)?, istio::INBOUND);
    }
    Ok(())
}

/// Connects from a pod to port 80 of an address where nobody listens; the local port of the
/// connection that arrived in the mesh pod's listener.
fn captured(mesh: &Pod, port: u16, from: &Pod, to: IpAddr) -> Result<u16> {
    let listening = Signal::new()?;
    let sidecar = mesh.spawn(|| {
        let listener = TcpListener::bind(("::", port))?;
        listening.raise()?;
        Ok(listener.accept()?.0.local_addr()?.port())
    })?;
    listening.wait()?;
    from.run(|| TcpStream::connect((to, 80)).map(drop).map_err(Into::into))?;
    sidecar.join()
}

fn sleep_long() -> Result<()> {
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}
