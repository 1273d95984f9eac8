//! The services of a processor on AWS. Region, credentials and endpoints come from the SDK's own
//! chain.

use crate::Services;
use crate::archive::Archive;
use crate::archive::s3::S3Archive;
use crate::aws;
use crate::index::Index;
use crate::index::opensearch::{self, OpenSearch, Signer};
use crate::leases::Leases;
use crate::leases::dynamodb::DynamoLeases;
use crate::receive::Feed;
use crate::receive::fan_out::FanOutFeed;
use crate::receive::kinesis::KinesisFeed;
use crate::settings::{Auth, Places, Search, Settings};
use anyhow::Context;
use aws_config::SdkConfig;
use std::path::PathBuf;
use std::sync::Arc;

/// Connects to what the settings name.
pub async fn services(settings: &Settings, places: &Places) -> anyhow::Result<Services> {
    let config = aws::sdk_config().await;
    Ok(Services {
        feed: feed(&config, settings),
        leases: leases(&config, &places.lease_table),
        archive: archive(&config, &places.bucket),
        index: index(&config, &places.opensearch)?,
        meter: Arc::default(),
    })
}

/// The stream: by enhanced fan-out where a consumer is named.
fn feed(config: &SdkConfig, settings: &Settings) -> Arc<dyn Feed> {
    let feed = KinesisFeed::connect(config, &settings.stream);
    match &settings.fan_out_consumer {
        Some(consumer) => Arc::new(FanOutFeed::new(feed, consumer)),
        None => Arc::new(feed),
    }
}

/// The stream of this name, to ask about.
pub fn stream(config: &SdkConfig, name: &str) -> Arc<dyn Feed> {
    Arc::new(KinesisFeed::connect(config, name))
}

/// The lease table of this name.
pub fn leases(config: &SdkConfig, table: &str) -> Arc<dyn Leases> {
    Arc::new(DynamoLeases::connect(config, table))
}

/// The archive in this bucket.
pub fn archive(config: &SdkConfig, bucket: &str) -> Arc<dyn Archive> {
    // An endpoint of one's own is an emulator, which knows no bucket names in host names.
    let own_endpoint =
        std::env::var_os("AWS_ENDPOINT_URL_S3").is_some() || std::env::var_os("AWS_ENDPOINT_URL").is_some();
    Arc::new(S3Archive::connect(config, bucket, own_endpoint))
}

/// The OpenSearch domain, to index into.
pub fn index(config: &SdkConfig, search: &Search) -> anyhow::Result<Arc<dyn Index>> {
    Ok(Arc::new(domain(config, search)?))
}

/// The OpenSearch domain.
pub fn domain(config: &SdkConfig, Search { url, auth, ca_file }: &Search) -> anyhow::Result<OpenSearch> {
    let auth = match auth {
        Auth::None => opensearch::Auth::None,
        Auth::Basic { user, password } => opensearch::Auth::Basic { user: user.clone(), password: password.clone() },
        Auth::SigV4 => {
            let region = config.region().context("no AWS region is known: set AWS_REGION")?;
            let credentials = config.credentials_provider().context("no AWS credentials are known")?;
            opensearch::Auth::SigV4(Signer::new(region.as_ref(), service(url), credentials))
        }
    };
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()));
    let authorities = ca_file.as_ref().map(read).transpose()?.unwrap_or_default();
    Ok(OpenSearch::trusting(url, auth, &authorities)?)
}

/// What a signature for this address is for: a serverless collection, or a domain.
fn service(url: &str) -> &'static str {
    if url.contains(".aoss.amazonaws.") { "aoss" } else { "es" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serverless_collection_is_signed_for_as_what_it_is() {
        assert_eq!(service("https://abc123.eu-central-1.aoss.amazonaws.com"), "aoss");
        assert_eq!(service("https://search-logs.eu-central-1.es.amazonaws.com"), "es");
        assert_eq!(service("https://vpc-aoss.eu-central-1.es.amazonaws.com"), "es");
    }
}
