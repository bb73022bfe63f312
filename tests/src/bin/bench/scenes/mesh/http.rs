//! HTTP/1.1, by wrk.

use super::cell::{self, Load, SECOND, SETUP, shapes};
use crate::{plan::Plan, scene::Scene};

pub fn scene(plan: &Plan) -> Scene {
    Scene {
        name: "mesh-http",
        title: "Two Envoys, HTTP/1.1",
        note: "wrk asks for bodies of that size.",
        // To warm up.
        setup: SETUP + SECOND * 3,
        ..cell::scene(plan, shapes(plan, Load::Wrk))
    }
}
