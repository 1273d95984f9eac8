//! Whose network an address is in, from a file that an operator keeps: cloud providers,
//! partners, scanners, the company's own offices.
//!
//! ```text
//! # network           name, to the end of the line
//! 198.51.100.0/24     Example Cloud
//! 198.51.100.7        office Berlin      # a single address
//! 2001:db8::/32       Example Cloud
//! ```
//!
//! The longest prefix that holds an address names it.

use super::{Looks, Watched};
use event::address::{NetworksError, network};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Lines of the file that are read; the others are left out, with a warning. In memory a
/// network takes 32 bytes, and a name its own once.
pub const LINES_MAX: usize = 200_000;

/// Bytes of the file that are read.
pub const FILE_BYTES_MAX: u64 = 32 << 20;

/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 128;

/// Bad lines that are named in warnings; of the others their number is told.
const TOLD_MAX: usize = 10;

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum LineError {
    #[error(transparent)]
    Network(#[from] NetworksError),
    #[error("no name stands behind the network")]
    NoName,
    #[error("the name has {0} bytes: at most {NAME_BYTES_MAX} can be kept")]
    Long(usize),
    #[error("it is not UTF-8")]
    Text,
}

/// Networks and their names, asked which holds an address.
///
/// Networks lie inside one another or apart, never across. So in their order (first
/// address, then length of the prefix) the last one that starts at or before an address
/// holds it, or one around that one does: a binary search and some steps outwards.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<Row>,
    names: Vec<Arc<str>>,
}

#[derive(Debug)]
struct Row {
    network: IpNet,
    /// Index of its name.
    name: u32,
    /// Index of the smallest other network around it.
    around: Option<u32>,
}

/// A table and what was wrong with the text it was read from.
#[derive(Debug, Default)]
struct Reading {
    table: Table,
    /// The first bad lines, with their numbers, from 1.
    bad: Vec<(usize, LineError)>,
    bad_lines: usize,
    /// Whether lines after [`LINES_MAX`] were left out.
    cut: bool,
}

impl Reading {
    fn of(bytes: &[u8]) -> Reading {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let mut reading = Reading::default();
        let mut named: HashMap<IpNet, u32> = HashMap::new();
        let mut names: HashMap<&str, u32> = HashMap::new();
        for (number, line) in (1..).zip(bytes.split(|b| *b == b'\n')) {
            if number > LINES_MAX {
                reading.cut = true;
                break;
            }
            match read(line) {
                Ok(None) => {}
                Ok(Some((network, name))) => {
                    let next = names.len() as u32;
                    // Named twice: the later line counts.
                    named.insert(network, *names.entry(name).or_insert(next));
                }
                Err(why) => {
                    reading.bad_lines += 1;
                    if reading.bad.len() < TOLD_MAX {
                        reading.bad.push((number, why));
                    }
                }
            }
        }
        reading.table = Table::of(named, names);
        reading
    }
}

/// A line's network and name; `None` for a blank line or a comment.
fn read(line: &[u8]) -> Result<Option<(IpNet, &str)>, LineError> {
    let line = std::str::from_utf8(line).map_err(|_| LineError::Text)?;
    let line = uncommented(line).trim();
    if line.is_empty() {
        return Ok(None);
    }
    let (net, name) = line.split_once(char::is_whitespace).map_or((line, ""), |(net, name)| (net, name.trim_start()));
    let net = network(net)?;
    match name.len() {
        0 => Err(LineError::NoName),
        bytes if bytes > NAME_BYTES_MAX => Err(LineError::Long(bytes)),
        _ => Ok(Some((net, name))),
    }
}

/// A comment starts at a `#` at the start or behind a blank: `C# Ltd` is a name.
fn uncommented(line: &str) -> &str {
    let starts = |at: &usize| *at == 0 || line[..*at].ends_with(char::is_whitespace);
    let comment = line.match_indices('#').map(|(at, _)| at).find(starts);
    &line[..comment.unwrap_or(line.len())]
}

impl Table {
    fn of(named: HashMap<IpNet, u32>, names: HashMap<&str, u32>) -> Table {
        let row = |(network, name)| Row { network, name, around: None };
        let mut rows: Vec<Row> = named.into_iter().map(row).collect();
        rows.sort_unstable_by_key(|row| (row.network.network(), row.network.prefix_len()));
        for at in 1..rows.len() {
            let mut around = Some(at as u32 - 1);
            while let Some(outer) =
                around.map(|outer| &rows[outer as usize]).filter(|o| !o.network.contains(&rows[at].network))
            {
                around = outer.around;
            }
            rows[at].around = around;
        }
        let mut by_index: Vec<(u32, &str)> = names.into_iter().map(|(name, index)| (index, name)).collect();
        by_index.sort_unstable();
        Table { rows, names: by_index.into_iter().map(|(_, name)| name.into()).collect() }
    }

    fn name(&self, ip: IpAddr) -> Option<&Arc<str>> {
        let behind = self.rows.partition_point(|row| row.network.network() <= ip);
        let mut row = &self.rows[behind.checked_sub(1)?];
        while !row.network.contains(&ip) {
            row = &self.rows[row.around? as usize];
        }
        Some(&self.names[row.name as usize])
    }
}

/// Names networks, from a file that may be replaced while it runs.
#[derive(Debug)]
pub struct NamedNetworks {
    file: Watched,
    table: Table,
    looks: Looks,
}

impl NamedNetworks {
    /// Reads the file. If it is missing, that is a warning, no network has a name, and it
    /// is looked for again by [`NamedNetworks::refresh`].
    pub fn open(path: &Path, now: Instant) -> NamedNetworks {
        let file = Watched::new(PathBuf::from(path), FILE_BYTES_MAX);
        let mut networks = NamedNetworks { file, table: Table::default(), looks: Looks::default() };
        networks.refresh(now);
        networks
    }

    /// Reads the file if it has changed, at most once in [`super::LOOK_EVERY`]. Blocks
    /// while it reads. A bad line is a warning and the others count; if the file cannot be
    /// read, what was read before stays in use.
    pub fn refresh(&mut self, now: Instant) {
        if !self.looks.due(now) {
            return;
        }
        match self.file.read_if_changed() {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                let reading = Reading::of(&bytes);
                self.tell(&reading);
                self.table = reading.table;
                self.file.good();
            }
            Err(cause) => self.file.complain(&cause, "cannot use a file of networks"),
        }
    }

    /// The name of the smallest network that holds `ip`. An IPv4 address that IPv6 carries
    /// counts as IPv4.
    pub fn name(&self, ip: IpAddr) -> Option<&Arc<str>> {
        self.table.name(ip.to_canonical())
    }

    /// How many networks have a name.
    pub fn len(&self) -> usize {
        self.table.rows.len()
    }

    /// Whether no network has a name.
    pub fn is_empty(&self) -> bool {
        self.table.rows.is_empty()
    }

    fn tell(&self, reading: &Reading) {
        let path = self.file.path.display();
        for (line, cause) in &reading.bad {
            tracing::warn!(%path, line, %cause, "a line of a file of networks is left out");
        }
        if reading.bad_lines > reading.bad.len() {
            let lines = reading.bad_lines - reading.bad.len();
            tracing::warn!(%path, lines, "more lines of a file of networks are left out");
        }
        if reading.cut {
            tracing::warn!(%path, "a file of networks is read to its line {LINES_MAX} and no further");
        }
        tracing::info!(%path, networks = reading.table.rows.len(), "networks named");
    }
}

#[cfg(test)]
mod tests {
    use super::super::LOOK_EVERY;
    use super::super::tests::warnings;
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn table(text: &str) -> Table {
        let reading = Reading::of(text.as_bytes());
        assert_eq!(reading.bad, []);
        reading.table
    }

    fn told<'a>(table: &'a Table, ip: &str) -> &'a str {
        table.name(ip.parse().unwrap()).map_or("-", |name| name)
    }

    #[test]
    fn the_longest_prefix_names_an_address() {
        let table = table("10.0.0.0/8 all\n10.1.0.0/16 site\n10.1.2.0/24 floor\n10.1.2.3 printer\n10.9.0.0/16 other\n");
        for (ip, name) in [
            ("10.0.0.0", "all"),
            ("10.1.0.0", "site"),
            ("10.1.2.0", "floor"),
            ("10.1.2.3", "printer"),
            ("10.1.2.4", "floor"),
            ("10.1.255.255", "site"),
            ("10.8.255.255", "all"),
            ("10.9.0.0", "other"),
            ("10.255.255.255", "all"),
            ("9.255.255.255", "-"),
            ("11.0.0.0", "-"),
            ("::a01:203", "-"),
        ] {
            assert_eq!(told(&table, ip), name, "{ip}");
        }
    }

    #[test]
    fn a_file_has_comments_blank_lines_names_with_blanks_and_both_kinds_of_addresses() {
        let table = table(
            "# cloud\n\n 198.51.100.0/24 \t Example Cloud  # since May\r\n2001:db8::/32 C# Ltd\n::ffff:192.0.2.0/120 mapped\n192.0.2.9/25 half\n192.0.2.0/25 later",
        );
        assert_eq!(told(&table, "198.51.100.255"), "Example Cloud");
        assert_eq!(told(&table, "2001:db8:ffff::1"), "C# Ltd");
        assert_eq!(told(&table, "192.0.2.200"), "mapped");
        assert_eq!(told(&table, "192.0.2.1"), "later");
        assert_eq!((table.rows.len(), table.names.len()), (4, 5));
    }

    #[test]
    fn a_bad_line_is_a_warning_with_its_number_and_the_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("networks");
        let long = "x".repeat(129);
        let text = format!(
            "192.0.2.0/24 a\n10.0.0.0/33 b\n10.0.0.0/8\n# c\n10.0.0.0/8 {long}\nhttp://x y\n198.51.100.0/24 d\n"
        );
        fs::write(&path, [text.as_bytes(), b"10.0.0.0/8 \xff\n"].concat()).unwrap();
        let said = warnings(|| {
            let networks = NamedNetworks::open(&path, Instant::now());
            assert_eq!(networks.len(), 2);
            assert_eq!(networks.name("::ffff:198.51.100.1".parse().unwrap()).map(|name| &**name), Some("d"));
        });
        let causes: Vec<&str> =
            said.iter().filter_map(|text| text.split_once(" line=")).map(|(_, cause)| cause).collect();
        let expected = [
            "2 cause=`10.0.0.0/33` is no network: write an address, or one with the length of its prefix, as in `10.0.0.0/8`",
            "3 cause=no name stands behind the network",
            "5 cause=the name has 129 bytes: at most 128 can be kept",
            "6 cause=`http://x` is no network: write an address, or one with the length of its prefix, as in `10.0.0.0/8`",
            "8 cause=it is not UTF-8",
        ];
        assert_eq!(causes, expected);
    }

    #[test]
    fn a_file_that_is_bad_throughout_fills_no_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("networks");
        fs::write(&path, "x\n".repeat(1_000)).unwrap();
        let said = warnings(|| drop(NamedNetworks::open(&path, Instant::now())));
        assert_eq!(said.len(), TOLD_MAX + 1);
        assert!(said[TOLD_MAX].ends_with("lines=990"), "{}", said[TOLD_MAX]);
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_one_that_goes_leaves_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("networks");
        let start = Instant::now();
        let name = |networks: &NamedNetworks| networks.name("192.0.2.1".parse().unwrap()).map(|name| name.to_string());
        let said = warnings(|| {
            let mut networks = NamedNetworks::open(&path, start);
            assert!(networks.is_empty());
            fs::write(&path, "192.0.2.0/24 a").unwrap();
            networks.refresh(start + LOOK_EVERY / 2);
            assert_eq!(name(&networks), None);
            networks.refresh(start + LOOK_EVERY);
            assert_eq!(name(&networks).as_deref(), Some("a"));
            fs::write(&path, "192.0.2.0/24 other").unwrap();
            networks.refresh(start + LOOK_EVERY * 2);
            assert_eq!(name(&networks).as_deref(), Some("other"));
            fs::remove_file(&path).unwrap();
            networks.refresh(start + LOOK_EVERY * 3);
            networks.refresh(start + LOOK_EVERY * 4);
            assert_eq!(name(&networks).as_deref(), Some("other"));
        });
        // Before it came, and after it went.
        assert_eq!(said.len(), 2, "{said:?}");
    }

    #[test]
    fn lines_after_the_200_000th_are_left_out() {
        let lines =
            |many: u32| -> String { (0..many).map(|n| format!("{} n\n", std::net::Ipv4Addr::from_bits(n))).collect() };
        assert_eq!(size_of::<Row>(), 32);
        let full = Reading::of(lines(LINES_MAX as u32).as_bytes());
        assert_eq!((full.table.rows.len(), full.cut, full.bad_lines), (LINES_MAX, false, 0));
        let over = Reading::of(lines(LINES_MAX as u32 + 1).as_bytes());
        assert_eq!((over.table.rows.len(), over.cut), (LINES_MAX, true));
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_look_at_every_network(
            nets in prop::collection::vec((prop::sample::select(vec!["10.1.2.3", "10.1.128.0", "192.0.2.255", "2001:db8::1", "2001:db8:8000::"]), 0u8..=32), 0..40),
            asked: Vec<IpAddr>,
        ) {
            let nets: Vec<IpNet> = nets.iter().map(|(ip, length)| network(&format!("{ip}/{length}")).unwrap()).collect();
            let text: String = nets.iter().map(|net| format!("{net} {net}\n")).collect();
            let table = table(&text);
            let near = nets.iter().flat_map(|net| [net.network(), net.broadcast()]);
            for ip in near.chain(asked) {
                let expected = nets.iter().filter(|net| net.contains(&ip)).max_by_key(|net| net.prefix_len());
                prop_assert_eq!(table.name(ip).map(|name| name.to_string()), expected.map(|net| net.to_string()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "([0-9a-f.:/# \t\n]|é|10\\.0\\.0\\.0/8 a\n){0,80}") {
            Reading::of(&bytes);
            Reading::of(text.as_bytes());
        }
    }
}
