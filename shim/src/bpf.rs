//! Raw `bpf(2)`: what aya 0.14 has no call for, and the only `unsafe` of user space.

use std::{
    ffi::CString,
    io,
    mem::{size_of, zeroed},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya::maps::{IterableMap, MapData};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use crate::layout::*;

/// Entries that are read by one call: more than any bucket of a map has, and not much memory.
const BATCH: usize = 128;

macro_rules! plain_bytes {
    ($($ty:ty),+) => {
        // SAFETY: repr(C) integers and arrays of such, without padding: see the end of layout.
        $(unsafe impl aya::Pod for $ty {})+
    };
}
plain_bytes!(
    Address, PodIp, Attachment, Attached, Pod, Node, Offsets, Program, Habit, Watched, Listener,
    Listening
);

/// # Safety
/// `attr` must be what `cmd` reads, with pointers that are valid for it.
unsafe fn bpf(cmd: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    let size = size_of::<bpf_attr>();
    // SAFETY: the caller's.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, cmd as u32, std::ptr::from_mut(attr), size) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret as i32) }
}

fn empty() -> bpf_attr {
    // SAFETY: all zeroes is a valid value of this union of integers.
    unsafe { zeroed() }
}

/// Attaches an sk_msg program to a sockhash for as long as the map lives; aya's own attachment
/// ends with its handle.
pub fn attach_sk_msg(program: BorrowedFd, map: BorrowedFd) -> io::Result<()> {
    let mut attr = empty();
    attr.__bindgen_anon_5.__bindgen_anon_1.target_fd = map.as_raw_fd() as u32;
    attr.__bindgen_anon_5.attach_bpf_fd = program.as_raw_fd() as u32;
    attr.__bindgen_anon_5.attach_type = bpf_attach_type::BPF_SK_MSG_VERDICT as u32;
    // SAFETY: no pointers.
    unsafe { bpf(bpf_cmd::BPF_PROG_ATTACH, &mut attr) }.map(drop)
}

/// Attaches a program to a cgroup or a network namespace by a link, as one of many (a cgroup's is always
/// BPF_F_ALLOW_MULTI), until the link is gone.
pub fn attach(
    program: BorrowedFd,
    target: BorrowedFd,
    kind: bpf_attach_type,
) -> io::Result<OwnedFd> {
    // Linux before 5.11 charges the cgroup's storage to this limit, and says ENOMEM.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    let mut attr = empty();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    attr.link_create.__bindgen_anon_2.target_fd = target.as_raw_fd() as u32;
    attr.link_create.attach_type = kind as u32;
    // SAFETY: no pointers; the kernel gives a new descriptor.
    unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

pub fn pin(object: BorrowedFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = empty();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = object.as_raw_fd() as u32;
    // SAFETY: the path outlives the call.
    unsafe { bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens a pinned object.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = empty();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    // SAFETY: the path outlives the call; the kernel gives a new descriptor.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET, &mut attr).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// The cgroup's id, or the network namespace's inode number, that a link is attached to; 0 once that is gone.
pub fn target_of_link(link: BorrowedFd) -> io::Result<u64> {
    let mut attr = empty();
    // SAFETY: the info outlives the call, and a link of each type fills the field that is read for it.
    unsafe {
        let mut info: bpf_link_info = zeroed();
        attr.info.bpf_fd = link.as_raw_fd() as u32;
        attr.info.info_len = size_of::<bpf_link_info>() as u32;
        attr.info.info = (&raw mut info) as u64;
        bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
        Ok(match info.type_ == bpf_link_type::BPF_LINK_TYPE_NETNS as u32 {
            true => info.__bindgen_anon_1.netns.netns_ino.into(),
            false => info.__bindgen_anon_1.cgroup.cgroup_id,
        })
    }
}

/// Writes one value. For map types that aya's wrappers refuse. Key and value are of the map's sizes.
pub fn update<K: aya::Pod, V: aya::Pod>(map: BorrowedFd, key: K, value: V) -> io::Result<()> {
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = (&raw const key) as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = (&raw const value) as u64;
    // SAFETY: both outlive the call.
    unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Which programs are attached to a cgroup, and with which flags (BPF_F_ALLOW_…); as many as fit.
pub fn query(cgroup: BorrowedFd, kind: bpf_attach_type) -> io::Result<(u32, Vec<u32>)> {
    let mut programs = [0_u32; 64];
    let mut attr = empty();
    attr.query.__bindgen_anon_1.target_fd = cgroup.as_raw_fd() as u32;
    attr.query.attach_type = kind as u32;
    attr.query.prog_ids = (&raw mut programs) as u64;
    attr.query.__bindgen_anon_2.prog_cnt = programs.len() as u32;
    // SAFETY: the array outlives the call; the kernel has filled the fields that are read.
    unsafe {
        bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr)?;
        let count = (attr.query.__bindgen_anon_2.prog_cnt as usize).min(programs.len());
        Ok((attr.query.attach_flags, programs[..count].to_vec()))
    }
}

/// What `pick` takes of a hash map, which is read in calls for many. What comes or goes meanwhile may be missed,
/// or be there twice.
pub fn pick<K: aya::Pod, V: aya::Pod, T>(
    map: &aya::maps::HashMap<MapData, K, V>,
    mut pick: impl FnMut(K, V) -> Option<T>,
) -> io::Result<Vec<T>> {
    let map = IterableMap::map(map).fd().as_fd();
    let mut picked = Vec::new();
    let (mut keys, mut values) = (Vec::<K>::with_capacity(BATCH), Vec::<V>::with_capacity(BATCH));
    let mut next = None;
    loop {
        let (mut attr, mut position) = (empty(), 0_u32);
        attr.batch.map_fd = map.as_raw_fd() as u32;
        attr.batch.in_batch = next.as_ref().map_or(0, |next| std::ptr::from_ref(next) as u64);
        attr.batch.out_batch = (&raw mut position) as u64;
        (attr.batch.keys, attr.batch.values) =
            (keys.as_mut_ptr() as u64, values.as_mut_ptr() as u64);
        attr.batch.count = BATCH as u32;
        // SAFETY: there is room for so many, of the map's sizes, as aya has compared them.
        let read = unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr) };
        let is_end = match read {
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        // SAFETY: the kernel has written so many, and any bytes are valid.
        unsafe {
            keys.set_len(attr.batch.count as usize);
            values.set_len(attr.batch.count as usize);
        }
        let read = keys.drain(..).zip(values.drain(..));
        picked.extend(read.filter_map(|(key, value)| pick(key, value)));
        if is_end {
            return Ok(picked);
        }
        next = Some(position);
    }
}

/// All of a hash map, as [`pick`] reads it.
pub fn entries<K: aya::Pod, V: aya::Pod>(
    map: &aya::maps::HashMap<MapData, K, V>,
) -> io::Result<Vec<(K, V)>> {
    pick(map, |key, value| Some((key, value)))
}

/// Removes a key, which need not be there, from a map with 8-byte keys.
pub fn delete(map: BorrowedFd, key: u64) -> io::Result<()> {
    let mut attr = empty();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = (&raw const key) as u64;
    // SAFETY: the key outlives the call.
    match unsafe { bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr) } {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Puts another program behind a link. `Ok(false)`: what it was attached to is gone.
pub fn update_link(link: BorrowedFd, program: BorrowedFd) -> io::Result<bool> {
    let mut attr = empty();
    attr.link_update.link_fd = link.as_raw_fd() as u32;
    attr.link_update.__bindgen_anon_1.new_prog_fd = program.as_raw_fd() as u32;
    // SAFETY: no pointers.
    match unsafe { bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr) } {
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
        Err(error) => Err(error),
        Ok(_) => Ok(true),
    }
}

/// The keys of a map with 8-byte keys. A key that comes or goes meanwhile may be missed.
pub fn keys(map: BorrowedFd) -> io::Result<Vec<u64>> {
    let mut keys = Vec::new();
    let mut next = 0_u64;
    loop {
        let mut attr = empty();
        attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
        attr.__bindgen_anon_2.key = keys.last().map_or(0, |key| (key as *const u64) as u64);
        attr.__bindgen_anon_2.__bindgen_anon_1.next_key = (&raw mut next) as u64;
        // SAFETY: both outlive the call.
        match unsafe { bpf(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut attr) } {
            Ok(_) => keys.push(next),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(keys),
            Err(error) => return Err(error),
        }
    }
}
