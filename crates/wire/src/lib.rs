//! Bytes of `sock_diag` to borrowed views: netlink framing, control messages, `inet_diag`, `tcp_info`.
//!
//! Nothing but a request and its bytecode allocates, and no byte sequence makes anything here panic: every read is
//! bounds-checked, every length is somebody else's claim. Views are unaligned on purpose; the kernel aligns
//! `INET_DIAG_INFO` to eight bytes for only half of the sockets.

#![forbid(unsafe_code)]

pub mod attrs;
pub mod bytecode;
mod bytes;
pub mod companions;
pub mod inet_diag;
pub mod layout;
pub mod lookup;
pub mod netlink;
pub mod nsid;
pub mod request;
pub mod tcp_info;
pub mod tcp_state;
pub mod ulp;

pub use attrs::AttrSet;
pub use bytecode::{Condition, Predicate};
pub use inet_diag::{Address, DiagError, InetDiag};
pub use layout::Layouts;
pub use lookup::SocketKey;
pub use netlink::{FrameError, Message, Messages};
pub use request::{Part, Request};
pub use tcp_info::TcpInfo;
pub use tcp_state::StateSet;
