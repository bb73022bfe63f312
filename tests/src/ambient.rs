//! What Istio's CNI does to the network of a pod that it enrols in Ambient: what the pod sends and what
//! comes for it goes to sockets that a proxy of the node has in its network namespace.

use crate::{
    istio::{INBOUND, OUTBOUND},
    link::Local,
    pod::Pod,
};
use anyhow::{Context as _, Result, ensure};
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// Where proxies of nodes take what others have wrapped in streams (HBONE).
pub const HBONE: u16 = 15008;
/// SO_MARK of the proxy's own sockets.
pub const PROXY_MARK: u32 = 0x539;
/// Mark of what is to come back to them, whatever its address.
const BACK: &str = "0x111/0xfff";
const LOCAL: Local = Local { mark: 0x111, mask: 0xfff, table: 100, v6: false };
/// Kubelets' probes come from there.
const PROBES: &str = "169.254.7.127/32";

/// From its next connection on, the pod is captured.
///
/// # Errors
/// iptables-restore is missing or refuses, or the kernel, with its own message.
pub fn enrol(pod: &Pod) -> Result<()> {
    restore(pod, &rules())?;
    pod.run(|| LOCAL.add())
}

/// Takes away what [`enrol`] made. What is still captured may hang from then on: iptables on nf_tables
/// removes a base chain with its last rule, and without those the kernel rewrites no address any more.
///
/// # Errors
/// As [`enrol`].
pub fn release(pod: &Pod) -> Result<()> {
    let gone = |table| {
        let jumps = "-D PREROUTING -j ISTIO_PRERT\n-D OUTPUT -j ISTIO_OUTPUT";
        let chains = "-F ISTIO_PRERT\n-F ISTIO_OUTPUT\n-X ISTIO_PRERT\n-X ISTIO_OUTPUT";
        format!("*{table}\n{jumps}\n{chains}\nCOMMIT\n")
    };
    restore(pod, &(gone("mangle") + &gone("nat")))?;
    pod.run(|| LOCAL.delete())
}

/// As `iptables-save` prints them in an enrolled pod, without the redirection of DNS.
fn rules() -> String {
    let own = format!("{PROXY_MARK:#x}/0xfff");
    format!(
        "*mangle
:ISTIO_OUTPUT -
:ISTIO_PRERT -
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_PRERT -m mark --mark {own} -j CONNMARK --set-xmark {BACK}
-A ISTIO_OUTPUT -m connmark --mark {BACK} -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
COMMIT
*nat
:ISTIO_OUTPUT -
:ISTIO_PRERT -
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -d {PROBES} -p tcp -j ACCEPT
-A ISTIO_OUTPUT -p tcp -m mark --mark {BACK} -j ACCEPT
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -j ACCEPT
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -p tcp -m mark ! --mark {own} -j REDIRECT --to-ports {OUTBOUND}
-A ISTIO_PRERT -s {PROBES} -p tcp -j ACCEPT
-A ISTIO_PRERT ! -d 127.0.0.1/32 -p tcp ! --dport {HBONE} -m mark ! --mark {own} -j REDIRECT --to-ports {INBOUND}
COMMIT
"
    )
}

fn restore(pod: &Pod, rules: &str) -> Result<()> {
    let mut command = Command::new("iptables-restore");
    command.arg("--noflush");
    let mut process = pod.start(0, command.stdin(Stdio::piped()).stderr(Stdio::piped()))?;
    process.stdin.take().context("no stdin")?.write_all(rules.as_bytes())?;
    let status = process.wait()?;
    let message = std::io::read_to_string(process.stderr.take().context("no stderr")?)?;
    ensure!(status.success(), "iptables-restore: {message}");
    Ok(())
}
