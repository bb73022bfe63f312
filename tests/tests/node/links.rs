//! What a runtime reaches by links is watched where it is.

use super::named;
use crate::install::{
    host::{Host, LIST},
    watch::{Watch, until},
};
use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

pub fn tests() -> Vec<Trial> {
    vec![named("list_is_a_link", list_is_a_link), named("net_d_is_a_link", net_d_is_a_link)]
}

/// Without an event it would take as long as a sweep.
const AT_ONCE: Duration = Duration::from_secs(1);

fn is_put_back(list: &Path) -> Result<()> {
    let start = Instant::now();
    until("the entry", || {
        Ok(fs::read_to_string(list).is_ok_and(|text| text.contains("\"shunt\"")).then_some(()))
    })?;
    ensure!(start.elapsed() < AT_ONCE, "after {:?}", start.elapsed());
    Ok(())
}

fn list_is_a_link() -> Result<()> {
    let host = Host::new("linked-list")?;
    let folders = ["one", "two"].map(|name| host.node.dir.join(name));
    for folder in &folders {
        fs::create_dir(folder)?;
        fs::write(folder.join(LIST), host.primary(0))?;
    }
    // By way of another link, as a ConfigMap's files are.
    symlink(&folders[0], host.node.dir.join("now"))?;
    symlink(host.node.dir.join("now").join(LIST), host.list())?;
    let _watch = Watch::start(&host, &[])?;
    is_put_back(&host.list())?;
    for generation in 1..5 {
        fs::write(folders[0].join(LIST), host.primary(generation))?;
        is_put_back(&folders[0].join(LIST))?;
    }
    symlink(&folders[1], host.node.dir.join("next"))?;
    fs::rename(host.node.dir.join("next"), host.node.dir.join("now"))?;
    is_put_back(&folders[1].join(LIST))?;
    ensure!(host.list().is_symlink());
    ensure!(host.uninstall()?.code == 0 && host.list().is_symlink());
    ensure!(fs::read_to_string(host.list())? == host.primary(0));
    Ok(())
}

fn net_d_is_a_link() -> Result<()> {
    let host = Host::new("linked-net-d")?;
    let folders = ["one", "two"].map(|name| host.node.dir.join(name));
    for folder in &folders {
        fs::create_dir(folder)?;
        fs::write(folder.join(LIST), host.primary(0))?;
    }
    fs::remove_dir(&host.net_dir)?;
    symlink(&folders[0], &host.net_dir)?;
    let _watch = Watch::start(&host, &[])?;
    is_put_back(&folders[0].join(LIST))?;
    let next = host.node.dir.join("next");
    symlink(&folders[1], &next)?;
    fs::rename(&next, &host.net_dir)?;
    is_put_back(&folders[1].join(LIST))?;
    fs::write(folders[1].join(LIST), host.primary(1))?;
    is_put_back(&folders[1].join(LIST))?;
    // Gone, and there again.
    fs::remove_file(&host.net_dir)?;
    fs::create_dir(&host.net_dir)?;
    fs::write(host.list(), host.primary(2))?;
    is_put_back(&host.list())?;
    ensure!(host.uninstall()?.code == 0);
    ensure!(fs::read_to_string(host.list())? == host.primary(2));
    Ok(())
}
