//! The running task (`struct task_struct`).

use aya_ebpf::helpers::generated::bpf_get_current_task;

use super::fields;

/// The beginning of its `comm`.
#[inline(always)]
pub fn comm() -> Option<[u8; 8]> {
    // SAFETY: an address as a number.
    let task = unsafe { bpf_get_current_task() };
    fields::read(task, fields::offsets().task_comm)
}
