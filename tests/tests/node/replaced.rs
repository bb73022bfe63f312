//! A list takes another's place, and nothing that somebody else put there is lost.

use super::{is_gone, named};
use crate::install::{host::Host, watch::Watch};
use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::fs::{IFlags, XattrFlags, ioctl_getflags, ioctl_setflags, setxattr};
use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, chown},
    process::Command,
    thread::sleep,
    time::Duration,
};

pub fn tests() -> Vec<Trial> {
    vec![
        named("renamed_while_it_is_changed", renamed_while_it_is_changed),
        named("folder_of_an_unfinished_name", folder_of_an_unfinished_name),
        named("append_only_folder", append_only_folder),
        named("folder_with_an_access_list", folder_with_an_access_list),
    ]
}

/// A primary renames its list to its place, or takes it away, at any moment.
fn renamed_while_it_is_changed() -> Result<()> {
    let host = Host::new("renamed")?;
    host.write_primary()?;
    let _watch = Watch::start(&host, &[])?;
    let new = host.net_dir.join(".new");
    for generation in 1..100 {
        fs::write(&new, host.primary(generation))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o640))?;
        chown(&new, Some(12), Some(34))?;
        fs::rename(&new, host.list())?;
        sleep(Duration::from_micros(fastrand::u64(..8000)));
        if generation % 3 == 0 {
            fs::remove_file(host.list())?;
            sleep(Duration::from_millis(20));
            ensure!(!host.list().exists(), "{generation}: it is back");
            continue;
        }
        let text = fs::read_to_string(host.list())?;
        ensure!(text.contains(&format!("\"generation\": {generation},")), "{generation}: {text}");
    }
    ensure!(host.uninstall()?.code == 0);
    is_gone_as(&host, 98)
}

fn is_gone_as(host: &Host, generation: u64) -> Result<()> {
    fs::write(host.list(), host.primary(generation))?;
    is_gone(host)
}

/// It is never said to be the runtime's own folder that is to be removed.
fn folder_of_an_unfinished_name() -> Result<()> {
    let host = Host::new("unfinished")?;
    host.write_primary()?;
    let before = host.traces()?;
    for folder in
        [host.bin_dir.join("shunt.shunt-new"), host.list().with_extension("conflist.shunt-new")]
    {
        fs::create_dir(&folder)?;
        let refused = host.install(&[])?;
        let error = refused.json["error"].as_str().unwrap_or_default();
        ensure!(refused.code == 1 && error.contains(&super::name(&folder)), "{refused:?}");
        let removed = host.uninstall()?;
        ensure!(removed.code == 0 && folder.is_dir(), "{removed:?}");
        fs::remove_dir(&folder)?;
        host.is_as(&before)?;
    }
    Ok(())
}

/// What cannot be renamed there cannot be removed either.
fn append_only_folder() -> Result<()> {
    let host = Host::new("append")?;
    host.write_primary()?;
    let before = host.traces()?;
    let folder = File::open(&host.net_dir)?;
    if ioctl_setflags(&folder, IFlags::APPEND).is_err() {
        println!("skipped: this file system has no such flag");
        return Ok(());
    }
    let told =
        (|| Ok::<_, anyhow::Error>([host.install(&[])?, host.uninstall()?, host.uninstall()?]))();
    let names: Vec<_> =
        fs::read_dir(&host.net_dir)?.map(|it| Ok(it?.file_name())).collect::<Result<_>>()?;
    ioctl_setflags(&folder, IFlags::empty())?;
    let [refused, left, _] = told?;
    let error = refused.json["error"].as_str().unwrap_or_default();
    ensure!(refused.code == 1 && error.contains("+a") && error.contains("stays"), "{refused:?}");
    ensure!(left.code == 1 && names.len() == 2, "{left:?} {names:?}");
    ensure!(host.uninstall()?.code == 0);
    host.is_as(&before)
}

fn folder_with_an_access_list() -> Result<()> {
    let host = Host::new("access")?;
    host.write_primary()?;
    let none = u32::MAX;
    let entries =
        [(1_u16, 7_u16, none), (2, 7, 33), (4, 5, none), (0x10, 7, none), (0x20, 5, none)];
    let bytes = entries.iter().flat_map(|(tag, may, id)| {
        [&tag.to_le_bytes()[..], &may.to_le_bytes(), &id.to_le_bytes()].concat()
    });
    let list: Vec<u8> = 2_u32.to_le_bytes().into_iter().chain(bytes).collect();
    setxattr(&host.net_dir, "system.posix_acl_default", &list, XattrFlags::empty())?;
    let reads = || -> Result<bool> {
        let mut cat = Command::new("setpriv");
        cat.args(["--reuid=33", "--regid=33", "--clear-groups", "cat"]).arg(host.list());
        Ok(cat.output()?.status.success())
    };
    // And what chattr(1) sets, where the file system has it.
    let flags = || ioctl_getflags(File::open(host.list())?).map_err(anyhow::Error::from);
    let _ = ioctl_setflags(File::open(host.list())?, IFlags::NODUMP | IFlags::NOATIME);
    let before = flags().ok();
    ensure!(!reads()?);
    ensure!(host.install(&[])?.code == 0 && !reads()? && flags().ok() == before);
    ensure!(host.uninstall()?.code == 0 && !reads()? && flags().ok() == before);
    is_gone(&host)
}
