//! A Service's address, as kube-proxy makes it: in the node's own network namespace.

use crate::pairing::command;
use anyhow::Result;
use std::{fs, net::SocketAddrV4};

/// Until it is dropped.
pub struct Dnat([String; 2]);

impl Dnat {
    pub fn open(service: SocketAddrV4, to: SocketAddrV4) -> Result<Self> {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        let (address, port) = (service.ip(), service.port());
        let dialled = format!("PREROUTING -p tcp -d {address} --dport {port}");
        let rules = Self([
            format!("{dialled} -j DNAT --to-destination {to}"),
            format!("POSTROUTING -p tcp -d {} -j MASQUERADE", to.ip()),
        ]);
        rules.0.iter().try_for_each(|rule| command("iptables", &format!("-t nat -A {rule}")))?;
        Ok(rules)
    }
}

impl Drop for Dnat {
    fn drop(&mut self) {
        for rule in &self.0 {
            if let Err(error) = command("iptables", &format!("-t nat -D {rule}")) {
                eprintln!("{error:#}");
            }
        }
    }
}
