//! What the benchmarks share: which programs they measure, and what those took.

use crate::servers;
use crate::servers::kinesis::KinesisServer;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// Ticks of `/proc/PID/stat` in a second (`getconf CLK_TCK` on every Linux of today).
const TICKS_A_SECOND: f64 = 100.0;

/// The program to measure: `ours`, unless `TWOSEC_BENCH_<name>` names another, such as a package's.
pub fn program(name: &str, ours: &str) -> OsString {
    std::env::var_os(format!("TWOSEC_BENCH_{name}")).unwrap_or_else(|| ours.into())
}

/// A number that `TWOSEC_BENCH_<name>` sets.
pub fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(format!("TWOSEC_BENCH_{name}")).map_or(otherwise, |text| text.parse().expect("it is a number"))
}

/// The access log that the project ships.
pub fn sample() -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/dvwa/access.log");
    std::fs::read_to_string(sample).expect("the sample is there")
}

/// An agent that reads one log, and its configuration.
pub struct Agent<'k> {
    program: OsString,
    config: PathBuf,
    kinesis: &'k KinesisServer,
}

impl<'k> Agent<'k> {
    /// One that sends `log` into `stream`. Configuration and spool lie in `folder`.
    pub fn of(program: OsString, folder: &Path, log: &Path, stream: &str, kinesis: &'k KinesisServer) -> Agent<'k> {
        let text = format!(
            "host_id = \"web-1\"\n[stream]\nname = \"{stream}\"\n[[file]]\npath = \"{}\"\n[spool]\npath = \"{}\"\n",
            log.display(),
            folder.join("spool").display()
        );
        let config = folder.join("agent.toml");
        std::fs::write(&config, text).expect("a configuration can be written");
        Agent { program, config, kinesis }
    }

    /// One of its commands, such as `run`.
    pub fn command(&self, name: &str) -> Command {
        let mut command = servers::program(&self.program, self.kinesis);
        command.args([name, "--config"]).arg(&self.config);
        command
    }
}

/// A program that ends with the bench.
pub struct Running(pub Child);

impl Running {
    /// User and system time (proc(5), `/proc/PID/stat`, fields 14 and 15).
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| fields[field - 3].parse::<f64>().expect("a number of ticks");
        (ticks(14) + ticks(15)) / TICKS_A_SECOND
    }

    /// The most memory that it held (proc(5), `/proc/PID/status`, VmHWM).
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells VmHWM");
        peak.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let stopped = Command::new("kill").arg(self.0.id().to_string()).status();
        drop(stopped.and_then(|_| self.0.wait()));
    }
}

/// What so many of a hundred are at or below. The list is sorted then.
pub fn percentile(of: &mut [Duration], hundredth: usize) -> Duration {
    of.sort_unstable();
    of.get((of.len() * hundredth / 100).min(of.len().saturating_sub(1))).copied().unwrap_or_default()
}
