//! One open file: which life of which file it is, and reading on in it.

use super::lines::Lines;
use super::lives::{Life, Position};
use event::Day;
use event::limits::FIRST_LINE_BYTES_MAX;
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Bytes read from one file before the next one has its turn.
const BURST_BYTES: usize = 256 << 10;

/// Bytes that a witness covers at most.
const WITNESS_BYTES: usize = FIRST_LINE_BYTES_MAX;

/// A file, whatever it is called now.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct FileId {
    /// Numbers of devices may change at a boot, so this counts only where there is no
    /// birth time.
    pub device: u64,
    pub inode: u64,
    /// Birth time in nanoseconds, where the filesystem keeps it: an inode number that
    /// is used again has another.
    pub born: Option<u64>,
}

impl PartialEq for FileId {
    fn eq(&self, other: &FileId) -> bool {
        self.inode == other.inode && self.born == other.born && (self.born.is_some() || self.device == other.device)
    }
}

impl Eq for FileId {}

impl std::hash::Hash for FileId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.inode, self.born).hash(state);
    }
}

impl FileId {
    /// The id of the file that `meta` is about.
    pub fn of(meta: &Metadata) -> FileId {
        let born = meta.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|at| u64::try_from(at.as_nanos()).ok());
        FileId { device: meta.dev(), inode: meta.ino(), born }
    }
}

/// Some bytes of a file, remembered by their hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Witness {
    pub bytes: usize,
    /// First half of SHA-256, in hex.
    pub hash: String,
}

impl Witness {
    /// Remembers `bytes`.
    pub fn of(bytes: &[u8]) -> Witness {
        let hash = Sha256::digest(bytes);
        let hash = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Witness { bytes: bytes.len(), hash }
    }
}

/// Opens a regular file for reading; `None` for anything else.
///
/// The folder may belong to an attacker: a link is not followed, and a FIFO does not
/// block.
pub fn open(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(cause) if cause.raw_os_error() == Some(libc::ELOOP) => return Ok(None),
        opened => opened?,
    };
    let meta = file.metadata()?;
    Ok(meta.is_file().then_some((file, meta)))
}

/// Where the bytes of a life come from.
enum Source {
    Plain(File),
    /// Unpacked while reading. Offsets are those of the unpacked text.
    Gzip(Box<MultiGzDecoder<File>>),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Plain(file) => file.read(buffer),
            Source::Gzip(unpacked) => unpacked.read(buffer),
        }
    }
}

/// A file being read, in one of its lives.
pub struct Follower {
    pub id: FileId,
    pub lines: Lines,
    source: Source,
    /// First bytes of the life.
    head: Vec<u8>,
    /// Bytes of the life that have been read.
    read_to: u64,
    /// The last bytes that have been read.
    tail: Vec<u8>,
    /// Bytes that the file had at the last look: of the life for a plain file, packed ones
    /// for `.gz`.
    size: u64,
    /// Whether the last look found nothing more.
    is_at_end: bool,
    /// The file's stamp when it was at its end, once that was a while old.
    seen: Option<Stamp>,
}

/// Size, and when bytes and properties changed last, in nanoseconds.
type Stamp = (u64, i128, i128);

/// Clocks of filesystems go in steps of up to 10 ms: what was written in the same step
/// shows the same time.
const STAMP_AGE: Duration = Duration::from_millis(100);

fn stamp(meta: &Metadata) -> Stamp {
    let nanoseconds = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    (meta.len(), nanoseconds(meta.mtime(), meta.mtime_nsec()), nanoseconds(meta.ctime(), meta.ctime_nsec()))
}

/// What a look at a file found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// So many new bytes; 0 is the end for now.
    Read(usize),
    /// What had been read is no longer there: the file was truncated or written anew.
    Replaced,
}

impl Follower {
    /// Begins to read at the start of `file`.
    pub fn new(file: File, meta: &Metadata) -> io::Result<Follower> {
        Ok(Follower {
            id: FileId::of(meta),
            lines: Lines::default(),
            source: source(file)?,
            head: Vec::new(),
            read_to: 0,
            tail: Vec::new(),
            size: meta.len(),
            seen: None,
            is_at_end: false,
        })
    }

    /// Whether it is unpacked while it is read.
    pub fn is_packed(&self) -> bool {
        matches!(self.source, Source::Gzip(_))
    }

    /// Bytes of the unpacked text, as a packed file's last four bytes tell (RFC 1952,
    /// section 2.3.1); modulo 2^32, and of its last member.
    pub fn unpacked_size(&self) -> io::Result<u32> {
        let Source::Gzip(unpacked) = &self.source else { return Ok(self.size as u32) };
        let file = unpacked.get_ref();
        let end = read_at(file, file.metadata()?.len().saturating_sub(4), 4)?;
        Ok(end.try_into().map_or(0, u32::from_le_bytes))
    }

    /// How many bytes the text has, and the last ones of it. Unpacks a packed file.
    pub fn end(&mut self) -> io::Result<(u64, Vec<u8>)> {
        match &mut self.source {
            Source::Plain(file) => {
                let size = file.metadata()?.len();
                let bytes = (size as usize).min(WITNESS_BYTES);
                Ok((size, read_at(file, size - bytes as u64, bytes)?))
            }
            Source::Gzip(_) => {
                self.rewind()?;
                let (mut size, mut end, mut buffer) = (0, Vec::new(), vec![0; 64 << 10]);
                loop {
                    let read = self.source.read(&mut buffer)?;
                    if read == 0 {
                        break;
                    }
                    size += read as u64;
                    remember(&mut end, &buffer[..read]);
                }
                self.rewind()?;
                Ok((size, end))
            }
        }
    }

    /// Goes on where `life` was left, if this file holds it: its first bytes and those
    /// before the position are the same. `is_known` says that this very file held it, so
    /// that the bytes before the position need not be known.
    pub fn resume(&mut self, life: &Life, is_known: bool) -> io::Result<bool> {
        let Position { offset, tail, .. } = &life.position;
        if tail.is_none() && *offset > 0 && !is_known {
            return Ok(false);
        }
        let held = match &mut self.source {
            Source::Plain(file) => {
                let held = file.metadata()?.len() >= *offset
                    && same_at(file, 0, &life.head)?
                    && tail.as_ref().map_or(Ok(true), |tail| same_at(file, offset - tail.bytes as u64, tail))?;
                if held {
                    file.seek(SeekFrom::Start(*offset))?;
                }
                held
            }
            Source::Gzip(_) => self.skip(*offset, &life.head, tail.as_ref())?,
        };
        if held {
            self.head = self.bytes_at(0, life.head.bytes)?;
            let before = (*offset as usize).min(WITNESS_BYTES);
            self.tail = self.bytes_at(offset - before as u64, before)?;
            self.lines = Lines::from(*offset, &self.tail);
            self.read_to = *offset;
        }
        Ok(held)
    }

    /// Unpacks `offset` bytes for nothing. False, and at the start again, if the text is
    /// another one or ends earlier.
    fn skip(&mut self, offset: u64, head: &Witness, tail: Option<&Witness>) -> io::Result<bool> {
        self.rewind()?;
        let same = self.unpack(offset, head, tail).unwrap_or(false);
        if !same {
            self.rewind()?;
        }
        Ok(same)
    }

    fn unpack(&mut self, offset: u64, head: &Witness, tail: Option<&Witness>) -> io::Result<bool> {
        let mut next = |bytes: usize| -> io::Result<Vec<u8>> {
            let mut out = Vec::new();
            (&mut self.source).take(bytes as u64).read_to_end(&mut out)?;
            Ok(out)
        };
        let first = next(head.bytes.min(offset as usize))?;
        if head.bytes as u64 <= offset && Witness::of(&first) != *head {
            return Ok(false);
        }
        let last = tail.map_or(0, |tail| tail.bytes).min(offset as usize);
        // The first bytes may be a part of the last ones.
        let between = (offset - last as u64).checked_sub(first.len() as u64);
        let known = match between {
            Some(between) => {
                if io::copy(&mut (&mut self.source).take(between), &mut io::sink())? != between {
                    return Ok(false);
                }
                let mut end = Vec::new();
                (&mut self.source).take(last as u64).read_to_end(&mut end)?;
                end
            }
            None => {
                let rest = next(offset as usize - first.len())?;
                let whole = [first, rest].concat();
                whole[whole.len().saturating_sub(last)..].to_vec()
            }
        };
        Ok(known.len() == last && tail.is_none_or(|tail| Witness::of(&known) == *tail))
    }

    fn rewind(&mut self) -> io::Result<()> {
        match &mut self.source {
            Source::Plain(file) => file.seek(SeekFrom::Start(0)).map(drop),
            Source::Gzip(unpacked) => {
                let mut file = unpacked.get_ref().try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                **unpacked = MultiGzDecoder::new(file);
                Ok(())
            }
        }
    }

    /// Reads on. The new bytes stand in [`lines`](Follower::lines).
    pub fn look(&mut self) -> io::Result<Look> {
        let meta = match &self.source {
            Source::Plain(file) => Some(file.metadata()?),
            Source::Gzip(_) => None,
        };
        if let Some(meta) = &meta {
            if self.seen == Some(stamp(meta)) {
                return Ok(Look::Read(0));
            }
            if self.is_replaced(meta.len())? {
                return Ok(Look::Replaced);
            }
            self.size = meta.len();
        }
        let left = meta.as_ref().map_or(u64::MAX, |meta| meta.len() - self.read_to);
        let read = self.lines.fill(&mut self.source, BURST_BYTES.min(left as usize))?;
        let newest = self.lines.newest(read);
        let room = WITNESS_BYTES - self.head.len().min(WITNESS_BYTES);
        if self.read_to == self.head.len() as u64 {
            self.head.extend_from_slice(&newest[..read.min(room)]);
        }
        remember(&mut self.tail, newest);
        self.read_to += read as u64;
        self.is_at_end = read == 0;
        let is_old = |meta: &Metadata| meta.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > STAMP_AGE));
        self.seen = meta.filter(|meta| read == 0 && is_old(meta)).map(|meta| stamp(&meta));
        Ok(Look::Read(read))
    }

    /// Whether the file holds other bytes than were read.
    pub fn was_replaced(&self) -> io::Result<bool> {
        let Source::Plain(file) = &self.source else { return Ok(false) };
        let meta = file.metadata()?;
        Ok(self.seen != Some(stamp(&meta)) && self.is_replaced(meta.len())?)
    }

    /// Whether the bytes before the reading position are other ones than were read.
    fn is_replaced(&self, size: u64) -> io::Result<bool> {
        let at = self.read_to - self.tail.len() as u64;
        Ok(size < self.read_to
            || self.bytes_at(at, self.tail.len())? != self.tail
            || at > 0 && self.bytes_at(0, self.head.len())? != self.head)
    }

    /// Back to the first byte, as if nothing had been read.
    pub fn back_to_start(&mut self) -> io::Result<()> {
        self.rewind()?;
        self.lines = Lines::default();
        self.head.clear();
        self.tail.clear();
        self.seen = None;
        self.is_at_end = false;
        self.read_to = 0;
        Ok(())
    }

    /// The first bytes, of whole lines only: what follows them may not be on the disk yet.
    pub fn head(&self) -> Witness {
        Witness::of(&self.head[..self.head.len().min(self.lines.offset() as usize)])
    }

    /// The place `offset`, which lies between two lines that have been read. What stands
    /// before it is remembered as it was read, since the file may hold other bytes by now.
    pub fn position(&self, offset: u64, day: Option<Day>, under: Option<String>) -> Position {
        let wanted = (offset as usize).min(WITNESS_BYTES);
        let known = if offset == self.lines.offset() { self.lines.before() } else { &[] };
        let tail = if known.len() == wanted {
            Some(Witness::of(known))
        } else {
            let read = self.bytes_at(offset - wanted as u64, wanted).ok();
            read.filter(|bytes| bytes.len() == wanted).map(|bytes| Witness::of(&bytes))
        };
        Position { offset, tail, day, under }
    }

    /// Bytes that the file had at the last look, and how many of them have been read: of
    /// a packed file, packed ones.
    pub fn progress(&self) -> (u64, u64) {
        match &self.source {
            Source::Plain(_) => (self.read_to, self.size.max(self.read_to)),
            Source::Gzip(unpacked) => {
                let mut file = unpacked.get_ref();
                (file.stream_position().unwrap_or(0), self.size)
            }
        }
    }

    /// Bytes of the life that are known to exist.
    pub fn life_bytes(&self) -> u64 {
        if self.is_packed() { self.read_to } else { self.size.max(self.read_to) }
    }

    /// Whether the last look found nothing more to read. A packed file's position tells
    /// little: bytes wait in buffers.
    pub fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Up to `bytes` bytes at `at` of a plain file; none of a packed one.
    pub fn bytes_at(&self, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        match &self.source {
            Source::Plain(file) => read_at(file, at, bytes),
            Source::Gzip(_) => Ok(Vec::new()),
        }
    }
}

/// The live path that `path` was rotated from.
pub fn live(path: &Path) -> PathBuf {
    path.to_str().map_or_else(|| path.to_owned(), |text| PathBuf::from(event::id::family(text)))
}

/// Tells a packed file by its first two bytes (RFC 1952, section 2.3.1).
fn source(mut file: File) -> io::Result<Source> {
    let packed = read_at(&file, 0, 2)? == [0x1f, 0x8b];
    file.seek(SeekFrom::Start(0))?;
    Ok(if packed { Source::Gzip(Box::new(MultiGzDecoder::new(file))) } else { Source::Plain(file) })
}

/// Reads up to `bytes` bytes at `at`; fewer only at the end.
pub fn read_at(file: &File, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

fn same_at(file: &File, at: u64, witness: &Witness) -> io::Result<bool> {
    Ok(Witness::of(&read_at(file, at, witness.bytes)?) == *witness)
}

/// Keeps the last [`WITNESS_BYTES`] of what `tail` and then `newest` hold.
fn remember(tail: &mut Vec<u8>, newest: &[u8]) {
    if newest.len() >= WITNESS_BYTES {
        tail.clear();
        tail.extend_from_slice(&newest[newest.len() - WITNESS_BYTES..]);
    } else {
        tail.extend_from_slice(newest);
        let excess = tail.len().saturating_sub(WITNESS_BYTES);
        tail.drain(..excess);
    }
}
