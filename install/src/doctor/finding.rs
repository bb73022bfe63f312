//! What `doctor` found of one thing.

use std::fmt;

use serde::Serialize;

use crate::width::{width, wrap};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Limited,
    No,
}

#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub verdict: Verdict,
    /// What was found, and what it means.
    pub found: String,
    /// What to do about it.
    pub todo: Option<String>,
    /// What the kernel told of it, with `--verbose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Finding {
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), todo: None, detail: None }
    }

    pub fn limited(check: &'static str, found: impl Into<String>, todo: &str) -> Self {
        let (verdict, todo) = (Verdict::Limited, Some(todo.to_owned()));
        Self { check, verdict, found: found.into(), todo, detail: None }
    }

    pub fn no(check: &'static str, found: impl Into<String>, todo: &str) -> Self {
        Self { verdict: Verdict::No, ..Self::limited(check, found, todo) }
    }

    pub fn with_detail(self, why: &anyhow::Error) -> Self {
        Self { detail: Some(format!("{why:#}")), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Limited => "limited",
            Verdict::No => "no",
        };
        let mut text = format!("{verdict:8}{:18}{}", self.check, self.found);
        text.extend(self.todo.iter().map(|todo| format!("; {todo}")));
        text.extend(self.detail.iter().map(|detail| format!("\n{detail}")));
        f.write_str(&wrap(&text, width(), 26))
    }
}
