//! Whatever comes out of the socket: a dump ends in time, does not panic, and counts what it gives.

use std::time::Duration;

use crate::script::{PORT, SEQ, done, dump, scripted};
use nix::errno::Errno;
use proptest::collection::vec;
use proptest::prelude::*;
use sockeye_pipeline::{Completeness, Stop};
use sockeye_testkit::scripted::{Step, inet_diag, message};

fn noise() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..200)
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let attributes = vec((0u16..30, vec(any::<u8>(), 0..40)), 0..4);
    let family = prop_oneof![4 => Just(2u8), 4 => Just(10), 1 => any::<u8>()];
    let socket = (family, any::<u64>(), attributes).prop_map(|(family, cookie, attributes)| {
        let attributes: Vec<(u16, &[u8])> =
            attributes.iter().map(|(number, bytes)| (*number, bytes.as_slice())).collect();
        inet_diag(family, cookie, &attributes)
    });
    prop_oneof![4 => socket, 1 => noise()]
}

fn one_message() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![6 => Just(18u16), 2 => Just(20), 1 => 0u16..6, 1 => any::<u16>()];
    let seq = prop_oneof![9 => Just(SEQ), 1 => any::<u32>()];
    let port = prop_oneof![9 => Just(PORT), 1 => any::<u32>()];
    (kind, any::<u16>(), seq, port, payload())
        .prop_map(|(kind, flags, seq, port, payload)| message(kind, flags, seq, port, &payload))
}

/// A datagram of messages, some of them with a byte overwritten, or noise.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    let messages = (vec(one_message(), 0..8), damage).prop_map(|(messages, damage)| {
        let mut bytes = messages.concat();
        if let Some((place, value)) = damage
            && !bytes.is_empty()
        {
            *place.get_mut(&mut bytes) = value;
        }
        bytes
    });
    prop_oneof![5 => messages, 1 => noise(), 1 => Just(done(0)), 1 => Just(done(5))]
}

fn step() -> impl Strategy<Value = Step> {
    let errno = prop_oneof![Just(Errno::EINTR), Just(Errno::ENOBUFS), Just(Errno::EIO)];
    prop_oneof![
        12 => datagram().prop_map(Step::Kernel),
        1 => datagram().prop_map(Step::Stranger),
        1 => errno.prop_map(Step::Fail),
        1 => Just(Step::Silence),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_datagrams_end_in_time_and_the_rows_given_are_the_sockets_counted(
        script in vec(step(), 0..12),
        buffer_bytes in prop_oneof![1 => 1usize..300, 3 => Just(4096)],
    ) {
        let stop = Stop::default();
        let mut dump = dump(&stop);
        dump.timeout = Duration::from_millis(4);
        let mut kernel = scripted(script);
        let mut rows = 0u64;
        let seen = dump.run(&mut kernel, &mut vec![0; buffer_bytes], || true, |row| {
            rows += 1;
            // Every accessor that a row has.
            let _ = format!("{row:?} {:?} {:?}", row.info(), row.ulp());
        });
        prop_assert_eq!(rows, seen.sockets);
        prop_assert!(seen.took < Duration::from_millis(500), "{:?}", seen.took);
        prop_assert!(seen.malformed == 0 || seen.completeness != Completeness::Complete);
    }
}
