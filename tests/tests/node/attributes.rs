//! What a list has beside its bytes stays.

use super::named;
use crate::install::host::Host;
use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::{fs, path::Path};

pub fn tests() -> Vec<Trial> {
    vec![named("attributes", attributes)]
}

/// Read and write for user 4711 beside the owner's: acl(5), linux/posix_acl_xattr.h.
fn acl() -> Vec<u8> {
    let entry = |tag: u16, may: u16, id: u32| {
        [&tag.to_le_bytes()[..], &may.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    [
        2_u32.to_le_bytes().to_vec(),
        entry(0x01, 6, none),
        entry(0x02, 6, 4711),
        entry(0x04, 4, none),
        entry(0x10, 6, none),
        entry(0x20, 0, none),
    ]
    .concat()
}

fn set(path: &Path, name: &str, value: &[u8]) -> Result<()> {
    setxattr(path, name, value, XattrFlags::empty()).with_context(|| name.to_owned())
}

fn get(path: &Path, name: &str) -> Result<Vec<u8>> {
    let mut value = vec![0; 1024];
    let len = getxattr(path, name, &mut value[..]).with_context(|| name.to_owned())?;
    value.truncate(len);
    Ok(value)
}

fn attributes() -> Result<()> {
    let host = Host::new("attributes")?;
    host.write_primary()?;
    let all: [(&str, Vec<u8>); 4] = [
        ("system.posix_acl_access", acl()),
        ("user.owner", b"primary".to_vec()),
        ("user.large", vec![7; 700]),
        ("security.test", b"label\0".to_vec()),
    ];
    for (name, value) in &all {
        set(&host.list(), name, value)?;
    }
    let before = host.traces()?;
    let are_there = || {
        all.iter().try_for_each(|(name, value)| {
            ensure!(get(&host.list(), name)? == *value, "{name}");
            Ok(())
        })
    };
    for _ in 0..2 {
        ensure!(host.install(&[])?.code == 0);
        are_there()?;
        ensure!(host.uninstall()?.code == 0);
        are_there()?;
        host.is_as(&before)?;
    }
    // What cannot be kept is not lost: the list stays as it was.
    let refused =
        super::with_capabilities("bpf,sys_resource,dac_override,chown", &host, "install", &[])?;
    ensure!(refused.code == 1, "{refused:?}");
    ensure!(
        refused.json["error"].as_str().is_some_and(|it| it.contains("security.test")),
        "{refused:?}"
    );
    ensure!(fs::read_to_string(host.list())? == host.primary(0));
    are_there()?;
    ensure!(host.uninstall()?.code == 0);
    host.is_as(&before)
}
