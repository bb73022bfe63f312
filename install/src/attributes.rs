//! What a file has beside its bytes, for the one that takes its place: mode, owner, and extended
//! attributes, of which access control lists are some (acl(5), xattr(7)).

use std::{
    ffi::{CStr, CString},
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::{
        IFlags, XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, ioctl_getflags,
        ioctl_setflags,
    },
    io::{Errno, Result as Done},
};

pub struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    extended: Vec<(CString, Vec<u8>)>,
    flags: IFlags,
}

/// Of those that chattr(1) sets, what a file may have that is replaced.
fn kept() -> IFlags {
    IFlags::NODUMP | IFlags::NOATIME | IFlags::SYNC
}

impl Attributes {
    /// # Errors
    /// It has attributes that cannot be read.
    pub fn of(file: &File) -> Result<Self> {
        let status = file.metadata()?;
        let mut extended = Vec::new();
        for name in names(file).context("its attributes")? {
            let value = value(file, &name).with_context(|| format!("its attribute {name:?}"))?;
            extended.push((name, value));
        }
        let flags = ioctl_getflags(file).unwrap_or(IFlags::empty()) & kept();
        let (mode, uid, gid) = (status.mode() & 0o7777, status.uid(), status.gid());
        Ok(Self { mode, uid, gid, extended, flags })
    }

    /// Of a file that root owns.
    pub fn of_root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0, extended: Vec::new(), flags: IFlags::empty() }
    }

    pub fn are_those_of(&self, file: &fs::Metadata) -> bool {
        (self.mode, self.uid, self.gid) == (file.mode() & 0o7777, file.uid(), file.gid())
    }

    /// The owner last: who gives a file away may not change it any more.
    ///
    /// # Errors
    /// One of them cannot be given.
    pub fn give(&self, file: &File) -> Result<()> {
        // The folder may give an access list to what is made in it.
        for name in names(file)? {
            let is_label = name.as_bytes().starts_with(b"security.");
            if !is_label && !self.extended.iter().any(|(own, _)| *own == name) {
                fremovexattr(file, name.as_c_str()).map_err(io::Error::from)?;
            }
        }
        if let Ok(flags) = ioctl_getflags(file)
            && flags & kept() != self.flags
        {
            ioctl_setflags(file, (flags - kept()) | self.flags)
                .map_err(io::Error::from)
                .context("cannot keep its flags, as chattr(1) sets them")?;
        }
        file.set_permissions(fs::Permissions::from_mode(self.mode))?;
        for (name, own) in &self.extended {
            // A security label may be the same already, and not be this process' to set.
            if value(file, name).is_ok_and(|there| there == *own) {
                continue;
            }
            fsetxattr(file, name.as_c_str(), own, XattrFlags::empty())
                .map_err(io::Error::from)
                .with_context(|| format!("cannot keep its attribute {name:?}"))?;
        }
        if !self.are_those_of(&file.metadata()?) {
            fchown(file, Some(self.uid), Some(self.gid)).with_context(|| {
                format!("cannot keep its owner {}:{}, which takes CAP_CHOWN", self.uid, self.gid)
            })?;
        }
        Ok(())
    }
}

/// None, where the file system has no such thing.
fn names(file: &File) -> Done<Vec<CString>> {
    let list = grown(|buffer| flistxattr(file, buffer)).or_else(|errno| match errno {
        Errno::OPNOTSUPP => Ok(Vec::new()),
        errno => Err(errno),
    })?;
    let names = list.split_inclusive(|byte| *byte == 0);
    Ok(names.filter_map(|name| CStr::from_bytes_with_nul(name).ok().map(CStr::to_owned)).collect())
}

fn value(file: &File, name: &CStr) -> Done<Vec<u8>> {
    grown(|buffer| fgetxattr(file, name, buffer))
}

/// Of as many bytes as there are, also if they become more meanwhile.
fn grown(read: impl Fn(&mut [u8]) -> Done<usize>) -> Done<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            read => {
                buffer.truncate(read?);
                return Ok(buffer);
            }
        }
    }
}
