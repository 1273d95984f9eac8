//! Waiting for something that another process brings about.

use std::time::Duration;

/// How long it may take. Far longer than it ever does: a test that waits this long has
/// failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(50);

/// Returns when `is_true`; panics with `what` if that never comes.
pub async fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let wait = async {
        let mut look = tokio::time::interval(EVERY);
        while !is_true() {
            look.tick().await;
        }
    };
    let came = tokio::time::timeout(PATIENCE, wait).await;
    assert!(came.is_ok(), "waited in vain until {what}");
}

/// [`wait_until`] for tests without a runtime.
pub fn blocking(what: &str, is_true: impl FnMut() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime can be made").block_on(wait_until(what, is_true));
}
