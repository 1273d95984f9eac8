//! The Kinesis Producer Library's aggregated record (awslabs/amazon-kinesis-producer,
//! aggregation-format.md): a magic number, a protobuf message, and the MD5 of that.
//!
//! ```text
//! AggregatedRecord { repeated string partition_key_table = 1; repeated Record records = 3; }
//! Record           { required uint64 partition_key_index = 1; required bytes data = 3; }
//! ```

use md5::{Digest, Md5};

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// Protobuf's tags: field number and wire type (0 a number, 2 bytes with their length).
const PARTITION_KEY_TABLE: u8 = 1 << 3 | 2;
const RECORDS: u8 = 3 << 3 | 2;
const PARTITION_KEY_INDEX: u8 = 1 << 3;
const DATA: u8 = 3 << 3 | 2;

/// Makes one record of many, all under one partition key.
pub fn aggregate(records: &[&[u8]], partition_key: &str) -> Vec<u8> {
    let mut message = Vec::new();
    field(PARTITION_KEY_TABLE, partition_key.as_bytes(), &mut message);
    for data in records {
        let mut record = vec![PARTITION_KEY_INDEX, 0];
        field(DATA, data, &mut record);
        field(RECORDS, &record, &mut message);
    }
    let digest = Md5::digest(&message);
    [&MAGIC[..], &message, &digest].concat()
}

fn field(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Seven bits a byte, lowest first (Protocol Buffers, "Encoding").
fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// An aggregate that cannot be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KplError {
    #[error("the KPL aggregate's MD5 is not that of its contents")]
    Digest,
    #[error("the KPL aggregate is no protobuf message of records")]
    Message,
    #[error("the KPL aggregate holds more than {0} records")]
    TooMany(usize),
}

/// Whether a record begins as an aggregate. No text does: these bytes are no UTF-8.
pub fn is_aggregate(record: &[u8]) -> bool {
    record.starts_with(&MAGIC)
}

/// What an aggregate holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Its records, in order: the data of each, or the bytes of one in which none can be found.
    pub records: Vec<Result<&'a [u8], &'a [u8]>>,
    /// What stands behind them and cannot be taken apart, and why.
    pub rest: Option<(&'a [u8], KplError)>,
}

/// An aggregate's records; at most `most`. Keys, hash keys and tags are passed over, and so are
/// fields that later versions may add.
///
/// # Errors
/// KCL takes an aggregate with a wrong MD5 for a record as any other. We do not: it can be
/// nothing but a damaged aggregate, of which nothing is sure.
pub fn records(record: &[u8], most: usize) -> Result<Parts<'_>, KplError> {
    let body = record.strip_prefix(&MAGIC).ok_or(KplError::Message)?;
    let (message, digest) = body.split_last_chunk::<16>().ok_or(KplError::Digest)?;
    if <[u8; 16]>::from(Md5::digest(message)) != *digest {
        return Err(KplError::Digest);
    }
    let (mut left, mut records) = (message, Vec::new());
    while !left.is_empty() {
        let before = left;
        match next_field(&mut left) {
            Ok((RECORDS, _)) if records.len() == most => {
                return Ok(Parts { records, rest: Some((before, KplError::TooMany(most))) });
            }
            Ok((RECORDS, record)) => records.push(data_of(record).map_err(|_| record)),
            Ok(_) => {}
            Err(error) => return Ok(Parts { records, rest: Some((before, error)) }),
        }
    }
    Ok(Parts { records, rest: None })
}

fn data_of(mut record: &[u8]) -> Result<&[u8], KplError> {
    let mut data = None;
    while !record.is_empty() {
        if let (DATA, bytes) = next_field(&mut record)? {
            data = Some(bytes);
        }
    }
    data.ok_or(KplError::Message)
}

/// Takes a field off a message: its tag, and its bytes where it has some. A tag that does not
/// fit into a byte is none of ours, and 0 here.
fn next_field<'a>(message: &mut &'a [u8]) -> Result<(u8, &'a [u8]), KplError> {
    let tag = next_varint(message)?;
    let length = match tag & 7 {
        0 => next_varint(message).map(|_| 0)?,
        1 => 8,
        2 => next_varint(message)?,
        5 => 4,
        _ => return Err(KplError::Message),
    };
    let length = usize::try_from(length).map_err(|_| KplError::Message)?;
    let (bytes, rest) = message.split_at_checked(length).ok_or(KplError::Message)?;
    *message = rest;
    Ok((u8::try_from(tag).unwrap_or_default(), bytes))
}

fn next_varint(message: &mut &[u8]) -> Result<u64, KplError> {
    let mut number = 0;
    for (at, byte) in message.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *message = &message[at + 1..];
            return Ok(number);
        }
    }
    Err(KplError::Message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed(message: &[u8]) -> Vec<u8> {
        [&MAGIC[..], message, &Md5::digest(message)].concat()
    }

    #[test]
    fn fields_that_only_others_write_are_passed_over() {
        // Two keys, an explicit hash key; a record with its index, that of the hash key, a tag
        // and its data; a field 9 of 8 bytes and a field 100 of 4.
        let record = b"\x08\x01\x10\x00\x22\x03\x0a\x01t\x1a\x02ab";
        let message = [&b"\x0a\x01k\x0a\x01l\x12\x017\x1a\x0d"[..], record, b"\x4912345678\xa5\x061234"].concat();
        assert_eq!(records(&sealed(&message), 9), whole(&[b"ab"]));
    }

    /// All that was found, and nothing else.
    fn whole<'a>(data: &[&'a [u8]]) -> Result<Parts<'a>, KplError> {
        Ok(Parts { records: data.iter().map(|data| Ok(*data)).collect(), rest: None })
    }

    #[test]
    fn a_damaged_aggregate_is_told_from_a_good_one() {
        let good = aggregate(&[b"ab", b"c"], "k1");
        assert_eq!(records(&good, 2), whole(&[b"ab", b"c"]));
        for at in 4..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(records(&bad, 2), Err(KplError::Digest), "byte {at}");
        }
        for message in [&b"\x1a\x05\x08"[..], b"\x1b", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"] {
            let rest = Some((message, KplError::Message));
            assert_eq!(records(&sealed(message), 9), Ok(Parts { records: Vec::new(), rest }), "{message:?}");
        }
        assert_eq!(records(&MAGIC, 9), Err(KplError::Digest));
        assert_eq!(records(&sealed(b""), 9), whole(&[]));
    }

    #[test]
    fn what_is_bad_in_an_aggregate_leaves_the_rest_as_it_is() {
        let (first, empty, last) = (b"\x1a\x03\x1a\x01a", b"\x1a\x02\x08\x00", b"\x1a\x03\x1a\x01b");
        let message = [&first[..], empty, last, b"\x1a\x7fcut"].concat();
        let sealed = sealed(&message);
        let parts = records(&sealed, 9).unwrap();
        assert_eq!(parts.records, [Ok(&b"a"[..]), Err(&b"\x08\x00"[..]), Ok(b"b")]);
        assert_eq!(parts.rest, Some((&b"\x1a\x7fcut"[..], KplError::Message)));
        let few = records(&sealed, 1).unwrap();
        let rest = [&empty[..], last, b"\x1a\x7fcut"].concat();
        assert_eq!((few.records, few.rest), (vec![Ok(&b"a"[..])], Some((&rest[..], KplError::TooMany(1)))));
    }

    proptest! {
        #[test]
        fn what_was_aggregated_is_taken_apart_again(data in prop::collection::vec(any::<Vec<u8>>(), 0..9), key: String) {
            let parts: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            let aggregate = aggregate(&parts, &key);
            prop_assert_eq!(records(&aggregate, 9), whole(&parts));
        }

        #[test]
        fn no_bytes_make_it_panic(message: Vec<u8>) {
            let _ = (records(&message, 9), records(&sealed(&message), 9));
        }
    }
}
