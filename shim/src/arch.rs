//! What differs between processors: where `struct pt_regs` has parameters, and numbers of system calls.

use crate::layout::Syscalls;

/// Byte offsets in `struct pt_regs` of the first six parameters of a function.
#[cfg(target_arch = "x86_64")]
pub const FUNCTION_REGISTERS: [u32; 6] = [112, 104, 96, 88, 72, 64];
#[cfg(target_arch = "aarch64")]
pub const FUNCTION_REGISTERS: [u32; 6] = [0, 8, 16, 24, 32, 40];

pub const SYSCALLS: Syscalls = Syscalls {
    // The fourth is in r10.
    #[cfg(target_arch = "x86_64")]
    registers: [112, 104, 96, 56, 72, 64],
    #[cfg(target_arch = "aarch64")]
    registers: FUNCTION_REGISTERS,
    read: libc::SYS_read as u32,
    readv: libc::SYS_readv as u32,
    recv: u32::MAX,
    recvfrom: libc::SYS_recvfrom as u32,
    recvmsg: libc::SYS_recvmsg as u32,
    recvmmsg: libc::SYS_recvmmsg as u32,
    recvmmsg_time64: u32::MAX,
    send: u32::MAX,
    sendto: libc::SYS_sendto as u32,
    sendmsg: libc::SYS_sendmsg as u32,
    sendmmsg: libc::SYS_sendmmsg as u32,
    ioctl: libc::SYS_ioctl as u32,
    splice: libc::SYS_splice as u32,
    socketcall: u32::MAX,
};

/// See arch/x86/entry/syscalls/syscall_32.tbl; parameters are in bx, cx, dx, si, di and bp.
#[cfg(target_arch = "x86_64")]
pub const COMPAT: Syscalls = Syscalls {
    registers: [40, 88, 96, 104, 112, 32],
    read: 3,
    readv: 145,
    recv: u32::MAX,
    recvfrom: 371,
    recvmsg: 372,
    recvmmsg: 337,
    recvmmsg_time64: 417,
    send: u32::MAX,
    sendto: 369,
    sendmsg: 370,
    sendmmsg: 345,
    ioctl: 54,
    splice: 313,
    socketcall: 102,
};
/// See arch/arm/tools/syscall.tbl.
#[cfg(target_arch = "aarch64")]
pub const COMPAT: Syscalls = Syscalls {
    registers: FUNCTION_REGISTERS,
    read: 3,
    readv: 145,
    recv: 291,
    recvfrom: 292,
    recvmsg: 297,
    recvmmsg: 365,
    recvmmsg_time64: 417,
    send: 289,
    sendto: 290,
    sendmsg: 296,
    sendmmsg: 374,
    ioctl: 54,
    splice: 340,
    socketcall: u32::MAX,
};

/// By what `struct pt_regs` tells of 32-bit programs: a byte offset, bits, and what these are then. `cs` is __USER32_CS
/// (asm/segment.h), `pstate` has PSR_MODE32_BIT (asm/ptrace.h).
#[cfg(target_arch = "x86_64")]
pub const COMPAT_MODE: [u32; 3] = [136, 0xffff, 0x23];
#[cfg(target_arch = "aarch64")]
pub const COMPAT_MODE: [u32; 3] = [264, 0x10, 0x10];
