//! The error object that a CNI runtime reads from stdout.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The specification's codes ("Error", CNI 1.1.0); from 100 on a plugin's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    IncompatibleVersion = 1,
    InvalidEnvironment = 4,
    Io = 5,
    Undecodable = 6,
    InvalidConfig = 7,
    NotAttached = 100,
    /// Not in the specification; what containernetworking's library calls ErrInternal.
    Internal = 999,
}

#[derive(Debug)]
pub struct Error {
    pub code: Code,
    pub msg: String,
    pub details: String,
}

impl Error {
    pub fn new(code: Code, msg: impl Into<String>) -> Error {
        Error { code, msg: msg.into(), details: String::new() }
    }

    pub fn because(self, details: impl fmt::Display) -> Error {
        Error { details: details.to_string(), ..self }
    }

    pub fn to_json(&self, cni_version: &str) -> String {
        serde_json::json!({
            "cniVersion": cni_version,
            "code": self.code as u32,
            "msg": self.msg,
            "details": self.details,
        })
        .to_string()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} (code {})", self.msg, self.code as u32)?;
        match self.details.as_str() {
            "" => Ok(()),
            details => write!(f, ": {details}"),
        }
    }
}

/// Turns a panic inside `work` into an error, as a runtime must never get an empty answer.
pub fn contain<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| text.to_string())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(Error::new(Code::Internal, "shunt failed; this is a bug").because(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_object() {
        let error = contain::<()>(|| panic!("at {}", "the edge")).unwrap_err();
        let json: serde_json::Value = serde_json::from_str(&error.to_json("1.0.0")).unwrap();
        assert_eq!(json["code"], 999);
        assert_eq!(json["details"], "at the edge");
    }
}
