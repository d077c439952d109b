//! What a filter looks at.

use sockeye_wire::{Address, InetDiag};

/// A socket, whether the kernel has just described it or somebody reads it from a file.
pub trait Subject {
    /// The local address; its family is the socket's.
    fn source(&self) -> Address<'_>;
    /// The remote address; all zero for a listener.
    fn destination(&self) -> Address<'_>;
    /// The local port.
    fn source_port(&self) -> u16;
    /// The remote port; 0 for a listener.
    fn destination_port(&self) -> u16;
    /// The interface that the socket is bound to; 0 is none.
    fn interface(&self) -> u32;
    /// The mark. `None` counts as 0, as the kernel has it for sockets that cannot have one.
    fn mark(&self) -> Option<u32>;
    /// The id of the cgroup v2. `None` is in no cgroup.
    fn cgroup(&self) -> Option<u64>;
    /// Whether anybody knows the mark and the cgroup.
    #[inline]
    fn is_known(&self) -> bool {
        true
    }
    /// Whether the kernel chose the source port; `None` where that is not known, and then nothing is left out for it.
    fn autobound(&self) -> Option<bool> {
        None
    }
}

impl Subject for InetDiag<'_> {
    #[inline]
    fn source(&self) -> Address<'_> {
        self.source()
    }

    #[inline]
    fn destination(&self) -> Address<'_> {
        self.destination()
    }

    #[inline]
    fn source_port(&self) -> u16 {
        self.source_port()
    }

    #[inline]
    fn destination_port(&self) -> u16 {
        self.destination_port()
    }

    #[inline]
    fn interface(&self) -> u32 {
        self.interface()
    }

    #[inline]
    fn mark(&self) -> Option<u32> {
        self.mark()
    }

    #[inline]
    fn cgroup(&self) -> Option<u64> {
        self.cgroup_id()
    }
}
