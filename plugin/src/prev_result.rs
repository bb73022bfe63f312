//! Which addresses the plugins before shunt gave to the pod.
//!
//! One reader for the shapes of CNI 0.3 to 1.1: what changed between them (an IP's `version`, more
//! keys of an interface) shunt does not need.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::conf::invalid;
use crate::error::Error;

#[derive(Deserialize)]
struct PrevResult {
    interfaces: Option<Vec<Interface>>,
    ips: Option<Vec<Ip>>,
}

#[derive(Deserialize)]
struct Interface {
    sandbox: Option<String>,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
    /// Index into `interfaces`.
    interface: Option<usize>,
}

/// The addresses of interfaces inside the pod, which are those with a `sandbox`, whatever their
/// place in the list, and addresses that name no interface, as Calico and Terway write them.
///
/// # Errors
/// Code 7: not a result.
pub fn pod_ips(prev_result: &RawValue) -> Result<Vec<IpAddr>, Error> {
    let invalid = |why: &dyn std::fmt::Display| invalid("prevResult", why);
    let result: PrevResult = serde_json::from_str(prev_result.get()).map_err(|e| invalid(&e))?;
    let interfaces = result.interfaces.unwrap_or_default();
    let is_pods = |ip: &Ip| {
        let interface = ip.interface.and_then(|index| interfaces.get(index));
        let sandbox = interface.map(|interface| interface.sandbox.as_deref().unwrap_or(""));
        ip.interface.is_none() || sandbox.is_some_and(|sandbox| !sandbox.is_empty())
    };
    let ips = result.ips.unwrap_or_default().into_iter().filter(is_pods);
    ips.map(|ip| {
        let address = ip.address.split('/').next().unwrap_or_default();
        let not_one = |error| invalid(&format!("address {:?}: {error}", ip.address));
        address.parse().map_err(not_one)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(json: &str) -> Vec<String> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        pod_ips(raw).unwrap().iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn by_the_sandbox_never_by_position() {
        for (json, expected) in [
            // bridge, CNI 1.0: bridge, host end, pod end.
            (
                r#"{"interfaces":[{"name":"cni0"},{"name":"veth1","sandbox":""},
                 {"name":"eth0","sandbox":"/run/netns/a"}],
                 "ips":[{"interface":2,"address":"10.1.0.2/16"},{"interface":2,"address":"fd00::2/64"},
                 {"interface":1,"address":"169.254.1.1/32"}]}"#,
                vec!["10.1.0.2", "fd00::2"],
            ),
            // CNI 0.3, the pod's interface first.
            (
                r#"{"interfaces":[{"name":"eth0","sandbox":"/run/netns/a"},{"name":"veth1"}],
                 "ips":[{"version":"4","interface":0,"address":"10.1.0.2/16"}],"dns":{}}"#,
                vec!["10.1.0.2"],
            ),
            // Calico: the host's interface only, and an address that names none.
            (
                r#"{"interfaces":[{"name":"cali1"}],"ips":[{"version":"4","address":"10.1.0.2/32"}]}"#,
                vec!["10.1.0.2"],
            ),
            (r#"{"interfaces":[],"ips":[{"interface":3,"address":"10.1.0.2/32"}]}"#, vec![]),
            (r#"{"interfaces":null,"ips":null}"#, vec![]),
        ] {
            assert_eq!(ips(json), expected, "{json}");
        }
    }
}
