//! Builds the eBPF programs (folder ebpf/) and leaves them as `$OUT_DIR/shunt.o`.
//!
//! Compilers that can, in the order tried: a rustc with a prebuilt `core` for bpfel (Debian's
//! rustc-web with libstd-rust-web-dev-bpf), or rustup's nightly with rust-src. `SHUNT_EBPF` names
//! a folder with a prebuilt `shunt.o`; `SHUNT_EBPF=skip` leaves it empty, for clippy and docs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "bpfel-unknown-none";
/// Features that the programs use and no stable compiler has, allowed for these crates only.
const UNSTABLE_IN: &str = "aya_ebpf,shunt_ebpf";
const HELP: &str = "no compiler for eBPF found. On Debian: \
    apt-get install --no-install-recommends rustc-web libstd-rust-web-dev-bpf; elsewhere: \
    rustup toolchain install nightly --component rust-src; or set SHUNT_EBPF (see shim/build.rs)";

fn main() {
    if env::var_os("CARGO_FEATURE_STD").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo:rerun-if-env-changed=SHUNT_EBPF");
    let object = out.join("shunt.o");
    match env::var("SHUNT_EBPF").as_deref() {
        Ok("skip") => fs::write(&object, []).expect("write to OUT_DIR"),
        Ok(folder) => {
            let prebuilt = Path::new(folder).join("shunt.o");
            println!("cargo:rerun-if-changed={}", prebuilt.display());
            fs::copy(&prebuilt, &object).unwrap_or_else(|e| panic!("{}: {e}", prebuilt.display()));
        }
        Err(_) => build(&object),
    }
}

fn build(object: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("shim lies in the workspace");
    for source in
        ["ebpf/src", "ebpf/Cargo.toml", "ebpf/Cargo.lock", "shim/src/layout.rs", "shim/src/layout"]
    {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
    }
    // Shared by all profiles and targets of user space.
    let target = root.join("target/ebpf");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    // What the outer cargo says of shim is wrong inside: its features, its job tokens, its flags.
    let said = |key: &str| key.starts_with("CARGO_") && key != "CARGO_HOME" || key == "MAKEFLAGS";
    for (key, _) in env::vars_os().filter(|(key, _)| key.to_str().is_some_and(said)) {
        cargo.env_remove(key);
    }
    cargo.env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
    cargo.args(["build", "--release", "--locked", "--target", TARGET]);
    match compiler() {
        Compiler::WithCore(rustc) => cargo.env("RUSTC", rustc),
        Compiler::Nightly(rustc) => cargo.env("RUSTC", rustc).args(["-Z", "build-std=core"]),
    };
    let tools = root.join("target/tools/bin");
    let path = env::join_paths(
        std::iter::once(tools).chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
    );
    let status = cargo
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root.join("ebpf"))
        .env("PATH", path.expect("PATH"))
        .env("RUSTC_BOOTSTRAP", UNSTABLE_IN)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Clinker=bpf-linker\u{1f}-Clink-arg=--btf")
        .status()
        .expect("cargo starts");
    assert!(status.success(), "building ebpf/ failed; it needs bpf-linker 0.13 (see `make setup`)");
    let built = target.join(TARGET).join("release/shunt-ebpf");
    fs::copy(&built, object).unwrap_or_else(|e| panic!("{}: {e}", built.display()));
}

enum Compiler {
    WithCore(PathBuf),
    Nightly(PathBuf),
}

fn compiler() -> Compiler {
    let has_core = |rustc: &PathBuf| {
        let args = ["--print", "target-libdir", "--target", TARGET];
        printed(Command::new(rustc).args(args)).is_some_and(|dir| {
            fs::read_dir(dir).is_ok_and(|mut files| {
                files.any(|f| {
                    f.is_ok_and(|f| f.file_name().to_string_lossy().starts_with("libcore-"))
                })
            })
        })
    };
    if let Some(rustc) = ["/usr/bin/rustc".into(), "rustc".into()].into_iter().find(has_core) {
        return Compiler::WithCore(rustc);
    }
    printed(Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"]))
        .map(PathBuf::from)
        .filter(|rustc| {
            printed(Command::new(rustc).args(["--print", "sysroot"]))
                .is_some_and(|root| Path::new(&root).join("lib/rustlib/src/rust").exists())
        })
        .map(Compiler::Nightly)
        .unwrap_or_else(|| panic!("{HELP}"))
}

fn printed(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
