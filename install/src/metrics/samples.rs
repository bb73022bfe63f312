//! The families of metrics, and their samples.

use shim::layout::{
    Counters, Late, Node, NotAccelerated, NotPaired, Reasons, ToTcp, Traffic, Watch,
};

/// As Prometheus sees it: name, reason, value.
pub type Sample = (&'static str, &'static str, u64);

/// What the family of this name tells.
pub fn help(name: &str) -> &'static str {
    match name {
        "shunt_installed" => "1: pods that are made here get shunt. 0: /healthz tells why not.",
        "shunt_entry_put_back_total" => "Times that shunt was put back into a network list.",
        "shunt_binary_restored_total" => "Times that the plugin's binary was put back.",
        "shunt_pods_accelerated_total" => "Pods that were made with acceleration.",
        "shunt_pods_not_accelerated_total" => "Pods that were made without it, by reason.",
        "shunt_watched" => "1: shunt sees how programs read. 0: it trusts those that are named.",
        "shunt_pods" => "Accelerated pods that are here.",
        "shunt_sockets" => "Sockets that can be handed bytes.",
        "shunt_paired_total" => "Ends of connections between pods of this node.",
        "shunt_not_paired_total" => "Connections that are not, by reason.",
        "shunt_shunted_messages_total" => "Messages from socket to socket.",
        "shunt_shunted_bytes_total" => "Bytes from socket to socket.",
        "shunt_by_tcp_messages_total" => "Messages by TCP, of sockets that can go the short way.",
        "shunt_by_tcp_bytes_total" => "Bytes by TCP, of sockets that can go the short way.",
        "shunt_to_shunt_total" => "Times that a connection's direction went to the short way.",
        "shunt_to_tcp_total" => "Times that it went back to TCP, by reason.",
        "shunt_plain_connections_total" => "Ended connections of two pods by TCP, by reason.",
        "shunt_plain_bytes_total" => "Bytes of ended connections of two pods by TCP, by reason.",
        "shunt_foretold_bytes_total" => {
            "Bytes that acceleration would have taken, in observe mode."
        }
        "shunt_late_signs_total" => {
            "Programs that were found unfit after bytes were handed to them."
        }
        "shunt_refused_options_total" => "Times that a socket was refused TCP_ULP or SO_ZEROCOPY.",
        _ => "",
    }
}

/// A sample for each field of a structure, with the field's name as the reason. It names all of
/// them, so that none is forgotten.
macro_rules! by_reason {
    ($samples:ident, $name:literal, $value:expr, $structure:ident { $($field:ident),+ }) => {
        let $structure { $($field),+ } = $value;
        $samples.extend([$(($name, stringify!($field), $field)),+]);
    };
}

/// Of all pods that are and were.
pub fn of_pods(counters: &Counters) -> Vec<Sample> {
    let Counters {
        paired,
        not_paired,
        shunted,
        by_tcp,
        to_shunt,
        to_tcp,
        late,
        refused_options,
        plain,
        plain_bytes,
        foretold_bytes,
    } = *counters;
    let traffic = |name: [&'static str; 2], Traffic { messages, bytes }: Traffic| {
        [(name[0], "", messages), (name[1], "", bytes)]
    };
    let mut samples = vec![("shunt_paired_total", "", paired)];
    by_reason!(
        samples,
        "shunt_not_paired_total",
        not_paired,
        NotPaired {
            remote,
            no_peer,
            unproven,
            unanswered,
            excluded_port,
            draining,
            overruled,
            busy,
            full,
            refused
        }
    );
    samples.extend(traffic(["shunt_shunted_messages_total", "shunt_shunted_bytes_total"], shunted));
    samples.extend(traffic(["shunt_by_tcp_messages_total", "shunt_by_tcp_bytes_total"], by_tcp));
    samples.push(("shunt_to_shunt_total", "", to_shunt));
    by_reason!(
        samples,
        "shunt_to_tcp_total",
        to_tcp,
        ToTcp {
            queue_full,
            overruled,
            heartbeat,
            rcvlowat,
            blocking,
            distrusted,
            untried,
            oob,
            bypassed,
            closing,
            draining,
            bulk
        }
    );
    for (name, reasons) in
        [("shunt_plain_connections_total", plain), ("shunt_plain_bytes_total", plain_bytes)]
    {
        let Reasons {
            learning,
            sleeps,
            splices,
            counts_unread,
            waits_for_all,
            zerocopy,
            batches,
            listener,
            peer,
            observed,
            left,
            refused,
            brief,
            ..
        } = reasons;
        samples.extend([
            (name, "learning", learning),
            (name, "sleeps", sleeps),
            (name, "splices", splices),
            (name, "counts_unread", counts_unread),
            (name, "waits_for_all", waits_for_all),
            (name, "zerocopy", zerocopy),
            (name, "batches", batches),
            (name, "listener", listener),
            (name, "peer", peer),
            (name, "observed", observed),
            (name, "left", left),
            (name, "refused", refused),
            (name, "brief", brief),
        ]);
    }
    samples.push(("shunt_foretold_bytes_total", "", foretold_bytes));
    by_reason!(samples, "shunt_late_signs_total", late, Late { splice, fionread, waitall });
    samples.push(("shunt_refused_options_total", "", refused_options));
    samples
}

pub fn of_node(node: &Node) -> Vec<Sample> {
    let Node { accelerated, not_accelerated, watch, .. } = *node;
    let mut samples = vec![("shunt_pods_accelerated_total", "", accelerated)];
    by_reason!(
        samples,
        "shunt_pods_not_accelerated_total",
        not_accelerated,
        NotAccelerated { no_cgroup, foreign_program, full, refused }
    );
    samples.push(("shunt_watched", "", u64::from(watch != Watch::Names as u64)));
    samples
}
