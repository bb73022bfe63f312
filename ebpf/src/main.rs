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
    macros::{cgroup_sockopt, classifier, fentry, sk_msg, sock_ops},
    programs::{FEntryContext, SkMsgContext, SockOpsContext, SockoptContext, TcContext},
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

#[fentry]
pub fn shunt_splice(ctx: FEntryContext) -> i32 {
    hooks::watch::on_splice(&ctx);
    0
}

#[fentry]
pub fn shunt_recvmsg(ctx: FEntryContext) -> i32 {
    hooks::watch::on_recvmsg(&ctx);
    0
}

#[fentry]
pub fn shunt_sendmsg(ctx: FEntryContext) -> i32 {
    hooks::watch::on_sendmsg(&ctx);
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// The helpers that the programs call are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
