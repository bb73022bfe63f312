//! ADD: accelerate the pod, if that can be, and pass its network on as it came.

use std::{net::IpAddr, path::Path, time::Duration};

use shim::{
    datapath::{Datapath, Names, Wants},
    layout::{Attachment, MAX_CONTAINER_ID},
    load::Settings,
    lock::Lock,
    namespace::Namespace,
    pins,
    place::Place,
    refusal::Refusal,
};

use crate::conf::{Conf, Mode};
use crate::env::Call;
use crate::error::Error;
use crate::{addresses, policy, prev_result};

/// Kubelets give a sandbox minutes, but whoever holds the lock this long hangs.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// # Errors
/// Malformed input only: a pod that cannot be accelerated is a success, with the reason in the log.
pub fn run(conf: &Conf, call: &Call) -> Result<String, Error> {
    let prev_result = conf.prev_result()?;
    let ips = prev_result::pod_ips(prev_result);
    let done = policy::of_pod(conf, call).map(|wants| accelerate(conf, call, ips, &wants));
    match &done {
        Ok(Ok(())) => {}
        Ok(Err(refusal)) => log::warn!("not accelerated: {refusal}"),
        Err(reason) => log::info!("not accelerated: {reason}"),
    }
    if !matches!(done, Ok(Ok(())))
        && let Err(error) = forget_former(conf, call)
    {
        log::debug!("{error}");
    }
    Ok(prev_result.get().to_owned())
}

/// It may have the number of a network namespace that is gone, and whose pod's DEL was lost.
fn forget_former(conf: &Conf, call: &Call) -> Result<(), Refusal> {
    if !pins::runs_for_all(&conf.pin_path.0) {
        return Ok(());
    }
    let _lock = Lock::take(&conf.lock_file.0, PATIENCE)?;
    let Some(mut datapath) = Datapath::open(&conf.pin_path.0)? else { return Ok(()) };
    Ok(datapath.forget_former(Namespace::open(Path::new(&call.netns))?.id)?)
}

fn accelerate(conf: &Conf, call: &Call, ips: Vec<IpAddr>, wants: &Wants) -> Result<(), Refusal> {
    let _lock = Lock::take(&conf.lock_file.0, PATIENCE)?;
    let settings = Settings { watch: conf.watch.way(), observe: conf.mode == Mode::Observe };
    let mut datapath = Datapath::open_or_load(&conf.pin_path.0, settings)?;
    let attached = attach(&mut datapath, conf, call, ips, wants);
    if let Err(refusal) = &attached {
        datapath.refused(refusal);
    }
    attached
}

fn attach(
    datapath: &mut Datapath,
    conf: &Conf,
    call: &Call,
    ips: Vec<IpAddr>,
    wants: &Wants,
) -> Result<(), Refusal> {
    let attachment = Attachment::new(&call.container_id, &call.ifname)
        .ok_or(Refusal::NameTooLong(MAX_CONTAINER_ID))?;
    let root = conf.cgroup_root.as_ref().map(|root| &*root.0);
    let named = conf.runtime.cgroup_path.as_deref();
    let place = Place::of_pod(root, named, call.arg("K8S_POD_UID"), Path::new(&call.netns))
        .map_err(Refusal::NoCgroup)?;
    let ips = addresses::of_pod(ips, &call.netns)?;
    let names = Names {
        network: &conf.network,
        namespace: call.arg("K8S_POD_NAMESPACE").unwrap_or_default(),
        pod: call.arg("K8S_POD_NAME").unwrap_or_default(),
    };
    datapath.add(&attachment, names, &place, &ips, wants)?;
    log::info!("accelerated: {ips:?} in {place}");
    Ok(())
}
