//! The sockets in a sockhash, and what each is about: in any layout.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use anyhow::Context as _;
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};

use crate::{
    bpf,
    layout::{Cookie, SocketState, name},
};

pub struct Connections {
    sockets: OwnedFd,
    inspect: SchedClassifier,
}

impl Connections {
    /// Of what is pinned in a layout's folder.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let inspect = folder.join(name::INSPECT);
        Ok(Self {
            sockets: bpf::open_pin(&folder.join(name::SOCKETS)).context(name::SOCKETS)?,
            inspect: SchedClassifier::from_pin(&inspect).context(name::INSPECT)?,
        })
    }

    /// The cookies of all sockets that bytes may be handed to.
    pub fn cookies(&self) -> anyhow::Result<BTreeSet<Cookie>> {
        let cookies = bpf::keys(self.sockets.as_fd()).context("cannot list the sockhash")?;
        Ok(cookies.into_iter().collect())
    }

    pub fn all(&self) -> anyhow::Result<Vec<SocketState>> {
        self.cookies()?.into_iter().filter_map(|cookie| self.inspect(cookie).transpose()).collect()
    }

    /// `None` once the socket is closed.
    fn inspect(&self, cookie: Cookie) -> anyhow::Result<Option<SocketState>> {
        let mut packet = [0; size_of::<SocketState>()];
        packet[..8].copy_from_slice(&cookie.to_ne_bytes());
        let mut told = packet;
        let mut run = TestRunOptions::new();
        (run.data_in, run.data_out) = (Some(&packet[..]), Some(&mut told[..]));
        let found = self.inspect.test_run(run).context("cannot inspect a socket")?.return_value;
        let pod = told[8..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let [shunt, met, unread, busy] = [16, 20, 24, 28]
            .map(|at| told[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes)));
        Ok((found != 0).then_some(SocketState { cookie, pod, shunt, met, unread, busy }))
    }

    /// Takes a socket out of the sockhash: from then on it is as if it had never been there, and
    /// what was handed to it and not read is lost.
    pub fn take_out(&self, cookie: Cookie) -> anyhow::Result<()> {
        bpf::delete(self.sockets.as_fd(), cookie)
            .context("cannot take a socket out of the sockhash")
    }
}
