//! What connections cost that are open and say nothing.

use super::crowd::Crowd;
use crate::{
    bound::Bound,
    metric::{Metric, Sample},
    plan::Plan,
    report::Picture,
    scene::{Cell, Measured, Scene, Stage},
    way::Way,
};
use anyhow::{Context as _, Result};
use shim::layout::Flow;
use std::{fs, thread::sleep, time::Duration};
use tests::{
    maps,
    neighbour::textbook::Textbook,
    node::Node,
    pod::{Pod, PodSpec},
};

const WAYS: [Way; 3] = [Way::Plain, Way::Shunt, Way::Naive];
/// naive knows a connection by its client's port: beyond these, to another port of the server, it takes one for another.
const PORTS: usize = 28_000;
/// What the kernel has besides a value in a socket's storage (struct bpf_local_storage_elem).
const BESIDE: u64 = 64;

/// By cell. Each measurement has a node of its own.
struct Idle(Vec<usize>);

pub fn scene(plan: &Plan) -> Scene {
    let numbers = plan.pick(&[10_000], &[10_000, 100_000]);
    let cell = |&connections: &usize| Cell {
        name: format!("{connections} connections"),
        ways: WAYS.into_iter().filter(|&it| it != Way::Naive || connections < PORTS).collect(),
        bounds: vec![Bound::number(Metric::Maps, Way::Shunt, 1024.0)],
        takes: Duration::from_millis(connections as u64 / 8),
        at: None,
        bytes: None,
        is_headline: false,
    };
    Scene {
        name: "idle",
        title: "Idle connections",
        note: "Open between two pods, each after one request, in as many processes as the limit of open files \
               asks for. Bytes are for both ends of a connection. In the kernel: by how much Slab of /proc/meminfo \
               grew, so with the sockets. In maps: by how much shunt's maps grew, and the storage of its sockets, \
               for each connection in the sockhash. Those that find it full stay plain TCP: it has room for both \
               ends of 32 Ki connections, and for more on nodes with 32 GiB. naive takes one for another once a \
               client's port is used twice.",
        ways: WAYS.into(),
        metrics: vec![Metric::Kernel, Metric::Maps, Metric::Entered],
        cells: numbers.iter().map(cell).collect(),
        is_short: false,
        picture: Picture::Nothing,
        // Memory does not change from round to round.
        rounds: Some(1),
        setup: Duration::from_secs(2),
        open: Box::new(move |_| Ok(Box::new(Idle(numbers.clone())))),
    }
}

impl Stage for Idle {
    fn measure(&mut self, cell: usize, way: Way) -> Result<Measured> {
        let connections = self.0[cell];
        let node = Node::new("bench")?;
        let pod = |name| {
            let mut spec = PodSpec::new(name);
            spec.shunt = way.is_attached();
            node.pod_with(spec)
        };
        let [server, client]: [Pod; 2] = [pod("server")?, pod("client")?];
        let cgroups = [server.cgroup.as_path(), client.cgroup.as_path()];
        let _textbook = (way == Way::Naive).then(|| Textbook::attach(&cgroups)).transpose()?;
        let maps = || if way == Way::Shunt { maps::memory(&node) } else { Ok(0) };
        let (slab, in_maps) = (settled_slab()?, maps()?);
        let _crowd = Crowd::open(&server, &client, connections)?;
        let grown = |now: u64, before: u64| now.saturating_sub(before) as f64;
        let in_kernel = grown(settled_slab()?, slab) / connections as f64;
        let mut sample = Sample::from([(Metric::Kernel, in_kernel)]);
        if way == Way::Shunt {
            let entered = node.sockets()?.len() as u64;
            let stored = entered * (size_of::<Flow>() as u64 + BESIDE);
            let bytes = grown(maps()?, in_maps) + stored as f64;
            sample.insert(Metric::Maps, bytes / (entered / 2) as f64);
            sample.insert(Metric::Entered, (entered / 2) as f64 / connections as f64);
        }
        Ok(Measured { sample, spent: None, latencies: Vec::new() })
    }
}

/// Bytes, once what is freed late is free.
fn settled_slab() -> Result<u64> {
    let mut before = u64::MAX;
    loop {
        let text = fs::read_to_string("/proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Slab:")).context("no Slab")?;
        let now = line.trim().trim_end_matches(" kB").parse::<u64>()? << 10;
        // By less than a megabyte: others use the machine too.
        if now + (1 << 20) > before {
            return Ok(now);
        }
        before = now;
        sleep(Duration::from_millis(300));
    }
}
