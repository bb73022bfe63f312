//! Three times two pods with their Envoys: without anything, with shunt, with the textbook's accelerator.

use super::cell::{Cell, Load, SECOND, SHARE, WARM_UP};
use crate::{
    fortio::{self, Protocol},
    metric::{Metric, Sample},
    plan::Plan,
    scene::{self, Bench, Stage},
    short_way::ShortWay,
    way::Way,
};
use anyhow::{Context as _, Result, ensure};
use std::{collections::BTreeMap, path::PathBuf};
use tests::{
    latency::Measured,
    load,
    node::Node,
    sidecars::Sidecars,
    task::Process,
    traffic::Mode::{Blocking, NonBlocking},
};

/// In the order in which they go.
pub struct MeshStage {
    _fortio: Vec<Process>,
    pub meshes: Vec<(Way, Sidecars)>,
    pub node: Node,
    cells: Vec<Cell>,
    plan: Plan,
    fortio: PathBuf,
    /// Requests a second by plain TCP, in this round.
    reached: BTreeMap<Protocol, f64>,
}

pub fn open(bench: &Bench, cells: Vec<Cell>) -> Result<Box<dyn Stage>> {
    Ok(Box::new(MeshStage::new(bench, cells)?))
}

impl MeshStage {
    pub fn new(bench: &Bench, cells: Vec<Cell>) -> Result<Self> {
        let mut node = Node::new("bench")?;
        // wrk asks FIONREAD, but only where its buffer of 8 KiB was filled. Go reads by recv(2) alone.
        node.trust("wrk");
        node.trust(fortio::NAME);
        let has = |is: fn(&Load) -> bool| cells.iter().any(|cell| is(&cell.load));
        if has(|load| matches!(load, Load::Blocking)) {
            node.poll_in_blocking_mode();
        }
        let ports = [fortio::HTTP, fortio::GRPC];
        let mesh = |way: &Way| {
            let half = way.half().context("no such mesh")?;
            Ok((*way, Sidecars::new(&node, half, &bench.envoy, &ports)?))
        };
        let meshes = super::cell::WAYS.iter().map(mesh).collect::<Result<Vec<_>>>()?;
        let mut servers = Vec::new();
        if has(|load| matches!(load, Load::Fortio(_) | Load::FortioAt(_))) {
            for (_, mesh) in &meshes {
                servers.push(fortio::serve(&bench.fortio, &mesh.app, &node.dir)?);
            }
        }
        if has(|load| matches!(load, Load::Wrk)) {
            for (_, mesh) in &meshes {
                mesh.http(&node, 64, 1024, SECOND).context("to warm up")?;
            }
        }
        Ok(Self {
            _fortio: servers,
            meshes,
            node,
            cells,
            plan: bench.plan,
            fortio: bench.fortio.clone(),
            reached: BTreeMap::new(),
        })
    }

    pub fn mesh(&self, way: Way) -> Result<&Sidecars> {
        let mesh = self.meshes.iter().find(|(of, _)| *of == way);
        Ok(&mesh.context("no such mesh")?.1)
    }

    /// And the mean latency, in nanoseconds.
    fn load(&self, mesh: &Sidecars, cell: Cell) -> Result<(Measured, f64)> {
        let Cell { load, connections, size } = cell;
        let time = cell.window(&self.plan);
        let fortio = |protocol, rate| {
            let load = fortio::Load { protocol, connections, size, rate, time };
            load.run(&self.node, &self.fortio, &mesh.load, mesh.app.ipv4)
        };
        let measured = match load {
            Load::Tcp | Load::Blocking => {
                let mode = if matches!(load, Load::Tcp) { NonBlocking } else { Blocking };
                let load = load::Load { connections, message: size, mode, warm_up: WARM_UP, time };
                mesh.tcp(&self.node, load)?
            }
            Load::Wrk => mesh.http(&self.node, connections, size, time)?,
            Load::Fortio(protocol) => return fortio(protocol, None),
            Load::FortioAt(protocol) => {
                let reached = self.reached.get(&protocol).context("plain is not measured yet")?;
                return fortio(protocol, Some(reached * SHARE));
            }
        };
        let mean = measured.mean();
        Ok((measured, mean))
    }
}

impl Stage for MeshStage {
    fn measure(&mut self, cell: usize, way: Way) -> Result<scene::Measured> {
        let (cell, mesh) = (self.cells[cell], self.mesh(way)?);
        let way_of = || ShortWay::of(&self.node, [&mesh.app, &mesh.load]);
        let before = (way == Way::Shunt).then(way_of).transpose()?;
        let (measured, mean) = self.load(mesh, cell)?;
        let mut sample = Sample::from([
            (Metric::Requests, measured.rate()),
            (Metric::Cpu, measured.cpu()),
            (Metric::Mean, mean / 1e3),
            (Metric::P50, measured.quantile(0.5) / 1e3),
            (Metric::P99, measured.quantile(0.99) / 1e3),
        ]);
        if let Some(before) = before {
            let share = way_of()?.share_since(before).unwrap_or(0.0);
            ensure!(share > 0.0, "nothing took the short way");
            sample.insert(Metric::ShortWay, share);
        }
        if let (Load::Fortio(protocol), Way::Plain) = (cell.load, way) {
            self.reached.insert(protocol, measured.rate());
        }
        // Of many cells, only fortio's are drawn.
        let is_drawn = matches!(cell.load, Load::FortioAt(_));
        let latencies = if is_drawn { measured.latencies } else { Vec::new() };
        Ok(scene::Measured { sample, spent: Some(measured.spent), latencies })
    }
}
