//! How commands answer: for people or, with `--json`, for programs; and by their exit code.

use std::{fmt::Display, io::Write as _, process::ExitCode};

use serde::Serialize;

pub const EXIT_CODES: &str = "Exit codes:
  0  done, also where there was nothing to do
  1  failed; the message says what is left as it was
  2  wrong usage
  3  this node cannot accelerate
  4  not within the time given; the message says what is left to wait for";

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

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Output {
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
}

impl Output {
    /// Nobody may be reading any more, which is no reason to stop half-way.
    pub fn print(self, report: &(impl Serialize + Display)) {
        let text = match self.json {
            true => serde_json::to_string(report).unwrap_or_else(|error| error.to_string()),
            false => report.to_string(),
        };
        let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    }

    /// In the place of what was there before.
    pub fn refresh(self, report: &(impl Serialize + Display)) {
        if !self.json {
            print!("\x1b[H\x1b[2J");
        }
        self.print(report);
    }

    /// How far a command is that answers at its end.
    pub fn progress(self, report: &(impl Serialize + Display)) {
        match self.json {
            true => self.print(report),
            false => eprintln!("{report}"),
        }
    }

    pub fn fail(self, error: &anyhow::Error) -> Exit {
        match self.json {
            true => println!("{}", serde_json::json!({ "error": format!("{error:#}") })),
            false => eprintln!("shuntctl: {error:#}"),
        }
        Exit::Failed
    }
}
