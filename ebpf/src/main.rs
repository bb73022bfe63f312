//! The kernel's half of shunt: programs that are loaded once per node and pinned.
//!
//! Four layers, and each knows only those below it: [`hooks`] is where the kernel calls, [`rules`]
//! decides, [`state`] is what shunt keeps, [`kernel`] reads what the kernel has.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod hooks;
mod kernel;
mod rules;
mod state;

use aya_ebpf::{
    macros::{
        cgroup_sock, cgroup_sockopt, classifier, fentry, kprobe, raw_tracepoint, sk_lookup, sk_msg,
        sock_ops,
    },
    programs::{
        FEntryContext, ProbeContext, RawTracePointContext, SkLookupContext, SkMsgContext,
        SockContext, SockOpsContext, SockoptContext, TcContext,
    },
};

/// Always 1: 0 would discard what other programs on the cgroup answered.
#[sock_ops]
pub fn shunt_establish(ctx: SockOpsContext) -> u32 {
    hooks::sock_ops::run(&ctx);
    1
}

/// Always SK_PASS: a message that is not redirected goes by TCP.
#[sk_msg]
pub fn shunt_message(ctx: SkMsgContext) -> u32 {
    hooks::message::run(&ctx);
    aya_ebpf::bindings::sk_action::SK_PASS
}

/// 0 refuses: setsockopt(2) fails with EPERM.
#[cgroup_sockopt(setsockopt)]
pub fn shunt_setsockopt(ctx: SockoptContext) -> i32 {
    hooks::setsockopt::allows(&ctx).into()
}

/// 1: the socket is in the sockhash.
#[classifier]
pub fn shunt_inspect(ctx: TcContext) -> i32 {
    hooks::inspect::run(&ctx).is_some().into()
}

/// 0 refuses: socket(2) fails with EPERM.
#[cgroup_sock(sock_create)]
pub fn shunt_sock_create(ctx: SockContext) -> i32 {
    hooks::sock_create::allows(&ctx).into()
}

/// Lets all pass. Its link tells whether a network namespace is still there.
#[sk_lookup]
pub fn shunt_presence(_: SkLookupContext) -> u32 {
    aya_ebpf::bindings::sk_action::SK_PASS
}

/// For the trial at load.
#[sk_msg]
pub fn shunt_trial(ctx: SkMsgContext) -> u32 {
    hooks::trial::run(&ctx);
    aya_ebpf::bindings::sk_action::SK_PASS
}

#[raw_tracepoint]
pub fn shunt_syscalls(ctx: RawTracePointContext) -> i32 {
    hooks::watch_syscalls::run(&ctx);
    0
}

/// One watcher of a function of the kernel's, by fentry and by kprobe.
macro_rules! watcher {
    ($fentry:ident, $kprobe:ident, $watch:path) => {
        #[fentry]
        pub fn $fentry(ctx: FEntryContext) -> i32 {
            $watch(&ctx);
            0
        }

        #[kprobe]
        pub fn $kprobe(ctx: ProbeContext) -> u32 {
            $watch(&ctx);
            0
        }
    };
}

watcher!(fentry_splice, kprobe_splice, hooks::watch_functions::splice);
watcher!(fentry_recvmsg, kprobe_recvmsg, hooks::watch_functions::recvmsg);
watcher!(fentry_bpf_recvmsg, kprobe_bpf_recvmsg, hooks::watch_functions::recvmsg);
watcher!(fentry_bpf_sendmsg, kprobe_bpf_sendmsg, hooks::watch_functions::sendmsg);
watcher!(fentry_ioctl, kprobe_ioctl, hooks::watch_functions::ioctl);
watcher!(fentry_bpf_ioctl, kprobe_bpf_ioctl, hooks::watch_functions::ioctl);
watcher!(fentry_send_zc, kprobe_send_zc, hooks::watch_functions::send_zc);
watcher!(fentry_sendmsg_zc, kprobe_sendmsg_zc, hooks::watch_functions::send_zc);
watcher!(fentry_sendmmsg, kprobe_sendmmsg, hooks::watch_functions::sendmmsg);
watcher!(fentry_send, kprobe_send, hooks::watch_functions::ring_send);
watcher!(fentry_sendmsg, kprobe_sendmsg, hooks::watch_functions::ring_send);

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// The helpers that the programs call are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
