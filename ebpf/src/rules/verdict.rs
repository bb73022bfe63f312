//! Why a message goes by TCP.

pub enum Why {
    /// The peer is not known yet.
    NotMet,
    /// The peer was not accepted yet.
    NotAccepted,
    /// The order rule does not allow the short way yet.
    Unread,
    Blocking,
    /// The peer does not read by recv(2) alone.
    Turned,
    UrgentData,
    Bypassed,
    RcvLowat,
    QueueFull,
    Heartbeat,
    /// Callbacks were taken away by another sock_ops program.
    Overruled,
    Closing,
    Draining,
    /// One end is leaving the sockhash.
    Bulk,
}
