//! io_uring, for sockets as event loops have them.

use super::Row;
pub const ROWS: &[Row] = &[];
