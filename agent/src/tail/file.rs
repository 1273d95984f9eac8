//! One open file: which life of which file it is, and reading on in it.

use super::lines::Lines;
use crate::checkpoint::{LifeNumber, Mark, Position};
use event::limits::FIRST_LINE_BYTES_MAX;
use event::{Day, Format, LifeId};
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Bytes read from one file before the next one has its turn.
const BURST_BYTES: usize = 256 << 10;

/// Bytes that a witness covers at most.
const WITNESS_BYTES: usize = FIRST_LINE_BYTES_MAX;

/// A file, whatever it is called now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
    /// Birth time in nanoseconds, where the filesystem keeps it: an inode number that
    /// is used again has another.
    pub born: Option<u64>,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    pub number: LifeNumber,
    /// The live path of the file's family.
    pub live: PathBuf,
    /// The path under which it was opened.
    pub path: PathBuf,
    pub format: Format,
    pub id: FileId,
    /// Known once the first line is.
    pub life: Option<LifeId>,
    pub lines: Lines,
    source: Source,
    /// First bytes of the life.
    head: Vec<u8>,
    /// Bytes of the life that have been read.
    read_to: u64,
    /// The last bytes that have been read.
    tail: Vec<u8>,
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
    pub fn new(number: LifeNumber, path: &Path, format: Format, file: File, meta: &Metadata) -> io::Result<Follower> {
        let source = source(file)?;
        Ok(Follower {
            number,
            live: live(path),
            path: path.to_owned(),
            format,
            id: FileId::of(meta),
            life: None,
            lines: Lines::default(),
            source,
            head: Vec::new(),
            read_to: 0,
            tail: Vec::new(),
        })
    }

    /// Goes on where `mark` left off, if this is the life that it remembers: its first
    /// bytes and those before the position are the same.
    pub fn resume(&mut self, mark: &Mark) -> io::Result<bool> {
        let offset = mark.position.offset;
        match &mut self.source {
            Source::Plain(file) => {
                let same = same_at(file, 0, &mark.head)?
                    && mark.position.tail.as_ref().is_none_or(|tail| {
                        offset.checked_sub(tail.bytes as u64).is_some_and(|at| same_at(file, at, tail).unwrap_or(false))
                    });
                if !same || file.metadata()?.len() < offset {
                    return Ok(false);
                }
                file.seek(SeekFrom::Start(offset))?;
            }
            Source::Gzip(_) => {
                if !self.skip(offset, &mark.head)? {
                    return Ok(false);
                }
            }
        }
        self.head = self.bytes_at(0, mark.head.bytes)?;
        let tail = (offset as usize).min(WITNESS_BYTES);
        self.tail = self.bytes_at(offset - tail as u64, tail)?;
        self.life = Some(mark.life);
        self.lines = Lines::from(offset);
        self.read_to = offset;
        Ok(true)
    }

    /// Unpacks `offset` bytes for nothing. False, and at the start again, if the head
    /// is another one or the text ends earlier.
    fn skip(&mut self, offset: u64, head: &Witness) -> io::Result<bool> {
        let mut first = Vec::new();
        (&mut self.source).take(head.bytes as u64).read_to_end(&mut first)?;
        let rest = offset.saturating_sub(first.len() as u64);
        let same = Witness::of(&first) == *head
            && first.len() as u64 <= offset
            && io::copy(&mut (&mut self.source).take(rest), &mut io::sink())? == rest;
        if !same {
            self.rewind()?;
        }
        Ok(same)
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
        if self.is_replaced()? {
            return Ok(Look::Replaced);
        }
        let read = self.lines.fill(&mut self.source, BURST_BYTES)?;
        let newest = self.lines.newest(read);
        let room = WITNESS_BYTES - self.head.len().min(WITNESS_BYTES);
        if self.read_to == self.head.len() as u64 {
            self.head.extend_from_slice(&newest[..read.min(room)]);
        }
        remember(&mut self.tail, newest);
        self.read_to += read as u64;
        Ok(Look::Read(read))
    }

    /// Whether the bytes before the reading position are other ones than were read.
    fn is_replaced(&self) -> io::Result<bool> {
        let Source::Plain(file) = &self.source else { return Ok(false) };
        if file.metadata()?.len() < self.read_to {
            return Ok(true);
        }
        let at = self.read_to - self.tail.len() as u64;
        Ok(self.bytes_at(at, self.tail.len())? != self.tail)
    }

    /// Starts over with the bytes that are there now: another life.
    pub fn restart(&mut self, number: LifeNumber) -> io::Result<()> {
        self.rewind()?;
        self.number = number;
        self.life = None;
        self.lines = Lines::default();
        self.head.clear();
        self.tail.clear();
        self.read_to = 0;
        Ok(())
    }

    /// How far the lines have been given out, for the checkpoint. `None` before the
    /// first line.
    pub fn mark(&self, day: Option<Day>) -> Option<Mark> {
        self.mark_at(self.lines.offset(), day)
    }

    /// A mark at the start of a line that has been given out.
    pub fn mark_at(&self, offset: u64, day: Option<Day>) -> Option<Mark> {
        let tail = (offset as usize).min(WITNESS_BYTES);
        let tail = match self.source {
            Source::Plain(_) => self.bytes_at(offset - tail as u64, tail).ok().filter(|bytes| bytes.len() == tail),
            Source::Gzip(_) => None,
        };
        // Only whole lines: what follows them may not be on the disk yet.
        let head = self.head.len().min(self.lines.offset() as usize);
        Some(Mark {
            number: self.number,
            life: self.life?,
            path: self.live.clone(),
            file: self.id,
            head: Witness::of(&self.head[..head]),
            position: Position { offset, tail: tail.map(|bytes| Witness::of(&bytes)), day },
        })
    }

    /// Bytes of the file that have been read, and bytes that it has: packed ones for `.gz`.
    pub fn progress(&self) -> (u64, u64) {
        match &self.source {
            Source::Plain(file) => (self.read_to, file.metadata().map_or(0, |meta| meta.len())),
            Source::Gzip(unpacked) => {
                let mut file = unpacked.get_ref();
                (file.stream_position().unwrap_or(0), file.metadata().map_or(0, |meta| meta.len()))
            }
        }
    }

    /// Up to `bytes` bytes at `at` of a plain file; none of a packed one.
    fn bytes_at(&self, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
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

fn read_at(file: &File, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
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
