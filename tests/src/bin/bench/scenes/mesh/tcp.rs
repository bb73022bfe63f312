//! TCP: an echo.

use super::cell::{self, Load, shapes};
use crate::{plan::Plan, scene::Scene};

pub fn scene(plan: &Plan) -> Scene {
    Scene {
        name: "mesh-tcp",
        title: "Two Envoys, TCP",
        note: "An echo between two pods, each with an Envoy and Istio's rules; every byte is compared.",
        ..cell::scene(plan, shapes(plan, Load::Tcp))
    }
}
