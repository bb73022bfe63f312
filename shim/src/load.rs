//! Loads the programs, and pins them and their maps: once per node.

use std::{
    fs::{self, DirBuilder},
    io,
    os::{fd::AsFd as _, unix::fs::DirBuilderExt as _},
    path::Path,
};

use anyhow::{Context as _, anyhow};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, Map, MapInfo},
    programs::{CgroupSockopt, FEntry, SchedClassifier, SkMsg, SockOps, links::FdLink},
};
use aya_obj::Object;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::{
    bpf, btf,
    layout::{Node, name},
    refusal::Refusal,
};

/// The programs as built by build.rs.
const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/shunt.o"));

/// Whether everything is pinned. The sock_ops program is pinned last, so where it is, all is.
pub fn is_complete(pins: &Path) -> bool {
    pins.join(name::ESTABLISH).exists()
}

/// Makes what is pinned complete. Maps that an interrupted load left are used.
///
/// # Errors
/// No bpffs, pins of another layout, or the kernel refuses; nothing is half done that a later
/// call does not finish.
pub fn load(pins: &Path) -> Result<(), Refusal> {
    prepare_folder(pins)?;
    compare_maps(pins)?;
    if !is_complete(pins) {
        load_and_pin(pins)?;
    }
    Ok(())
}

fn prepare_folder(pins: &Path) -> Result<(), Refusal> {
    let parent = pins.ancestors().skip(1).find(|dir| dir.exists());
    let on_bpffs = parent
        .and_then(|dir| statfs(dir).ok())
        .is_some_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
    if !on_bpffs {
        return Err(Refusal::NoBpffs(pins.to_owned()));
    }
    for folder in [name::LINKS, name::GUARDS, name::WATCHES] {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(pins.join(folder))
            .with_context(|| format!("cannot make {}", pins.display()))?;
    }
    Ok(())
}

/// A pinned map is used only if it is what these programs were compiled for.
pub fn compare_maps(pins: &Path) -> Result<(), Refusal> {
    let object = Object::parse(OBJECT).context("the eBPF object")?;
    for map in name::MAPS {
        let pin = pins.join(map);
        if !pin.exists() {
            continue;
        }
        let expected = object.maps.get(map).ok_or_else(|| anyhow!("the object has no {map}"))?;
        let found = MapInfo::from_pin(&pin).with_context(|| pin.display().to_string())?;
        let kind = found.map_type().map_or(0, |kind| kind as u32);
        let found = [kind, found.key_size(), found.value_size(), found.map_flags()];
        let expected =
            [expected.map_type(), expected.key_size(), expected.value_size(), expected.map_flags()];
        if found != expected {
            let detail =
                format!("type, key size, value size, flags are {found:?} and not {expected:?}");
            return Err(Refusal::Layout { pin, detail });
        }
    }
    Ok(())
}

/// Loads what this build has and pins it in the place of what is there.
///
/// # Errors
/// The kernel refuses; nothing is half done that a later call does not finish.
pub fn load_and_pin(pins: &Path) -> Result<(), Refusal> {
    let mut ebpf = create(Some(pins))?;
    let ebpf = &mut ebpf;

    // Before the first socket enters: one that is in the map already never gets it, and keeps the
    // one that it has.
    let message: &mut SkMsg = program(ebpf, name::MESSAGE)?;
    let sockets = bpf::open_pin(&pins.join(name::SOCKETS)).context("the sockhash")?;
    bpf::attach_sk_msg(message.fd().context("sk_msg")?.as_fd(), sockets.as_fd())
        .context("cannot attach the sk_msg program to the sockhash")?;

    replace_pin(&pins.join(name::MESSAGE), |pin| Ok(message.pin(pin)?))?;
    let setsockopt: &mut CgroupSockopt = program(ebpf, name::SETSOCKOPT)?;
    replace_pin(&pins.join(name::SETSOCKOPT), |pin| Ok(setsockopt.pin(pin)?))?;
    let inspect: &mut SchedClassifier = program(ebpf, name::INSPECT)?;
    replace_pin(&pins.join(name::INSPECT), |pin| Ok(inspect.pin(pin)?))?;

    let watched = watch(ebpf).and_then(|links| {
        links.into_iter().try_for_each(|(name, link)| {
            replace_pin(&pins.join(name::WATCHES).join(name), |pin| {
                link.pin(pin).map(drop).map_err(Into::into)
            })
        })
    });
    let unwatched = watched.err().map_or(0, |refusal| {
        log::info!("splice, MSG_WAITALL and MSG_OOB are not watched: {refusal:#}");
        errno(&refusal)
    });
    let mut node: Array<_, Node> = map(pins, name::NODE)?.try_into().context(name::NODE)?;
    let known = node.get(&0, 0).context(name::NODE)?;
    node.set(0, Node { unwatched, ..known }, 0).context(name::NODE)?;

    let establish: &mut SockOps = program(ebpf, name::ESTABLISH)?;
    replace_pin(&pins.join(name::ESTABLISH), |pin| Ok(establish.pin(pin)?))?;
    Ok(())
}

/// Whether this kernel takes the programs; if it does, why it does not take the watchers. Leaves
/// nothing behind.
pub fn try_out() -> anyhow::Result<anyhow::Result<()>> {
    let mut ebpf = create(None)?;
    Ok(watch(&mut ebpf).map(drop))
}

/// Loads the programs: with maps that are pinned, or else with maps of their own.
fn create(pins: Option<&Path>) -> anyhow::Result<Ebpf> {
    let offsets = btf::offsets()?;
    let mut loader = EbpfLoader::new();
    // A sockhash with 8-byte values is a type that aya has no wrapper for.
    loader.allow_unsupported_maps().override_global("OFFSETS", &offsets, true);
    if let Some(pins) = pins {
        for map in name::MAPS {
            loader.map_pin_path(map, pins.join(map));
        }
    }
    let mut ebpf = loader.load(OBJECT).context("cannot create the maps")?;
    let refused = |name| format!("the kernel refuses the program {name}");
    let [message, setsockopt, inspect, establish] =
        [name::MESSAGE, name::SETSOCKOPT, name::INSPECT, name::ESTABLISH];
    program::<&mut SkMsg>(&mut ebpf, message)?.load().with_context(|| refused(message))?;
    program::<&mut CgroupSockopt>(&mut ebpf, setsockopt)?
        .load()
        .with_context(|| refused(setsockopt))?;
    program::<&mut SchedClassifier>(&mut ebpf, inspect)?
        .load()
        .with_context(|| refused(inspect))?;
    program::<&mut SockOps>(&mut ebpf, establish)?.load().with_context(|| refused(establish))?;
    Ok(ebpf)
}

/// Attaches the watchers, all or none: kernels without trampolines refuse them.
fn watch(ebpf: &mut Ebpf) -> anyhow::Result<Vec<(&'static str, FdLink)>> {
    let btf = Btf::from_sys_fs()?;
    let mut links = Vec::new();
    for (name, function) in name::WATCHERS {
        let watcher: &mut FEntry = program(ebpf, name)?;
        watcher.load(function, &btf).context(function)?;
        let link = watcher.attach().context(function)?;
        links.push((name, FdLink::from(watcher.take_link(link)?)));
    }
    Ok(links)
}

fn errno(error: &anyhow::Error) -> u64 {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.find_map(io::Error::raw_os_error).unwrap_or(libc::ENOTSUP) as u64
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<P>
where
    P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no {name}"))?;
    Ok(program.try_into()?)
}

/// At no time is nothing pinned there.
fn replace_pin(pin: &Path, set: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    // Names with dots are the bpffs's own.
    let new = pin
        .with_file_name(format!("{}-new", pin.file_name().unwrap_or_default().to_string_lossy()));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| new.display().to_string());
        }
        _ => set(&new).with_context(|| format!("cannot pin {}", new.display()))?,
    }
    fs::rename(&new, pin).with_context(|| format!("cannot pin {}", pin.display()))
}

/// Opens a pinned map.
pub fn map(pins: &Path, name: &str) -> anyhow::Result<Map> {
    let pin = pins.join(name);
    aya::maps::MapData::from_pin(&pin)
        .and_then(Map::from_map_data)
        .with_context(|| pin.display().to_string())
}
