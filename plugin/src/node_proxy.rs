//! `nodeProxies`: which pods are the mesh's proxies of the node, as Istio's ztunnel.

use serde::Deserialize;

/// A DaemonSet.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct NodeProxy {
    namespace: String,
    name: String,
}

impl TryFrom<String> for NodeProxy {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let is_name = |name: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            !name.is_empty() && name.bytes().all(known)
        };
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self { namespace: namespace.into(), name: name.into() })
            }
            _ => Err(format!("{text:?} is not NAMESPACE/DAEMONSET")),
        }
    }
}

impl NodeProxy {
    /// Whether a pod is one of the DaemonSet's: its name, a hyphen and some letters.
    pub fn is(&self, namespace: &str, pod: &str) -> bool {
        let suffix = pod.strip_prefix(&*self.name).and_then(|rest| rest.strip_prefix('-'));
        namespace == self.namespace && suffix.is_some_and(|it| !it.is_empty() && !it.contains('-'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_the_daemon_set_and_no_others() {
        let proxy = NodeProxy::try_from("kube-system/ztunnel".to_owned()).unwrap();
        assert!(proxy.is("kube-system", "ztunnel-x7k2p"));
        for (namespace, pod) in [
            ("default", "ztunnel-x7k2p"),
            ("kube-system", "ztunnel"),
            ("kube-system", "ztunnel-"),
            ("kube-system", "ztunnel-metrics-x7k2p"),
            ("kube-system", "my-ztunnel-x7k2p"),
            ("", ""),
        ] {
            assert!(!proxy.is(namespace, pod), "{namespace}/{pod}");
        }
        for wrong in ["ztunnel", "/ztunnel", "kube-system/", "a/b/c", "a b/c"] {
            assert!(NodeProxy::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
