//! Two of shunt on one node do not know of each other.

use super::{is_gone, is_whole, named};
use crate::install::host::Host;
use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use std::fs;

pub fn tests() -> Vec<Trial> {
    vec![named("two_locks", two_locks), named("uninstall_of_nothing", uninstall_of_nothing)]
}

/// With names that differ in their endings only.
fn two_locks() -> Result<()> {
    let [mut one, mut two] = [Host::new("lock-one")?, Host::new("lock-two")?];
    one.node.lock = "/run/lock-pair.a".into();
    two.node.lock = "/run/lock-pair.b".into();
    for host in [&one, &two] {
        host.write_primary()?;
        ensure!(host.install(&[])?.code == 0);
    }
    ensure!(one.uninstall()?.code == 0);
    is_gone(&one)?;
    ensure!(
        !fs::exists("/run/lock-pair.a.installed")? && fs::exists("/run/lock-pair.b.installed")?
    );
    is_whole(&two)?;
    ensure!(two.uninstall()?.code == 0);
    is_gone(&two)
}

fn uninstall_of_nothing() -> Result<()> {
    let host = Host::new("nothing")?;
    host.write_primary()?;
    let before = host.traces()?;
    let told = host.uninstall()?;
    ensure!(told.code == 0 && told.json["removed"] == serde_json::json!([]), "{told:?}");
    host.is_as(&before)
}
