//! DEL: forget the attachment.

use anyhow::Result;
use shim::{datapath::Datapath, layout::Attachment, lock::Lock};

use crate::add::PATIENCE;
use crate::conf::Conf;
use crate::env::Call;

/// Always a success, also where there is nothing: a runtime repeats a DEL that failed until it
/// succeeds, and the pod stays until then. What is left behind goes with a later sweep.
pub fn run(conf: &Conf, call: &Call) -> String {
    if let Err(error) = forget(conf, call) {
        log::warn!("not removed: {error:#}");
    }
    String::new()
}

fn forget(conf: &Conf, call: &Call) -> Result<()> {
    // ADD refused a name that is too long.
    let Some(attachment) = Attachment::new(&call.container_id, &call.ifname) else {
        return Ok(());
    };
    // Where shunt was uninstalled nothing is left by this, either.
    if !conf.pin_path.0.exists() {
        return Ok(());
    }
    let _lock = Lock::take(&conf.lock_file.0, PATIENCE)?;
    match Datapath::open(&conf.pin_path.0)? {
        Some(mut datapath) => datapath.remove(&attachment),
        None => Ok(()),
    }
}
