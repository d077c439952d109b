//! What the source of closed sockets has counted since its start. Added up once a batch.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of the source. Read them with [`Counters::totals`] at any time.
        #[derive(Debug, Default)]
        pub struct Counters { $(pub(super) $name: AtomicU64,)* }

        /// The counters at one time.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Totals { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            /// The counters as they are now.
            pub fn totals(&self) -> Totals {
                Totals { $($name: self.$name.load(Ordering::Relaxed),)* }
            }

            pub(super) fn add(&self, seen: &Totals) {
                $(if seen.$name > 0 { self.$name.fetch_add(seen.$name, Ordering::Relaxed); })*
            }
        }
    };
}

counters! {
    /// Messages of the kernel: = rows + unconnected + filtered + `sampled_out` + `unknown_netns` + malformed.
    events,
    /// Closed connections that became rows.
    rows,
    /// Sockets that were no connections when they closed: listeners, and those that never got that far.
    unconnected,
    /// Connections that the filter leaves out.
    filtered,
    /// Connections that sampling leaves out.
    sampled_out,
    /// Connections of a namespace that is not known, or not for certain.
    unknown_netns,
    /// Messages that make no sense.
    malformed,
    /// Datagrams that the kernel did not send.
    foreign,
    /// How often the kernel said that its buffer was full.
    enobufs,
    /// Events that the kernel had no room for, by its own count.
    lost,
    /// Rows with what the last poll knew.
    joined,
    /// Rows of connections that no poll has seen.
    not_joined,
    /// How often news of namespace ids were lost; until they are found again, their connections are unknown.
    notices_lost,
    /// Namespaces that were found last and can't be listened to. No running total.
    unbound,
}

impl Counters {
    pub(super) fn unbound(&self, namespaces: u64) {
        self.unbound.store(namespaces, Ordering::Relaxed);
    }
}

impl Totals {
    /// What a reader of the last lines should know; `None` when there was nothing of the kind.
    pub fn odd(&self) -> Option<String> {
        let counts = [
            (self.lost, "events lost for want of --closed-buffer"),
            (self.unknown_netns, "closed connections of unknown namespaces"),
            (self.malformed, "malformed events"),
            (self.foreign, "foreign events"),
            (self.unbound, "namespaces that closed sockets are not told of"),
            (self.notices_lost, "times news of namespaces were lost"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let odd: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        (!odd.is_empty()).then(|| odd.join(", "))
    }
}
