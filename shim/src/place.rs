//! What the programs know a pod by.

use std::{fmt, path::Path};

use anyhow::bail;

use crate::{
    cgroup::{self, Cgroup},
    layout::PodId,
    namespace::Namespace,
};

#[derive(Debug)]
pub enum Place {
    /// Its own, in version 2: programs are attached there.
    Cgroup(Cgroup),
    /// Where it has none, as on nodes with version 1 only, or its runtime names none: programs are attached to
    /// `all`, at the root, and tell its sockets by their network namespace.
    Namespace { namespace: Namespace, all: Cgroup, why: anyhow::Error },
}

impl Place {
    /// Of a pod, as far as its runtime names it. `root`: where the pods' cgroups are, if that was configured.
    ///
    /// # Errors
    /// It has no cgroup, and its network namespace cannot be had, or the kernel has no cgroups of version 2.
    pub fn of_pod(
        root: Option<&Path>,
        named: Option<&str>,
        uid: Option<&str>,
        netns: &Path,
    ) -> anyhow::Result<Self> {
        let found = match root {
            Some(root) => Cgroup::of_pod(root, named, uid),
            None => cgroup::root().and_then(|root| Cgroup::of_pod(&root, named, uid)),
        };
        let why = match found {
            Ok(cgroup) => return Ok(Self::Cgroup(cgroup)),
            Err(why) => why,
        };
        let all = root.map_or_else(Cgroup::root, Cgroup::open);
        match all.and_then(|all| Ok((Namespace::open(netns)?, all))) {
            Ok((namespace, all)) => Ok(Self::Namespace { namespace, all, why }),
            Err(also) => bail!("{why:#}; nor can it be known by its network namespace: {also:#}"),
        }
    }

    pub fn id(&self) -> PodId {
        match self {
            Self::Cgroup(cgroup) => cgroup.id,
            Self::Namespace { namespace, .. } => namespace.id,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Cgroup(cgroup) => write!(f, "{}", cgroup.path.display()),
            Self::Namespace { namespace, why, .. } => {
                write!(f, "network namespace {}, as {why:#}", namespace.id)
            }
        }
    }
}
