//! Servers with their own clients, and programs behind sidecars.

use crate::program::{
    ASK, ORIGIN, Program,
    Reader::{EventLoop, MptcpListener, Sleeps},
};

pub const ALL: &[Program] = &[
    Program::both(
        "gRPC Go",
        MptcpListener,
        "programs grpc-serve $LISTEN",
        "programs grpc-ask $IP:8080 $SIZES",
    ),
    Program::sidecars("Envoy, Go and Go", ORIGIN, ASK).short(),
];
