//! Where a kernel keeps what the programs read.

/// Where this kernel keeps the fields that the programs read, in bytes, from its BTF; handed to
/// them as a constant when they are loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    pub sock_rcvlowat: u32,
    pub sock_sndbuf: u32,
    pub sock_rcvbuf: u32,
    pub sock_uid: u32,
    pub sock_net: u32,
    /// Inode number of a network namespace.
    pub net_inum: u32,
    /// What the kernel marks the socket's packets with (`skb_hash`).
    pub sock_txhash: u32,
    pub sock_user_data: u32,
    pub sock_socket: u32,
    pub sock_flags: u32,
    /// The bit of SOCK_ZEROCOPY in there.
    pub sock_zerocopy: u32,
    pub sock_err: u32,
    /// In bits, as older kernels have a bit field here.
    pub sock_shutdown_bits: u32,
    pub sock_cookie: u32,
    pub sock_prot: u32,
    pub proto_memory_pressure: u32,
    pub socket_sk: u32,
    pub socket_file: u32,
    pub file_flags: u32,
    /// In bits, as older kernels have a bit field here.
    pub sock_userlocks_bits: u32,
    /// What the socket's receive buffer holds.
    pub sock_rmem_alloc: u32,
    pub tcp_copied_seq: u32,
    pub tcp_write_seq: u32,
    /// The window that was last advertised, and from where it counts.
    pub tcp_rcv_wnd: u32,
    pub tcp_rcv_wup: u32,
    pub tcp_rcv_nxt: u32,
    /// How many probes in a row were not answered.
    pub icsk_probes_out: u32,
    pub psock_ingress_msg: u32,
    /// One, and one more for everybody who is inside send(2) or recv(2).
    pub psock_refcnt: u32,
    pub msghdr_flags: u32,
    /// How many parameters tcp_bpf_recvmsg has: until 5.18 `nonblock` came before `flags`.
    pub recvmsg_parameters: u32,
    pub skb_hash: u32,
    pub task_comm: u32,
    pub task_group_leader: u32,
    pub task_files: u32,
    /// 0 where the kernel has no io_uring.
    pub task_io_uring: u32,
    pub io_sr_msg_flags: u32,
    pub files_fdt: u32,
    pub fdtable_fd: u32,
    pub fdtable_max_fds: u32,
    pub file_private_data: u32,
    pub sock_wq: u32,
    pub wait_head: u32,
    pub wait_entry_private: u32,
    pub poll_polling_task: u32,
    pub wait_entry_link: u32,
    /// In bits; `u32::MAX` where the kernel has no MPTCP.
    pub tcp_is_mptcp_bits: u32,
    /// In bits; `u32::MAX` where it is not there.
    pub tcp_syn_smc_bits: u32,
    /// A byte: flags of the callbacks that sock_ops programs asked for.
    pub tcp_callback_flags: u32,
    /// Where a kprobe finds the first six parameters.
    pub function_registers: [u32; 6],
    pub syscalls: Syscalls,
    /// Of 32-bit programs, which have numbers and registers of their own.
    pub compat: Syscalls,
    /// Where `struct pt_regs` tells of them, in which bits, and what is there then.
    pub compat_at: u32,
    pub compat_bits: u32,
    pub compat_is: u32,
    /// The packet in the context of a sock_ops program, as the kernel has it.
    pub sock_ops_skb: u32,
    /// The socket, likewise.
    pub sock_ops_sk: u32,
    /// Index of the device that it came in by.
    pub skb_iif: u32,
    /// Size of `struct sk_msg`: what a queued message costs beside its bytes.
    pub sk_msg_size: u32,
    /// 1: programs set options as applications do (from Linux 6.1 on).
    pub has_sk_setsockopt: u32,
    /// 0, as all of `memcg`: this kernel has none.
    pub sock_memcg: u32,
    pub memcg_memory: u32,
    pub memcg_socket_pressure: u32,
    pub memcg_nodeinfo: u32,
    pub memcg_lru_zone_size: u32,
    /// 0: memory cgroups of version 2 only.
    pub memcg_tcpmem_active: u32,
    pub counter_high: u32,
    pub counter_max: u32,
    pub counter_parent: u32,
    /// Bytes in the psock's queue; 0: this kernel does not count them.
    pub psock_msg_tot_len: u32,
    /// CONFIG_HZ.
    pub jiffies_per_second: u32,
    /// [`Watch`](super::Watch).
    pub watch: u32,
    /// [`Fionread`](super::Fionread).
    pub fionread: u32,
    /// 1: a socket whose program is not known yet may be in the sockhash. It is handed nothing there, but
    /// FIONREAD has to count what comes by TCP, and io_uring's SEND_ZC is refused there, where a kernel has it.
    pub tries_unknown: u32,
    /// 1: a socket that an MPTCP listener accepted may be in the sockhash.
    pub mptcp_is_safe: u32,
}

/// How a kind of programs calls the kernel: where the tracepoint of system calls finds the first six parameters, and the
/// calls' numbers. Those that it lacks are `u32::MAX`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syscalls {
    pub registers: [u32; 6],
    pub read: u32,
    pub readv: u32,
    pub recv: u32,
    pub recvfrom: u32,
    pub recvmsg: u32,
    pub recvmmsg: u32,
    /// With a time of 64 bits.
    pub recvmmsg_time64: u32,
    pub send: u32,
    pub sendto: u32,
    pub sendmsg: u32,
    pub sendmmsg: u32,
    pub ioctl: u32,
    pub splice: u32,
    /// One for all that a socket can do; its second parameter has those of the call that it stands for.
    pub socketcall: u32,
}
