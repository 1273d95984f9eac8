//! Which browser, tool or robot a user agent says it is, on which system and device.
//!
//! The engine is the crate ua-parser (uap-rust), the expressions stand in
//! `event/user_agents.toml`: a choice from uap-core with the tools of attackers in front.
//! Measured in release, VmRSS in MB after loading / after 1,000 different strings, and
//! bytes that the program grows by:
//!
//! | what | RSS | load | a new string | program |
//! | --- | --- | --- | --- | --- |
//! | ua-parser, all 1,196 expressions of uap-core | 25.6 / 32.7 | 142 ms | 35 µs | 0.84 MB |
//! | ua-parser, the same without devices | 11.3 / 16.1 | 54 ms | 20 µs | 0.84 MB |
//! | ua-parser, our choice (this module) | 7.2 / 10.5 | 26 ms | 20 µs | 0.84 MB |
//! | woothee 0.13 | 0 / 2.5 | 0 | 6 µs | 0.45 MB |
//!
//! The processor shall stay far below 64 MB, so the whole list is too much. Woothee is
//! small, but calls curl "HTTP Library", knows no device, no Go, Java or axios client, no
//! tool of an attacker, and was last changed in 2023.
//!
//! Whoever sends 200,000 different strings of 900 bytes, made of pieces of real ones,
//! brings that to 23 MB with one thread parsing: caches of the expressions' automata, which
//! each thread has of its own, and of strings. Such a string costs about 50 µs; one that
//! was seen lately 0.27 µs.

use crate::cache::Cache;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use ua_parser::{Extractor, Regexes};

/// Bytes of a user agent that are looked at. Browsers send 80 to 300.
pub const USER_AGENT_BYTES_MAX: usize = 1024;

/// Strings whose answers are kept. With keys of [`USER_AGENT_BYTES_MAX`] and parts of
/// [`PART_BYTES_MAX`] that is 8 MB at the worst, under 2 MB with what browsers send.
pub const CACHED_MAX: usize = 4096;

/// Bytes of one part. A longer one is cut: the sender chooses what stands there.
pub const PART_BYTES_MAX: usize = 128;

/// What a user agent says of itself; all of it may be a lie. Absent is what no
/// expression told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserAgentParts {
    /// ECS `user_agent.name`: `Chrome`, `curl`, `Googlebot`, `sqlmap`.
    pub name: Option<Box<str>>,
    /// ECS `user_agent.version`: up to four numbers, `131.0.0.0`.
    pub version: Option<Box<str>>,
    /// ECS `user_agent.os.name`: `Windows`, `Mac OS X`, `iOS`, `Android`, `Linux`.
    pub os_name: Option<Box<str>>,
    /// ECS `user_agent.os.version`: `10`, `10.15.7`. Windows is told by its market name.
    pub os_version: Option<Box<str>>,
    /// ECS `user_agent.device.name`: `iPhone`, `Mac`, `Pixel 8`, `Spider`.
    pub device_name: Option<Box<str>>,
}

impl UserAgentParts {
    /// Whether nothing is known of it.
    pub fn is_empty(&self) -> bool {
        *self == UserAgentParts::default()
    }
}

/// Takes a user agent apart, as the client sent it (Apache's escapes undone).
///
/// The first call of a process loads the expressions (26 ms). Answers are kept for
/// [`CACHED_MAX`] strings; of a string of more than [`USER_AGENT_BYTES_MAX`] the first
/// so many bytes count and the answer is not kept. Any string is good: what nobody knows
/// has no parts. May be called from all threads; they share a lock while the cache is
/// looked at, not while a string is parsed.
pub fn parse(user_agent: &str) -> Arc<UserAgentParts> {
    static CACHE: LazyLock<Mutex<Cache<Box<str>, Arc<UserAgentParts>>>> =
        LazyLock::new(|| Mutex::new(Cache::of(CACHED_MAX)));
    // A thread that dies inside leaves a cache that lacks an entry, no more.
    let cache = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);

    let looked_at = start(user_agent, USER_AGENT_BYTES_MAX);
    if looked_at.len() < user_agent.len() {
        return Arc::new(parts(looked_at));
    }
    if let Some(known) = cache().get(looked_at) {
        return known;
    }
    let parts = Arc::new(parts(looked_at));
    cache().keep(looked_at.into(), Arc::clone(&parts));
    parts
}

fn parts(user_agent: &str) -> UserAgentParts {
    static EXPRESSIONS: LazyLock<Extractor<'static>> = LazyLock::new(|| {
        let list: Regexes<'static> =
            toml::from_str(include_str!("../user_agents.toml")).expect("user_agents.toml has its shape");
        list.try_into().expect("user_agents.toml has good expressions")
    });
    let (agent, os, device) = EXPRESSIONS.extract(user_agent);
    let mut parts = UserAgentParts::default();
    if let Some(agent) = agent {
        parts.name = part(&agent.family);
        parts.version = version([agent.major, agent.minor, agent.patch, agent.patch_minor]);
    }
    if let Some(os) = os {
        parts.os_name = part(&os.os);
        let numbers = [&os.major, &os.minor, &os.patch, &os.patch_minor];
        parts.os_version = parts.os_name.is_some().then(|| version(numbers.map(|n| n.as_deref()))).flatten();
    }
    parts.device_name = device.and_then(|device| part(&device.device));
    parts
}

/// A part worth telling: uap-core says `Other` where it knows nothing.
fn part(text: &str) -> Option<Box<str>> {
    let text = text.trim();
    (!text.is_empty() && text != "Other").then(|| start(text, PART_BYTES_MAX).into())
}

fn version(numbers: [Option<&str>; 4]) -> Option<Box<str>> {
    let there: Vec<&str> = numbers.into_iter().map_while(|number| number.filter(|n| !n.is_empty())).collect();
    part(&there.join("."))
}

/// The first bytes of a text, at most `most`, without half a character.
fn start(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `name version / system version / device`, `-` for what is absent.
    fn told(user_agent: &str) -> String {
        let parts = parse(user_agent);
        let text = |part: &Option<Box<str>>| part.as_deref().unwrap_or("-").to_owned();
        format!(
            "{} {} / {} {} / {}",
            text(&parts.name),
            text(&parts.version),
            text(&parts.os_name),
            text(&parts.os_version),
            text(&parts.device_name)
        )
    }

    #[test]
    fn browsers_are_told_with_version_system_and_device() {
        for (user_agent, expected) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
                "Chrome 131.0.0.0 / Windows 10 / -",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0",
                "Edge 138.0.0.0 / Windows 10 / -",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0", "Firefox 132.0 / Linux - / -"),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.2 Safari/605.1.15",
                "Safari 18.2 / Mac OS X 10.15.7 / Mac",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
                "Mobile Safari 17.6 / iOS 17.6 / iPhone",
            ),
            (
                "Mozilla/5.0 (Linux; Android 13; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile Safari/537.36",
                "Samsung Internet 26.0 / Android 13 / Samsung SM-S918B",
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/136.0.0.0 Mobile Safari/537.36",
                "Chrome Mobile 136.0.0.0 / Android 14 / Pixel 8",
            ),
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", "IE 6.0 / Windows XP / -"),
            ("Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko", "IE 11.0 / Windows 7 / -"),
        ] {
            assert_eq!(told(user_agent), expected, "{user_agent}");
        }
    }

    #[test]
    fn robots_and_libraries_are_told() {
        for (user_agent, expected) in [
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                "Googlebot 2.1 / - - / Spider",
            ),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
                "GPTBot 1.2 / - - / Spider",
            ),
            ("curl/7.88.1", "curl 7.88.1 / - - / -"),
            ("python-requests/2.31.0", "Python Requests 2.31 / - - / -"),
            ("Go-http-client/1.1", "Go-http-client 1.1 / - - / -"),
            ("GuzzleHttp/7", "GuzzleHttp 7 / - - / -"),
            ("kube-probe/1.31", "kube-probe 1.31 / - - / -"),
            ("Apache/2.4.71 (Debian) (internal dummy connection)", "Apache dummy connection 2.4.71 / Debian - / -"),
        ] {
            assert_eq!(told(user_agent), expected, "{user_agent}");
        }
    }

    #[test]
    fn an_attackers_tool_is_told_by_the_name_it_gives_itself() {
        for (user_agent, expected) in [
            ("sqlmap/1.7.2#stable (https://sqlmap.org)", "sqlmap 1.7.2"),
            ("Mozilla/5.00 (Nikto/2.1.6) (Evasions:None) (Test:Port Check)", "Nikto 2.1.6"),
            (
                "Mozilla/5.0 (compatible; Nmap Scripting Engine; https://nmap.org/book/nse.html)",
                "Nmap Scripting Engine -",
            ),
            ("WPScan v3.8.25 (https://wpscan.com/wordpress-security-scanner)", "WPScan 3.8.25"),
            ("Fuzz Faster U Fool v1.1.0", "ffuf 1.1.0"),
            ("commix/v3.9-stable", "commix 3.9"),
            ("gobuster/3.6", "gobuster 3.6"),
            ("Wfuzz/3.1.0", "Wfuzz 3.1.0"),
            ("Mozilla/5.0 (Hydra)", "Hydra -"),
            ("zgrab/0.x", "zgrab 0"),
        ] {
            assert!(told(user_agent).starts_with(&format!("{expected} / ")), "{user_agent}: {}", told(user_agent));
        }
    }

    #[test]
    fn what_nobody_knows_has_no_parts() {
        for user_agent in ["", "-", " ", "x", "Mozilla/5.0", "';DROP TABLE users;--", "${jndi:ldap://evil.example/a}"] {
            assert!(parse(user_agent).is_empty(), "{user_agent}: {}", told(user_agent));
        }
    }

    #[test]
    fn the_word_for_nothing_known_is_not_a_name() {
        assert_eq!(parse("Other/1.0 CFNetwork/1.0 Darwin/1.0").name, None);
    }

    #[test]
    fn the_same_string_is_parsed_once() {
        let user_agent = "the-same-string/1.0 Firefox/132.0";
        assert!(Arc::ptr_eq(&parse(user_agent), &parse(user_agent)));
    }

    #[test]
    fn a_long_user_agent_is_read_from_its_start_and_not_kept() {
        let inside = format!("Firefox/132.0 {}", "é".repeat(USER_AGENT_BYTES_MAX));
        assert_eq!(parse(&inside).name.as_deref(), Some("Firefox"));
        assert!(!Arc::ptr_eq(&parse(&inside), &parse(&inside)));
        let beyond = format!("{}Firefox/132.0", " ".repeat(USER_AGENT_BYTES_MAX));
        assert!(parse(&beyond).is_empty());
    }

    #[test]
    fn a_part_that_the_sender_made_long_is_cut() {
        let long = format!("{}/1.0 CFNetwork/1.0 Darwin/1.0", "n".repeat(500));
        assert_eq!(parse(&long).name.as_deref(), Some("n".repeat(PART_BYTES_MAX).as_str()));
    }

    proptest! {
        #[test]
        fn any_string_is_taken_apart_without_a_panic(user_agent: String, start in "(Mozilla/5.0|Opera|Android|iPhone|)") {
            parse(&user_agent);
            let parts = parse(&format!("{start} ({user_agent}) {start}/{user_agent}"));
            for part in [&parts.name, &parts.version, &parts.os_name, &parts.os_version, &parts.device_name] {
                prop_assert!(part.as_deref().is_none_or(|p| !p.is_empty() && p.len() <= PART_BYTES_MAX && p != "Other"));
            }
        }

        #[test]
        fn pieces_of_real_agents_in_any_order_are_taken_apart_without_a_panic(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "Mozilla/5.0 ", "(compatible; ", "(Linux; Android 14; ", "Chrome/", "131.0.0.0 ", "Mobile ", "Safari/537.36 ",
                "Version/", "CFNetwork/", "Darwin/", "iPhone; ", "CPU iPhone OS 17_6 ", ") ", "bot", "spider", "; ", "/", "é", "\u{0}",
                "99999999999999999999", "[FB", "FBAV/", " Build", "Windows NT 10.0", "sqlmap/", "Nikto", "v1.", "…",
            ]), 0..60),
        ) {
            parse(&pieces.concat());
        }
    }
}
