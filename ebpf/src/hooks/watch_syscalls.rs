//! Watchers on system calls, by the raw tracepoint `sys_enter`: where the kernel takes neither fentry nor kprobes.
//! What io_uring does for a task does not come by here: its sockets stay TCP, if it uses recv(2) too.

use aya_ebpf::{EbpfContext as _, programs::RawTracePointContext};

use super::watch;
use crate::kernel::{
    fields::{offsets, read},
    sock, task,
};

#[inline(always)]
pub fn run(ctx: &RawTracePointContext) {
    let args = ctx.as_ptr().cast::<u64>();
    // SAFETY: the tracepoint has two arguments: the registers, and the call's number.
    let (registers, number) = unsafe { (*args, *args.add(1) as u32) };
    let (at, calls) = (offsets(), offsets().syscalls);
    let argument = |n: usize| read::<u64>(registers, at.syscall_registers[n]).unwrap_or(0) as u32;
    let is_read = number == calls.read || number == calls.readv;
    let flags = match number {
        _ if is_read || number == calls.ioctl || number == calls.splice => 0,
        _ if number == calls.recvmsg || number == calls.sendmsg => argument(2),
        _ if number == calls.recvfrom || number == calls.recvmmsg => argument(3),
        _ if number == calls.sendto || number == calls.sendmmsg => argument(3),
        _ => return,
    };
    let is_send = number == calls.sendto || number == calls.sendmsg || number == calls.sendmmsg;
    if is_send && number != calls.sendmmsg && flags & watch::MSG_OOB == 0 {
        return;
    }
    if number == calls.ioctl && argument(1) != watch::FIONREAD {
        return;
    }
    let Some((sock, file)) = task::socket(argument(0)) else { return };
    if number == calls.sendmmsg {
        watch::sends_batch(sock, file, flags);
    }
    if is_send {
        watch::sends(sock, flags);
    } else if number == calls.ioctl {
        watch::asks(sock);
    } else if number == calls.splice {
        watch::splices(sock);
    } else {
        if task::has_io_uring() {
            watch::goes_on(sock);
        }
        let nonblocking = if sock::is_nonblocking(file) { watch::MSG_DONTWAIT } else { 0 };
        watch::reads(sock, flags | nonblocking);
    }
}
