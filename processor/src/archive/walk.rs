//! Through the archive for those who read it again: in the order of arrival, and patient.

use super::window::{HOUR, hour_prefix, prefix, read_hour, read_key};
use super::{Archive, ArchiveError};
use crate::receive::SequenceNumber;
use crate::span::Span;
use event::Millis;
use event::pause::Pause;
use std::sync::Arc;

/// Tries of a call that may work later: half a minute of pauses.
const TRIES_MAX: usize = 9;

/// Makes a call again while it may work later.
pub async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, ArchiveError>
where
    F: Future<Output = Result<T, ArchiveError>>,
{
    let mut pause = Pause::default();
    for _ in 1..TRIES_MAX {
        match call().await {
            Err(error) if error.is_transient() => tokio::time::sleep(pause.next_pause()).await,
            ended => return ended,
        }
    }
    call().await
}

/// So many objects are refused one after another where the archive refuses us, and not an object.
const REFUSED_MAX: usize = 4;

/// Objects that the archive has refused one after another. A single one may lie in a colder class of
/// storage, or under a key that is gone, and stops nobody.
#[derive(Debug, Default)]
pub struct Refused(Vec<String>);

impl Refused {
    /// Notes another one.
    ///
    /// # Errors
    /// The same error, if the archive has not answered, or has refused too many.
    pub fn note(&mut self, key: &str, error: ArchiveError) -> Result<(), ArchiveError> {
        if error.is_transient() || self.0.len() + 1 >= REFUSED_MAX {
            return Err(error);
        }
        tracing::warn!(key, error = &error as &dyn std::error::Error, "an object is refused; going on without it");
        self.0.push(key.to_owned());
        Ok(())
    }

    /// Their keys. After that none is refused.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0)
    }
}

/// The objects of a shard whose records arrived in the hour of `at`: the first record of each, and its
/// key.
pub async fn hour_of_shard(
    archive: &dyn Archive,
    (stream, shard): (&str, &str),
    at: Millis,
) -> Result<Vec<(SequenceNumber, String)>, ArchiveError> {
    let prefix = format!("{}{shard}/", hour_prefix(stream, at));
    let (mut keys, mut after) = (Vec::new(), String::new());
    loop {
        let page = archive.list(&prefix, &after).await?;
        let Some(last) = page.last() else { return Ok(keys) };
        after.clone_from(last);
        keys.extend(page.into_iter().filter_map(|key| Some((read_key(stream, &key)?.1, key))));
    }
}

/// The keys of a stream's objects, hour by hour of their arrival.
pub struct Keys {
    archive: Arc<dyn Archive>,
    stream: String,
    span: Span,
    after: String,
}

impl Keys {
    /// The keys whose hours touch `span`, behind the key `after` if one is given.
    pub fn new(archive: Arc<dyn Archive>, stream: &str, span: Span, after: Option<&str>) -> Keys {
        let begin = span.from.map(|from| hour_prefix(stream, from)).unwrap_or_default();
        let after = after.map(str::to_owned).unwrap_or_default().max(begin);
        Keys { archive, stream: stream.to_owned(), span, after }
    }

    /// The next page; `None` behind the last one. A key that names no hour is none of this
    /// program's, and is given out as it is.
    pub async fn next_page(&mut self) -> Result<Option<Vec<String>>, ArchiveError> {
        let prefix = prefix(&self.stream);
        let mut page = patiently(|| self.archive.list(&prefix, &self.after)).await?;
        let Some(last) = page.last() else { return Ok(None) };
        self.after.clone_from(last);
        let is_over = |key: &String| read_hour(&self.stream, key).is_some_and(|hour| self.span.is_before(hour));
        if page.first().is_some_and(is_over) {
            return Ok(None);
        }
        page.retain(|key| read_hour(&self.stream, key).is_none_or(|hour| self.span.touches(hour, HOUR)));
        Ok(Some(page))
    }
}
