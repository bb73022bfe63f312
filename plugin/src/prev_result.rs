//! Which addresses the plugins before shunt gave to the pod.
//!
//! One reader for the shapes of CNI 0.3 to 1.1: what changed between them (an IP's `version`, more
//! keys of an interface) shunt does not need.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::{Value, value::RawValue};

/// The addresses of interfaces inside the pod, which are those with a `sandbox`, whatever their
/// place in the list, and addresses that name no interface, as Calico and Terway write them. What is
/// odd in it is for the plugins that use it to refuse: here it is a warning.
pub fn pod_ips(prev_result: &RawValue) -> Vec<IpAddr> {
    let result: Value = serde_json::from_str(prev_result.get()).unwrap_or_default();
    let list = |key: &str| match &result[key] {
        Value::Array(list) => list.clone(),
        Value::Null => Vec::new(),
        odd => {
            log::warn!("prevResult: `{key}` is no list: {odd}");
            Vec::new()
        }
    };
    let interfaces = list("interfaces");
    let is_pods = |ip: &Value| match &ip["interface"] {
        Value::Null => true,
        index => {
            let interface = index.as_u64().and_then(|index| interfaces.get(index as usize));
            let sandbox = interface.and_then(|interface| interface["sandbox"].as_str());
            if interface.is_none() {
                log::warn!("prevResult: {ip} is of none of its interfaces");
            }
            sandbox.is_some_and(|sandbox| !sandbox.is_empty())
        }
    };
    let address = |ip: &Value| {
        let block = ip["address"].as_str().unwrap_or_default().parse::<IpNetwork>();
        block
            .map(|block| block.ip())
            .map_err(|_| log::warn!("prevResult: {ip} has no address"))
            .ok()
    };
    list("ips").iter().filter(|ip| is_pods(ip)).filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(json: &str) -> Vec<String> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        pod_ips(raw).iter().map(IpAddr::to_string).collect()
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
            // Odd: what is left of it counts.
            (
                r#"{"interfaces":[{"sandbox":"/run/netns/a"},5],"ips":[{"interface":-1,"address":"10.1.0.2/32"},
                 {"interface":1.0,"address":"10.1.0.3/32"},{"interface":"0","address":"10.1.0.4/32"},
                 {"interface":0},{"interface":0,"address":7},{"interface":0,"address":"here"},7,null,
                 {"interface":18446744073709551616,"address":"10.1.0.5/32"},{"interface":0,"address":"10.1.0.6"}]}"#,
                vec!["10.1.0.6"],
            ),
            (r#"{"interfaces":{},"ips":{}}"#, vec![]),
            (r#"{"ips":[[]]}"#, vec![]),
        ] {
            assert_eq!(ips(json), expected, "{json}");
        }
    }
}
