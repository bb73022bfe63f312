//! Loads the programs, and pins them and their maps: once per node.

use std::{
    fs::{self, DirBuilder},
    io,
    os::{fd::AsFd as _, unix::fs::DirBuilderExt as _},
    path::Path,
};

use anyhow::{Context as _, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapInfo},
    programs::{CgroupSock, CgroupSockopt, SchedClassifier, SkLookup, SkMsg, SockOps},
    util::online_cpus,
};
use aya_obj::Object;
use nix::sys::sysinfo::sysinfo;

use crate::{
    bpf, btf,
    layout::{Fionread, MIN_LISTENERS, MIN_PAIRS, MIN_SOCKETS, Node, Watch, name},
    pins,
    refusal::Refusal,
    watchers::{self, Found},
};

/// What the configuration says of the node as a whole. It counts when the programs are loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// How programs are watched; else as this kernel can.
    pub watch: Option<Watch>,
    /// Connections are only looked at.
    pub observe: bool,
}

/// The programs as built by build.rs.
const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/shunt.o"));

/// Whether everything is pinned. The sock_ops program is pinned last, so where it is, all is, unless somebody
/// has removed a map since.
pub fn is_complete(pins: &Path) -> bool {
    [name::ESTABLISH].iter().chain(&name::MAPS).all(|name| pins.join(name).exists())
}

/// Makes what is pinned complete. Maps that an interrupted load left are used.
///
/// # Errors
/// No bpffs, pins of another layout, or the kernel refuses; nothing is half done that a later
/// call does not finish.
pub fn load(pins: &Path, settings: Settings) -> Result<(), Refusal> {
    prepare_folder(pins)?;
    compare_maps(pins)?;
    if !is_complete(pins) {
        load_and_pin(pins, settings.watch)?;
        let mut observing: Array<_, u32> =
            map(pins, name::OBSERVING)?.try_into().context(name::OBSERVING)?;
        observing.set(0, u32::from(settings.observe), 0).context(name::OBSERVING)?;
    }
    Ok(())
}

fn prepare_folder(pins: &Path) -> Result<(), Refusal> {
    if !pins::is_on_bpffs(pins) {
        return Err(Refusal::NoBpffs(pins.to_owned()));
    }
    for folder in [name::LINKS, name::GUARDS, name::NO_MPTCP, name::WATCHES, name::ENDED] {
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
pub fn load_and_pin(pins: &Path, wanted: Option<Watch>) -> Result<(), Refusal> {
    let found = watchers::try_out(&mut create(None, Watch::Names, 0)?, wanted);
    let watch = found.choose(wanted);
    let ebpf = &mut create(Some(pins), watch, found.fionread)?;
    load_programs(ebpf)?;

    // Before the first socket enters: one that is in the map already never gets it, and keeps the
    // one that it has.
    let message: &mut SkMsg = program(ebpf, name::MESSAGE)?;
    let sockets = bpf::open_pin(&pins.join(name::SOCKETS)).context("the sockhash")?;
    bpf::attach_sk_msg(message.fd().context("sk_msg")?.as_fd(), sockets.as_fd())
        .context("cannot attach the sk_msg program to the sockhash")?;

    replace_pin(&pins.join(name::MESSAGE), |pin| Ok(message.pin(pin)?))?;
    let setsockopt: &mut CgroupSockopt = program(ebpf, name::SETSOCKOPT)?;
    replace_pin(&pins.join(name::SETSOCKOPT), |pin| Ok(setsockopt.pin(pin)?))?;
    let sock_create: &mut CgroupSock = program(ebpf, name::SOCK_CREATE)?;
    replace_pin(&pins.join(name::SOCK_CREATE), |pin| Ok(sock_create.pin(pin)?))?;
    let presence: &mut SkLookup = program(ebpf, name::PRESENCE)?;
    replace_pin(&pins.join(name::PRESENCE), |pin| Ok(presence.pin(pin)?))?;
    let inspect: &mut SchedClassifier = program(ebpf, name::INSPECT)?;
    replace_pin(&pins.join(name::INSPECT), |pin| Ok(inspect.pin(pin)?))?;
    let links = watchers::attach(ebpf, watch).context("cannot watch how programs use sockets")?;
    let kept: Vec<_> = links.iter().map(|(name, _)| name.clone()).collect();
    for (name, link) in links {
        replace_pin(&pins.join(name::WATCHES).join(name), |pin| Ok(link.pin(pin).map(drop)?))?;
    }
    remove_others(&pins.join(name::WATCHES), &kept)?;

    let mut node: Array<_, Node> = map(pins, name::NODE)?.try_into().context(name::NODE)?;
    let known = node.get(&0, 0).context(name::NODE)?;
    let Found { no_fentry, no_kprobe, fionread } = found;
    let watch = watch as u64;
    node.set(0, Node { watch, no_fentry, no_kprobe, fionread, ..known }, 0).context(name::NODE)?;

    let establish: &mut SockOps = program(ebpf, name::ESTABLISH)?;
    replace_pin(&pins.join(name::ESTABLISH), |pin| Ok(establish.pin(pin)?))?;
    Ok(())
}

/// Watchers of another way than today's.
fn remove_others(folder: &Path, kept: &[String]) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())?.flatten() {
        if !kept.iter().any(|name| entry.file_name() == name.as_str()) {
            fs::remove_file(entry.path()).with_context(|| entry.path().display().to_string())?;
        }
    }
    Ok(())
}

/// Whether this kernel takes the programs, and what it does right. Leaves nothing behind.
///
/// # Errors
/// What it refuses.
pub fn try_out() -> anyhow::Result<Found> {
    let mut ebpf = create(None, Watch::Names, 0)?;
    load_programs(&mut ebpf)?;
    Ok(watchers::try_out(&mut ebpf, None))
}

/// Makes the maps: those that are pinned, or else maps of its own.
fn create(pins: Option<&Path>, watch: Watch, fionread: u64) -> anyhow::Result<Ebpf> {
    let mut offsets = btf::offsets()?;
    offsets.watch = watch as u32;
    offsets.fionread = fionread as u32;
    let counts_tcp = fionread & Fionread::TCP_ONLY != 0;
    offsets.tries_unknown &= u32::from(watch != Watch::Names && counts_tcp);
    let mut loader = EbpfLoader::new();
    // A sockhash with 8-byte values is a type that aya has no wrapper for.
    loader.allow_unsupported_maps().override_global("OFFSETS", &offsets, true);
    loader.map_max_entries(name::PAIRS, lru(MIN_PAIRS));
    loader.map_max_entries(name::LISTENERS, lru(MIN_LISTENERS));
    let memory = sysinfo().context("sysinfo")?.ram_total();
    for map in [name::SOCKETS, name::WATCHED] {
        loader.map_max_entries(map, sockets(memory));
    }
    if let Some(pins) = pins {
        for map in name::MAPS {
            loader.map_pin_path(map, pins.join(map));
        }
    }
    loader.load(OBJECT).context("cannot create the maps")
}

/// Entries of an LRU map. Such a map gives each processor 128 free ones, old kernels even where nothing is left
/// for others, which then lose what they have just written.
fn lru(least: usize) -> u32 {
    let processors = online_cpus().map_or(0, |all| all.len());
    (256 * processors).clamp(least, 65536) as u32
}

/// Entries for sockets: a connection takes its share of the kernel's memory too, so what a node has of that, in
/// bytes, tells how many it can have.
fn sockets(memory: u64) -> u32 {
    let most = (memory >> 18).clamp(MIN_SOCKETS as u64, 1 << 20) as u32;
    1 << most.ilog2()
}

/// Loads all but what watches.
fn load_programs(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    let refused = |name| format!("the kernel refuses the program {name}");
    let [message, setsockopt, sock_create] = [name::MESSAGE, name::SETSOCKOPT, name::SOCK_CREATE];
    let [presence, inspect, establish] = [name::PRESENCE, name::INSPECT, name::ESTABLISH];
    program::<&mut SkMsg>(ebpf, message)?.load().with_context(|| refused(message))?;
    let it: &mut CgroupSockopt = program(ebpf, setsockopt)?;
    it.load().with_context(|| refused(setsockopt))?;
    let it: &mut CgroupSock = program(ebpf, sock_create)?;
    it.load().with_context(|| refused(sock_create))?;
    let it: &mut SkLookup = program(ebpf, presence)?;
    it.load().with_context(|| refused(presence))?;
    let it: &mut SchedClassifier = program(ebpf, inspect)?;
    it.load().with_context(|| refused(inspect))?;
    program::<&mut SockOps>(ebpf, establish)?.load().with_context(|| refused(establish))
}

pub(crate) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<P>
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

#[cfg(test)]
mod tests {
    use super::sockets;

    #[test]
    fn a_node_has_room_for_sockets_by_its_memory() {
        let rooms = [4, 24, 32, 100, 1 << 20].map(|gib: u64| sockets(gib << 30));
        assert_eq!(rooms, [1 << 16, 1 << 16, 1 << 17, 1 << 18, 1 << 20]);
    }
}
