//! Which machine this is.

use event::line::Host;
use std::fs;
use std::io;
use std::path::Path;

/// The file that holds a Linux machine's own id (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

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

/// The machine's name, as `hostname` tells it.
pub fn name() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

/// This machine under the id `id`.
pub fn here(id: String) -> Host {
    Host { id, name: name() }
}
