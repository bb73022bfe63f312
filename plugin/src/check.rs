//! CHECK: is the pod still attached and are its addresses still known, if they were once?

use shim::{datapath::Datapath, layout::Attachment};

use crate::conf::Conf;
use crate::env::Call;
use crate::error::{Code, Error};
use crate::{addresses, prev_result};

/// # Errors
/// Code 100: an accelerated pod lost what ADD gave it. A pod that ADD left alone, for whatever
/// reason, has nothing to lose: a runtime takes a failed CHECK for a broken pod.
pub fn run(conf: &Conf, call: &Call) -> Result<String, Error> {
    let ips = prev_result::pod_ips(conf.prev_result()?);
    let Some(attachment) = Attachment::new(&call.container_id, &call.ifname) else {
        return Ok(String::new());
    };
    match Datapath::open(&conf.pin_path.0) {
        Ok(Some(datapath)) => {
            // That the namespace cannot be entered is for the plugin that made it to tell.
            let ips = addresses::of_pod(ips, &call.netns).unwrap_or_default();
            datapath.check(&attachment, &ips).map_err(lost)?;
        }
        Ok(None) => {}
        Err(refusal) => log::warn!("not checked: {refusal}"),
    }
    Ok(String::new())
}

fn lost(what: anyhow::Error) -> Error {
    Error::new(Code::NotAttached, "the pod is not accelerated any more")
        .because(format!("{what:#}"))
}
