//! What differs between processors: where `struct pt_regs` has parameters, and numbers of system calls.

use crate::layout::Syscalls;

/// Byte offsets in `struct pt_regs` of the first six parameters of a function.
#[cfg(target_arch = "x86_64")]
pub const FUNCTION_REGISTERS: [u32; 6] = [112, 104, 96, 88, 72, 64];
/// Likewise of a system call: the fourth is in r10.
#[cfg(target_arch = "x86_64")]
pub const SYSCALL_REGISTERS: [u32; 6] = [112, 104, 96, 56, 72, 64];

#[cfg(target_arch = "aarch64")]
pub const FUNCTION_REGISTERS: [u32; 6] = [0, 8, 16, 24, 32, 40];
#[cfg(target_arch = "aarch64")]
pub const SYSCALL_REGISTERS: [u32; 6] = FUNCTION_REGISTERS;

pub const SYSCALLS: Syscalls = Syscalls {
    read: libc::SYS_read as u32,
    readv: libc::SYS_readv as u32,
    recvfrom: libc::SYS_recvfrom as u32,
    recvmsg: libc::SYS_recvmsg as u32,
    recvmmsg: libc::SYS_recvmmsg as u32,
    sendto: libc::SYS_sendto as u32,
    sendmsg: libc::SYS_sendmsg as u32,
    sendmmsg: libc::SYS_sendmmsg as u32,
    ioctl: libc::SYS_ioctl as u32,
    splice: libc::SYS_splice as u32,
};
