//! Watchers on the kernel's functions, by fentry or kprobe: what their parameters mean.

use aya_ebpf::{
    EbpfContext as _,
    programs::{FEntryContext, ProbeContext},
};

use super::watch;
use crate::kernel::{
    fields::{offsets, read},
    task,
};

/// A call of a kernel's function.
pub trait Call {
    fn parameter(&self, number: usize) -> u64;
}

impl Call for FEntryContext {
    #[inline(always)]
    fn parameter(&self, number: usize) -> u64 {
        self.arg(number)
    }
}

impl Call for ProbeContext {
    #[inline(always)]
    fn parameter(&self, number: usize) -> u64 {
        read(self.as_ptr() as u64, offsets().function_registers[number]).unwrap_or(0)
    }
}

/// tcp_splice_read(struct socket *, …)
#[inline(always)]
pub fn splice(call: &impl Call) {
    if let Some(sock) = read::<u64>(call.parameter(0), offsets().socket_sk) {
        watch::splices(sock);
    }
}

/// tcp_recvmsg(struct sock *, struct msghdr *, size_t, int flags, …), and tcp_bpf_recvmsg; until 5.18
/// `int nonblock` came before `flags`.
#[inline(always)]
pub fn recvmsg(call: &impl Call) {
    let fourth = call.parameter(3) as u32;
    let flags = if offsets().recvmsg_parameters == 6 {
        let waits = if fourth == 0 { 0 } else { watch::MSG_DONTWAIT };
        call.parameter(4) as u32 | waits
    } else {
        fourth
    };
    watch::reads(call.parameter(0), flags);
}

/// tcp_bpf_sendmsg(struct sock *, struct msghdr *, size_t)
#[inline(always)]
pub fn sendmsg(call: &impl Call) {
    let flags = read::<u32>(call.parameter(1), offsets().msghdr_flags).unwrap_or(0);
    watch::sends(call.parameter(0), flags);
}

/// tcp_ioctl(struct sock *, int cmd, …), and tcp_bpf_ioctl
#[inline(always)]
pub fn ioctl(call: &impl Call) {
    if call.parameter(1) as u32 == watch::FIONREAD {
        watch::asks(call.parameter(0));
    }
}

/// io_send_zc(struct io_kiocb *, …), and io_sendmsg_zc, which does both from Linux 7.3 on: its file comes first.
#[inline(always)]
pub fn send_zc(call: &impl Call) {
    if let Some(sock) = read::<u64>(call.parameter(0), 0).and_then(task::socket_of) {
        watch::sends_zerocopy(sock);
    }
}

/// __sys_sendmmsg(int fd, struct mmsghdr *, unsigned vlen, unsigned flags, …)
#[inline(always)]
pub fn sendmmsg(call: &impl Call) {
    if let Some((sock, file)) = task::socket(call.parameter(0) as u32) {
        watch::sends_batch(sock, file, call.parameter(3) as u32);
    }
}

/// io_send and io_sendmsg(struct io_kiocb *, …): they never block, and with MSG_WAITALL go on where they
/// have stopped.
#[inline(always)]
pub fn ring_send(call: &impl Call) {
    let request = call.parameter(0);
    let flags = read::<u32>(request, offsets().io_sr_msg_flags).unwrap_or(0);
    if flags & watch::MSG_WAITALL != 0
        && let Some(sock) = read::<u64>(request, 0).and_then(task::socket_of)
    {
        watch::goes_on(sock);
    }
}
