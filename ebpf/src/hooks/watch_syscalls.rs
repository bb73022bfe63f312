//! Watchers on system calls, by the raw tracepoint `sys_enter`: where the kernel takes neither fentry nor kprobes.
//! What io_uring does for a task does not come by here: its sockets stay TCP, if it uses recv(2) too.

use aya_ebpf::{EbpfContext as _, helpers::bpf_probe_read_user, programs::RawTracePointContext};
use shim::layout::Syscalls;

use super::watch;
use crate::kernel::{
    fields::{offsets, read},
    sock, task,
};

/// What a call does with a socket, and its flags.
#[derive(Clone, Copy)]
enum Call {
    Reads(u32),
    Sends(u32),
    SendsBatch(u32),
    CountsUnread,
    Splices,
}

#[inline(always)]
pub fn run(ctx: &RawTracePointContext) {
    let args = ctx.as_ptr().cast::<u64>();
    // SAFETY: the tracepoint has two arguments: the registers, and the call's number.
    let (registers, number) = unsafe { (*args, *args.add(1) as u32) };
    let at = offsets();
    // Most calls are none of these, of whatever program; one that a tracer has taken away has no number.
    if number == u32::MAX || !is_known(&at.syscalls, number) && !is_known(&at.compat, number) {
        return;
    }
    let mode = read::<u64>(registers, at.compat_at).unwrap_or(0) as u32;
    let found = match mode & at.compat_bits == at.compat_is {
        true => of_socketcall(&at.compat, registers, number)
            .or_else(|| direct(&at.compat, registers, number)),
        false => direct(&at.syscalls, registers, number),
    };
    let Some((descriptor, call)) = found else { return };
    let Some((sock, file)) = task::socket(descriptor) else { return };
    match call {
        Call::Sends(flags) => watch::sends(sock, flags),
        Call::SendsBatch(flags) => {
            watch::sends_batch(sock, file, flags);
            watch::sends(sock, flags);
        }
        Call::CountsUnread => watch::asks(sock),
        Call::Splices => watch::splices(sock),
        Call::Reads(flags) => {
            if task::has_io_uring() {
                watch::goes_on(sock);
            }
            let nonblocking = if sock::is_nonblocking(file) { watch::MSG_DONTWAIT } else { 0 };
            watch::reads(sock, flags | nonblocking);
        }
    }
}

#[inline(always)]
fn is_known(of: &Syscalls, number: u32) -> bool {
    let reads = number == of.read || number == of.readv || number == of.recv;
    let receives = number == of.recvfrom || number == of.recvmsg || number == of.recvmmsg;
    let sends = number == of.send || number == of.sendto || number == of.sendmsg;
    let others = number == of.sendmmsg || number == of.ioctl || number == of.splice;
    reads || receives || sends || others || number == of.recvmmsg_time64 || number == of.socketcall
}

#[inline(always)]
fn direct(of: &Syscalls, registers: u64, number: u32) -> Option<(u32, Call)> {
    let argument = |n: usize| read::<u64>(registers, of.registers[n]).unwrap_or(0) as u32;
    let call = match number {
        _ if number == of.read || number == of.readv => Call::Reads(0),
        _ if number == of.recvmsg => Call::Reads(argument(2)),
        _ if number == of.recv || number == of.recvfrom => Call::Reads(argument(3)),
        _ if number == of.recvmmsg || number == of.recvmmsg_time64 => Call::Reads(argument(3)),
        _ if number == of.splice => Call::Splices,
        _ if number == of.ioctl && argument(1) == watch::FIONREAD => Call::CountsUnread,
        _ if number == of.sendmmsg => Call::SendsBatch(argument(3)),
        _ if number == of.sendmsg => sends(argument(2))?,
        _ if number == of.send || number == of.sendto => sends(argument(3))?,
        _ => return None,
    };
    Some((argument(0), call))
}

/// Its second parameter says where in the program's memory the others are (linux/net.h).
#[inline(always)]
fn of_socketcall(of: &Syscalls, registers: u64, number: u32) -> Option<(u32, Call)> {
    if number != of.socketcall {
        return None;
    }
    let which = read::<u64>(registers, of.registers[0])? as u32;
    let at = u64::from(read::<u64>(registers, of.registers[1])? as u32);
    // SAFETY: the helper checks the address.
    let [descriptor, _, third, fourth] =
        unsafe { bpf_probe_read_user(at as *const [u32; 4]) }.ok()?;
    let call = match which {
        SYS_RECV | SYS_RECVFROM | SYS_RECVMMSG | SYS_RECVMMSG_TIME64 => Call::Reads(fourth),
        SYS_RECVMSG => Call::Reads(third),
        SYS_SEND | SYS_SENDTO => sends(fourth)?,
        SYS_SENDMSG => sends(third)?,
        SYS_SENDMMSG => Call::SendsBatch(fourth),
        _ => return None,
    };
    Some((descriptor, call))
}

const SYS_SEND: u32 = 9;
const SYS_RECV: u32 = 10;
const SYS_SENDTO: u32 = 11;
const SYS_RECVFROM: u32 = 12;
const SYS_SENDMSG: u32 = 16;
const SYS_RECVMSG: u32 = 17;
const SYS_RECVMMSG: u32 = 19;
const SYS_SENDMMSG: u32 = 20;
const SYS_RECVMMSG_TIME64: u32 = 21;

/// Only what is urgent is of interest.
#[inline(always)]
fn sends(flags: u32) -> Option<Call> {
    (flags & watch::MSG_OOB != 0).then_some(Call::Sends(flags))
}
