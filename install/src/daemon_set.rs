//! Whether the DaemonSet that brought shunt here is still there, asked of the API server: no file in
//! a pod tells why the pod ends.

use anyhow::{Result, bail};

use crate::cluster::Cluster;

/// Whether the cluster has a DaemonSet of that name, in this pod's namespace, that is not being
/// deleted.
///
/// # Errors
/// This is no pod with a service account, or the API server gives no answer to that question.
pub fn is_wanted(name: &str) -> Result<bool> {
    let cluster = Cluster::of_this_pod()?;
    let path = format!("/apis/apps/v1/namespaces/{}/daemonsets/{name}", cluster.namespace);
    let mut answer = cluster.get(&path)?;
    match answer.status {
        // Deleted in the foreground, it is there until its pods are gone.
        200 => Ok(answer.object()?["metadata"]["deletionTimestamp"].is_null()),
        // Its account or rights may have gone before it, if all was deleted at once.
        401 | 403 | 404 => Ok(false),
        status => bail!("{path}: HTTP status {status}"),
    }
}
