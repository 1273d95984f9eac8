//! Frames into a Kinesis data stream, by PutRecords.

use super::{Frame, Put, PutError, Uplink};
use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Builder;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use std::time::Duration;

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call may take. A full one is 5.6 MB as base64: 45 s at 1 Mbit/s.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A Kinesis data stream.
#[derive(Debug, Clone)]
pub struct Kinesis {
    client: Client,
    stream: String,
}

impl Kinesis {
    /// The stream of this name, where the SDK's own chain finds endpoint, region and
    /// credentials. No call to the stream is made yet.
    pub async fn connect(stream: &str) -> Kinesis {
        Kinesis::new(&aws_config::load_defaults(BehaviorVersion::latest()).await, stream)
    }

    /// The stream of this name, as `config` reaches it. The SDK makes no second try:
    /// [`super::run`] tries again, and only what has to go again.
    pub fn new(config: &SdkConfig, stream: &str) -> Kinesis {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
        let config = Builder::from(config).timeout_config(timeouts).retry_config(RetryConfig::disabled()).build();
        Kinesis { client: Client::from_conf(config), stream: stream.to_owned() }
    }
}

#[async_trait]
impl Uplink for Kinesis {
    async fn put(&self, frames: &[Frame]) -> Result<Vec<Put>, PutError> {
        let entries = frames.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let call = self.client.put_records().stream_name(&self.stream).set_records(Some(entries));
        let answer = call.send().await.map_err(|cause| PutError(cause.into()))?;
        answers(answer.records(), frames.len())
    }
}

fn entry(frame: &Frame) -> Result<PutRecordsRequestEntry, PutError> {
    PutRecordsRequestEntry::builder()
        .partition_key(&frame.key)
        .data(Blob::new(frame.bytes.as_ref()))
        .build()
        .map_err(|cause| PutError(cause.into()))
}

/// One answer for each frame that was sent. An answer of another length says nothing
/// about any of them.
fn answers(entries: &[PutRecordsResultEntry], sent: usize) -> Result<Vec<Put>, PutError> {
    if entries.len() != sent {
        let text = format!("the stream answered {} records of {sent}", entries.len());
        return Err(PutError(text.into()));
    }
    Ok(entries.iter().map(answer).collect())
}

fn answer(entry: &PutRecordsResultEntry) -> Put {
    let Some(code) = entry.error_code() else { return Put::Stored };
    let reason = match entry.error_message() {
        Some(message) => format!("{code}: {message}"),
        None => code.to_owned(),
    };
    if is_permanent(code) { Put::Never(reason) } else { Put::Again(reason) }
}

/// The API reference names two codes for a single record, and both pass:
/// ProvisionedThroughputExceededException and InternalFailure. An argument that is
/// refused stays refused; whatever else comes is worth another try.
fn is_permanent(code: &str) -> bool {
    matches!(code, "InvalidArgumentException" | "ValidationException")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, message: Option<&str>) -> PutRecordsResultEntry {
        PutRecordsResultEntry::builder().error_code(code).set_error_message(message.map(str::to_owned)).build()
    }

    fn stored() -> PutRecordsResultEntry {
        PutRecordsResultEntry::builder().sequence_number("1").shard_id("shardId-000000000000").build()
    }

    #[test]
    fn each_frame_has_its_own_answer() {
        let entries = [
            stored(),
            refused("ProvisionedThroughputExceededException", Some("Rate exceeded for shard shardId-000000000000")),
            refused("InternalFailure", None),
            refused("SomethingNew", Some("nobody knows")),
            refused("ValidationException", Some("record too large")),
        ];
        let expected = [
            Put::Stored,
            Put::Again("ProvisionedThroughputExceededException: Rate exceeded for shard shardId-000000000000".into()),
            Put::Again("InternalFailure".into()),
            Put::Again("SomethingNew: nobody knows".into()),
            Put::Never("ValidationException: record too large".into()),
        ];
        assert_eq!(answers(&entries, 5).unwrap(), expected);
    }

    #[test]
    fn an_answer_of_another_length_settles_no_frame() {
        let error = answers(&[stored()], 2).unwrap_err();
        assert_eq!(error.0.to_string(), "the stream answered 1 records of 2");
    }
}
