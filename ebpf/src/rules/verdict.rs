//! Why a message goes by TCP.

pub enum Why {
    /// The peer is not known yet.
    NotMet,
    /// The order rule does not allow the short way yet.
    Unread,
    /// The peer sleeps in recv(2).
    Blocking,
    /// The peer's program is not known yet, or does not read by recv(2) alone.
    NotTrusted,
    UrgentData,
    Bypassed,
    RcvLowat,
    QueueFull,
    Closing,
    Draining,
    /// One end is leaving the sockhash.
    Leaving,
}
