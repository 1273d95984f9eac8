//! The services of a processor on AWS.

use crate::Services;
use crate::archive::s3::S3Archive;
use crate::aws;
use crate::index::opensearch::{self, OpenSearch, Signer};
use crate::leases::dynamodb::DynamoLeases;
use crate::receive::kinesis::KinesisFeed;
use crate::settings::{Auth, Places, Settings};
use anyhow::Context;
use std::sync::Arc;

/// Connects to what the settings name. Region, credentials and endpoints come from the
/// SDK's own chain.
pub async fn services(settings: &Settings, places: &Places) -> anyhow::Result<Services> {
    let config = aws::sdk_config().await;
    let auth = match &places.auth {
        Auth::None => opensearch::Auth::None,
        Auth::Basic { user, password } => opensearch::Auth::Basic { user: user.clone(), password: password.clone() },
        Auth::SigV4 => {
            let region = config.region().context("no AWS region is known: set AWS_REGION")?;
            let credentials = config.credentials_provider().context("no AWS credentials are known")?;
            let service = if places.opensearch_url.contains(".aoss.") { "aoss" } else { "es" };
            opensearch::Auth::SigV4(Signer::new(region.as_ref(), service, credentials))
        }
    };
    // An endpoint of one's own is an emulator, which knows no bucket names in host names.
    let own_endpoint =
        std::env::var_os("AWS_ENDPOINT_URL_S3").is_some() || std::env::var_os("AWS_ENDPOINT_URL").is_some();
    Ok(Services {
        feed: Arc::new(KinesisFeed::connect(&config, &settings.stream)),
        leases: Arc::new(DynamoLeases::connect(&config, &places.lease_table)),
        archive: Arc::new(S3Archive::connect(&config, &places.bucket, own_endpoint)),
        index: Arc::new(OpenSearch::new(&places.opensearch_url, auth)?),
        meter: Arc::default(),
    })
}
