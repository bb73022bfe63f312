//! Reads of the kernel's own structures.
//!
//! An address may be of a socket that is gone: the read is then of something else, or fails and
//! gives `None`. Whoever uses this must be right even so.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use shim::layout::Offsets;

/// Filled in by the loader; see `shim::btf`.
// SAFETY: the name is nobody else's; all its fields are numbers.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = unsafe { core::mem::zeroed() };

/// Each field is one load, and a constant to the verifier. Assembly without instructions hides the
/// value from the compiler, as the loader replaces it after compilation.
#[inline(always)]
pub fn offsets() -> &'static Offsets {
    let mut at = &raw const OFFSETS;
    // SAFETY: it leaves the address as it is.
    unsafe {
        core::arch::asm!("/* {} */", inout(reg) at, options(pure, nomem, nostack));
        &*at
    }
}

#[inline(always)]
pub fn has_sk_setsockopt() -> bool {
    offsets().has_sk_setsockopt != 0
}

#[inline(always)]
pub fn read<T>(base: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}

/// How programs are watched here.
#[inline(always)]
pub fn watch() -> u32 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const OFFSETS.watch) }
}

/// In which cases FIONREAD is right here.
#[inline(always)]
pub fn fionread() -> u64 {
    // SAFETY: as above.
    u64::from(unsafe { core::ptr::read_volatile(&raw const OFFSETS.fionread) })
}

/// Whether a socket whose program is not known yet may be in the sockhash.
#[inline(always)]
pub fn tries_unknown() -> bool {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const OFFSETS.tries_unknown) != 0 }
}

#[inline(always)]
pub fn mptcp_is_safe() -> bool {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const OFFSETS.mptcp_is_safe) != 0 }
}
