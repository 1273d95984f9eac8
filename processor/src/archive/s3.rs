//! The archive in an S3 bucket. Nothing here can delete or replace an object.

use super::{Archive, ArchiveError, Created, Metadata, Object};
use crate::aws::is_transient;
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use bytes::Bytes;

/// All objects are NDJSON in gzip. Not a Content-Encoding: clients would unpack it on
/// their way, and what they store would no longer match its checksum.
const CONTENT_TYPE: &str = "application/gzip";

/// A bucket in S3.
#[derive(Debug, Clone)]
pub struct S3Archive {
    client: Client,
    bucket: String,
}

impl S3Archive {
    /// The bucket of this name. No call is made yet.
    pub fn new(client: Client, bucket: &str) -> S3Archive {
        S3Archive { client, bucket: bucket.to_owned() }
    }

    /// The bucket of this name, as `config` reaches it. With `path_style` its name stands
    /// in the path and not in the host name, as emulators want it.
    pub fn connect(config: &SdkConfig, bucket: &str, path_style: bool) -> S3Archive {
        let config = Builder::from(config).force_path_style(path_style).build();
        S3Archive::new(Client::from_conf(config), bucket)
    }
}

#[async_trait]
impl Archive for S3Archive {
    async fn put_if_absent(&self, object: &Object) -> Result<Created, ArchiveError> {
        let call = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(&object.key)
            .if_none_match("*")
            .checksum_algorithm(ChecksumAlgorithm::Crc32C)
            .content_type(CONTENT_TYPE)
            .set_metadata(Some(object.metadata.clone().into_iter().collect()))
            .body(ByteStream::from(object.bytes.clone()));
        match call.send().await {
            Ok(_) => Ok(Created::Yes),
            Err(error) if status(&error) == Some(412) => Ok(Created::Exists),
            Err(error) => Err(failed("put_object", &object.key, error)),
        }
    }

    async fn head(&self, key: &str) -> Result<Option<Metadata>, ArchiveError> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(answer) => Ok(Some(answer.metadata.unwrap_or_default().into_iter().collect())),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(failed("head_object", key, error)),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ArchiveError> {
        let answer = match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(answer) => answer,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(failed("get_object", key, error)),
        };
        let bytes = answer.body.collect().await.map_err(|cause| cut(key, cause))?;
        Ok(Some(bytes.into_bytes()))
    }

    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>, ArchiveError> {
        let after = Some(after.to_owned()).filter(|after| !after.is_empty());
        let call = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).set_start_after(after);
        let mut pages = call.into_paginator().send();
        // A page may be empty while there are more.
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed("list_objects_v2", prefix, error))?;
            let keys: Vec<_> = page.contents.into_iter().flatten().filter_map(|object| object.key).collect();
            if !keys.is_empty() {
                return Ok(keys);
            }
        }
        Ok(Vec::new())
    }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

/// A 409 is a race for the key that is still open (S3, "Conditional writes").
fn failed<E>(call: &'static str, key: &str, error: SdkError<E, HttpResponse>) -> ArchiveError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let key = key.to_owned();
    if is_transient(&error) || status(&error) == Some(409) {
        ArchiveError::Transient { call, key, cause: error.into() }
    } else {
        ArchiveError::Refused { call, key, cause: error.into() }
    }
}

fn cut(key: &str, cause: aws_sdk_s3::primitives::ByteStreamError) -> ArchiveError {
    ArchiveError::Transient { call: "get_object", key: key.to_owned(), cause: cause.into() }
}
