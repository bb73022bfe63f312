//! How commands answer: for people or, with `--json`, for programs; and by their exit code.

use std::{
    fmt::{self, Display},
    io::{ErrorKind, IsTerminal as _, Write as _, stderr, stdout},
    process::ExitCode,
    sync::Mutex,
};

use serde::Serialize;
use serde_json::json;

use crate::width::{width, wrap};

pub const EXIT_CODES: &str = "Exit codes:
  0  done, also where there was nothing to do
  1  failed, also where the answer could not be written; the message says what was done, what stays, and what to do next
  2  wrong usage
  3  this node cannot accelerate
  4  not within the time given; the message says what is left to wait for";

/// Of a failure that needs no more than a line.
const UNCHANGED: &str = "all is as it was";

/// Why an answer could not be written, and the answer. Known at the end, as it is no reason to stop
/// half-way.
static UNWRITTEN: Mutex<Option<(std::io::Error, String)>> = Mutex::new(None);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    CannotAccelerate = 3,
    TimedOut = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure, with what an operator needs to go on from there.
#[derive(Debug)]
pub struct Stopped {
    pub error: anyhow::Error,
    pub done: Vec<String>,
    pub stays: String,
    pub next: String,
}

impl Display for Stopped {
    /// Some causes are told by what they caused already.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let told = self.error.chain().map(ToString::to_string);
        f.write_str(&told.fold(String::new(), |told, cause| match told.contains(&cause) {
            true => told,
            false if told.is_empty() => cause,
            false => format!("{told}: {cause}"),
        }))
    }
}

impl std::error::Error for Stopped {}

impl Stopped {
    /// Of a command that changes nothing before it has all it needs.
    fn at_once(error: anyhow::Error) -> Self {
        let next = next(&error, "mend that and call it again");
        Self { error, done: Vec::new(), stays: UNCHANGED.into(), next }
    }
}

/// What to do after a failure: `mend`, unless this process lacked a right.
pub fn next(error: &anyhow::Error, mend: &str) -> String {
    let is_refused = error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let errno = cause.downcast_ref::<nix::errno::Errno>();
        io == Some(ErrorKind::PermissionDenied)
            || matches!(errno, Some(nix::errno::Errno::EACCES | nix::errno::Errno::EPERM))
    });
    match (is_refused, nix::unistd::geteuid().is_root()) {
        (false, _) => mend.into(),
        (true, false) => "run it as root".into(),
        (true, true) => {
            "run it as a root that has all capabilities, as CAP_BPF; if it has, see by lsattr(1) \
                         whether a file is immutable"
                .into()
        }
    }
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Output {
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    /// Print all that is known, as a kernel's verifier told it
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

impl Output {
    /// That it cannot be written is told at the end.
    pub fn print(self, report: &(impl Serialize + Display)) {
        let text = match self.json {
            true => serde_json::to_string(report).unwrap_or_else(|error| error.to_string()),
            false => wrap(&report.to_string(), width(), 4),
        };
        write(text.trim_end());
    }

    /// As one of many, in the place of the last where that is a terminal. Whether somebody reads it.
    pub fn refresh(self, report: &(impl Serialize + Display)) -> bool {
        match self.json {
            false if stdout().is_terminal() => write("\x1b[H\x1b[2J"),
            false => write(""),
            true => {}
        }
        self.print(report);
        UNWRITTEN.lock().is_ok_and(|unwritten| unwritten.is_none())
    }

    /// How far a command is that answers at its end.
    pub fn progress(self, report: &(impl Serialize + Display)) {
        match self.json {
            true => self.print(report),
            false => drop(writeln!(stderr(), "{report}")),
        }
    }

    pub fn fail(self, error: anyhow::Error) -> Exit {
        let stopped = error.downcast().unwrap_or_else(Stopped::at_once);
        let error = stopped.to_string();
        let Stopped { done, stays, next, .. } = stopped;
        if self.json {
            write(&json!({"error": error, "done": done, "stays": stays, "next": next}).to_string());
        } else if done.is_empty() && stays == UNCHANGED {
            let _ = writeln!(stderr(), "shuntctl: {error}; nothing was done, {stays}; {next}");
        } else {
            let done = if done.is_empty() { "nothing".into() } else { done.join("; ") };
            let told = format!("shuntctl: {error}\ndone: {done}\nstays: {stays}\nnext: {next}");
            let _ = stderr().write_all(wrap(&told, width(), 2).as_bytes());
        }
        Exit::Failed
    }

    /// What the process ends with. Who asked does not miss the answer.
    pub fn end(self, exit: Exit) -> Exit {
        let unwritten = UNWRITTEN.lock().ok().and_then(|mut unwritten| unwritten.take());
        let Some((error, text)) = unwritten else { return exit };
        let _ = writeln!(
            stderr(),
            "shuntctl: the answer could not be written: {error}; it is:\n{text}\nnext: call it again \
             where stdout can be written; what it tells of is as it says"
        );
        Exit::Failed
    }
}

fn write(text: &str) {
    let mut stdout = stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    if let (Err(error), Ok(mut unwritten)) = (written, UNWRITTEN.lock()) {
        unwritten.get_or_insert((error, text.into()));
    }
}
