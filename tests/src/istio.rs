//! What a service mesh does to a pod's network.

use crate::{link::Local, pod::Pod};
use anyhow::{Context, Result, ensure};
use std::{
    io::Write,
    process::{Command, Stdio},
};

/// The sidecar's user id, and its ports for captured outbound and inbound connections.
pub const PROXY_UID: u32 = 1337;
pub const OUTBOUND: u16 = 15001;
pub const INBOUND: u16 = 15006;

/// How a pod's connections get to its sidecar.
#[derive(Clone, Copy, Debug)]
pub struct Capture {
    pub uid: u32,
    pub outbound: u16,
    pub inbound: u16,
    /// What comes from outside is not redirected: the sidecar's socket has the address that was dialled.
    pub tproxy: bool,
}

pub const ISTIO: Capture =
    Capture { uid: PROXY_UID, outbound: OUTBOUND, inbound: INBOUND, tproxy: false };

/// Redirects the pod's TCP connections to its sidecar: the rules that istio-init (pilot-agent
/// istio-iptables, defaults) writes, for IPv4 and IPv6.
///
/// # Errors
/// iptables-restore is missing or refuses, with its own message.
pub fn redirect(pod: &Pod) -> Result<()> {
    capture(pod, &ISTIO)
}

/// The same by other ports and another user, or with `-m TPROXY`.
///
/// # Errors
/// As [`redirect`].
pub fn capture(pod: &Pod, how: &Capture) -> Result<()> {
    for (program, v6, loopback, source) in [
        ("iptables-restore", false, "127.0.0.1/32", "127.0.0.6/32"),
        ("ip6tables-restore", true, "::1/128", "::6/128"),
    ] {
        restore(pod, program, &how.rules(loopback, source))?;
        if how.tproxy {
            let local = Local { mark: TPROXY_MARK, mask: u32::MAX, table: 133, v6 };
            pod.run(|| local.add())?;
        }
    }
    Ok(())
}

/// For iptables-restore, with the loopback address and the sidecar's source of inbound connections.
pub fn rules(loopback: &str, inbound_source: &str) -> String {
    ISTIO.rules(loopback, inbound_source)
}

const TPROXY_MARK: u32 = 1337;

impl Capture {
    fn rules(&self, loopback: &str, inbound_source: &str) -> String {
        let Self { uid, outbound, inbound, tproxy } = self;
        let (nat, mangle) = match tproxy {
            false => ("-A PREROUTING -p tcp -j ISTIO_INBOUND\n", String::new()),
            true => ("", tproxy_rules(loopback, inbound_source, *inbound)),
        };
        format!(
            "*nat
:ISTIO_INBOUND -
:ISTIO_IN_REDIRECT -
:ISTIO_OUTPUT -
:ISTIO_REDIRECT -
{nat}-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {inbound}
-A ISTIO_OUTPUT -s {inbound_source} -o lo -j RETURN
-A ISTIO_OUTPUT ! -d {loopback} -o lo -p tcp -m owner --uid-owner {uid} -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner {uid} -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner {uid} -j RETURN
-A ISTIO_OUTPUT -d {loopback} -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {outbound}
COMMIT
{mangle}"
        )
    }
}

fn tproxy_rules(loopback: &str, inbound_source: &str, inbound: u16) -> String {
    format!(
        "*mangle
:ISTIO_INBOUND -
:ISTIO_DIVERT -
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp -m mark --mark {TPROXY_MARK} -j RETURN
-A ISTIO_INBOUND -s {inbound_source} -i lo -p tcp -j RETURN
-A ISTIO_INBOUND -i lo -p tcp -j RETURN
-A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT
-A ISTIO_INBOUND ! -d {loopback} -p tcp -j TPROXY --tproxy-mark {TPROXY_MARK} --on-port {inbound}
-A ISTIO_DIVERT -j MARK --set-mark {TPROXY_MARK}
-A ISTIO_DIVERT -j ACCEPT
COMMIT
"
    )
}

fn restore(pod: &Pod, program: &str, rules: &str) -> Result<()> {
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
