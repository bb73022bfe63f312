//! What a service mesh does to a pod's network.

use crate::pod::Pod;
use anyhow::{Context, Result, ensure};
use std::{
    io::Write,
    process::{Command, Stdio},
};

/// The sidecar's user id, and its ports for captured outbound and inbound connections.
pub const PROXY_UID: u32 = 1337;
pub const OUTBOUND: u16 = 15001;
pub const INBOUND: u16 = 15006;

/// Redirects the pod's TCP connections to its sidecar: the rules that istio-init (pilot-agent
/// istio-iptables, defaults) writes, for IPv4 and IPv6.
///
/// # Errors
/// iptables-restore is missing or refuses, with its own message.
pub fn redirect(pod: &Pod) -> Result<()> {
    restore(pod, "iptables-restore", "127.0.0.1/32", "127.0.0.6/32")?;
    restore(pod, "ip6tables-restore", "::1/128", "::6/128")
}

/// For iptables-restore, with the loopback address and the sidecar's source of inbound connections.
pub fn rules(loopback: &str, inbound_source: &str) -> String {
    format!(
        "*nat
:ISTIO_INBOUND -
:ISTIO_IN_REDIRECT -
:ISTIO_OUTPUT -
:ISTIO_REDIRECT -
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {INBOUND}
-A ISTIO_OUTPUT -s {inbound_source} -o lo -j RETURN
-A ISTIO_OUTPUT ! -d {loopback} -o lo -p tcp -m owner --uid-owner {PROXY_UID} -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner {PROXY_UID} -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner {PROXY_UID} -j RETURN
-A ISTIO_OUTPUT -d {loopback} -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {OUTBOUND}
COMMIT
"
    )
}

fn restore(pod: &Pod, program: &str, loopback: &str, inbound_source: &str) -> Result<()> {
    let rules = rules(loopback, inbound_source);
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut process = pod.start(0, &mut command)?;
    let mut stdin = process.stdin.take().context("no stdin")?;
    stdin.write_all(rules.as_bytes())?;
    drop(stdin);
    let status = process.wait()?;
    let stderr = process.stderr.take().context("no stderr")?;
    let message = std::io::read_to_string(stderr)?;
    ensure!(status.success(), "{program}: {message}");
    Ok(())
}
