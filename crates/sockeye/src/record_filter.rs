//! `--filter` for rows that come from somewhere else than the kernel.

use sockeye_filter::{Filter, Resolved, Subject};
use sockeye_record::v1::XtcpFlatRecord;
use sockeye_wire::Address;

use crate::exit::Failure;

/// Which records are wanted.
#[derive(Debug)]
pub(crate) struct RecordFilter(Option<Resolved>);

impl RecordFilter {
    /// Records hold the index of an interface, and not its name; and not who chose a port.
    ///
    /// # Errors
    /// [`Failure::Usage`]: the filter asks for what records do not hold.
    pub(crate) fn new(filter: Option<&Filter>) -> Result<Self, Failure> {
        let Some(filter) = filter else { return Ok(Self(None)) };
        if let Some(device) = filter.devices().next() {
            return Err(Failure::usage(format!(
                "--filter: rows hold no names of interfaces such as {device:?}; allowed: dev with the index"
            )));
        }
        if filter.is_for_the_kernel() {
            return Err(Failure::usage(
                "--filter: only the kernel knows what is autobound; allowed: with run and snapshot",
            ));
        }
        Ok(Self(Some(filter.resolve(|_: &str| None))))
    }

    /// Whether the record is one of those that are wanted. One without addresses is of no socket.
    pub(crate) fn wants(&self, record: &XtcpFlatRecord) -> bool {
        self.0.as_ref().is_none_or(|filter| {
            let source = address(&record.inet_diag_msg_socket_source);
            let destination = address(&record.inet_diag_msg_socket_destination);
            match (source, destination) {
                (Some(source), Some(destination)) => {
                    filter.matches(&Recorded { record, source, destination })
                }
                _ => false,
            }
        })
    }
}

struct Recorded<'a> {
    record: &'a XtcpFlatRecord,
    source: Address<'a>,
    destination: Address<'a>,
}

fn address(bytes: &[u8]) -> Option<Address<'_>> {
    let v4 = bytes.try_into().ok().map(Address::V4);
    v4.or_else(|| bytes.try_into().ok().map(Address::V6))
}

impl Subject for Recorded<'_> {
    fn source(&self) -> Address<'_> {
        self.source
    }

    fn destination(&self) -> Address<'_> {
        self.destination
    }

    fn source_port(&self) -> u16 {
        self.record.inet_diag_msg_socket_source_port.try_into().unwrap_or(0)
    }

    fn destination_port(&self) -> u16 {
        self.record.inet_diag_msg_socket_destination_port.try_into().unwrap_or(0)
    }

    fn interface(&self) -> u32 {
        self.record.inet_diag_msg_socket_interface
    }

    fn mark(&self) -> Option<u32> {
        Some(self.record.mark)
    }

    fn cgroup(&self) -> Option<u64> {
        Some(self.record.c_group).filter(|cgroup| *cgroup != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> XtcpFlatRecord {
        XtcpFlatRecord {
            inet_diag_msg_socket_source: vec![10, 0, 0, 1],
            inet_diag_msg_socket_destination: vec![192, 168, 7, 9],
            inet_diag_msg_socket_source_port: 40000,
            inet_diag_msg_socket_destination_port: 443,
            inet_diag_msg_socket_interface: 3,
            mark: 7,
            ..XtcpFlatRecord::default()
        }
    }

    fn wants(text: &str, record: &XtcpFlatRecord) -> bool {
        let filter: Filter = text.parse().unwrap();
        RecordFilter::new(Some(&filter)).unwrap().wants(record)
    }

    #[test]
    fn a_record_is_wanted_by_what_it_holds() {
        for (text, wanted) in [
            ("dport = :443 and not dst 10.0.0.0/8", true),
            ("sport = :443", false),
            ("src 10.0.0.1 and dev = 3 and fwmark = 7", true),
            ("dev = 4 or fwmark = 8", false),
        ] {
            assert_eq!(wants(text, &record()), wanted, "{text}");
        }
        assert!(RecordFilter::new(None).unwrap().wants(&XtcpFlatRecord::default()));
    }

    #[test]
    fn a_record_without_addresses_is_of_no_socket() {
        assert!(!wants("not dport = :1", &XtcpFlatRecord::default()));
    }

    #[test]
    fn what_records_do_not_hold_is_refused() {
        let refused = |text: &str| {
            let filter: Filter = text.parse().unwrap();
            match RecordFilter::new(Some(&filter)) {
                Err(Failure::Usage(message)) => message,
                other => panic!("{other:?}"),
            }
        };
        assert!(refused("dev = eth0").ends_with("allowed: dev with the index"));
        assert!(refused("autobound").ends_with("allowed: with run and snapshot"));
    }
}
