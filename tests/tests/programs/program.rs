//! What is to be known of a program before it is tried. All of it is values.

/// Where `scripts/setup programs` has put what is not Debian's.
pub const UNPACKED: &str = "/run/unpacked";
/// The small programs of our own, in the languages that are not compiled, and configurations.
pub const SOURCES: &str = "/run/sources";

/// Who of those in a scene the program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
    /// Between a client and an origin.
    Proxy,
    /// Server and client are of one make, and speak what no other speaks.
    Both,
    /// Envoy is beside both.
    Sidecar,
}

/// How a program waits for bytes and takes them, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Waits in epoll or poll.
    NeverBlocks,
    /// What Go does from 1.24 on.
    MptcpListener,
    /// Switches what it accepts to non-blocking.
    BlockingListener,
    /// Non-blocking from its first read on, for a timeout.
    BlocksAtFirst,
    ToAndFro,
    PollsFirst,
    Sleeps,
    CountsUnread,
    Splices,
}

impl Reader {
    pub fn as_a_person_says(self) -> &'static str {
        match self {
            Self::NeverBlocks => "never blocks, waits in epoll or poll",
            Self::MptcpListener => "never blocks, behind an MPTCP listener",
            Self::BlockingListener => "listens in blocking mode, reads without blocking",
            Self::BlocksAtFirst => "blocks until its first read, then not",
            Self::ToAndFro => "goes to and fro between modes",
            Self::PollsFirst => "blocking mode, waits in select or poll first",
            Self::Sleeps => "sleeps in recv",
            Self::CountsUnread => "asks FIONREAD what there is to read",
            Self::Splices => "splices",
        }
    }
}

/// A program, what it runs beside, and what it is asked. The scripts are bash's; what they find in
/// their environment is in `play.rs`.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub name: &'static str,
    pub role: Role,
    pub reader: Reader,
    /// Listens on this port of its pod, in which Envoy reads HTTP if it is 8080.
    pub port: u16,
    pub serve: &'static str,
    /// Listens on port 8082 of a third pod, where it is not empty.
    pub origin: &'static str,
    /// Prints what it was answered, and nothing that differs from run to run. Called for each mode.
    pub ask: &'static str,
    /// In the short list: each kind of reader is there.
    pub short: bool,
}

pub const ORIGIN: &str = "GODEBUG=multipathtcp=0 programs web $LISTEN";
pub const ASK: &str = "programs ask $URL $MODE $ITEMS $CHUNKED_POSTS";
/// For servers that want every length to be known.
pub const ASK_WHOLE: &str = "programs ask $URL $MODE $SIZES $POSTS";
/// For servers of files: they take no posts.
pub const GET: &str = "programs ask $URL $MODE $SIZES";

impl Program {
    const fn new(name: &'static str, role: Role, reader: Reader) -> Self {
        let (serve, ask, origin) = (ORIGIN, ASK, "");
        let (port, short) = (8080, false);
        Self { name, role, reader, port, serve, origin, ask, short }
    }

    pub const fn server(name: &'static str, reader: Reader, serve: &'static str) -> Self {
        Self { serve, ..Self::new(name, Role::Server, reader) }
    }

    pub const fn client(name: &'static str, reader: Reader, ask: &'static str) -> Self {
        Self { ask, ..Self::new(name, Role::Client, reader) }
    }

    pub const fn proxy(name: &'static str, reader: Reader, serve: &'static str) -> Self {
        Self { serve, origin: ORIGIN, ..Self::new(name, Role::Proxy, reader) }
    }

    pub const fn both(
        name: &'static str,
        reader: Reader,
        serve: &'static str,
        ask: &'static str,
    ) -> Self {
        Self { serve, ask, ..Self::new(name, Role::Both, reader) }
    }

    /// `reader` is the less tame of the two.
    pub const fn sidecars(
        name: &'static str,
        reader: Reader,
        serve: &'static str,
        ask: &'static str,
    ) -> Self {
        Self { serve, ask, ..Self::new(name, Role::Sidecar, reader) }
    }

    pub const fn asked(self, ask: &'static str) -> Self {
        Self { ask, ..self }
    }

    pub const fn on(self, port: u16) -> Self {
        Self { port, ..self }
    }

    pub const fn short(self) -> Self {
        Self { short: true, ..self }
    }

    /// `server::go_net_http`, and `::short` where it is.
    pub fn id(&self) -> String {
        let name = self.name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let short = if self.short { "::short" } else { "" };
        format!("{:?}::{name}{short}", self.role).to_lowercase()
    }
}
