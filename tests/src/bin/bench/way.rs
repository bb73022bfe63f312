//! What carries the bytes, and for whom.

use crate::hop::link;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fmt;
use tests::{pod::PodSpec, sidecars::Half};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Plain TCP: no eBPF at all.
    Plain,
    /// AF_UNIX: what the kernel can do at best between two programs.
    Unix,
    Shunt,
    /// The textbook's accelerator, which all others are.
    Naive,
    /// An attached pod's, whose port is in `excludedPorts`.
    Excluded,
    /// An attached pod's, whose program is not trusted.
    Untrusted,
    /// An attached pod's, where shunt only looks on.
    Observed,
    /// A connection that enters and leaves again, as one to a Service's address may.
    Trial,
    /// An attached pod's, whose program is not known yet and watched by system calls.
    Watched,
}

impl Way {
    pub fn half(self) -> Option<Half> {
        match self {
            Way::Plain => Some(Half::Off),
            Way::Shunt => Some(Half::On),
            Way::Naive => Some(Half::Textbook),
            _ => None,
        }
    }

    /// shunt is in the pod's chain.
    pub fn is_attached(self) -> bool {
        !matches!(self, Way::Plain | Way::Unix | Way::Naive)
    }

    /// What makes a pod one whose connections go this way.
    pub fn configure(self, spec: &mut PodSpec) {
        match self {
            Way::Excluded => {
                spec.conf.insert("excludedPorts".into(), link::ports().collect());
            }
            Way::Untrusted | Way::Watched => {
                spec.conf.insert("trustedPrograms".into(), json!([]));
            }
            Way::Observed => {
                spec.annotations.insert("shunt/mode".into(), "observe".into());
            }
            _ => {}
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Way::Plain => "plain",
            Way::Unix => "unix",
            Way::Shunt => "shunt",
            Way::Naive => "naive",
            Way::Excluded => "excluded",
            Way::Untrusted => "untrusted",
            Way::Observed => "observed",
            Way::Trial => "trial",
            Way::Watched => "watched",
        })
    }
}
