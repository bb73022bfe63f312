//! The running task (`struct task_struct`).

use aya_ebpf::helpers::{bpf_probe_read_kernel_str_bytes, generated::bpf_get_current_task};

use super::fields::{offsets, read};

/// TASK_COMM_LEN.
pub type Name = [u8; 16];

#[inline(always)]
fn current() -> u64 {
    // SAFETY: an address as a number.
    unsafe { bpf_get_current_task() }
}

/// What its process is called: the comm of its first thread.
#[inline(always)]
pub fn process_name() -> Option<Name> {
    let at = offsets();
    let leader = read::<u64>(current(), at.task_group_leader)?;
    let mut name = Name::default();
    // Up to its end: older kernels leave there what a longer name has left.
    // SAFETY: the helper checks the address.
    unsafe {
        bpf_probe_read_kernel_str_bytes((leader + u64::from(at.task_comm)) as *const u8, &mut name)
    }
    .ok()?;
    Some(name)
}

/// Whether it has used io_uring.
#[inline(always)]
pub fn has_io_uring() -> bool {
    let at = offsets().task_io_uring;
    at != 0 && read::<u64>(current(), at) != Some(0)
}

/// Whether a task is at this address: its process's first thread is that of itself.
#[inline(always)]
pub fn is_one(address: u64) -> bool {
    let leader_of = |task| read::<u64>(task, offsets().task_group_leader).filter(|it| *it != 0);
    leader_of(address).is_some_and(|leader| leader_of(leader) == Some(leader))
}

/// Address of the `struct sock` behind one of its descriptors, and of the file. What is no socket
/// gives `None`.
#[inline(always)]
pub fn socket(descriptor: u32) -> Option<(u64, u64)> {
    let at = offsets();
    let table = read::<u64>(read::<u64>(current(), at.task_files)?, at.files_fdt)?;
    if descriptor >= read::<u32>(table, at.fdtable_max_fds)? {
        return None;
    }
    let files = read::<u64>(table, at.fdtable_fd)?;
    let file = read::<u64>(files + u64::from(descriptor) * 8, 0).filter(|file| *file != 0)?;
    Some((socket_of(file)?, file))
}

/// The `struct sock` of a file, if that is a socket's.
#[inline(always)]
pub fn socket_of(file: u64) -> Option<u64> {
    let at = offsets();
    let socket = read::<u64>(file, at.file_private_data).filter(|socket| *socket != 0)?;
    read::<u64>(socket, at.socket_file).filter(|of| *of == file)?;
    read::<u64>(socket, at.socket_sk).filter(|sock| *sock != 0)
}
