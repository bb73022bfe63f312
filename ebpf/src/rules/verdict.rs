//! Why a message goes by TCP.

pub enum Why {
    /// The peer is not known yet.
    NotMet,
    /// The peer was not accepted yet.
    NotAccepted,
    /// The order rule does not allow the short way yet.
    Unread,
    /// The peer sleeps in recv(2).
    Blocking,
    /// The peer's program is not known yet, or does not read by recv(2) alone.
    NotTrusted,
    /// It is more than the peer's program was seen to read at once.
    Untried,
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
    Leaving,
}
