//! Whether a program is ready.

use anyhow::Result;
use std::fs;

/// Whether the port has a listener in this network namespace, by proc_net_tcp(5). To try it would
/// disturb.
///
/// # Errors
/// Of reading /proc/net.
pub fn listens(port: u16) -> Result<bool> {
    let mut sockets = fs::read_to_string("/proc/net/tcp")?;
    sockets += &fs::read_to_string("/proc/net/tcp6")?;
    Ok(sockets.lines().any(|line| {
        // sl local_address rem_address st
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|at| at.ends_with(&format!(":{port:04X}")));
        local && fields.nth(1) == Some("0A")
    }))
}
