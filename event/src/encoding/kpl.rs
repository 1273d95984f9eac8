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
