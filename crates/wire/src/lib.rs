//! Bytes of `sock_diag` to borrowed views: netlink framing, control messages, `inet_diag`, `tcp_info`.
//!
//! Nothing here allocates, and no byte sequence makes anything here panic: every read is bounds-checked, every
//! length is somebody else's claim. Views are unaligned on purpose; the kernel aligns `INET_DIAG_INFO` to eight bytes
//! for only half of the sockets.

#![forbid(unsafe_code)]

pub mod attrs;
mod bytes;
pub mod companions;
pub mod inet_diag;
pub mod netlink;
pub mod request;
pub mod tcp_info;
pub mod tcp_state;
pub mod ulp;

pub use attrs::AttrSet;
pub use inet_diag::{Address, DiagError, InetDiag};
pub use netlink::{FrameError, Message, Messages};
pub use request::{PortRange, Request};
pub use tcp_info::TcpInfo;
pub use tcp_state::StateSet;
