//! The list that is made of a lone `.conf`, and what others do with it.

use super::{is_gone, is_run_by_libcni, named, naming};
use crate::install::{
    host::Host,
    watch::{Watch, until},
};
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink, path::PathBuf};

pub fn tests() -> Vec<Trial> {
    vec![
        named("folder_of_a_confs_name", folder_of_a_confs_name),
        named("others_plugin_in_a_made_list", others_plugin_in_a_made_list),
    ]
}

/// A primary's only file, and the list that is made of it.
fn conf(host: &Host, more: &[(&str, Value)]) -> Result<(PathBuf, PathBuf)> {
    let list: Value = serde_json::from_str(&host.primary(0))?;
    let mut conf = list["plugins"][0].clone();
    for key in ["name", "cniVersion"] {
        conf[key] = list[key].clone();
    }
    more.iter().for_each(|(key, value)| conf[key] = value.clone());
    let file = host.net_dir.join("10-primary.conf");
    fs::write(&file, format!("{conf:#}\n"))?;
    Ok((file, host.net_dir.join("10-primary.-shunt.conflist")))
}

/// No runtime reads it for a conf, and libcni 1.3 would for a list.
fn folder_of_a_confs_name() -> Result<()> {
    let host = Host::new("conf-folder")?;
    let (_, made) = conf(&host, &[])?;
    let folder = host.net_dir.join(&host.node.name);
    fs::create_dir(&folder)?;
    fs::write(folder.join("10.conf"), json!({"type": "nosuch"}).to_string())?;
    ensure!(host.install(&[])?.code == 0);
    is_run_by_libcni(&host)?;
    host.accelerates()?;
    ensure!(host.uninstall()?.code == 0 && !made.exists());
    is_gone(&host)
}

fn kinds(list: &PathBuf) -> Result<Vec<String>> {
    let list: Value = serde_json::from_str(&fs::read_to_string(list)?)?;
    let plugins = list["plugins"].as_array().context("plugins")?;
    Ok(plugins.iter().filter_map(|it| it["type"].as_str().map(str::to_owned)).collect())
}

/// As istio-cni and linkerd-cni chain theirs.
fn others_plugin_in_a_made_list() -> Result<()> {
    for at in [1, 2] {
        let host = Host::new("chained")?;
        symlink(tests::cni::find("tuning")?, host.bin_dir.join("tuning"))?;
        let (file, made) = conf(&host, &[])?;
        ensure!(host.install(&[])?.code == 0);
        let mut list: Value = serde_json::from_str(&fs::read_to_string(&made)?)?;
        list["plugins"].as_array_mut().context("plugins")?.insert(at, json!({"type": "tuning"}));
        fs::write(&made, format!("{list:#}"))?;
        let chained = kinds(&made)?;
        ensure!(host.install(&[])?.json["changed"] == json!([]), "it stays as it is");
        is_run_by_libcni(&host)?;
        // What the primary changes comes through.
        let mtu =
            |is: u32| Ok((fs::read_to_string(&made)?.contains(&is.to_string())).then_some(()));
        conf(&host, &[("mtu", 1402.into())])?;
        ensure!(host.install(&[])?.json["changed"] == json!([made]));
        ensure!(mtu(1402)?.is_some() && kinds(&made)? == chained);
        let watch = Watch::start(&host, &[])?;
        conf(&host, &[("mtu", 1403.into())])?;
        until("the other mtu", || mtu(1403))?;
        watch.stop()?;
        ensure!(kinds(&made)? == chained);
        is_run_by_libcni(&host)?;
        // Without shunt it is an ordinary list.
        let before = fs::read(&file)?;
        for _ in 0..2 {
            let left = host.uninstall()?;
            ensure!(left.code == 0 && left.json["shared"] == json!([made]), "{left:?}");
            ensure!(kinds(&made)? == ["bridge", "tuning"] && fs::read(&file)? == before);
            is_gone(&host)?;
            let installed = host.install(&[])?;
            ensure!(installed.json["primary"] == json!(made), "{installed:?}");
            ensure!(naming(&host)? == std::slice::from_ref(&made));
        }
        // Theirs goes, and then the list with shunt.
        let text = fs::read_to_string(&made)?;
        let mut list: Value = serde_json::from_str(&text)?;
        list["plugins"].as_array_mut().context("plugins")?.retain(|it| it["type"] != "tuning");
        fs::write(&made, list.to_string())?;
        ensure!(host.uninstall()?.code == 0 && !made.exists());
        is_gone(&host)?;
    }
    Ok(())
}
