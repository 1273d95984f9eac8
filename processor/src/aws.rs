//! How this program calls AWS: limits on time, and which errors pass.

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use std::time::Duration;

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one try may take: an archive object of 16 MiB at 4 Mbit/s.
const TRY_TIMEOUT: Duration = Duration::from_secs(40);

/// How long a call may take with its second try.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The SDK's own defaults, with limits on time and at most one more try: our stations
/// try again by themselves, and say so.
pub fn loader() -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(TRY_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(2))
}

/// [`loader`], with endpoint, region and credentials where the SDK's own chain finds them.
pub async fn sdk_config() -> SdkConfig {
    loader().load().await
}

/// Codes of errors that pass although their status is in the 400s.
const PASSING: [&str; 14] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InternalFailure",
    "InternalServerError",
    "KMSThrottlingException",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TransactionConflictException",
];

/// Whether the same call may work later. A call without a whole answer is: nobody knows
/// whether it took effect. Credentials that are not there yet are, too.
pub(crate) fn is_transient<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::ServiceError(refusal) => {
            let status = refusal.raw().status().as_u16();
            status >= 500 || status == 429 || refusal.err().code().is_some_and(passes)
        }
        SdkError::ConstructionFailure(_) => false,
        _ => true,
    }
}

fn passes(code: &str) -> bool {
    PASSING.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttles_pass_and_refusals_do_not() {
        assert!(
            ["SlowDown", "ProvisionedThroughputExceededException", "ExpiredTokenException"].into_iter().all(passes)
        );
        assert!(!["AccessDeniedException", "NoSuchBucket", "ValidationException"].into_iter().any(passes));
    }
}
