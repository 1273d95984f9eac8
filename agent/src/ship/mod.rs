//! Frames from the spool to the stream, until each has an answer.

mod lanes;
#[cfg(feature = "aws")]
pub mod kinesis;

pub use lanes::HashRange;

use crate::meter::Meter;
use crate::spool::{Place, ReadError, Shipment, Spool};
use async_trait::async_trait;
use bytes::Bytes;
use event::pause::Pause;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use lanes::{CallLimits, Cargo, Lanes, weight};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// A frame, ready to be put.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Kinesis's partition key: random hex digits.
    pub key: String,
    /// Kinesis's explicit hash key, where the shards are known: so frames spread evenly.
    pub hash_key: Option<u128>,
    /// The encoded frame, at most 1 MiB with its key.
    pub bytes: Bytes,
    /// Events in it.
    pub lines: usize,
}

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
#[error("cannot put frames into the stream{hint}")]
pub struct PutError {
    /// Whether the stream found fault with what it was sent, so that one frame may be the
    /// reason.
    pub is_refusal: bool,
    /// What to do about it, or nothing; begins with a colon.
    pub hint: String,
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

impl PutError {
    /// Trouble on the way, or at the stream.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PutError {
        PutError { is_refusal: false, hint: String::new(), cause: cause.into() }
    }
}

/// The way to the stream.
#[async_trait]
pub trait Uplink: Send + Sync {
    /// Puts frames. One answer for each frame, in the order given. The caller keeps to
    /// 500 frames and the configured bytes a call.
    async fn put(&self, frames: &[Frame]) -> Result<Vec<Put>, PutError>;

    /// The open shards; none where the stream does not tell.
    async fn shards(&self) -> Vec<HashRange> {
        Vec::new()
    }

    /// Says that nothing more will be put. A stream that waits for company before it
    /// answers need not wait any longer.
    async fn finish(&self) {}
}

/// Frames in one call: the limit of PutRecords (Kinesis API reference).
const FRAMES_A_CALL_MAX: usize = 500;

/// Bytes that a call aims at. Larger ones win little, and each takes three times its
/// size in memory on its way through JSON.
const BYTES_A_CALL: usize = 1 << 20;

/// Bytes in memory, waiting for a call or under way: eight calls.
const BYTES_UNDER_WAY_MAX: usize = 8 << 20;

/// Frames in memory.
const FRAMES_UNDER_WAY_MAX: usize = 2_000;

/// How often the shards are asked for.
const SHARDS_EVERY: Duration = Duration::from_secs(60);

/// A disk that cannot be read is tried again after this time.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// How often an idle shipper shows that it lives.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// A stream that takes nothing is told of this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Puts all frames that come into the spool, until each is stored or refused for good.
/// Ends when `read` says that no more will come and all have arrived, or at once when
/// told to `leave`: then the next one goes on.
///
/// # Errors
/// A damaged record: the spool must be opened anew.
pub async fn run(
    spool: Arc<Spool>,
    uplink: Arc<dyn Uplink>,
    request_bytes: usize,
    meter: Arc<Meter>,
    dead: DeadLetters,
    read: CancellationToken,
    leave: CancellationToken,
) -> Result<(), ReadError> {
    let mut shipper = Shipper::new(spool, uplink, request_bytes, meter, dead);
    let mut calls = FuturesUnordered::new();
    let mut shards = tokio::time::interval(SHARDS_EVERY);
    shards.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut alive = tokio::time::interval(ALIVE_EVERY);
    let mut asked = FuturesUnordered::new();
    let mut is_finishing = false;
    loop {
        shipper.load().await?;
        while let Some(call) = shipper.next_call() {
            calls.push(shipper.put(call));
        }
        let is_read = read.is_cancelled();
        if is_read && !is_finishing && shipper.is_all_put() {
            // A call that nobody has polled has not been made.
            if let Some(Some((call, answer))) = calls.next().now_or_never() {
                shipper.settle(call, answer);
                continue;
            }
            is_finishing = true;
            shipper.uplink.finish().await;
        }
        if is_read && shipper.is_done() {
            return Ok(());
        }
        let ready_at = shipper.ready_at();
        tokio::select! {
            Some((call, answer)) = calls.next() => shipper.settle(call, answer),
            () = shipper.spool.appended(), if shipper.has_room() => {}
            () = tokio::time::sleep_until(ready_at.unwrap_or_else(Instant::now)), if ready_at.is_some() => {}
            _ = shards.tick(), if asked.is_empty() && !is_read => {
                let uplink = Arc::clone(&shipper.uplink);
                asked.push(async move { uplink.shards().await });
            }
            _ = alive.tick() => {}
            Some(ranges) = asked.next() => shipper.lanes.set_shards(&ranges, Instant::now()),
            () = read.cancelled(), if !is_read => {}
            () = leave.cancelled() => return Ok(()),
        }
        shipper.meter.shards(shipper.lanes.shards());
        shipper.meter.shipper_lives();
    }
}

type Load = Cargo<Waiting>;

/// What is remembered of a frame on its way.
#[derive(Debug, Clone)]
struct Waiting {
    place: Place,
    /// Set when the stream found fault with the call that it was in: the frames that
    /// the stream had taken by then.
    accused: Option<u64>,
}

struct Shipper {
    spool: Arc<Spool>,
    uplink: Arc<dyn Uplink>,
    request_bytes: usize,
    meter: Arc<Meter>,
    dead: DeadLetters,
    lanes: Lanes<Waiting>,
    /// Frames that go alone, since one of them may be why a call was refused.
    accused: Vec<Load>,
    under_way: usize,
    frames: usize,
    stored: u64,
    pause: Pause,
    not_before: Instant,
    told: Option<Instant>,
}

impl Shipper {
    fn new(
        spool: Arc<Spool>,
        uplink: Arc<dyn Uplink>,
        request_bytes: usize,
        meter: Arc<Meter>,
        dead: DeadLetters,
    ) -> Shipper {
        let now = Instant::now();
        Shipper {
            spool,
            uplink,
            request_bytes,
            meter,
            dead,
            lanes: Lanes::new(now),
            accused: Vec::new(),
            under_way: 0,
            frames: 0,
            stored: 0,
            pause: Pause::default(),
            not_before: now,
            told: None,
        }
    }

    fn has_room(&self) -> bool {
        self.under_way < BYTES_UNDER_WAY_MAX && self.frames < FRAMES_UNDER_WAY_MAX
    }

    fn is_done(&self) -> bool {
        self.frames == 0 && self.spool.is_drained()
    }

    /// Whether all frames are under way for the first time.
    fn is_all_put(&self) -> bool {
        self.spool.is_shipped() && self.accused.is_empty() && self.ready_at().is_none()
    }

    /// Takes frames from the spool while there is room in memory: the newest as they are,
    /// older ones from the disk.
    async fn load(&mut self) -> Result<(), ReadError> {
        while self.has_room() {
            match self.spool.next_recent() {
                Some(shipment) => self.add(shipment),
                None if self.spool.is_shipped() => break,
                None => return self.load_from_disk().await,
            }
        }
        Ok(())
    }

    async fn load_from_disk(&mut self) -> Result<(), ReadError> {
        let (bytes, frames) = (BYTES_UNDER_WAY_MAX - self.under_way, FRAMES_UNDER_WAY_MAX - self.frames);
        let spool = Arc::clone(&self.spool);
        let read = tokio::task::spawn_blocking(move || read_frames(&spool, bytes, frames));
        match read.await.expect("reading the spool does not panic") {
            Err(error @ ReadError::Read(_)) => {
                self.meter.stream_trouble(crate::full_text(&error));
                tracing::error!(error = &error as &dyn std::error::Error, "will try again");
                tokio::time::sleep(READ_PAUSE).await;
            }
            read => read?.into_iter().for_each(|shipment| self.add(shipment)),
        }
        Ok(())
    }

    fn add(&mut self, shipment: Shipment) {
        let Shipment { place, meta, payload } = shipment;
        let frame = Frame { key: meta.key, hash_key: None, bytes: payload, lines: meta.lines };
        self.under_way += weight(&frame);
        self.frames += 1;
        self.lanes.add(frame, Waiting { place, accused: None });
    }

    fn next_call(&mut self) -> Option<Vec<Load>> {
        let now = Instant::now();
        if now < self.not_before {
            return None;
        }
        if let Some(alone) = self.accused.pop() {
            return Some(vec![alone]);
        }
        let bytes = BYTES_A_CALL.min(self.request_bytes);
        let call = self.lanes.take(now, CallLimits { records: FRAMES_A_CALL_MAX, bytes });
        (!call.is_empty()).then_some(call)
    }

    /// When the next call may go; `None` if nothing waits.
    fn ready_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let ready = if self.accused.is_empty() { self.lanes.ready_at(now)? } else { now };
        Some(ready.max(self.not_before))
    }

    fn put(&self, call: Vec<Load>) -> impl Future<Output = (Vec<Load>, Result<Vec<Put>, PutError>)> + use<> {
        let uplink = Arc::clone(&self.uplink);
        async move {
            let frames: Vec<Frame> = call.iter().map(|cargo| cargo.frame.clone()).collect();
            let answer = uplink.put(&frames).await;
            (call, answer)
        }
    }

    fn settle(&mut self, call: Vec<Load>, answer: Result<Vec<Put>, PutError>) {
        match answer {
            Ok(answers) => {
                assert_eq!(call.len(), answers.len(), "one answer for each frame");
                (self.pause, self.told) = (Pause::default(), None);
                self.sort(call, answers);
            }
            Err(error) if error.is_refusal => self.accuse(call, error),
            Err(error) => {
                self.wait_because(&error);
                self.meter.retried(call.len());
                self.lanes.back(call);
            }
        }
    }

    fn sort(&mut self, call: Vec<Load>, answers: Vec<Put>) {
        let now = Instant::now();
        for (cargo, answer) in call.into_iter().zip(answers) {
            match answer {
                Put::Stored => {
                    self.stored += 1;
                    self.meter.stored(cargo.frame.bytes.len());
                    self.lanes.stored(&cargo);
                    self.done(&cargo);
                }
                Put::Again(reason) => {
                    tracing::debug!(reason, "the stream wants a frame again");
                    self.meter.retried(1);
                    self.lanes.again(cargo, now);
                }
                Put::Never(reason) => self.bury(cargo, &reason),
            }
        }
    }

    /// Takes apart a call that was refused as a whole: one frame may be the reason. A
    /// frame that is refused alone while the stream takes others will never be taken;
    /// when all are refused, it is the stream that must be mended.
    fn accuse(&mut self, call: Vec<Load>, error: PutError) {
        if let [cargo] = &call[..]
            && cargo.place.accused.is_some_and(|stored| self.stored > stored)
        {
            let reason = crate::full_text(&error);
            return call.into_iter().for_each(|cargo| self.bury(cargo, &reason));
        }
        self.wait_because(&error);
        self.meter.retried(call.len());
        let stored = self.stored;
        for mut cargo in call {
            cargo.place.accused.get_or_insert(stored);
            self.accused.insert(0, cargo);
        }
    }

    fn bury(&mut self, cargo: Load, reason: &str) {
        // What cannot even be kept aside must not be forgotten.
        if let Err(error) = self.dead.keep(&cargo.frame, reason) {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, reason, "cannot keep a refused frame; will try again");
            return self.lanes.again(cargo, Instant::now());
        }
        self.meter.refused();
        self.done(&cargo);
    }

    fn done(&mut self, cargo: &Load) {
        self.under_way -= weight(&cargo.frame);
        self.frames -= 1;
        self.spool.settled(cargo.place.place);
    }

    fn wait_because(&mut self, error: &PutError) {
        let now = Instant::now();
        if self.not_before <= now {
            self.not_before = now + self.pause.next_pause();
        }
        self.meter.stream_trouble(crate::full_text(error));
        if self.told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY) {
            self.told = Some(now);
            tracing::warn!(error = error as &dyn std::error::Error, "will try again; reading goes on into the spool");
        }
    }
}

fn read_frames(spool: &Spool, bytes: usize, frames: usize) -> Result<Vec<Shipment>, ReadError> {
    let (mut out, mut total) = (Vec::new(), 0);
    while total < bytes && out.len() < frames {
        let Some(shipment) = spool.next()? else { break };
        total += shipment.payload.len();
        out.push(shipment);
    }
    Ok(out)
}

/// The folder for frames that the stream will never take: `dead/`, in the spool.
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
        std::fs::write(self.folder.join(format!("{}.record", frame.key)), &frame.bytes)?;
        std::fs::write(self.folder.join(format!("{}.reason", frame.key)), reason)?;
        tracing::error!(reason, key = frame.key, "the stream refuses a frame for good; it is kept in `dead`");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::memory::Memory;
    use crate::spool::{Limits, Meta};
    use crate::tail::Known;
    use std::collections::VecDeque;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    type Answer = Result<Vec<Put>, PutError>;

    /// Answers from a script and notes what was asked. Takes everything afterwards.
    #[derive(Default)]
    struct Scripted {
        answers: Mutex<VecDeque<Answer>>,
        asked: Mutex<Vec<Vec<String>>>,
        /// A frame that is refused with any call that it is in.
        poison: Option<&'static str>,
        finished: Arc<AtomicBool>,
    }

    #[async_trait]
    impl Uplink for Scripted {
        async fn put(&self, frames: &[Frame]) -> Answer {
            assert!(!self.finished.load(Ordering::Relaxed), "what is put for the first time comes before the end");
            self.asked.lock().unwrap().push(frames.iter().map(|frame| frame.key.clone()).collect());
            if frames.iter().any(|frame| Some(frame.key.as_str()) == self.poison) {
                return Err(PutError { is_refusal: true, hint: String::new(), cause: "one record is bad".into() });
            }
            let answer = self.answers.lock().unwrap().pop_front();
            answer.unwrap_or_else(|| Ok(vec![Put::Stored; frames.len()]))
        }

        async fn finish(&self) {
            self.finished.store(true, Ordering::Relaxed);
        }
    }

    fn spool(keys: &[&str]) -> Arc<Spool> {
        let opened = Spool::open(Arc::new(Memory::default()), Path::new("/spool"), Limits::default()).unwrap();
        for key in keys {
            let meta = Meta { key: (*key).to_owned(), lines: 1, marks: Vec::new() };
            opened.spool.append(meta, Bytes::from_static(b"x"), &Known::default).unwrap();
        }
        Arc::new(opened.spool)
    }

    /// Ships frames with these keys. Returns the calls that were made.
    async fn ship(uplink: Scripted, keys: &[&str]) -> (Vec<Vec<String>>, Arc<Meter>, tempfile::TempDir) {
        let (state, uplink, meter) = (tempfile::tempdir().unwrap(), Arc::new(uplink), Arc::<Meter>::default());
        let (spool, read, leave) = (spool(keys), CancellationToken::new(), CancellationToken::new());
        read.cancel();
        let dead = DeadLetters::new(state.path());
        run(Arc::clone(&spool), uplink.clone(), 5 << 20, Arc::clone(&meter), dead, read, leave).await.unwrap();
        assert!(spool.is_drained());
        (uplink.asked.lock().unwrap().clone(), meter, state)
    }

    fn script(answers: impl IntoIterator<Item = Answer>) -> Scripted {
        Scripted { answers: Mutex::new(answers.into_iter().collect()), ..Scripted::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_throttled_frames_are_sent_again() {
        let throttled = || Put::Again("ProvisionedThroughputExceededException".into());
        let answers =
            [Ok(vec![Put::Stored, throttled(), Put::Stored, throttled()]), Ok(vec![throttled(), Put::Stored])];
        let (mut asked, meter, _state) = ship(script(answers), &["1", "2", "3", "4"]).await;
        asked.iter_mut().for_each(|call| call.sort());
        assert_eq!(asked[..2], [vec!["1", "2", "3", "4"], vec!["2", "4"]]);
        assert_eq!((asked.len(), asked[2].len()), (3, 1));
        assert_eq!(meter.frames().0, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_is_made_again_with_the_same_frames() {
        let (asked, _, _state) = ship(script([Err(PutError::new("connection reset"))]), &["1", "2"]).await;
        assert_eq!(asked, [vec!["1", "2"], vec!["1", "2"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_refused_for_good_is_kept_with_the_reason() {
        let (_, meter, state) =
            ship(script([Ok(vec![Put::Never("too large".into()), Put::Stored])]), &["1", "2"]).await;
        let dead = state.path().join("dead");
        assert_eq!(std::fs::read_to_string(dead.join("1.reason")).unwrap(), "too large");
        assert_eq!(std::fs::read(dead.join("1.record")).unwrap(), b"x");
        assert_eq!((meter.dead(), meter.frames().0), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_stream_is_told_of_the_end_also_when_nothing_was_put() {
        let uplink = Scripted::default();
        let finished = Arc::clone(&uplink.finished);
        ship(uplink, &[]).await;
        assert!(finished.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn one_bad_frame_does_not_keep_the_others() {
        let uplink = Scripted { poison: Some("2"), ..Scripted::default() };
        let (_, meter, state) = ship(uplink, &["1", "2", "3"]).await;
        assert_eq!((meter.dead(), meter.frames().0), (1, 2));
        let reason = std::fs::read_to_string(state.path().join("dead/2.reason")).unwrap();
        assert_eq!(reason, "cannot put frames into the stream: one record is bad");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_refuses_everything_buries_nothing() {
        let refusal = || Err(PutError { is_refusal: true, hint: String::new(), cause: "no such stream name".into() });
        let (_, meter, _state) = ship(script((0..20).map(|_| refusal())), &["1", "2", "3"]).await;
        assert_eq!((meter.dead(), meter.frames().0), (0, 3));
    }
}
