//! Frames into a Kinesis data stream, by PutRecords.

use super::{Frame, HashRange, Put, PutError, Uplink};
use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Builder;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry, Shard};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use std::time::Duration;

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call may take. A full one is 5.6 MB as base64: 45 s at 1 Mbit/s.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Endpoint, region and credentials where the SDK's own chain finds them.
///
/// TLS comes from ring: with the SDK's own choice, aws-lc, the program takes a tenth more
/// memory, and three times as long to start, since that gathers random noise by itself.
pub async fn sdk_config() -> SdkConfig {
    let https = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    aws_config::defaults(BehaviorVersion::latest()).http_client(https).load().await
}

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
        Kinesis::new(&sdk_config().await, stream)
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
        let answer = call.send().await.map_err(|error| {
            let code = error.code().unwrap_or_default();
            PutError { is_refusal: is_permanent(code), hint: hint(code, &self.stream), cause: error.into() }
        })?;
        answers(answer.records(), frames.len())
    }

    async fn shards(&self) -> Vec<HashRange> {
        match self.list_shards().await {
            Ok(ranges) => ranges,
            Err(cause) => {
                let error = aws_sdk_kinesis::error::DisplayErrorContext(&cause).to_string();
                tracing::debug!(
                    error,
                    "the stream does not tell its shards; frames are spread by their partition keys"
                );
                Vec::new()
            }
        }
    }
}

impl Kinesis {
    async fn list_shards(&self) -> Result<Vec<HashRange>, aws_sdk_kinesis::Error> {
        let (mut ranges, mut token) = (Vec::new(), None);
        loop {
            // A token stands for the stream: with both the call is refused.
            let name = token.is_none().then(|| self.stream.clone());
            let answer = self.client.list_shards().set_stream_name(name).set_next_token(token).send().await?;
            ranges.extend(answer.shards().iter().filter_map(open_range));
            token = answer.next_token;
            if token.is_none() {
                return Ok(ranges);
            }
        }
    }
}

/// The hash keys of a shard that takes records: a closed one has a last sequence number.
fn open_range(shard: &Shard) -> Option<HashRange> {
    let is_open = shard.sequence_number_range().is_none_or(|range| range.ending_sequence_number().is_none());
    let range = shard.hash_key_range().filter(|_| is_open)?;
    let (first, last) = (range.starting_hash_key().parse().ok()?, range.ending_hash_key().parse().ok()?);
    (first <= last).then_some(HashRange { first, last })
}

/// What an operator can do about the error of a whole call (Kinesis API reference,
/// PutRecords and common errors).
fn hint(code: &str, stream: &str) -> String {
    match code {
        "AccessDeniedException" => format!(": the role may not `kinesis:PutRecords` on stream `{stream}`"),
        "ResourceNotFoundException" => {
            format!(": there is no stream `{stream}` in this region and account; set `stream.name`")
        }
        "ExpiredTokenException" | "ExpiredToken" | "UnrecognizedClientException" | "InvalidClientTokenId" => {
            ": the credentials are expired or unknown".to_owned()
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired" => {
            ": the credentials do not fit, or this host's clock is wrong".to_owned()
        }
        code if code.starts_with("KMS") => ": the stream's KMS key cannot be used".to_owned(),
        _ => String::new(),
    }
}

fn entry(frame: &Frame) -> Result<PutRecordsRequestEntry, PutError> {
    PutRecordsRequestEntry::builder()
        .partition_key(&frame.key)
        .set_explicit_hash_key(frame.hash_key.map(|key| key.to_string()))
        .data(Blob::new(frame.bytes.as_ref()))
        .build()
        .map_err(PutError::new)
}

/// One answer for each frame that was sent. An answer of another length says nothing
/// about any of them.
fn answers(entries: &[PutRecordsResultEntry], sent: usize) -> Result<Vec<Put>, PutError> {
    if entries.len() != sent {
        let text = format!("the stream answered {} records of {sent}", entries.len());
        return Err(PutError::new(text));
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
        assert_eq!(error.cause.to_string(), "the stream answered 1 records of 2");
    }
}
