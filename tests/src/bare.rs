//! A pod that is no more than what shunt is told of it: a cgroup, and an address in a result. A thousand of
//! them are made within seconds.

use crate::{
    cgroup,
    cni::{self, Call, Chain},
    node::Node,
};
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

pub struct Bare {
    pub cgroup: PathBuf,
    pub ip: IpAddr,
    /// As a runtime says it; may be changed. Its namespace is the test's own.
    pub call: Call,
    chain: Chain,
}

impl Bare {
    /// Makes the cgroup, and calls nothing yet. Numbers are below 65536, and one pod's on a node.
    ///
    /// # Errors
    /// Of making the cgroup.
    pub fn new(node: &Node, number: u32) -> Result<Self> {
        let uid = format!("5c0ffee0-0000-4000-9000-{number:012x}");
        let cgroup = node.cgroup.join(format!("kubepods/besteffort/pod{uid}"));
        fs::create_dir_all(&cgroup).with_context(|| format!("create {}", cgroup.display()))?;
        let path = Path::new("/").join(cgroup.strip_prefix(shim::cgroup::root()?)?);
        let call = Call {
            container_id: format!("{number:x}"),
            netns: "/proc/self/ns/net".into(),
            ifname: "eth0".into(),
            args: format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=bare;K8S_POD_NAME=pod-{number}"),
            runtime_config: Map::from_iter([("cgroupPath".to_owned(), json!(path))]),
        };
        let ip = Ipv4Addr::from(0x0a63_0000 + number).into();
        Ok(Self { cgroup, ip, call, chain: node.chain(true, "1.0.0", &Map::new()).only("shunt") })
    }

    /// What a plugin of that conf finds on stdin.
    pub fn stdin(&self, plugin: &Value) -> String {
        let ips = json!([{"address": format!("{}/32", self.ip)}]);
        let result = json!({"cniVersion": "1.0.0", "ips": ips});
        self.chain.conf(plugin, &self.call, Some(&result)).to_string()
    }

    /// [`Bare::stdin`] of its node's shunt.
    ///
    /// # Errors
    /// None, as there is one in the chain.
    pub fn conf(&self) -> Result<String> {
        Ok(self.stdin(self.chain.plugins.first().context("an empty chain")?))
    }

    /// Calls shunt.
    ///
    /// # Errors
    /// A [`cni::Failure`] (by downcast), or it could not be started.
    pub fn shunt(&self, verb: &str) -> Result<Option<Value>> {
        let output = cni::invoke(&cni::shunt()?, &self.call.env(verb), self.conf()?.as_bytes())?;
        cni::answer(&output)
    }

    /// Its runtime has lost it: the cgroup goes, and nobody calls DEL.
    ///
    /// # Errors
    /// The cgroup could not be removed.
    pub fn lose(self) -> Result<()> {
        cgroup::remove(&self.cgroup)
    }
}
