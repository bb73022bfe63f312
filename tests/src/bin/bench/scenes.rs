//! All that can be measured.

mod bystanders;
mod hop;
mod life;
mod mesh;

use crate::{plan::Plan, scene::Scene};

pub fn all(plan: &Plan) -> Vec<Scene> {
    vec![
        mesh::tcp::scene(plan),
        mesh::http::scene(plan),
        mesh::grpc::scene(plan),
        mesh::blocking::scene(plan),
        mesh::fortio::scene(plan),
        mesh::program::scene(plan),
        hop::loopback::echo(plan),
        hop::loopback::one_way(plan),
        hop::loopback::full_queues(plan),
        hop::veth::echo(plan),
        hop::veth::one_way(plan),
        life::connect::scene(plan),
        life::leaving::scene(plan),
        life::idle::scene(plan),
        life::populated::scene(plan),
        bystanders::scene(plan),
    ]
}
