//! GC: forget this network's attachments that the runtime does not know any more.

use anyhow::Result;
use shim::{datapath::Datapath, layout::Attachment, lock::Lock};

use crate::add::PATIENCE;
use crate::conf::{Conf, ValidAttachment, invalid};
use crate::error::{Code, Error};

/// # Errors
/// Code 7: the runtime did not say which are valid, which is not the same as none. Code 999: not all
/// could be removed.
pub fn run(conf: &Conf) -> Result<String, Error> {
    let valid = conf.valid_attachments.as_ref();
    let valid = valid.ok_or_else(|| invalid("cni.dev/valid-attachments", "missing"))?;
    let failed =
        |error| Error::new(Code::Internal, "cannot remove stale attachments").because(error);
    forget_all_but(conf, valid).map_err(|error| failed(format!("{error:#}")))?;
    Ok(String::new())
}

fn forget_all_but(conf: &Conf, valid: &[ValidAttachment]) -> Result<()> {
    let attachment = |v: &ValidAttachment| Attachment::new(&v.container_id, &v.ifname);
    let valid: Vec<Attachment> = valid.iter().filter_map(attachment).collect();
    let _lock = Lock::take(&conf.lock_file.0, PATIENCE)?;
    match Datapath::open(&conf.pin_path.0)? {
        Some(mut datapath) => datapath.remove_stale(&conf.network, &valid),
        None => Ok(()),
    }
}
