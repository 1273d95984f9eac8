//! What an address tells by itself, and whose address a request came from.

use SourceClass::*;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What an address is set aside for, by the IANA special-purpose address registries
/// (RFC 6890, updated by RFC 8190; their rows as of 2025) and the two multicast ranges.
/// Serialised in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceClass {
    /// Somebody's address on the Internet.
    Public,
    /// Inside a site: RFC 1918, IPv6 unique local addresses (RFC 4193), local NAT64
    /// (RFC 8215).
    Private,
    /// Between customers and a carrier's NAT (RFC 6598).
    SharedCgnat,
    /// This machine.
    Loopback,
    /// This link, unrouted.
    LinkLocal,
    /// Examples in books. Never a real source.
    Documentation,
    /// Benchmarks of network devices in a lab.
    Benchmarking,
    /// A group; never a source.
    Multicast,
    /// All on this link: 255.255.255.255; never a source.
    Broadcast,
    /// "This network" or no address yet: 0.0.0.0, `::`.
    Unspecified,
    /// IPv6 through IPv4: Teredo and 6to4. Who sends hides behind a tunnel.
    Tunnel,
    /// Nothing of it may be in use on the Internet; seen as a source it is forged.
    Reserved,
}

impl SourceClass {
    /// The name, as it is serialised.
    pub fn name(self) -> &'static str {
        match self {
            Public => "public",
            Private => "private",
            SharedCgnat => "shared_cgnat",
            Loopback => "loopback",
            LinkLocal => "link_local",
            Documentation => "documentation",
            Benchmarking => "benchmarking",
            Multicast => "multicast",
            Broadcast => "broadcast",
            Unspecified => "unspecified",
            Tunnel => "tunnel",
            Reserved => "reserved",
        }
    }
}

impl fmt::Display for SourceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

/// The first row that holds an address counts; what no row holds is public. Rows that
/// the registry calls globally reachable are public.
const V4: &[(u32, u32, SourceClass)] = &[
    (v4(0, 0, 0, 0), 8, Unspecified),         // RFC 791, section 3.2
    (v4(10, 0, 0, 0), 8, Private),            // RFC 1918
    (v4(100, 64, 0, 0), 10, SharedCgnat),     // RFC 6598
    (v4(127, 0, 0, 0), 8, Loopback),          // RFC 1122, section 3.2.1.3
    (v4(169, 254, 0, 0), 16, LinkLocal),      // RFC 3927
    (v4(172, 16, 0, 0), 12, Private),         // RFC 1918
    (v4(192, 0, 0, 9), 32, Public),           // RFC 7723: port control anycast
    (v4(192, 0, 0, 10), 32, Public),          // RFC 8155: TURN anycast
    (v4(192, 0, 0, 0), 24, Reserved),         // RFC 6890, section 2.1; RFC 7335, 7600, 8880
    (v4(192, 0, 2, 0), 24, Documentation),    // RFC 5737
    (v4(192, 88, 99, 0), 24, Reserved),       // RFC 7526: the old 6to4 relays
    (v4(192, 168, 0, 0), 16, Private),        // RFC 1918
    (v4(198, 18, 0, 0), 15, Benchmarking),    // RFC 2544
    (v4(198, 51, 100, 0), 24, Documentation), // RFC 5737
    (v4(203, 0, 113, 0), 24, Documentation),  // RFC 5737
    (v4(224, 0, 0, 0), 4, Multicast),         // RFC 5771
    (v4(255, 255, 255, 255), 32, Broadcast),  // RFC 8190, RFC 919
    (v4(240, 0, 0, 0), 4, Reserved),          // RFC 1112, section 4
];

const fn v6(a: u16, b: u16, c: u16, d: u16) -> u128 {
    ((a as u128) << 112) | ((b as u128) << 96) | ((c as u128) << 80) | ((d as u128) << 64)
}

/// As [`V4`]; the last row is all that IANA has not given out.
const V6: &[(u128, u32, SourceClass)] = &[
    (0, 128, Unspecified),                        // RFC 4291, section 2.5.2
    (1, 128, Loopback),                           // RFC 4291, section 2.5.3
    (v6(0x64, 0xff9b, 0, 0), 96, Public),         // RFC 6052: NAT64 to the Internet
    (v6(0x64, 0xff9b, 1, 0), 48, Private),        // RFC 8215: NAT64 inside a site
    (v6(0x2001, 1, 0, 0) | 1, 128, Public),       // RFC 7723: port control anycast
    (v6(0x2001, 1, 0, 0) | 2, 128, Public),       // RFC 8155: TURN anycast
    (v6(0x2001, 1, 0, 0) | 3, 128, Public),       // RFC 9665: DNS-SD registration anycast
    (v6(0x2001, 0, 0, 0), 32, Tunnel),            // RFC 4380, RFC 8190: Teredo
    (v6(0x2001, 2, 0, 0), 48, Benchmarking),      // RFC 5180
    (v6(0x2001, 3, 0, 0), 32, Public),            // RFC 7450: AMT
    (v6(0x2001, 4, 0x112, 0), 48, Public),        // RFC 7535: AS112
    (v6(0x2001, 0x20, 0, 0), 28, Public),         // RFC 7343: ORCHIDv2
    (v6(0x2001, 0x30, 0, 0), 28, Public),         // RFC 9374: drones' ids
    (v6(0x2001, 0, 0, 0), 23, Reserved),          // RFC 2928, RFC 4843
    (v6(0x2001, 0xdb8, 0, 0), 32, Documentation), // RFC 3849
    (v6(0x2002, 0, 0, 0), 16, Tunnel),            // RFC 3056: 6to4
    (v6(0x3fff, 0, 0, 0), 20, Documentation),     // RFC 9637
    (v6(0x2000, 0, 0, 0), 3, Public),             // RFC 4291, section 2.4: global unicast
    (v6(0xfc00, 0, 0, 0), 7, Private),            // RFC 4193
    (v6(0xfe80, 0, 0, 0), 10, LinkLocal),         // RFC 4291, section 2.5.6
    (v6(0xff00, 0, 0, 0), 8, Multicast),          // RFC 4291, section 2.7
    // RFC 6666 and 9780 (discard, dummy), 9602 (segment routing), 3879 (site local), 4291
    // (IPv4-compatible), and what nobody was given.
    (0, 0, Reserved),
];

/// Whether an address is of a machine of one's own network: where requests come from one, a proxy or a balancer
/// asks for others.
pub fn is_inside(ip: IpAddr) -> bool {
    matches!(class(ip), Private | SharedCgnat | Loopback | LinkLocal | Unspecified)
}

/// What an address is set aside for. An IPv4 address that IPv6 carries (`::ffff:1.2.3.4`)
/// counts as IPv4.
pub fn class(ip: IpAddr) -> SourceClass {
    let found = match ip.to_canonical() {
        IpAddr::V4(ip) => V4.iter().find(|(net, length, _)| same(32 - length, ip.to_bits(), *net)).map(|row| row.2),
        IpAddr::V6(ip) => V6.iter().find(|(net, length, _)| same6(128 - length, ip.to_bits(), *net)).map(|row| row.2),
    };
    found.unwrap_or(Public)
}

/// Whether two addresses are the same but for their last bits.
fn same(bits: u32, a: u32, b: u32) -> bool {
    (a ^ b).checked_shr(bits).unwrap_or(0) == 0
}

fn same6(bits: u32, a: u128, b: u128) -> bool {
    (a ^ b).checked_shr(bits).unwrap_or(0) == 0
}

/// Networks that a setting may name.
pub const NETWORKS_MAX: usize = 1_000;

/// Why a list of networks is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworksError {
    #[error("`{0}` is no network: write an address, or one with the length of its prefix, as in `10.0.0.0/8`")]
    Network(String),
    #[error("{0} networks: at most {NETWORKS_MAX} can be named")]
    TooMany(usize),
}

/// A list of networks, asked whether it holds an address.
///
/// Holds ranges in order, none touching another's addresses, IPv4 and IPv6 apart; so one
/// binary search answers. `::/0` holds no IPv4 address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Networks {
    ranges: Vec<(IpAddr, IpAddr)>,
}

impl Networks {
    /// Reads `10.0.0.0/8`, `2001:db8::/32` and single addresses. Bits behind the prefix
    /// are ignored (`10.1.2.3/8` is `10.0.0.0/8`). At most [`NETWORKS_MAX`].
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Networks, NetworksError> {
        if texts.len() > NETWORKS_MAX {
            return Err(NetworksError::TooMany(texts.len()));
        }
        let networks: Result<Vec<IpNet>, NetworksError> = texts.iter().map(|text| network(text.as_ref())).collect();
        Ok(Networks::of(networks?))
    }

    fn of(networks: Vec<IpNet>) -> Networks {
        let mut ranges: Vec<(IpAddr, IpAddr)> =
            networks.iter().map(|network| (network.network(), network.broadcast())).collect();
        ranges.sort_unstable_by_key(|(first, last)| (*first, Reverse(*last)));
        // Two networks never overlap in part: a later one lies inside the one before it
        // or behind it.
        ranges.dedup_by(|later, before| later.1 <= before.1);
        Networks { ranges }
    }

    /// Whether `ip` is in one of the networks. `::ffff:1.2.3.4` counts as `1.2.3.4`.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let behind = self.ranges.partition_point(|(first, _)| *first <= ip);
        behind.checked_sub(1).is_some_and(|at| ip <= self.ranges[at].1)
    }

    /// Whether no network is named.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// The ranges, as `10.0.0.0-10.255.255.255`.
impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let between = if at == 0 { "" } else { ", " };
            match first == last {
                true => write!(f, "{between}{first}")?,
                false => write!(f, "{between}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<Vec<String>> for Networks {
    type Error = NetworksError;

    fn try_from(texts: Vec<String>) -> Result<Networks, NetworksError> {
        Networks::parse(&texts)
    }
}

/// Reads one network, `10.0.0.0/8`, or one address. Bits behind the prefix are set to
/// zero; a network of IPv4 addresses written as IPv6 (`::ffff:10.0.0.0/104`) is IPv4.
pub fn network(text: &str) -> Result<IpNet, NetworksError> {
    let text = text.trim();
    let refused = || NetworksError::Network(text.chars().take(64).collect());
    let network = match text.contains('/') {
        true => text.parse::<IpNet>().map_err(|_| refused())?.trunc(),
        false => IpNet::from(text.parse::<IpAddr>().map_err(|_| refused())?),
    };
    let IpNet::V6(v6) = network else { return Ok(network) };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(v4), Some(length)) => IpNet::new(v4.into(), length).map_err(|_| refused()),
        _ => Ok(network),
    }
}

/// Entries of X-Forwarded-For that are looked at, counted from the right. What stands
/// further left was sent by the client or passed more proxies than anybody has.
pub const FORWARDED_MAX: usize = 32;

/// The client behind balancers and proxies.
///
/// `peer` is who opened the connection. If it is not trusted, it is the client, whatever
/// it says. Else each proxy has written who came to it at the right end of
/// X-Forwarded-For: read from there, trusted addresses are skipped, and the first that is
/// not trusted is the client; what stands left of it is its own invention. An entry that
/// is no address (`unknown`, `_hidden`, garbage) ends the search, and the last address
/// before it is taken; so it is when all are trusted. Of the header, the last
/// [`FORWARDED_MAX`] entries count. They may have ports, brackets, quotes and blanks; empty
/// ones are skipped (RFC 9110, section 5.6.1.2). An IPv4 address that IPv6 carries is
/// returned as IPv4.
pub fn client(peer: IpAddr, forwarded_for: &[u8], trusted: &Networks) -> IpAddr {
    let mut client = peer.to_canonical();
    for entry in forwarded_for.rsplit(|b| *b == b',').take(FORWARDED_MAX) {
        if !trusted.contains(client) {
            return client;
        }
        match entry.trim_ascii() {
            b"" => {}
            entry => match address(entry) {
                Some(ip) => client = ip.to_canonical(),
                None => return client,
            },
        }
    }
    client
}

/// The address in an entry: bare, `[…]`, or with a port, quoted or not.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let unquoted = |text: &str| -> Option<IpAddr> {
        let bare = text.parse().ok();
        let with_port = || text.parse::<SocketAddr>().ok().map(|there| there.ip());
        let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
        bare.or_else(with_port).or_else(bracketed)
    };
    unquoted(std::str::from_utf8(entry).ok()?.trim_matches('"').trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_special_range_is_told_from_its_first_to_its_last_address() {
        for (first, last, expected) in [
            ("0.0.0.0", "0.255.255.255", Unspecified),
            ("10.0.0.0", "10.255.255.255", Private),
            ("100.64.0.0", "100.127.255.255", SharedCgnat),
            ("127.0.0.0", "127.255.255.255", Loopback),
            ("169.254.0.0", "169.254.255.255", LinkLocal),
            ("172.16.0.0", "172.31.255.255", Private),
            ("192.0.0.0", "192.0.0.8", Reserved),
            ("192.0.0.11", "192.0.0.255", Reserved),
            ("192.0.2.0", "192.0.2.255", Documentation),
            ("192.88.99.0", "192.88.99.255", Reserved),
            ("192.168.0.0", "192.168.255.255", Private),
            ("198.18.0.0", "198.19.255.255", Benchmarking),
            ("198.51.100.0", "198.51.100.255", Documentation),
            ("203.0.113.0", "203.0.113.255", Documentation),
            ("224.0.0.0", "239.255.255.255", Multicast),
            ("240.0.0.0", "255.255.255.254", Reserved),
            ("255.255.255.255", "255.255.255.255", Broadcast),
            ("::", "::", Unspecified),
            ("::1", "::1", Loopback),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", Private),
            ("100::", "100::ffff:ffff:ffff:ffff", Reserved),
            ("100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", Reserved),
            ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", Tunnel),
            ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", Benchmarking),
            ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", Reserved),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Documentation),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Tunnel),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Documentation),
            ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Reserved),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Private),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", LinkLocal),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Reserved),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Multicast),
        ] {
            assert_eq!((class(ip(first)), class(ip(last))), (expected, expected), "{first} to {last}");
        }
    }

    #[test]
    fn what_lies_just_outside_of_them_is_public() {
        for address in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.0.9",
            "192.0.0.10",
            "192.0.1.0",
            "192.0.3.0",
            "192.31.196.1",
            "192.52.193.1",
            "192.88.98.255",
            "192.167.255.255",
            "192.169.0.0",
            "192.175.48.1",
            "198.17.255.255",
            "198.20.0.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2000::",
            "64:ff9b::808:808",
            "2001:1::1",
            "2001:1::2",
            "2001:1::3",
            "2001:3::1",
            "2001:4:112::1",
            "2001:20::1",
            "2001:30::1",
            "2001:200::1",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::",
            "2620:4f:8000::1",
            "3fff:1000::",
            "2606:4700:4700::1111",
        ] {
            assert_eq!(class(ip(address)), Public, "{address}");
        }
    }

    #[test]
    fn a_class_is_written_in_snake_case() {
        for (class, name) in [(SharedCgnat, "shared_cgnat"), (LinkLocal, "link_local"), (Public, "public")] {
            assert_eq!(serde_json::to_string(&class).unwrap(), format!("\"{name}\""));
            assert_eq!(class.to_string(), name);
        }
    }

    fn networks(texts: &[&str]) -> Networks {
        Networks::parse(texts).unwrap()
    }

    #[test]
    fn networks_hold_what_lies_in_one_of_them() {
        let networks =
            networks(&["10.1.2.3/8", "10.2.0.0/16", "192.0.2.7", "2001:db8::/32", "::ffff:198.51.100.0/120"]);
        for inside in ["10.0.0.0", "10.255.255.255", "::ffff:10.9.9.9", "192.0.2.7", "2001:db8:1::1", "198.51.100.255"]
        {
            assert!(networks.contains(ip(inside)), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "2001:db9::", "::a00:1", "198.51.101.0"]
        {
            assert!(!networks.contains(ip(outside)), "{outside}");
        }
        assert!(!Networks::default().contains(ip("10.0.0.1")));
    }

    #[test]
    fn all_of_ipv6_is_not_all_of_ipv4() {
        assert!(!networks(&["::/0"]).contains(ip("203.0.113.9")));
        assert!(networks(&["0.0.0.0/0"]).contains(ip("::ffff:203.0.113.9")));
    }

    #[test]
    fn a_bad_network_is_named_with_the_way_out() {
        let read: Result<Networks, _> = serde_json::from_str(r#"["10.0.0.0/33"]"#);
        assert_eq!(
            read.unwrap_err().to_string(),
            "`10.0.0.0/33` is no network: write an address, or one with the length of its prefix, as in `10.0.0.0/8`"
        );
        let many = vec!["10.0.0.1"; NETWORKS_MAX + 1];
        assert_eq!(Networks::parse(&many).unwrap_err().to_string(), "1001 networks: at most 1000 can be named");
    }

    /// The client of a request from `peer`, with balancers in 10.0.0.0/8 and one CDN.
    fn told(peer: &str, forwarded_for: &str) -> String {
        let trusted = networks(&["10.0.0.0/8", "2001:db8:c::/48"]);
        client(ip(peer), forwarded_for.as_bytes(), &trusted).to_string()
    }

    #[test]
    fn who_is_not_trusted_is_the_client_whatever_it_forwards() {
        assert_eq!(told("203.0.113.9", "198.51.100.1, 10.0.0.2"), "203.0.113.9");
    }

    #[test]
    fn behind_a_balancer_the_client_is_the_right_most_address_that_is_not_trusted() {
        assert_eq!(told("10.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(told("10.0.0.1", "198.51.100.1, 10.0.0.2, 2001:db8:c::9"), "198.51.100.1");
    }

    #[test]
    fn a_forged_left_most_entry_is_not_believed() {
        assert_eq!(told("10.0.0.1", "127.0.0.1, 8.8.8.8, 198.51.100.1, 10.0.0.2"), "198.51.100.1");
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_search_and_the_last_good_one_is_taken() {
        for odd in ["unknown", "_hidden", "-", "198.51.100.256", "198.51.100.1:x", "' or 1=1", "[", "fe80::1%eth0"] {
            assert_eq!(told("10.0.0.1", &format!("198.51.100.1, {odd}, 10.0.0.2")), "10.0.0.2", "{odd}");
        }
        assert_eq!(told("10.0.0.1", "unknown"), "10.0.0.1");
        assert_eq!(told("10.0.0.1", ""), "10.0.0.1");
    }

    #[test]
    fn entries_may_have_ports_brackets_quotes_and_blanks() {
        for (entry, expected) in [
            ("203.0.113.9:4711", "203.0.113.9"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("\"[2001:db8::1]:443\"", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("\t \"203.0.113.9\"  ", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
        ] {
            assert_eq!(told("10.0.0.1", &format!("8.8.8.8, {entry},, 10.0.0.2")), expected, "{entry}");
        }
        assert_eq!(told("::ffff:10.0.0.1", "198.51.100.1"), "198.51.100.1");
    }

    #[test]
    fn if_all_are_trusted_the_left_most_is_the_client() {
        assert_eq!(told("10.0.0.1", "10.0.0.7, 10.0.0.3, 10.0.0.2"), "10.0.0.7");
    }

    #[test]
    fn only_the_last_32_entries_are_looked_at() {
        let proxies = |many: usize| ["10.0.0.2"].repeat(many).join(",");
        assert_eq!(told("10.0.0.1", &format!("198.51.100.1,{}", proxies(31))), "198.51.100.1");
        assert_eq!(told("10.0.0.1", &format!("198.51.100.1,{}", proxies(32))), "10.0.0.2");
    }

    proptest! {
        #[test]
        fn the_standard_library_agrees_where_it_has_a_word(bits: u32) {
            let ip = Ipv4Addr::from_bits(bits);
            let class = class(ip.into());
            prop_assert_eq!(class == Private, ip.is_private());
            prop_assert_eq!(class == Loopback, ip.is_loopback());
            prop_assert_eq!(class == LinkLocal, ip.is_link_local());
            prop_assert_eq!(class == Documentation, ip.is_documentation());
            prop_assert_eq!(class == Multicast, ip.is_multicast());
        }

        #[test]
        fn an_ipv4_address_that_ipv6_carries_is_of_the_same_class(bits: u32) {
            let ip = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(class(ip.into()), class(ip.to_ipv6_mapped().into()));
        }

        #[test]
        fn a_list_holds_what_one_of_its_networks_holds(
            nets in prop::collection::vec((any::<IpAddr>(), 0u8..=32), 0..20),
            asked: Vec<IpAddr>,
        ) {
            let nets: Vec<IpNet> = nets.iter().map(|(ip, length)| network(&format!("{ip}/{length}")).unwrap()).collect();
            let list = Networks::of(nets.clone());
            prop_assert!(list.ranges.windows(2).all(|two| two[0].1 < two[1].0), "{:?}", list);
            for ip in asked.into_iter().chain(nets.iter().flat_map(|net| [net.network(), net.broadcast()])) {
                prop_assert_eq!(list.contains(ip), nets.iter().any(|net| net.contains(&ip.to_canonical())));
            }
        }

        #[test]
        fn no_header_makes_it_panic_and_the_answer_is_the_peer_or_in_the_header(
            forwarded_for in "([0-9.:,\" \\[\\]]|10\\.0\\.0\\.1|203\\.0\\.113\\.9|unknown){0,60}",
            bytes: Vec<u8>,
        ) {
            let (peer, trusted) = (ip("10.0.0.1"), networks(&["10.0.0.0/8"]));
            client(peer, &bytes, &trusted);
            let found = client(peer, forwarded_for.as_bytes(), &trusted);
            prop_assert!(found == peer || forwarded_for.split(',').any(|entry| address(entry.trim().as_bytes()) == Some(found)));
        }
    }
}
