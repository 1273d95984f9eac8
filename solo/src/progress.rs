//! The progress bar of a run to the end.

use crate::status::{Now, Status};
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Draws on standard error until the run has finished.
pub async fn draw(status: Arc<Status>, finished: CancellationToken) {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}  {msg}  {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    while tokio::time::timeout(Duration::from_millis(200), finished.cancelled()).await.is_err() {
        let now = status.now();
        bar.set_length(now.files.iter().map(|file| file.progress.size).sum());
        bar.set_position(done(&now));
        bar.set_message(format!("{:.0} lines/s", now.lines_per_second));
    }
    bar.finish_and_clear();
}

/// Bytes whose lines are in the index: reading runs ahead of indexing.
fn done(now: &Now) -> u64 {
    let read: u64 = now.files.iter().map(|file| file.progress.bytes).sum();
    (read as f64 * now.indexed as f64 / now.lines.max(1) as f64) as u64
}
