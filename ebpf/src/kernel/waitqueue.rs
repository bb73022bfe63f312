//! Who waits on a socket: the wait queue in its `struct socket_wq`.

use super::{
    fields::{offsets, read},
    task,
};

/// Entries that are looked at. More than that are epoll's.
const ENTRIES: u32 = 4;

/// Whether a task sleeps inside recv(2) or send(2) of the socket. Its entry names the task; that of
/// epoll names none, and those of poll and select a `struct poll_wqueues` on the task's stack.
#[inline(always)]
pub fn has_sleeper(sock: u64) -> bool {
    let at = offsets();
    let Some(queue) = read::<u64>(sock, at.sock_wq).filter(|queue| *queue != 0) else {
        return false;
    };
    let head = queue + u64::from(at.wait_head);
    let Some(mut link) = read::<u64>(head, 0) else { return false };
    for _ in 0..ENTRIES {
        if link == head || link == 0 {
            return false;
        }
        let entry = link - u64::from(at.wait_entry_link);
        let private = read::<u64>(entry, at.wait_entry_private).unwrap_or(0);
        // What else is on that stack can look like a task.
        let polls = || read::<u64>(private, at.poll_polling_task).is_some_and(task::is_one);
        if task::is_one(private) && !polls() {
            return true;
        }
        let Some(next) = read::<u64>(link, 0) else { return false };
        link = next;
    }
    false
}
