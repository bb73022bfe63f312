//! HTTP/2: gRPC, by fortio.

use super::cell::{self, Load, shapes};
use crate::{fortio::Protocol, plan::Plan, scene::Scene};

pub fn scene(plan: &Plan) -> Scene {
    Scene {
        name: "mesh-grpc",
        title: "Two Envoys, gRPC",
        note: "fortio's gRPC pings, one at a time on each connection; the Envoys share theirs, as HTTP/2 does.",
        ..cell::scene(plan, shapes(plan, Load::Fortio(Protocol::Grpc)))
    }
}
