//! TCP, where client and server have their sockets in blocking mode, behind epoll.

use super::cell::{self, Cell, Load};
use crate::{plan::Plan, report::Picture, scene::Scene};

pub fn scene(plan: &Plan) -> Scene {
    let cells = vec![Cell { load: Load::Blocking, connections: 64, size: 1024 }];
    Scene {
        name: "mesh-blocking",
        title: "Two Envoys, TCP, blocking mode",
        note: "Client and server wait in epoll on sockets in blocking mode, and are named in pollingPrograms.",
        picture: Picture::Nothing,
        ..cell::scene(plan, cells)
    }
}
