//! Which sockets are wanted: the expressions of `ss`, for the kernel and for rows.
//!
//! The language is that of `ss` (iproute2), whose manual's sections EXPRESSION and HOST SYNTAX describe it:
//! `dport = :443 and not dst 10.0.0.0/8`. Some things to know:
//!
//! * `and`, `or` and nothing at all (which is `and`) have **the same rank and group from left to right**, as in `ss`
//!   itself, whatever its manual says: `A or B and C` is `( A or B ) and C`. `not` binds tighter than they do.
//! * IPv4 addresses mean IPv4-mapped addresses of IPv6 sockets as well. `inet:` and `inet6:` before a host or port mean
//!   the family of the socket, here and not in the whole expression.
//! * Beyond `ss`: ranges of ports (`sport = :1000-2000`), `src !=` and `dst !=`, IPv6 addresses without brackets where
//!   there is no port, words without spaces between them (`!(dport=:443)`), and quotes.
//! * Less than `ss`: host names are not resolved, and an IPv4 address is short only with a prefix length (`10/8`).
//! * `ss` looks at rows again by rules that are not quite the kernel's. Where the two differ, in `not src 0.0.0.0` for
//!   IPv6 sockets and in `not autobound`, this is the opposite of the expression without `not`.
//!
//! A [`Filter`] is parsed once. [`Filter::resolve`] gives names the meaning that they have in one namespace, and the
//! [`Resolved`] filter then is a program for the kernel ([`bytecode`]) and a test of rows ([`Resolved::matches`]). What
//! the kernel cannot or may not look at is left out of the program such that it sends too much and never too little.

#![forbid(unsafe_code)]

mod cgroup;
mod error;
mod filter;
mod operand;
mod parse;
mod program;
mod resolved;
mod scan;
mod services;
mod subject;

pub use error::FilterError;
pub use filter::{Filter, InNetns};
pub use program::{Support, bytecode};
pub use resolved::Resolved;
pub use subject::Subject;
