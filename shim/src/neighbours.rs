//! Programs of others that can be in shunt's way: sock_ops on the cgroups, and sk_msg.

use std::{collections::BTreeMap, fs, io, os::fd::AsFd as _, path::PathBuf};

use anyhow::Context as _;
use aya::programs::loaded_programs;
use aya_obj::generated::{
    bpf_attach_type::BPF_CGROUP_SOCK_OPS, bpf_prog_type::BPF_PROG_TYPE_SK_MSG,
};

use crate::{bpf, cgroup::Cgroup, layout::name};

/// One that is attached to a cgroup, or, without one, an sk_msg program: the kernel does not tell to
/// which sockhash that is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub id: u32,
    pub name: String,
    pub cgroup: Option<PathBuf>,
}

/// All of them, at the root of the cgroups and below it, and on the node. Shunt's own of any version are none.
///
/// # Errors
/// The kernel does not tell which programs it has.
pub fn all(root: Cgroup) -> anyhow::Result<Vec<Neighbour>> {
    let mut names = BTreeMap::new();
    let mut found = Vec::new();
    for program in loaded_programs() {
        // One may end meanwhile.
        let Ok(program) = program else { continue };
        let (id, name) = (program.id(), program.name_as_str().unwrap_or("?").to_owned());
        let is_sk_msg = program.program_type() == BPF_PROG_TYPE_SK_MSG;
        if is_sk_msg && ![name::MESSAGE, name::TRIAL].contains(&&*name) {
            found.push(Neighbour { id, name: name.clone(), cgroup: None });
        }
        names.insert(id, name);
    }
    let mut cgroups = vec![root];
    while let Some(at) = cgroups.pop() {
        let (_, ids) = match bpf::query(at.as_fd(), BPF_CGROUP_SOCK_OPS) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            known => known.with_context(|| at.path.display().to_string())?,
        };
        for id in ids {
            let name = names.get(&id).cloned().unwrap_or_default();
            if name != name::ESTABLISH {
                found.push(Neighbour { id, name, cgroup: Some(at.path.clone()) });
            }
        }
        let below = fs::read_dir(&at.path).into_iter().flatten().flatten();
        let below = below.map(|entry| entry.path()).filter(|path| path.is_dir());
        cgroups.extend(below.filter_map(|path| Cgroup::open(&path).ok()));
    }
    Ok(found)
}
