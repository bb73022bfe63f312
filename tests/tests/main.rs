//! Everything that needs a kernel, inside a sandbox and one after the other.

mod bulk;
mod cases;
mod churn;
mod deploy;
mod dnat;
mod forging;
mod guards;
mod install;
mod load;
mod mesh;
mod namespace;
mod node;
mod operate;
mod order;
mod pairing;
mod pod;
mod pressure;
mod scale;
mod semantics;
mod sidecar;
mod trust;
mod verbs;

use libtest_mimic::Trial;
use std::process::ExitCode;

fn main() -> ExitCode {
    tests::run(|| Ok(()), all)
}

fn all() -> Vec<Trial> {
    let tests = [
        pod::tests(),
        verbs::tests(),
        pairing::tests(),
        forging::tests(),
        order::tests(),
        pressure::tests(),
        bulk::tests(),
        guards::tests(),
        trust::tests(),
        install::tests(),
        node::tests(),
        deploy::tests(),
        operate::tests(),
        mesh::tests(),
        namespace::tests(),
        churn::tests(),
        semantics::tests(),
        cases::tests(),
    ];
    tests.into_iter().flatten().collect()
}
