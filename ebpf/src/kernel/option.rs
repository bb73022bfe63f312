//! Numbers of socket options: asm-generic/socket.h, linux/tcp.h.

pub const SOL_SOCKET: i32 = 1;
pub const SO_KEEPALIVE: i32 = 9;
pub const SO_RCVLOWAT: i32 = 18;
pub const SO_ZEROCOPY: i32 = 60;
pub const SOL_TCP: i32 = 6;
pub const TCP_KEEPIDLE: i32 = 4;
pub const TCP_KEEPINTVL: i32 = 5;
pub const TCP_KEEPCNT: i32 = 6;
pub const TCP_ULP: i32 = 31;
