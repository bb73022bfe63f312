//! `shunt`: a CNI plugin, chained behind those that give a pod its network. It attaches the pod's
//! sockets to the datapath in `shim`, and leaves the network as it is.

mod add;
mod addresses;
mod check;
mod conf;
mod del;
mod env;
mod error;
mod gc;
mod log_file;
mod node_proxy;
mod policy;
mod prev_result;
mod service_cidrs;
mod status;
mod version;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use conf::Conf;
use env::{Call, Verb};
use error::Error;
use nix::sys::signal::{SigSet, Signal};

fn main() -> ExitCode {
    // Where no file may grow (RLIMIT_FSIZE), the log's write is to fail, and not to end the process.
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
    let mut cni_version = version::NEWEST;
    let (answer, mut code) = match error::contain(|| answer(&mut cni_version)) {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(error) => {
            log::error!("{error}");
            (error.to_json(cni_version), ExitCode::FAILURE)
        }
    };
    let mut stdout = io::stdout().lock();
    if !answer.is_empty() && writeln!(stdout, "{answer}").is_err() {
        code = ExitCode::FAILURE;
    }
    code
}

/// What goes to stdout.
fn answer(cni_version: &mut &'static str) -> Result<String, Error> {
    if std::env::var_os("CNI_COMMAND").unwrap_or_default().is_empty() {
        return Ok(version::about());
    }
    let verb = Verb::from_env()?;
    if verb == Verb::Version {
        return Ok(version::run());
    }
    let call = Call::from_env(verb)?;
    let stdin = conf::read(io::stdin())?;
    let conf = Conf::parse(&stdin, verb, cni_version)?;
    let about = format!("{verb} {} {}", call.container_id, call.ifname);
    // Where shunt was uninstalled its log is gone, and pods that were made with it are still deleted.
    let makes_log = verb != Verb::Del;
    log_file::init(conf.log_file.as_ref().map(|path| &*path.0), makes_log, conf.log_level, about);
    conf.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    match verb {
        Verb::Add => add::run(&conf, &call),
        Verb::Del => Ok(del::run(&conf, &call)),
        Verb::Check => check::run(&conf, &call),
        Verb::Gc => gc::run(&conf),
        Verb::Status => Ok(status::run()),
        Verb::Version => Ok(version::run()),
    }
}
