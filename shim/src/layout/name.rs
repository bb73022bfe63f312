//! Names of maps and programs: also their names under the layout's folder.
//!
//! [`SOCKETS`], [`DRAINING`] and [`INSPECT`], with [`SocketState`](super::SocketState) and the folders of links, are the same in every layout, so that every version
//! of shunt can drain every other.

/// Sockhash, cookie → socket: every socket that may be redirected to.
pub const SOCKETS: &str = "sockets";
/// Connections whose two ends have not both been seen yet.
pub const PAIRS: &str = "pairs";
/// Socket-local storage: what is known of a socket's connection.
pub const FLOWS: &str = "flows";
/// By pod and port: who listens there.
pub const LISTENERS: &str = "listeners";
/// Whose a socket is that connects.
pub const CONNECTING: &str = "connecting";
/// Per pod, by its id: addresses, policy, counters.
pub const PODS: &str = "pods";
/// Address → pod, for all pods of this node.
pub const POD_IPS: &str = "pod_ips";
/// CNI attachment (container and interface) → pod.
pub const ATTACHMENTS: &str = "attachments";
/// Cgroup storage: tells a program which pod's cgroup it runs for.
pub const CGROUP_POD: &str = "cgroup_pod";
/// Per program: how it reads from its sockets.
pub const HABITS: &str = "habits";
/// Cookie → program, for the sockets that are watched.
pub const WATCHED: &str = "watched";
/// One value: how often what is known of a program has changed.
pub const CHANGES: &str = "changes";
/// One value: 1 where connections are only looked at.
pub const OBSERVING: &str = "observing";
/// One value: counters of the node.
pub const NODE: &str = "node";
/// One value: 1 while no connection is to take the short way.
pub const DRAINING: &str = "draining";
pub const MAPS: [&str; 15] = [
    SOCKETS,
    PAIRS,
    FLOWS,
    LISTENERS,
    CONNECTING,
    HABITS,
    WATCHED,
    CHANGES,
    OBSERVING,
    PODS,
    POD_IPS,
    ATTACHMENTS,
    CGROUP_POD,
    NODE,
    DRAINING,
];

/// Folder with one for each pod that is gone and whose programs `habits` still has.
pub const ENDED: &str = "ended";

/// sock_ops program: pairs connections and enters sockets.
pub const ESTABLISH: &str = "shunt_establish";
/// sk_msg program: decides per message.
pub const MESSAGE: &str = "shunt_message";
/// cgroup/setsockopt program: refuses what an accelerated socket cannot have.
pub const SETSOCKOPT: &str = "shunt_setsockopt";
/// Classifier that is attached nowhere: user space runs it to learn a socket's
/// [`SocketState`](super::SocketState).
pub const INSPECT: &str = "shunt_inspect";
/// cgroup/sock_create program: MPTCP is off in a pod.
pub const SOCK_CREATE: &str = "shunt_sock_create";
/// sk_lookup program: does nothing, see [`LINKS`].
pub const PRESENCE: &str = "shunt_presence";
/// What watches programs: name of the program without `shunt_fentry_` or `shunt_kprobe_`, function of the kernel, and
/// whether every kernel has it.
pub const WATCHERS: [(&str, &str, bool); 11] = [
    ("splice", "tcp_splice_read", true),
    ("recvmsg", "tcp_recvmsg", true),
    ("bpf_recvmsg", "tcp_bpf_recvmsg", true),
    ("bpf_sendmsg", "tcp_bpf_sendmsg", true),
    ("ioctl", "tcp_ioctl", true),
    ("bpf_ioctl", "tcp_bpf_ioctl", false),
    ("send_zc", "io_send_zc", false),
    ("sendmsg_zc", "io_sendmsg_zc", false),
    ("sendmmsg", "__sys_sendmmsg", true),
    ("send", "io_send", false),
    ("sendmsg", "io_sendmsg", false),
];
/// Raw tracepoint of all system calls.
pub const SYSCALLS: &str = "shunt_syscalls";
/// Redirects everything: for the trial of what FIONREAD counts.
pub const TRIAL: &str = "shunt_trial";
/// Sub-folder with one pinned link per pod, named by its id: of the sock_ops program to its cgroup, or of
/// [`PRESENCE`] to its network namespace. That of the sock_ops program is then [`ALL`].
pub const LINKS: &str = "links";
/// Likewise of the setsockopt program.
pub const GUARDS: &str = "guards";
/// Likewise of the sock_create program.
pub const NO_MPTCP: &str = "no_mptcp";
/// In the folders of links: of a program that runs for all sockets of the node.
pub const ALL: &str = "all";
/// Sub-folder with the pinned links of what watches.
pub const WATCHES: &str = "watches";
