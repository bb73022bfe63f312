//! Where Multus has the network from that it delegates to.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, ensure};

use super::read;
use crate::{conflist::Conf, world::Files};

/// The file that Multus makes its delegate from, or reads it from, with its text. Beside a delegate
/// that it has in itself there may be none.
pub fn source(
    files: &impl Files,
    others: &[PathBuf],
    multus: &Conf,
) -> Result<Option<(PathBuf, String)>> {
    let wanted = multus.cluster_network.as_deref();
    let named = match (wanted, multus.delegate()) {
        (Some(wanted), _) => wanted.to_owned(),
        (None, Some(delegate)) => Conf::parse(delegate)?.name,
        (None, None) => return Err(anyhow!("Multus names no network of its own in it")),
    };
    for path in others {
        // Its path is that of Multus' container.
        let by_path = named.contains('/') && path.file_name() == Path::new(&named).file_name();
        let text = match read(files, path) {
            Err(unready) if by_path => return Err(unready.into()),
            text => text.ok().flatten(),
        };
        let is_it =
            |text: &String| by_path || Conf::parse(text).is_ok_and(|conf| conf.name == named);
        if let Some(text) = text.filter(is_it) {
            return Ok(Some((path.clone(), text)));
        }
    }
    ensure!(
        wanted.is_none(),
        "Multus takes its network {named:?} from elsewhere: add shunt's entry there"
    );
    Ok(None)
}
