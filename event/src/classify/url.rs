//! Addresses in a text, read as those who fetch them do: where does the server get sent?
//!
//! Hosts are parsed as browsers and most libraries do (WHATWG URL Standard, "host parsing" and
//! "IPv4 parser"), so that `2130706433`, `0x7f.1` and `[::ffff:7f00:1]` are what they are: the
//! server itself.

use crate::domain;
use crate::format::Access;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Addresses of one text that are read.
const URLS_MAX: usize = 8;

/// Bytes of a host.
const HOST_BYTES_MAX: usize = 253;

/// Names under which a host, its neighbours or its cloud answer to itself.
const INSIDE: [&[u8]; 9] = [
    b"localhost",
    b"ip6-localhost",
    b"loopback",
    b"metadata",
    b"instance-data",
    b"kubernetes",
    b"broadcasthost",
    b"host.docker.internal",
    b"gateway.docker.internal",
];

/// Ends of names that only resolve inside, or that resolve to whatever stands in front.
const INSIDE_ENDS: [&[u8]; 14] = [
    b".localhost",
    b".localdomain",
    b".internal",
    b".intranet",
    b".corp",
    b".svc.cluster.local",
    b".nip.io",
    b".xip.io",
    b".sslip.io",
    b".localtest.me",
    b".lvh.me",
    b".vcap.me",
    b".rbndr.us",
    b".1u.ms",
];

/// Services that tell a tester that a server came to fetch something.
const LISTENERS: [&[u8]; 13] = [
    b".burpcollaborator.net",
    b".oastify.com",
    b".oast.fun",
    b".oast.pro",
    b".oast.live",
    b".oast.site",
    b".oast.online",
    b".oast.me",
    b".interact.sh",
    b".dnslog.cn",
    b".requestbin.net",
    b".ngrok.io",
    b".beeceptor.com",
];

/// Where in a text in lower case an address stands that leads to the server itself, to its
/// own network, or to somebody who waits for it to come.
pub fn inside(text: &[u8]) -> Option<Range<usize>> {
    memchr::memmem::find_iter(text, b"//").take(URLS_MAX).find_map(|slashes| {
        let begin = scheme_begin(text, slashes)?;
        let host = host(&text[slashes + 2..])?;
        let from = slashes + 2 + host.start;
        let to = slashes + 2 + host.end;
        is_inside(&text[from..to]).then_some(begin..to)
    })
}

/// To whom an address leads, seen from the server that it was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// That server's own site.
    Own,
    Foreign,
    /// The line does not tell the server's name, or readers may differ about the address.
    Unknown,
}

/// To whom an address in lower case at the begin of `text` leads. The server's name is the one
/// that the server itself wrote (`%v`): what a client says of it may be part of the attack.
pub fn whose(text: &[u8], access: &Access<'_>) -> Whose {
    let own = access.vhost.filter(|_| !access.is_vhost_claimed);
    let Some((own, port)) = own.filter(|(own, _)| !is_this_host(own)) else { return Whose::Unknown };
    match plain_host(text, port) {
        Some(host) if is_same_site(host, own) => Whose::Own,
        Some(host) if memchr::memchr(b'.', host).is_some() => Whose::Foreign,
        _ => Whose::Unknown,
    }
}

/// The host of an address of the web about which all readers agree: no user's name before it, no
/// escape in it, and no other port than the usual ones and the server's own.
fn plain_host(text: &[u8], own_port: Option<u16>) -> Option<&[u8]> {
    let text = text.trim_ascii_start();
    let after_scheme = text.strip_prefix(b"https:").or_else(|| text.strip_prefix(b"http:")).unwrap_or(text);
    let slashes = after_scheme.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
    if slashes < 2 {
        return None;
    }
    let rest = &after_scheme[slashes..];
    let end = rest.iter().take(HOST_BYTES_MAX + 8).position(|byte| b"/\\?# \t\r\n".contains(byte));
    let authority = rest.get(..end.unwrap_or(rest.len()))?;
    let (host, port) = match memchr::memchr(b':', authority) {
        Some(colon) => (&authority[..colon], std::str::from_utf8(&authority[colon + 1..]).ok()?),
        None => (authority, ""),
    };
    let is_usual = matches!(port, "" | "80" | "443") || own_port.is_some_and(|own| port == own.to_string());
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    (is_usual && (1..=HOST_BYTES_MAX).contains(&host.len()) && host.iter().all(is_name)).then_some(host)
}

/// Whether two names are of one site: the same, or registered by the same owner.
fn is_same_site(host: &[u8], own: &[u8]) -> bool {
    let bare = |name: &[u8]| String::from_utf8_lossy(name.strip_suffix(b".").unwrap_or(name)).to_ascii_lowercase();
    let (host, own) = (bare(host), bare(own));
    let registered = |name| domain::parts(name).map(|parts| parts.registered_domain);
    host == own || registered(&host).is_some_and(|host| registered(&own) == Some(host))
}

/// Whether a name means this host wherever it is asked: it names no site.
fn is_this_host(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_local = |address: Ipv4Addr| address.is_loopback() || address.is_link_local() || address.is_unspecified();
    lower == b"localhost" || lower.ends_with(b".localhost") || v4(&lower).is_some_and(|(address, _)| is_local(address))
}

/// Where the address begins whose slashes stand at `slashes`; `None` where they are within a
/// path. One without a scheme begins with them.
fn scheme_begin(text: &[u8], slashes: usize) -> Option<usize> {
    let before = &text[..slashes];
    if let Some(rest) = before.strip_suffix(b":") {
        let letters = rest.iter().rev().take(12).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        return (letters > 0).then_some(rest.len() - letters);
    }
    let ends_word = before.last().is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"/.-_~)".contains(byte));
    ends_word.then_some(slashes)
}

/// The host at the begin of what follows the slashes: behind a user's name, before a port.
fn host(rest: &[u8]) -> Option<Range<usize>> {
    let slashes = rest.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
    let end = rest[slashes..].iter().take(4 * HOST_BYTES_MAX).position(|byte| b"/\\?#&\"'<> \t\r\n\0".contains(byte));
    let authority = &rest[slashes..end.map_or(rest.len().min(slashes + 4 * HOST_BYTES_MAX), |end| slashes + end)];
    let from = memchr::memrchr(b'@', authority).map_or(0, |at| at + 1);
    let host = &authority[from..];
    let length = match host.first()? {
        b'[' => memchr::memchr(b']', host)? + 1,
        _ => memchr::memchr(b':', host).unwrap_or(host.len()),
    };
    let from = slashes + from;
    (1..=HOST_BYTES_MAX).contains(&length).then_some(from..from + length)
}

/// Whether a host is one that no visitor's page would name.
fn is_inside(host: &[u8]) -> bool {
    if let Some(v6) = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        let address = std::str::from_utf8(v6).ok().and_then(|text| text.split('%').next()?.parse::<Ipv6Addr>().ok());
        return address.is_some_and(is_inside_v6);
    }
    let host = host.strip_suffix(b".").unwrap_or(host);
    match v4(host) {
        Some((address, is_plain)) => !is_plain || is_inside_v4(address),
        None => INSIDE.contains(&host) || INSIDE_ENDS.iter().chain(&LISTENERS).any(|end| host.ends_with(end)),
    }
}

fn is_inside_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let is_shared = first == 100 && (64..128).contains(&second);
    address.is_loopback() || address.is_private() || address.is_link_local() || first == 0 || is_shared
}

fn is_inside_v6(address: Ipv6Addr) -> bool {
    let embedded = match address.segments() {
        // 6to4 and NAT64 (RFC 3056, RFC 6052) carry an address of IPv4.
        [0x2002, high, low, ..] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    };
    let first = address.segments()[0];
    address.is_loopback()
        || address.is_unspecified()
        || first & 0xfe00 == 0xfc00
        || first & 0xffc0 == 0xfe80
        // No link is written in the mapped form, wherever it leads.
        || address.to_ipv4_mapped().is_some()
        || embedded.is_some_and(is_inside_v4)
}

/// An address of IPv4 in any of its spellings, and whether it is the usual one: four decimal
/// numbers. One to four numbers, each decimal, octal (`0`) or hex (`0x`); the last one fills
/// what is left.
fn v4(host: &[u8]) -> Option<(Ipv4Addr, bool)> {
    let parts: Vec<&[u8]> = host.split(|byte| *byte == b'.').collect();
    if parts.len() > 4 || !parts.last()?.first()?.is_ascii_digit() {
        return None;
    }
    let numbers = parts.iter().map(|part| number(part)).collect::<Option<Vec<u64>>>()?;
    let (last, first) = numbers.split_last()?;
    if first.iter().any(|number| *number > 255) || *last >= 1 << (8 * (5 - numbers.len())) {
        return None;
    }
    let shifted = first.iter().zip([24, 16, 8]).map(|(number, bits)| number << bits);
    let address = Ipv4Addr::from((shifted.sum::<u64>() + last) as u32);
    let is_usual = |part: &&[u8]| part.len() == 1 || part[0] != b'0';
    Some((address, parts.len() == 4 && parts.iter().all(is_usual)))
}

fn number(part: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(part).ok()?;
    match text.strip_prefix("0x") {
        Some("") => Some(0),
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u64::from_str_radix(&text[1..], 8).ok(),
        None => text.parse().ok(),
    }
    .filter(|number| *number <= u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_lead_inside_are_told_in_all_their_spellings() {
        for text in [
            "http://127.0.0.1/",
            "http://127.1",
            "http://2130706433/",
            "http://0x7f000001:80/",
            "http://0177.0.0.1/",
            "http://017700000001",
            "http://0/",
            "http://[::1]:6379/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]",
            "http://[::ffff:198.51.100.7]/",
            "http://[fd00:ec2::254]/latest",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://169.254.169.254/latest/meta-data/",
            "gopher://10.0.0.1:6379/_x",
            "//localhost/x",
            "url=//localhost.",
            "https://user:pw@192.168.1.1/",
            "http://example.com@127.0.0.1/",
            "http:////127.0.0.1",
            "http://10.0.0.1.nip.io/",
            "http://metadata.google.internal/x",
            "http://a1b2.oastify.com",
            "x http://100.64.0.1",
            "http://1123456789/",
        ] {
            assert!(inside(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn addresses_of_others_are_let_be() {
        for text in [
            "https://cdn.example.com/a/b.png",
            "https://www.example.org/10.1.2.3/",
            "https://www.example.org//localhost",
            "http://8.8.8.8/",
            "http://1.2.3.4.5/",
            "http://127.0.0.1.example.com/",
            "http://[2001:db8::1]/",
            "http://3com.example/",
            "http://256.1.1.1/",
            "a//localhost",
            "http://",
            "//",
            "http://[::1",
            "internal://example.com",
        ] {
            assert_eq!(inside(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn an_address_leads_to_the_own_site_or_to_another_where_the_line_tells_whose_it_is() {
        use Whose::{Foreign, Own, Unknown};
        let whose = |own: &'static str, text: &str| {
            let access = Access { vhost: Some((own.as_bytes(), Some(8443))), ..Access::default() };
            super::whose(text.as_bytes(), &access)
        };
        for (own, text, expected) in [
            ("www.shop.example", "https://www.shop.example/a?b=//evil.example", Own),
            ("www.shop.example", "//login.shop.example", Own),
            ("Shop.Example.", " https://shop.example:8443/", Own),
            ("shop.example", "https://shop.example./", Own),
            ("shop.example", "https:\\\\shop.example\\a", Own),
            ("intra.corp", "https://intra.corp/x", Own),
            ("10.1.2.3", "http://10.1.2.3/x", Own),
            ("shop.example", "https://evil.example/shop.example", Foreign),
            ("shop.example", "https://shop.example.evil.example/", Foreign),
            ("shop.example", "https://notshop.example/", Foreign),
            ("a.github.io", "https://b.github.io/", Foreign),
            ("10.1.2.3", "http://10.1.2.4/", Foreign),
            // What readers may take for another host.
            ("shop.example", "https://shop.example@evil.example/", Unknown),
            ("shop.example", "https://evil.example\\@shop.example/", Foreign),
            ("shop.example", "https://shop.example%2eevil.example/", Unknown),
            ("shop.example", "https://shop.example:6379/", Unknown),
            ("shop.example", "https://[::1]/", Unknown),
            ("shop.example", "gopher://shop.example/", Unknown),
            ("shop.example", "/shop.example", Unknown),
            ("shop.example", "https:shop.example", Unknown),
            ("shop.example", "https://intranet/", Unknown),
            // Names that mean the server whoever asks.
            ("localhost", "http://localhost/", Unknown),
            ("127.0.0.1", "http://127.0.0.1/", Unknown),
        ] {
            assert_eq!(whose(own, text), expected, "{own}: {text}");
        }
        let claimed = Access { vhost: Some((b"shop.example", None)), is_vhost_claimed: true, ..Access::default() };
        assert_eq!(super::whose(b"https://shop.example/", &claimed), Unknown);
        assert_eq!(super::whose(b"https://shop.example/", &Access::default()), Unknown);
    }

    #[test]
    fn the_place_is_that_of_the_address() {
        let text = b"a=1 http://x@127.0.0.1:80/b";
        assert_eq!(&text[inside(text).unwrap()], b"http://x@127.0.0.1");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z0-9x:/@.\\[\\]%#\\\\ ]{0,80}") {
            let found = inside(text.as_bytes());
            proptest::prop_assert!(found.is_none_or(|range| range.end <= text.len() && range.start < range.end));
        }
    }
}
