//! Everything that needs a kernel, inside a sandbox and one after the other.

mod churn;
mod deploy;
mod forging;
mod guards;
mod install;
mod load;
mod operate;
mod order;
mod pairing;
mod pod;
mod pressure;
mod scale;
mod semantics;
mod sidecar;
mod verbs;

use libtest_mimic::{Arguments, run};
use std::process::ExitCode;
use tests::sandbox;

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // Tests fork, so they run on the main thread and there is no other.
    args.test_threads = Some(1);
    if !args.list
        && let Err(e) = sandbox::enter(sandbox::Pins::Private)
    {
        eprintln!("{e:#}");
        return ExitCode::FAILURE;
    }
    let tests = [
        pod::tests(),
        verbs::tests(),
        pairing::tests(),
        forging::tests(),
        order::tests(),
        pressure::tests(),
        guards::tests(),
        install::tests(),
        deploy::tests(),
        operate::tests(),
        churn::tests(),
        semantics::tests(),
    ];
    let tests = tests.into_iter().flatten().collect();
    run(&args, tests).exit_code()
}
