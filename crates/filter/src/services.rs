//! Names of TCP ports, as `/etc/services` has them.

use std::fs;

/// The port that a service has, or what is wrong.
pub(crate) fn port_of(name: &str) -> Result<u16, String> {
    let services = fs::read_to_string(SERVICES);
    let listed = services.as_ref().ok().and_then(|text| find(text, name));
    // Containers often come without the file.
    let known = || WELL_KNOWN.iter().find(|(known, _)| *known == name).map(|(_, port)| *port);
    listed.or_else(known).ok_or_else(|| {
        let why = match services {
            Ok(_) => format!("in {SERVICES}"),
            Err(error) => format!("and {SERVICES} cannot be read: {error}"),
        };
        format!("no TCP port is called {name:?} {why}; give the number, such as :443")
    })
}

/// `name port/protocol aliases… # comment`, the first one that fits.
fn find(services: &str, wanted: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let name = words.next()?;
        let (port, protocol) = words.next()?.split_once('/')?;
        let named = name == wanted || words.any(|alias| alias == wanted);
        if named && protocol == "tcp" { port.parse().ok() } else { None }
    })
}

const SERVICES: &str = "/etc/services";

/// What the file says everywhere.
const WELL_KNOWN: [(&str, u16); 8] = [
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("http", 80),
    ("ldap", 389),
    ("https", 443),
    ("imaps", 993),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_of_tcp_are_found_and_others_are_not() {
        let services = "# http 1/tcp\nssh\t22/tcp  # Secure\nbiff 512/udp comsat\nexec 512/tcp\n\
                        http 80/tcp www # web\ntalk 517/udp\nbad x/tcp\nhttp 81/tcp\n";
        let ports = ["ssh", "www", "http", "exec", "biff", "talk", "bad", "Secure", "#"];
        let found = ports.map(|name| find(services, name));
        assert_eq!(found, [Some(22), Some(80), Some(80), Some(512), None, None, None, None, None]);
    }
}
