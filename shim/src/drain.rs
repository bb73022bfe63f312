//! Taking every connection off the short way without losing a byte.

use std::{collections::BTreeSet, path::Path};

use anyhow::Context as _;
use aya::maps::{Array, MapData};

use crate::{
    connections::Connections,
    layout::{Cookie, SocketState, name},
    load,
};

/// One layout's folder that is being drained. Pods may come and go meanwhile, so nobody need hold
/// the [`crate::lock::Lock`].
pub struct Drain {
    connections: Connections,
    /// Those that may be inside a send(2) from before; `None` before the first look.
    sending: Option<BTreeSet<Cookie>>,
}

impl Drain {
    /// From here on no connection is paired, and every message goes by TCP.
    pub fn begin(folder: &Path) -> anyhow::Result<Self> {
        set(folder, 1)?;
        Ok(Self { connections: Connections::open(folder)?, sending: None })
    }

    /// Takes out of the sockhash what can go: a socket whose queue is empty once nobody can put
    /// anything there any more. To be called again, after a while, until it gives nothing: what is
    /// left.
    ///
    /// A send(2) that began before [`Drain::begin`] may still hand its bytes over. Whoever is inside
    /// one holds a reference to the psock, so a socket that is seen without has left that behind;
    /// so has one whose latest message went by TCP, but for programs that run at the first look.
    pub fn step(&mut self) -> anyhow::Result<Vec<SocketState>> {
        let mut left = self.connections.all()?;
        if self.sending.as_ref().is_some_and(BTreeSet::is_empty) {
            for socket in left.extract_if(.., |socket| socket.unread == 0) {
                self.connections.take_out(socket.cookie)?;
            }
            return Ok(left);
        }
        let first = self.sending.is_none();
        let may_send = |socket: &SocketState| socket.busy != 0 && (first || socket.shunt != 0);
        let sending = left.iter().filter(|socket| may_send(socket)).map(|socket| socket.cookie);
        let known = self.sending.take();
        let is_known = |cookie: &Cookie| known.as_ref().is_none_or(|known| known.contains(cookie));
        self.sending = Some(sending.filter(is_known).collect());
        Ok(left)
    }
}

/// Whether a folder has all that draining it needs. One that is loaded or removed half has not, and
/// no connections.
pub fn is_possible(folder: &Path) -> bool {
    let needed = [name::SOCKETS, name::DRAINING, name::INSPECT];
    needed.iter().all(|name| folder.join(name).exists())
}

/// Lets new connections take the short way again. Those that were taken off it stay with TCP.
pub fn resume(folder: &Path) -> anyhow::Result<()> {
    set(folder, 0)
}

pub fn is_draining(folder: &Path) -> anyhow::Result<bool> {
    Ok(switch(folder)?.get(&0, 0).context(name::DRAINING)? != 0)
}

fn set(folder: &Path, draining: u32) -> anyhow::Result<()> {
    switch(folder)?.set(0, draining, 0).context(name::DRAINING)
}

fn switch(folder: &Path) -> anyhow::Result<Array<MapData, u32>> {
    load::map(folder, name::DRAINING)?.try_into().context(name::DRAINING)
}
