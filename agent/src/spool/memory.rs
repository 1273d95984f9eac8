//! A disk in memory that fails where a test wants it to.

use super::disk::{Disk, SegmentId};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

/// What goes wrong at one of the disk's writing calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies in the call, when so many eighths of it are done.
    Dies(usize),
    /// The disk is full after so many eighths, for so many calls.
    Full(usize, usize),
    /// The device fails, for so many calls.
    Breaks(usize),
}

#[derive(Debug, Clone, Default)]
struct State {
    segments: BTreeMap<SegmentId, Vec<u8>>,
    synced: BTreeMap<SegmentId, usize>,
    kept: BTreeMap<String, Vec<u8>>,
    /// Bytes that fit in all.
    room: Option<usize>,
    reserved: usize,
    calls: usize,
    fault: Option<(usize, Fault)>,
    is_dead: bool,
    /// Cancelled by the next sync.
    told: Option<CancellationToken>,
}

impl State {
    /// How many more bytes fit.
    fn left(&self) -> usize {
        let used = self.segments.values().map(Vec::len).sum::<usize>() + self.reserved;
        self.room.map_or(usize::MAX, |room| room.saturating_sub(used))
    }
}

/// What [`Memory`] reserves: a snapshot and a frame of the spool's tests.
const RESERVE_BYTES: usize = 1 << 10;

/// The disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

impl Memory {
    /// Goes wrong at writing call `at`, counted from 0.
    pub fn fail_at(&self, at: usize, fault: Fault) {
        self.state().fault = Some((at, fault));
    }

    /// Cancels `told` in the next sync.
    pub fn tell_at_sync(&self, told: CancellationToken) {
        self.state().told = Some(told);
    }

    /// From now on, so many bytes fit.
    pub fn has_room(&self, bytes: usize) {
        self.state().room = Some(bytes);
    }

    /// Writing calls so far.
    pub fn calls(&self) -> usize {
        self.state().calls
    }

    pub fn is_dead(&self) -> bool {
        self.state().is_dead
    }

    /// The disk that a new process finds; after power loss without what was not synced.
    pub fn reborn(&self, power_loss: bool) -> Memory {
        let mut state = self.state().clone();
        (state.fault, state.is_dead, state.calls) = (None, false, 0);
        if power_loss {
            for (id, bytes) in &mut state.segments {
                let synced = state.synced.get(id).copied().unwrap_or(0);
                bytes.truncate(synced.max(synced + (bytes.len().saturating_sub(synced)) / 3));
            }
        }
        Memory(Arc::new(Mutex::new(state)))
    }

    /// Flips a bit.
    pub fn damage(&self, segment: SegmentId, at: usize) {
        self.state().segments.get_mut(&segment).unwrap()[at] ^= 1;
    }

    pub fn kept_names(&self) -> Vec<String> {
        self.state().kept.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How much of a call of `bytes` bytes is done, and how it ends.
    fn call(&self, bytes: usize) -> (MutexGuard<'_, State>, usize, io::Result<()>) {
        let mut state = self.state();
        let call = state.calls;
        state.calls += 1;
        let broken = || Err(io::Error::from_raw_os_error(libc::EIO));
        if state.is_dead {
            return (state, 0, broken());
        }
        match state.fault {
            Some((at, Fault::Dies(eighths))) if call == at => {
                state.is_dead = true;
                (state, bytes * eighths / 8, broken())
            }
            Some((at, Fault::Full(eighths, calls))) if (at..at + calls).contains(&call) => {
                (state, bytes * eighths / 8, Err(io::Error::from_raw_os_error(libc::ENOSPC)))
            }
            Some((at, Fault::Breaks(calls))) if (at..at + calls).contains(&call) => (state, 0, broken()),
            _ => (state, bytes, Ok(())),
        }
    }
}

impl Disk for Memory {
    fn segments(&self) -> io::Result<Vec<(SegmentId, u64)>> {
        Ok(self.state().segments.iter().map(|(id, bytes)| (*id, bytes.len() as u64)).collect())
    }

    fn create(&self, segment: SegmentId) -> io::Result<()> {
        let (mut state, done, ended) = self.call(8);
        if done > 0 {
            state.segments.insert(segment, Vec::new());
            state.synced.remove(&segment);
        }
        ended
    }

    fn write(&self, segment: SegmentId, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut state, mut done, mut ended) = self.call(bytes.len());
        let more = (at as usize + done).saturating_sub(state.segments.get(&segment).map_or(0, Vec::len));
        if more > state.left() {
            done -= more - state.left();
            ended = Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let file = state.segments.get_mut(&segment).ok_or(io::ErrorKind::NotFound)?;
        let end = at as usize + done;
        file.resize(file.len().max(end), 0);
        file[at as usize..end].copy_from_slice(&bytes[..done]);
        ended
    }

    fn read(&self, segment: SegmentId, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let state = self.state();
        let file = state.segments.get(&segment).ok_or(io::ErrorKind::NotFound)?;
        let at = (at as usize).min(file.len());
        Ok(file[at..file.len().min(at.saturating_add(bytes))].to_vec())
    }

    fn sync(&self, segment: SegmentId) -> io::Result<()> {
        let (mut state, done, ended) = self.call(8);
        let length = state.segments.get(&segment).map(Vec::len).ok_or(io::ErrorKind::NotFound)?;
        state.told.take().iter().for_each(CancellationToken::cancel);
        if done > 0 {
            state.synced.insert(segment, length);
        }
        ended
    }

    fn cut(&self, segment: SegmentId, at: u64) -> io::Result<()> {
        let (mut state, done, ended) = self.call(8);
        if done > 0 {
            state.segments.get_mut(&segment).ok_or(io::ErrorKind::NotFound)?.truncate(at as usize);
        }
        ended
    }

    fn remove(&self, segment: SegmentId) -> io::Result<()> {
        let (mut state, done, ended) = self.call(8);
        if done > 0 {
            state.segments.remove(&segment);
        }
        ended
    }

    fn reserve(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.reserved == 0 && state.left() < RESERVE_BYTES {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        state.reserved = RESERVE_BYTES;
        Ok(())
    }

    fn release(&self) -> io::Result<bool> {
        Ok(std::mem::take(&mut self.state().reserved) > 0)
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (mut state, done, ended) = self.call(8);
        if done > 0 {
            state.kept.insert(name.to_owned(), bytes.to_vec());
        }
        ended
    }

    fn kept(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state().kept.get(name).cloned())
    }
}
