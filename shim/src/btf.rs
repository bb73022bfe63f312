//! Where this kernel keeps the fields that the programs read, from its own BTF.
//!
//! A walk over the raw types (Documentation/bpf/btf.rst): it copies nothing and takes
//! milliseconds, where a general parser takes a good part of a second over all of vmlinux.

use std::fs;

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::time::TimeValLike as _,
    time::{ClockId, clock_getres},
};

use crate::{
    arch,
    layout::{Offsets, Watch},
    mptcp,
};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Functions by name, where BTF has none.
const KALLSYMS: &str = "/proc/kallsyms";

/// # Errors
/// The kernel has no BTF, or lacks a field that the rules of the datapath need.
pub fn offsets() -> anyhow::Result<Offsets> {
    let data = fs::read(VMLINUX).with_context(|| format!("{VMLINUX}: this kernel has no BTF"))?;
    let btf = Btf::parse(&data)?;
    let bytes = |structure, path| anyhow::Ok(btf.offset_bits(structure, path)? / 8);
    let optional = |structure, path| bytes(structure, path).unwrap_or(0);
    Ok(Offsets {
        sock_rcvlowat: bytes("sock", "sk_rcvlowat")?,
        sock_sndbuf: bytes("sock", "sk_sndbuf")?,
        sock_rcvbuf: bytes("sock", "sk_rcvbuf")?,
        sock_uid: bytes("sock", "sk_uid")?,
        sock_net: bytes("sock", "__sk_common.skc_net.net")?,
        net_inum: bytes("net", "ns.inum")?,
        sock_txhash: bytes("sock", "sk_txhash")?,
        sock_user_data: bytes("sock", "sk_user_data")?,
        sock_socket: bytes("sock", "sk_socket")?,
        sock_flags: bytes("sock", "__sk_common.skc_flags")?,
        sock_zerocopy: btf.enumerator("sock_flags", "SOCK_ZEROCOPY")?,
        sock_err: bytes("sock", "sk_err")?,
        sock_shutdown_bits: btf.offset_bits("sock", "sk_shutdown")?,
        sock_cookie: bytes("sock", "__sk_common.skc_cookie")?,
        sock_prot: bytes("sock", "__sk_common.skc_prot")?,
        proto_memory_pressure: bytes("proto", "memory_pressure")?,
        socket_sk: bytes("socket", "sk")?,
        socket_file: bytes("socket", "file")?,
        file_flags: bytes("file", "f_flags")?,
        sock_userlocks_bits: btf.offset_bits("sock", "sk_userlocks")?,
        sock_rmem_alloc: bytes("sock", "sk_backlog.rmem_alloc")?,
        tcp_copied_seq: bytes("tcp_sock", "copied_seq")?,
        tcp_write_seq: bytes("tcp_sock", "write_seq")?,
        tcp_rcv_wnd: bytes("tcp_sock", "rcv_wnd")?,
        tcp_rcv_wup: bytes("tcp_sock", "rcv_wup")?,
        tcp_rcv_nxt: bytes("tcp_sock", "rcv_nxt")?,
        icsk_probes_out: bytes("inet_connection_sock", "icsk_probes_out")?,
        psock_ingress_msg: bytes("sk_psock", "ingress_msg")?,
        psock_refcnt: bytes("sk_psock", "refcnt")?,
        msghdr_flags: bytes("msghdr", "msg_flags")?,
        recvmsg_parameters: btf.parameters("proto", "recvmsg")?,
        skb_hash: bytes("sk_buff", "hash")?,
        task_comm: bytes("task_struct", "comm")?,
        task_group_leader: bytes("task_struct", "group_leader")?,
        task_files: bytes("task_struct", "files")?,
        task_io_uring: bytes("task_struct", "io_uring").unwrap_or(0),
        io_sr_msg_flags: bytes("io_sr_msg", "msg_flags").unwrap_or(0),
        files_fdt: bytes("files_struct", "fdt")?,
        fdtable_fd: bytes("fdtable", "fd")?,
        fdtable_max_fds: bytes("fdtable", "max_fds")?,
        file_private_data: bytes("file", "private_data")?,
        sock_wq: bytes("sock", "sk_wq")?,
        wait_head: bytes("socket_wq", "wait.head")?,
        wait_entry_private: bytes("wait_queue_entry", "private")?,
        poll_polling_task: bytes("poll_wqueues", "polling_task")?,
        wait_entry_link: bytes("wait_queue_entry", "entry")?,
        tcp_is_mptcp_bits: btf.offset_bits("tcp_sock", "is_mptcp").unwrap_or(u32::MAX),
        tcp_syn_smc_bits: btf.offset_bits("tcp_sock", "syn_smc").unwrap_or(u32::MAX),
        tcp_callback_flags: bytes("tcp_sock", "bpf_sock_ops_cb_flags")?,
        function_registers: arch::FUNCTION_REGISTERS,
        syscalls: arch::SYSCALLS,
        compat: arch::COMPAT,
        compat_at: arch::COMPAT_MODE[0],
        compat_bits: arch::COMPAT_MODE[1],
        compat_is: arch::COMPAT_MODE[2],
        skb_iif: bytes("sk_buff", "skb_iif")?,
        sock_ops_skb: bytes("bpf_sock_ops_kern", "skb")?,
        sock_ops_sk: bytes("bpf_sock_ops_kern", "sk")?,
        sk_msg_size: btf.size("sk_msg")?,
        has_sk_setsockopt: btf.has_function("sk_setsockopt")?.into(),
        sock_memcg: optional("sock", "sk_memcg"),
        memcg_memory: optional("mem_cgroup", "memory"),
        memcg_socket_pressure: optional("mem_cgroup", "socket_pressure"),
        memcg_nodeinfo: optional("mem_cgroup", "nodeinfo"),
        memcg_lru_zone_size: optional("mem_cgroup_per_node", "lru_zone_size"),
        memcg_tcpmem_active: optional("mem_cgroup", "tcpmem_active"),
        counter_high: optional("page_counter", "high"),
        counter_max: optional("page_counter", "max"),
        counter_parent: optional("page_counter", "parent"),
        psock_msg_tot_len: optional("sk_psock", "msg_tot_len"),
        jiffies_per_second: jiffies_per_second()?,
        watch: Watch::Names as u32,
        fionread: 0,
        tries_unknown: (!btf.has_function("io_send_zc_prep")?).into(),
        mptcp_is_safe: mptcp::is_safe().into(),
    })
}

/// CONFIG_HZ: the coarse clocks go by it, and tell.
fn jiffies_per_second() -> anyhow::Result<u32> {
    let jiffy = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).context("CLOCK_MONOTONIC_COARSE")?;
    let jiffy = u32::try_from(jiffy.num_nanoseconds())?;
    1_000_000_000_u32.checked_div(jiffy).context("a coarse clock without steps")
}

/// Whether this kernel has a function that programs can be attached to.
pub fn has_function(function: &str) -> anyhow::Result<bool> {
    let data = fs::read(VMLINUX).with_context(|| format!("{VMLINUX}: this kernel has no BTF"))?;
    Btf::parse(&data)?.has_function(function)
}

/// Whether this kernel has a structure.
pub fn has_structure(name: &str) -> anyhow::Result<bool> {
    let data = fs::read(VMLINUX).with_context(|| format!("{VMLINUX}: this kernel has no BTF"))?;
    Ok(Btf::parse(&data)?.find(STRUCT, name).is_some())
}

/// Whether a structure of this kernel's has a field.
pub fn has_field(structure: &str, field: &str) -> anyhow::Result<bool> {
    let data = fs::read(VMLINUX).with_context(|| format!("{VMLINUX}: this kernel has no BTF"))?;
    Ok(Btf::parse(&data)?.offset_bits(structure, field).is_ok())
}

#[derive(Clone, Copy)]
struct Type<'a> {
    name: u32,
    kind: u32,
    bit_fields: bool,
    /// Size in bytes, or the type referred to.
    size_or_type: u32,
    /// What follows the header: for structs, the members.
    tail: &'a [u8],
}

struct Btf<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

const MEMBER: usize = 12;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
/// TYPEDEF, VOLATILE, CONST, RESTRICT: all refer to another type.
const QUALIFIERS: std::ops::RangeInclusive<u32> = 8..=11;

impl<'a> Btf<'a> {
    fn parse(data: &'a [u8]) -> anyhow::Result<Self> {
        let header = |at| word(data, at).context("BTF header");
        ensure!(header(0)? & 0xffff == 0xeb9f, "{VMLINUX} is not BTF of this byte order");
        let section = |at: usize| {
            let start = header(4)? as usize + header(at)? as usize;
            data.get(start..start + header(at + 4)? as usize).context("BTF section")
        };
        let (mut rest, strings) = (section(8)?, section(16)?);
        let mut types = Vec::with_capacity(200_000);
        while !rest.is_empty() {
            let field = |at| word(rest, at).context("BTF type");
            let info = field(4)?;
            let (kind, vlen) = (info >> 24 & 0x1f, info as usize & 0xffff);
            let tail = match kind {
                1 | 14 | 17 => 4, // INT, VAR, DECL_TAG
                3 => 12,          // ARRAY
                STRUCT | UNION => vlen * MEMBER,
                15 | 19 => vlen * 12, // DATASEC, ENUM64
                ENUM | FUNC_PROTO => vlen * 8,
                2 | 7..=FUNC | 16 | 18 => 0, // references, FWD, FUNC, FLOAT
                _ => bail!("BTF of an unknown kind {kind}"),
            };
            types.push(Type {
                name: field(0)?,
                kind,
                bit_fields: info >> 31 == 1,
                size_or_type: field(8)?,
                tail: rest.get(12..12 + tail).context("BTF type")?,
            });
            rest = &rest[12 + tail..];
        }
        Ok(Self { types, strings })
    }

    /// Position in bits of `path` (`member` or `member.member`) in the structure.
    fn offset_bits(&self, structure: &str, path: &str) -> anyhow::Result<u32> {
        let mut at = 0;
        let mut inside = self.structure(structure)?;
        for name in path.split('.') {
            let (offset, id) = self
                .member(inside, name)
                .with_context(|| format!("this kernel has no {structure}.{path}"))?;
            at += offset;
            inside = self.resolve(id).unwrap_or(inside);
        }
        Ok(at)
    }

    fn size(&self, structure: &str) -> anyhow::Result<u32> {
        Ok(self.structure(structure)?.size_or_type)
    }

    fn structure(&self, name: &str) -> anyhow::Result<Type<'a>> {
        self.find(STRUCT, name).with_context(|| format!("this kernel has no struct {name}"))
    }

    /// Value of an enumeration's constant.
    fn enumerator(&self, enumeration: &str, name: &str) -> anyhow::Result<u32> {
        let constants = self.find(ENUM, enumeration).map_or(&[][..], |ty| ty.tail);
        let mut constants =
            constants.chunks_exact(8).map(|it| [0, 4].map(|at| word(it, at).unwrap_or(0)));
        let constant = constants.find(|[label, _]| self.is_named(*label, name));
        Ok(constant.with_context(|| format!("this kernel has no {name}"))?[1])
    }

    /// Some kernels' BTF names no functions: for arm64 it was made without for years.
    fn has_function(&self, function: &str) -> anyhow::Result<bool> {
        if self.types.iter().any(|ty| ty.kind == FUNC) {
            return Ok(self.find(FUNC, function).is_some());
        }
        let symbols = fs::read_to_string(KALLSYMS).context(KALLSYMS)?;
        // Address, type, name
        Ok(symbols.lines().any(|line| line.split_ascii_whitespace().nth(2) == Some(function)))
    }

    /// How many parameters a function has that a structure points to, as not every BTF has functions by name.
    fn parameters(&self, structure: &str, pointer: &str) -> anyhow::Result<u32> {
        let referred = |id| self.by_id(self.by_id(id)?.size_or_type);
        let (_, id) = self
            .member(self.structure(structure)?, pointer)
            .with_context(|| format!("this kernel has no {structure}.{pointer}"))?;
        let prototype = referred(id).filter(|ty| ty.kind == FUNC_PROTO);
        let prototype = prototype.with_context(|| format!("{structure}.{pointer}: no function"))?;
        Ok((prototype.tail.len() / 8) as u32)
    }

    fn find(&self, kind: u32, name: &str) -> Option<Type<'a>> {
        self.types.iter().find(|ty| ty.kind == kind && self.is_named(ty.name, name)).copied()
    }

    /// Looks into nameless structs and unions as C does.
    fn member(&self, structure: Type, name: &str) -> Option<(u32, u32)> {
        structure.tail.chunks_exact(MEMBER).find_map(|member| {
            let [label, id, offset] = [0, 4, 8].map(|at| word(member, at).unwrap_or(0));
            let offset = if structure.bit_fields { offset & 0xff_ffff } else { offset };
            if self.is_named(label, name) {
                return Some((offset, id));
            }
            let nameless = self.is_named(label, "").then(|| self.resolve(id)).flatten()?;
            let (inner, id) = self.member(nameless, name)?;
            Some((offset + inner, id))
        })
    }

    /// The struct or union behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type<'a>> {
        loop {
            let ty = self.by_id(id)?;
            match ty.kind {
                STRUCT | UNION => return Some(ty),
                kind if QUALIFIERS.contains(&kind) => id = ty.size_or_type,
                _ => return None,
            }
        }
    }

    /// Ids start at 1; 0 is void.
    fn by_id(&self, id: u32) -> Option<Type<'a>> {
        self.types.get((id as usize).checked_sub(1)?).copied()
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        self.strings
            .get(at as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_this_kernel_are_plausible() {
        let at = offsets().unwrap();
        assert_ne!(at.tcp_copied_seq, at.tcp_write_seq);
        assert!(at.sk_msg_size > 256 && at.sk_msg_size < 4096, "{at:?}");
        assert_eq!(at.sock_sndbuf % 4 + at.sock_rcvbuf % 4 + at.sock_uid % 4, 0);
    }
}
