//! Development only: namespaces, load, captures, what `ss` says, and socket states to look at.
//!
//! Nothing here knows another Sockeye crate, so that it can judge all of them: a [`Row`] is plain JSON, as Sockeye's
//! `jsonl` format writes it, and what it is held against comes from the kernel, from `ss` or from the sockets themselves.
//!
//! * What is true: [`load`] opens sockets and says what they are, [`ss`] asks iproute2, [`ss_compare`] compares.
//! * Where: [`netns`], [`netns_anonymous`], [`veth`].
//! * Which sockets: [`load`] for thousands, [`brief`] for thousands that end soon, [`spread`] for a few in each of many namespaces, [`states`] for one in a
//!   given state.
//! * Where rows go: [`kafka`]. Who else reads them: [`python`].
//! * What it cost: [`procfs`]. What the kernel said: [`pcap`]. What it might say: [`scripted`].

pub mod brief;
pub mod brief_live;
pub mod generate;
pub mod kafka;
pub mod kafka_files;
pub mod kafka_process;
pub mod kafka_settings;
pub mod kafka_tls;
pub mod load;
pub mod load_options;
pub mod netns;
pub mod netns_anonymous;
pub mod pcap;
pub mod proc_net_tcp;
pub mod procfs;
pub mod python;
pub mod scripted;
pub mod spread;
pub mod ss;
pub mod ss_compare;
pub mod ss_expect;
pub mod ss_format;
pub mod ss_join;
pub mod ss_run;
pub mod states;
pub mod states_veth;
pub mod veth;

/// One socket as Sockeye reported it: column name to raw kernel value; a column the kernel did not deliver is absent.
pub type Row = serde_json::Map<String, serde_json::Value>;
