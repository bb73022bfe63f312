//! Where log records go: `logFile`, else stderr, which container runtimes pass to their own log.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::SystemTime,
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::libc::O_NONBLOCK;

struct Lines {
    file: Option<File>,
    /// Begins every line, as many pods share one file.
    about: String,
}

/// Never fails: a pod is worth more than its log. `make`: the file is made where it is not there.
pub fn init(path: Option<&Path>, make: bool, level: LevelFilter, about: String) {
    // Where a fifo lies in the log's place, opening it must not wait for a reader.
    let open = |path: &Path| {
        let mut options = OpenOptions::new();
        options.append(true).create(make).mode(0o640);
        options.custom_flags(O_NONBLOCK).open(path)
    };
    let (file, error) = match path.map(|path| (path, open(path))) {
        Some((_, Ok(file))) => (Some(file), None),
        Some((_, Err(error))) if !make && error.kind() == io::ErrorKind::NotFound => (None, None),
        Some((path, Err(error))) => (None, Some(format!("logFile {}: {error}", path.display()))),
        None => (None, None),
    };
    // Fails only where a logger was set before.
    let _ = log::set_boxed_logger(Box::new(Lines { file, about }));
    log::set_max_level(level);
    if let Some(error) = error {
        log::warn!("{error}; logging to stderr");
    }
}

impl Log for Lines {
    /// What libraries tell of their work, the eBPF loader above all, drowns everything else.
    fn enabled(&self, metadata: &Metadata) -> bool {
        let own = ["shunt", "shim"].iter().any(|name| metadata.target().starts_with(name));
        own || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = format!(
            "{} {} {}: {}\n",
            humantime::format_rfc3339_millis(SystemTime::now()),
            record.level(),
            self.about,
            record.args().to_string().replace('\n', " ")
        );
        // One write a line, so that the lines of processes that run at once stay whole.
        let _ = match &self.file {
            Some(file) => (&*file).write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }

    fn flush(&self) {}
}
