//! Where a host name was registered: `www.example.co.uk` by whoever owns `example.co.uk`.
//!
//! Which endings anybody may register under is told by the public suffix list
//! (<https://publicsuffix.org>), which the crate psl holds as code: no file to ship and to
//! read, no memory, 0.76 MB of program, 11 s of compile time in release. The list is as
//! old as the crate's version; a newer one comes with `cargo update -p psl`.

use psl::Psl;
use std::borrow::Cow;

/// Bytes of a host name and of a label in it (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A host name in its parts, in lower case. ECS has them below `url`, `source`,
/// `destination`, `client` and `server`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainParts<'a> {
    /// ECS `registered_domain`: `example.co.uk`.
    pub registered_domain: Cow<'a, str>,
    /// ECS `top_level_domain`: `co.uk`. Private suffixes count: `github.io`.
    pub top_level_domain: Cow<'a, str>,
    /// ECS `subdomain`: all in front of the registered domain, `a.b` of
    /// `a.b.example.co.uk`. Absent where nothing is.
    pub subdomain: Option<Cow<'a, str>>,
}

/// Takes a host name apart. A port behind it and a dot at its end are left away.
///
/// `None` for an address, a single label (`localhost`), a suffix that nobody can own
/// (`co.uk`), and what cannot be a host name. An ending that the list does not have counts
/// as one label, as the list's own rule says: `evil.example` is registered under `example`.
pub fn parts(host: &str) -> Option<DomainParts<'_>> {
    let name = name(host)?;
    if name.contains(char::is_uppercase) {
        let name = name.to_lowercase();
        let parts = split(&name)?;
        return Some(DomainParts {
            registered_domain: parts.registered_domain.into_owned().into(),
            top_level_domain: parts.top_level_domain.into_owned().into(),
            subdomain: parts.subdomain.map(|text| text.into_owned().into()),
        });
    }
    split(name)
}

/// The name without port and last dot, if it can be one.
fn name(host: &str) -> Option<&str> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.chars().all(may_stand);
    // The last label is never a number: what ends in one is an IPv4 address or nothing.
    let ends_in_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    let good = name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label) && !ends_in_number;
    good.then_some(name)
}

/// Whether a character may stand in a label: as DNS has them, `_` as hosts have them, and
/// letters of all scripts, since clients write names before they are encoded as `xn--`.
fn may_stand(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => true,
        char::REPLACEMENT_CHARACTER => false,
        _ => !c.is_ascii() && !c.is_control() && !c.is_whitespace(),
    }
}

fn split(name: &str) -> Option<DomainParts<'_>> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let registered = text(psl::List.domain(name.as_bytes())?.as_bytes())?;
    let suffix = text(psl::List.suffix(name.as_bytes())?.as_bytes())?;
    let front = name.strip_suffix(registered)?.strip_suffix('.');
    Some(DomainParts {
        registered_domain: registered.into(),
        top_level_domain: suffix.into(),
        subdomain: front.map(Cow::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `subdomain|registered domain|suffix`
    fn told(host: &str) -> Option<String> {
        let parts = parts(host)?;
        let front = parts.subdomain.as_deref().unwrap_or("-");
        Some(format!("{front}|{}|{}", parts.registered_domain, parts.top_level_domain))
    }

    #[test]
    fn the_registered_domain_stands_below_a_public_suffix() {
        for (host, expected) in [
            ("example.com", "-|example.com|com"),
            ("www.example.co.uk", "www|example.co.uk|co.uk"),
            ("a.b.user.github.io", "a.b|user.github.io|github.io"),
            ("www.city.kawasaki.jp", "www|city.kawasaki.jp|kawasaki.jp"),
            ("oast.pro", "-|oast.pro|pro"),
            ("www.公司.cn", "-|www.公司.cn|公司.cn"),
            ("shop.xn--bcher-kva.de", "shop|xn--bcher-kva.de|de"),
            ("_dmarc.example.org", "_dmarc|example.org|org"),
        ] {
            assert_eq!(told(host).as_deref(), Some(expected), "{host}");
        }
    }

    #[test]
    fn an_ending_that_the_list_does_not_have_counts_as_one_label() {
        assert_eq!(told("a.evil.example").as_deref(), Some("a|evil.example|example"));
        assert_eq!(told("db.corp.internal").as_deref(), Some("db|corp.internal|internal"));
    }

    #[test]
    fn case_a_port_and_the_last_dot_make_no_difference() {
        for host in ["WWW.Example.CO.UK", "www.example.co.uk:81", "www.example.co.uk.", "www.example.co.uk.:8443"] {
            assert_eq!(told(host).as_deref(), Some("www|example.co.uk|co.uk"), "{host}");
        }
    }

    #[test]
    fn an_address_has_no_domain() {
        for host in ["203.0.113.9", "203.0.113.9:80", "::1", "[2001:db8::1]", "[2001:db8::1]:443", "999.1.1.1", "1.2"] {
            assert_eq!(parts(host), None, "{host}");
        }
    }

    #[test]
    fn what_nobody_can_own_or_no_host_is_named_has_no_domain() {
        let long = format!("{}.example.com", "a".repeat(64));
        let longer = format!("{}example.com", "a.".repeat(130));
        for host in [
            "",
            ".",
            "..",
            "-",
            "localhost",
            "com",
            "co.uk",
            "github.io",
            "a..com",
            ".example.com",
            "example.com..",
            "exa mple.com",
            "exämple\u{0}.com",
            "http://example.com",
            "example.com/x",
            "user@example.com",
            "example.com:8o",
            "' or 1=1.com",
            "\u{fffd}.com",
            &long,
            &longer,
        ] {
            assert_eq!(parts(host), None, "{host}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(host: String, odd in "[a-zA-Z0-9.:é公-]{0,80}") {
            parts(&host);
            parts(&odd);
        }

        #[test]
        fn the_parts_together_are_the_name(host in "[a-z0-9-]{1,9}(\\.[a-zA-Z0-9-]{1,9}){0,4}\\.(com|co\\.uk|github\\.io|zzz)") {
            if let Some(parts) = parts(&host) {
                let front = parts.subdomain.map(|front| format!("{front}.")).unwrap_or_default();
                prop_assert_eq!(format!("{front}{}", parts.registered_domain), host.to_lowercase());
                let suffix = format!(".{}", parts.top_level_domain);
                prop_assert!(parts.registered_domain.ends_with(&suffix));
            }
        }
    }
}
