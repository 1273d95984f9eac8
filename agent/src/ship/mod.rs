//! Frames to the stream, until each has an answer.

#[cfg(feature = "aws")]
pub mod kinesis;

use crate::batch::Parcel;
use crate::checkpoint::{Checkpoint, CheckpointError, Ledger};
use crate::meter::Meter;
use async_trait::async_trait;
use bytes::Bytes;
use event::pause::Pause;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A frame, ready to be put.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Counts up from 0 in each run of the agent.
    pub id: FrameId,
    /// Kinesis's partition key: random hex digits, so that frames spread over shards.
    pub key: String,
    /// The encoded frame, at most 1 MiB with its key.
    pub bytes: Bytes,
    /// Events in it.
    pub lines: usize,
}

/// Names a frame under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(pub u64);

/// What became of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// It is in the stream.
    Stored,
    /// Not now: throttled, or the stream had trouble with it.
    Again(String),
    /// Never: it is refused for what it is.
    Never(String),
}

/// A whole call that failed: nothing is known of its frames, so all are put again.
#[derive(Debug, thiserror::Error)]
#[error("cannot put frames into the stream")]
pub struct PutError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The way to the stream.
#[async_trait]
pub trait Uplink: Send + Sync {
    /// Puts frames. One answer for each frame, in the order given. The caller keeps to
    /// 500 frames and 4 MiB a call.
    async fn put(&self, frames: &[Frame]) -> Result<Vec<Put>, PutError>;

    /// Says that nothing more will be put. A stream that waits for company before it
    /// answers need not wait any longer.
    async fn finish(&self) {}
}

/// Frames in one call: the limit of PutRecords (Kinesis API reference).
const FRAMES_A_CALL_MAX: usize = 500;

/// Bytes in one call, keys included. PutRecords takes 5 MiB, and a little air for what
/// the service counts besides.
const BYTES_A_CALL_MAX: usize = 4 << 20;

/// Bytes under way at a time. Ten calls' worth keeps a stream busy that answers slowly;
/// more would only be memory.
const BYTES_UNDER_WAY_MAX: usize = 16 << 20;

/// How often positions are written down while they move.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Puts all frames that come, until each is stored or refused for good, and remembers
/// how far each file is safe. Ends when its input has ended and nothing is under way.
pub async fn run(
    mut parcels: mpsc::Receiver<Parcel>,
    uplink: Arc<dyn Uplink>,
    mut checkpoint: Checkpoint,
    meter: Arc<Meter>,
    dead: DeadLetters,
) -> Result<(), CheckpointError> {
    let mut ledger = Ledger::default();
    let mut calls = FuturesUnordered::new();
    let mut under_way = 0;
    let mut open = true;
    let mut save = tokio::time::interval_at(Instant::now() + SAVE_EVERY, SAVE_EVERY);
    while open || !calls.is_empty() {
        tokio::select! {
            parcel = parcels.recv(), if open && under_way < BYTES_UNDER_WAY_MAX => match parcel {
                Some(first) => {
                    let frames = gather(first, &mut parcels, &mut ledger, &mut checkpoint);
                    under_way += bytes(&frames);
                    calls.push(put_all(Arc::clone(&uplink), frames, dead.clone(), Arc::clone(&meter)));
                }
                None => {
                    open = false;
                    uplink.finish().await;
                }
            },
            Some(done) = calls.next() => {
                under_way -= bytes(&done);
                done.iter().filter_map(|frame| ledger.settled(frame.id)).for_each(|mark| checkpoint.moved(mark));
            }
            _ = save.tick() => save_or_say(&mut checkpoint),
        }
    }
    checkpoint.save()
}

/// Positions that cannot be written now are tried again: lines are read twice after a
/// crash then, and not lost.
fn save_or_say(checkpoint: &mut Checkpoint) {
    if let Err(error) = checkpoint.save() {
        tracing::error!(error = &error as &dyn std::error::Error, "will try again");
    }
}

/// The frames of one call: `first` and what waits behind it.
fn gather(
    first: Parcel,
    parcels: &mut mpsc::Receiver<Parcel>,
    ledger: &mut Ledger,
    checkpoint: &mut Checkpoint,
) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut total = 0;
    let mut next = Some(first);
    while let Some(parcel) = next {
        total += weight(&parcel.frame);
        parcel.before.into_iter().for_each(|mark| checkpoint.opened(mark));
        ledger.sent(parcel.frame.id, parcel.life, parcel.mark);
        frames.push(parcel.frame);
        // A frame may be as large as a record may be: 1 MiB.
        let room = frames.len() < FRAMES_A_CALL_MAX && total + (1 << 20) <= BYTES_A_CALL_MAX;
        next = if room { parcels.try_recv().ok() } else { None };
    }
    frames
}

fn weight(frame: &Frame) -> usize {
    frame.bytes.len() + frame.key.len()
}

fn bytes(frames: &[Frame]) -> usize {
    frames.iter().map(weight).sum()
}

/// Puts frames until none is left to be put again, and gives them all back.
async fn put_all(uplink: Arc<dyn Uplink>, frames: Vec<Frame>, dead: DeadLetters, meter: Arc<Meter>) -> Vec<Frame> {
    let mut pending = frames.clone();
    let mut pause = Pause::default();
    while !pending.is_empty() {
        match uplink.put(&pending).await {
            Ok(answers) => {
                assert_eq!(pending.len(), answers.len(), "one answer for each frame");
                pending = sort(pending, answers, &dead, &meter).await;
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, frames = pending.len(), "will try again")
            }
        }
        if !pending.is_empty() {
            tokio::time::sleep(pause.next_pause()).await;
        }
    }
    frames
}

/// Settles what has its answer, and returns what must be put again.
async fn sort(frames: Vec<Frame>, answers: Vec<Put>, dead: &DeadLetters, meter: &Meter) -> Vec<Frame> {
    let mut again = Vec::new();
    for (frame, answer) in frames.into_iter().zip(answers) {
        match answer {
            Put::Stored => meter.stored(frame.bytes.len()),
            Put::Again(reason) => {
                tracing::debug!(reason, "the stream wants a frame again");
                again.push(frame);
            }
            Put::Never(reason) => {
                // What cannot even be kept aside must not be forgotten.
                if let Err(error) = dead.keep(&frame, &reason) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        reason,
                        "cannot keep a refused frame; will try again"
                    );
                    again.push(frame);
                    continue;
                }
                meter.refused();
            }
        }
    }
    again
}

/// The folder for frames that the stream will never take: `dead/`, beside the positions.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    folder: PathBuf,
}

impl DeadLetters {
    /// Dead letters below the folder `state`.
    pub fn new(state: &std::path::Path) -> DeadLetters {
        DeadLetters { folder: state.join("dead") }
    }

    /// Keeps a frame, and the reason beside it.
    fn keep(&self, frame: &Frame, reason: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        std::fs::write(self.folder.join(format!("{}.ndjson.gz", frame.key)), &frame.bytes)?;
        std::fs::write(self.folder.join(format!("{}.reason", frame.key)), reason)?;
        tracing::error!(reason, key = frame.key, "the stream refuses a frame for good; it is kept in `dead`");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::Mutex;

    /// Answers from a script and notes what was asked.
    struct Scripted {
        answers: Mutex<VecDeque<Result<Vec<Put>, PutError>>>,
        asked: Mutex<Vec<Vec<u64>>>,
    }

    impl Scripted {
        fn new(answers: impl IntoIterator<Item = Result<Vec<Put>, PutError>>) -> Arc<Scripted> {
            Arc::new(Scripted { answers: Mutex::new(answers.into_iter().collect()), asked: Mutex::default() })
        }
    }

    #[async_trait]
    impl Uplink for Scripted {
        async fn put(&self, frames: &[Frame]) -> Result<Vec<Put>, PutError> {
            self.asked.lock().unwrap().push(frames.iter().map(|frame| frame.id.0).collect());
            self.answers.lock().unwrap().pop_front().expect("no more calls than the script has")
        }
    }

    fn frames(ids: impl IntoIterator<Item = u64>) -> Vec<Frame> {
        let frame =
            |id| Frame { id: FrameId(id), key: format!("{id:032x}"), bytes: Bytes::from_static(b"x"), lines: 1 };
        ids.into_iter().map(frame).collect()
    }

    async fn put(uplink: &Arc<Scripted>, ids: impl IntoIterator<Item = u64>) -> (Vec<Vec<u64>>, tempfile::TempDir) {
        let state = tempfile::tempdir().unwrap();
        put_all(uplink.clone(), frames(ids), DeadLetters::new(state.path()), Arc::default()).await;
        (uplink.asked.lock().unwrap().clone(), state)
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_throttled_frames_are_sent_again() {
        let throttled = || Put::Again("ProvisionedThroughputExceededException".into());
        let uplink = Scripted::new([
            Ok(vec![Put::Stored, throttled(), Put::Stored, throttled()]),
            Ok(vec![throttled(), Put::Stored]),
            Ok(vec![Put::Stored]),
        ]);
        let (asked, _state) = put(&uplink, 1..=4).await;
        assert_eq!(asked, [vec![1, 2, 3, 4], vec![2, 4], vec![2]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_is_made_again_with_the_same_frames() {
        let uplink = Scripted::new([Err(PutError("connection reset".into())), Ok(vec![Put::Stored, Put::Stored])]);
        let (asked, _state) = put(&uplink, 1..=2).await;
        assert_eq!(asked, [vec![1, 2], vec![1, 2]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_refused_for_good_is_kept_with_the_reason() {
        let uplink = Scripted::new([Ok(vec![Put::Never("too large".into()), Put::Stored])]);
        let (_, state) = put(&uplink, 1..=2).await;
        let dead = state.path().join("dead");
        let reason = std::fs::read_to_string(dead.join(format!("{:032x}.reason", 1))).unwrap();
        assert_eq!(reason, "too large");
        assert_eq!(std::fs::read(dead.join(format!("{:032x}.ndjson.gz", 1))).unwrap(), b"x");
    }
}
