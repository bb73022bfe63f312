//! What a person calls the pods of a node.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use shim::{
    datapath::Datapath,
    layout::{Attached, PodId, text},
};

#[derive(Clone, Debug, clap::Args)]
pub struct Logs {
    /// Where the kubelet keeps the pods' logs, in folders named NAMESPACE_NAME_UID
    #[arg(long, value_name = "DIR", default_value = "/var/log/pods")]
    pod_logs: PathBuf,
}

impl Logs {
    /// Namespace and name of a pod, as far as the kubelet has told them.
    pub fn name_of(&self, uid: &str) -> Option<(String, String)> {
        named(&self.pod_logs, uid)
    }
}

fn named(logs: &Path, uid: &str) -> Option<(String, String)> {
    fs::read_dir(logs).ok()?.flatten().find_map(|entry| {
        let file_name = entry.file_name().into_string().ok()?;
        let (pod, of_uid) = file_name.rsplit_once('_')?;
        let (namespace, name) = pod.split_once('_')?;
        (of_uid == uid).then(|| (namespace.to_owned(), name.to_owned()))
    })
}

/// `namespace/name`, or what the runtime called it, by pod.
pub fn names(datapath: &Datapath) -> anyhow::Result<HashMap<PodId, String>> {
    let attachments = datapath.attachments()?.into_iter();
    Ok(attachments
        .map(|(attachment, attached)| (attached.pod, name(&attached, &attachment.container_id)))
        .collect())
}

fn name(attached: &Attached, container_id: &[u8]) -> String {
    match (text(&attached.namespace), text(&attached.name)) {
        (_, name) if name.is_empty() => text(container_id).into_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    }
}
