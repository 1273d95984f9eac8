//! Which machine this is.

use event::Zone;
use event::line::Host;
use std::fs;
use std::io;
use std::path::Path;

/// The file that holds a Linux machine's own id (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// The host's own time zone, and the folder of all of them (localtime(5), tzselect(8)).
const LOCALTIME: &str = "/etc/localtime";
const ZONES: &str = "/usr/share/zoneinfo";

/// Files of zones are a few KiB.
const ZONE_BYTES_MAX: u64 = 1 << 20;

/// The machine's id: `configured` where given, else machine-id.
///
/// It must not change while logs live: event ids come from it. So it is never taken
/// from a service that may answer late.
pub fn id(configured: Option<&str>) -> Option<String> {
    let given = configured.map(str::to_owned).or_else(|| fs::read_to_string(MACHINE_ID).ok())?;
    let id = given.trim();
    (!id.is_empty() && id != "uninitialized").then(|| id.to_owned())
}

/// An id for a machine that has none: made once and kept in the folder `state`.
pub fn kept_id(state: &Path) -> io::Result<String> {
    let path = state.join("host-id");
    if let Ok(id) = fs::read_to_string(&path) {
        return Ok(id.trim().to_owned());
    }
    let mut random = [0; 16];
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut random)?;
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    crate::spool::replace(&path, id.as_bytes())?;
    Ok(id)
}

/// The host's own zone; UTC where none is set.
pub fn zone() -> Zone {
    zone_in(Path::new(LOCALTIME)).unwrap_or_default()
}

/// A zone that this host does not know.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no time zone: write a file of {ZONES}, such as Europe/Berlin, or a rule such as CET-1CEST,M3.5.0,M10.5.0/3"
)]
pub struct UnknownZone(String);

/// The zone that a user names: as the zone database does (`Europe/Berlin`), which needs its
/// files on this host, or by its rule (`CET-1CEST,M3.5.0,M10.5.0/3`).
///
/// # Errors
/// What to write instead.
pub fn zone_named(name: &str) -> Result<Zone, UnknownZone> {
    let is_a_name = !name.is_empty() && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    let file = is_a_name.then(|| zone_in(&Path::new(ZONES).join(name))).flatten();
    file.or_else(|| name.parse().ok()).ok_or_else(|| UnknownZone(name.to_owned()))
}

/// The rule that a file of the zone database ends with, between two line feeds (RFC 8536,
/// section 3.3). It says what holds from now on.
fn zone_in(path: &Path) -> Option<Zone> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path).ok()?, ZONE_BYTES_MAX), &mut bytes).ok()?;
    let text = bytes.starts_with(b"TZif").then_some(&bytes)?.strip_suffix(b"\n")?;
    let rule = text.rsplit(|byte| *byte == b'\n').next()?;
    std::str::from_utf8(rule).ok()?.parse().ok()
}

/// The machine's name, as `hostname` tells it. The kernel is asked and not /proc, which the unit
/// closes (`ProcSubset=pid`).
pub fn name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// This machine under the id `id`.
pub fn here(id: String) -> Host {
    Host { id, name: name() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_what_the_kernel_says_and_no_variable() {
        assert_eq!(name(), fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    }

    #[test]
    fn a_zone_is_the_rule_that_its_file_ends_with() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Berlin");
        fs::write(&file, b"TZif2\0\0\n\0\x01\nCET-1CEST,M3.5.0,M10.5.0/3\n").unwrap();
        assert_eq!(zone_in(&file).unwrap().to_string(), "CET-1CEST,M3.5.0,M10.5.0/3");
        fs::write(&file, b"TZif\0").unwrap();
        assert_eq!(zone_in(&file), None, "version 1 has no rule");
        assert_eq!(zone_named("IST-5:30").unwrap().to_string(), "IST-5:30");
        for name in ["../../etc/passwd", "/etc/localtime", ""] {
            assert!(zone_named(name).unwrap_err().to_string().starts_with(&format!("`{name}` is no time zone")));
        }
    }
}
