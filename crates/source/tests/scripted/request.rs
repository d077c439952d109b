//! What the kernel is asked.

use sockeye_filter::Support;
use sockeye_pipeline::Stop;
use sockeye_wire::request::Part;
use sockeye_wire::{AttrSet, Request, StateSet};

use crate::script::{SEQ, chunk, done, dump, scripted};

#[test]
fn the_kernel_is_sent_a_dump_request_with_the_states_and_the_extension_bits() {
    let stop = Stop::default();
    let mut kernel = scripted([chunk(&[done(0)])]);
    dump(&stop).run(&mut kernel, &mut [0; 4096], || true, |_| ());
    let [request] = kernel.0.requests() else { panic!("{:?}", kernel.0.requests()) };
    let mut expected = Vec::new();
    expected.extend(76u32.to_ne_bytes());
    expected.extend(18u16.to_ne_bytes());
    // NLM_F_REQUEST | NLM_F_DUMP.
    expected.extend((1u16 | 0x300).to_ne_bytes());
    expected.extend(SEQ.to_ne_bytes());
    // The kernel fills in the port id.
    expected.extend(0u32.to_ne_bytes());
    // Family 0 is both; the extensions are all but MEMINFO.
    expected.extend([0, 0, 0, 0b0111_1110]);
    expected.extend([0; 48]);
    // All states but TIME_WAIT (6), SYN_RECV (3) and NEW_SYN_RECV (12).
    expected.extend(StateSet::DEFAULT.bits().to_ne_bytes());
    expected.extend(0u32.to_ne_bytes());
    assert_eq!(*request, expected);
    assert_eq!(StateSet::DEFAULT.bits() & (1 << 6 | 1 << 3 | 1 << 12), 0);
}

#[test]
fn a_part_of_a_namespace_is_asked_for_by_its_ports() {
    let stop = Stop::default();
    let mut kernel = scripted([chunk(&[done(0)])]);
    let bytecode = sockeye_filter::bytecode(None, &[Part::equal(1, 4)], Support::LEAST).unwrap();
    let mut dump = dump(&stop);
    dump.request = Request { states: StateSet::ALL, attrs: AttrSet::NONE, bytecode: &bytecode };
    dump.run(&mut kernel, &mut [0; 4096], || true, |_| ());
    let request = &kernel.0.requests()[0];
    assert_eq!((request.len(), request[0], request[19]), (96, 96, 0));
    let mut bytecode = Vec::new();
    bytecode.extend(20u16.to_ne_bytes());
    bytecode.extend(1u16.to_ne_bytes());
    // "source port >= 16384", "source port <= 32767".
    for (code, no, port) in [(2u8, 20u16, 16_384u16), (3, 12, 32_767)] {
        bytecode.extend([code, 8]);
        bytecode.extend(no.to_ne_bytes());
        bytecode.extend([0, 0]);
        bytecode.extend(port.to_ne_bytes());
    }
    assert_eq!(request[76..], bytecode);
}
