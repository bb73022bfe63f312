//! Where the two programs run, and what is attached there.

use super::{
    cell::{Cell, Measured},
    client,
    link::Link,
    server,
};
use crate::{short_way::ShortWay, way::Way};
use anyhow::{Context as _, Result};
use std::{net::Ipv4Addr, time::Duration};
use tests::{
    neighbour::textbook::Textbook,
    node::Node,
    pod::{Pod, PodSpec},
    task::Task,
};

/// Programs are ended before their pods.
pub struct Place {
    pub way: Way,
    link: Link,
    _server: Task<()>,
    _textbook: Option<Textbook>,
    /// The server's and the client's; or one, for both.
    pods: Vec<Pod>,
    /// shunt counts what both send.
    is_counted: bool,
}

/// How far the two are from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// In one pod, by loopback.
    Loopback,
    /// In two pods, by veth and a bridge.
    Veth,
    /// The server is in a network namespace that is no pod of shunt's, as if on another node.
    Away,
}

impl Place {
    /// # Errors
    /// A part cannot be made, or does not start.
    pub fn new(node: &Node, way: Way, distance: Distance) -> Result<Self> {
        let mut spec = PodSpec::new("pod");
        spec.shunt = way.is_attached();
        way.configure(&mut spec);
        Self::with(node, way, distance, spec)
    }

    /// With such pods.
    ///
    /// # Errors
    /// As [`Place::new`].
    pub fn with(node: &Node, way: Way, distance: Distance, spec: PodSpec) -> Result<Self> {
        let server = match distance {
            Distance::Away => node.outside("away")?,
            _ => node.pod_with(spec.clone())?,
        };
        let mut pods = vec![server];
        let mut to = Ipv4Addr::LOCALHOST;
        if distance != Distance::Loopback {
            to = pods[0].ipv4;
            let mut spec = spec;
            if way == Way::Trial {
                // As if it was a Service's.
                spec.conf.insert("serviceCIDRs".into(), vec![format!("{to}/32")].into());
            }
            pods.push(node.pod_with(spec)?);
        }
        let cgroups: Vec<_> = pods.iter().map(|pod| pod.cgroup.as_path()).collect();
        let textbook = (way == Way::Naive).then(|| Textbook::attach(&cgroups)).transpose();
        let link = if way == Way::Unix { Link::Unix } else { Link::Tcp(to) };
        Ok(Self {
            way,
            link,
            _server: server::start(&pods[0], link)?,
            _textbook: textbook.context("the textbook's accelerator")?,
            pods,
            is_counted: way == Way::Shunt && distance != Distance::Away,
        })
    }

    /// And what share of the bytes took the short way, where these are shunt's pods.
    ///
    /// # Errors
    /// As [`client::measure`].
    pub fn measure(
        &self,
        node: &Node,
        cell: Cell,
        window: Duration,
    ) -> Result<(Measured, Option<f64>)> {
        let client = self.pods.last().context("no pod")?;
        let measure = || client::measure(client, self.link, cell, window, &node.cgroup);
        if !self.is_counted {
            return Ok((measure()?, None));
        }
        let before = ShortWay::of(node, &self.pods)?;
        let measured = measure()?;
        Ok((measured, ShortWay::of(node, &self.pods)?.share_since(before)))
    }
}
