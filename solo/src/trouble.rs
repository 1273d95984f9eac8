//! What goes wrong with the data folder, for those who must tell the user.

use std::io;
use std::path::Path;
use tokio::sync::watch;

/// The last write into the data folder that failed, until one works again.
#[derive(Debug, Clone)]
pub struct Trouble(watch::Sender<Option<String>>);

impl Default for Trouble {
    fn default() -> Trouble {
        Trouble(watch::Sender::new(None))
    }
}

impl Trouble {
    /// Notes how a write to `path` went, and hands the result on.
    pub fn watch<T>(&self, path: &Path, result: io::Result<T>) -> io::Result<T> {
        match &result {
            Ok(_) => self.clear(),
            Err(cause) => self.report(format!("cannot write `{}`: {cause}", path.display())),
        }
        result
    }

    /// Notes that something is wrong.
    pub fn report(&self, text: String) {
        self.0.send_replace(Some(text));
    }

    /// Notes that writing works.
    pub fn clear(&self) {
        self.0.send_if_modified(|trouble| trouble.take().is_some());
    }

    /// What is wrong now.
    pub fn now(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits until something is wrong, and says what. Cancel safe.
    pub async fn wait(&self) -> String {
        let mut changes = self.0.subscribe();
        match changes.wait_for(Option::is_some).await {
            Ok(text) => text.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}
