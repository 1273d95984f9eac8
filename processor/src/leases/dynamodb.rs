//! The lease table in DynamoDB, with the rows and attributes of the Kinesis Client
//! Library, so that its tools can read them.

use super::leader::Leader;
use super::{Checkpoint, Lease, LeaseError, Leases, Standing, Swap};
use crate::aws::is_transient;
use crate::receive::SequenceNumber;
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use event::Millis;
use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

/// The attributes that [`Leases::swap`] writes. All others of a row stay as they are.
const ATTRIBUTES: [&str; 17] = [
    "leaseOwner",
    "leaseCounter",
    "handoffTo",
    "checkpoint",
    "checkpointSubSequenceNumber",
    "ownerSwitchesSinceCheckpoint",
    "parentShardId",
    "childShardIds",
    "startingHashKey",
    "endingHashKey",
    "startAtMillis",
    "checkpointArrivalMillis",
    "indexedThrough",
    "streamCreatedMillis",
    "throughputKBps",
    "archiveLagMillis",
    "indexLagMillis",
];

/// A row as DynamoDB writes it.
type Row = HashMap<String, AttributeValue>;

/// A table in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoLeases {
    client: Client,
    table: String,
}

/// The table is missing.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no lease table `{table}` in this account and region; \
     the Terraform in `packaging` makes it (`aws_dynamodb_table.leases`)"
)]
struct NoTable {
    table: String,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl DynamoLeases {
    /// The table of this name. No call is made yet.
    pub fn new(client: Client, table: &str) -> DynamoLeases {
        DynamoLeases { client, table: table.to_owned() }
    }

    /// The table of this name, as `config` reaches it.
    pub fn connect(config: &SdkConfig, table: &str) -> DynamoLeases {
        DynamoLeases::new(Client::new(config), table)
    }

    /// Sorts out an error that is not a lost condition.
    fn failed<E>(&self, call: &'static str, error: SdkError<E, HttpResponse>) -> LeaseError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if is_transient(&error) {
            return LeaseError::Transient { call, cause: error.into() };
        }
        if error.code() == Some("ResourceNotFoundException") {
            let cause = NoTable { table: self.table.clone(), cause: error.into() };
            return LeaseError::Refused { call, cause: cause.into() };
        }
        LeaseError::Refused { call, cause: error.into() }
    }
}

#[async_trait]
impl Leases for DynamoLeases {
    async fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        // KCL 3.5 keeps rows of other kinds in the same table.
        let call = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .filter_expression("attribute_not_exists(entityType) OR entityType = :lease")
            .expression_attribute_values(":lease", string("LEASE"));
        let mut pages = call.into_paginator().send();
        let mut leases = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed("scan", error))?;
            leases.extend(page.items().iter().filter_map(readable));
        }
        Ok(leases)
    }

    async fn create(&self, lease: &Lease) -> Result<Swap, LeaseError> {
        let call = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(row(lease)))
            .condition_expression("attribute_not_exists(leaseKey)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = call.send().await else { return Ok(Swap::Done) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(refusal)) => Ok(lost(refusal.item())),
            _ => Err(self.failed("put_item", error)),
        }
    }

    async fn swap(&self, old: &Lease, new: &Lease) -> Result<Swap, LeaseError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("leaseKey", string(&old.key))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let (condition, values) = as_known(old);
        let call = values
            .into_iter()
            .fold(write(call, row(new)), |call, (name, value)| call.expression_attribute_values(name, value));
        let Err(error) = call.condition_expression(condition).send().await else { return Ok(Swap::Done) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refusal)) => Ok(lost(refusal.item())),
            _ => Err(self.failed("update_item", error)),
        }
    }

    async fn remove(&self, lease: &Lease) -> Result<Swap, LeaseError> {
        let (condition, values) = as_known(lease);
        let call = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("leaseKey", string(&lease.key))
            .condition_expression(condition)
            .set_expression_attribute_values(Some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = call.send().await else { return Ok(Swap::Done) };
        match error.as_service_error() {
            Some(DeleteItemError::ConditionalCheckFailedException(refusal)) => Ok(lost(refusal.item())),
            _ => Err(self.failed("delete_item", error)),
        }
    }

    async fn leader(&self) -> Result<Option<Leader>, LeaseError> {
        let call = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .filter_expression("entityType = :leader")
            .expression_attribute_values(":leader", string("LEADER"));
        let mut pages = call.into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed("scan", error))?;
            if let Some(leader) = page.items().iter().find_map(leader) {
                return Ok(Some(leader));
            }
        }
        Ok(None)
    }
}

/// The leader that a row of KCL's lock client tells. One that was given back tells none.
fn leader(row: &Row) -> Option<Leader> {
    let (owner, version) = (text(row, "ownerName")?.to_owned(), text(row, "recordVersionNumber")?.to_owned());
    let millis = text(row, "leaseDuration").and_then(|millis| millis.parse().ok()).unwrap_or(LEADER_MILLIS);
    (!row.contains_key("isReleased")).then(|| Leader { owner, version, duration: Duration::from_millis(millis) })
}

/// How long a leader of KCL holds without moving its row, where the row does not say.
const LEADER_MILLIS: u64 = 120_000;

/// Sets each of our attributes that `row` has, and removes those that it has not.
fn write(call: UpdateItemFluentBuilder, row: Row) -> UpdateItemFluentBuilder {
    let (set, remove): (Vec<_>, Vec<_>) = ATTRIBUTES.into_iter().partition(|name| row.contains_key(*name));
    let sets: Vec<_> = set.iter().map(|name| format!("{name} = :{name}")).collect();
    let mut expression = format!("SET {}", sets.join(", "));
    if !remove.is_empty() {
        expression = format!("{expression} REMOVE {}", remove.join(", "));
    }
    let values = row.into_iter().filter(|(name, _)| ATTRIBUTES.contains(&name.as_str()));
    values.fold(call.update_expression(expression), |call, (name, value)| {
        call.expression_attribute_values(format!(":{name}"), value)
    })
}

/// The condition that the row still has this owner and counter and the same worker asks for
/// it, and its values.
fn as_known(old: &Lease) -> (String, Row) {
    let condition = format!(
        "leaseCounter = :oldCounter AND {} AND {}",
        same("leaseOwner", ":oldOwner", &old.owner),
        same("handoffTo", ":oldHandoffTo", &old.handoff_to)
    );
    let values = [
        (":oldCounter", Some(number(old.counter))),
        (":oldOwner", old.owner.as_deref().map(string)),
        (":oldHandoffTo", old.handoff_to.as_deref().map(string)),
    ];
    (condition, values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

/// That an attribute is as it was, or was not.
fn same(attribute: &str, value: &str, old: &Option<String>) -> String {
    match old {
        Some(_) => format!("{attribute} = {value}"),
        None => format!("attribute_not_exists({attribute})"),
    }
}

fn lost(row: Option<&Row>) -> Swap {
    Swap::Lost(row.and_then(readable).map(Box::new))
}

/// The lease in a row. One that cannot be read is somebody else's, and must not stop
/// the work on all others.
fn readable(row: &Row) -> Option<Lease> {
    match lease(row) {
        Ok(lease) => Some(lease),
        Err(error) => {
            let key = text(row, "leaseKey").unwrap_or_default();
            tracing::error!(key, error = &error as &dyn std::error::Error, "left out a row of the lease table");
            None
        }
    }
}

fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A lease as a row.
fn row(lease: &Lease) -> Row {
    // DynamoDB knows no empty set.
    let set = |ids: &[String]| (!ids.is_empty()).then(|| AttributeValue::Ss(ids.to_vec()));
    // Both cursors begin in one place, so one timestamp tells where.
    let start_at = start_at(&lease.checkpoint).or(start_at(&lease.indexed_through));
    let attributes = [
        ("leaseKey", Some(string(&lease.key))),
        ("leaseOwner", lease.owner.as_deref().map(string)),
        ("leaseCounter", Some(number(lease.counter))),
        ("handoffTo", lease.handoff_to.as_deref().map(string)),
        ("checkpoint", Some(string(&lease.checkpoint.to_string()))),
        ("checkpointSubSequenceNumber", Some(number(0))),
        ("ownerSwitchesSinceCheckpoint", Some(number(lease.owner_switches))),
        ("parentShardId", set(&lease.parents)),
        ("childShardIds", set(&lease.children)),
        ("startingHashKey", Some(string(&lease.starting_hash_key))),
        ("endingHashKey", Some(string(&lease.ending_hash_key))),
        ("startAtMillis", start_at.map(number)),
        ("checkpointArrivalMillis", lease.checkpoint_arrival.map(number)),
        ("indexedThrough", Some(string(&lease.indexed_through.to_string()))),
        ("streamCreatedMillis", lease.stream_created.map(number)),
        ("throughputKBps", lease.standing.bytes_per_second.map(|bytes| number(format!("{:.6}", bytes as f64 / KB)))),
        ("archiveLagMillis", lease.standing.archive_lag.map(number)),
        ("indexLagMillis", lease.standing.index_lag.map(number)),
    ];
    attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Bytes of a KB, as KCL counts them.
const KB: f64 = 1_024.0;

/// What a row tells of how its shard gets on. What cannot be read is left out: nothing depends on it.
fn standing(row: &Row) -> Standing {
    let read = |name| digits::<f64>(row, name).ok().flatten().filter(|number| *number >= 0.0);
    Standing {
        bytes_per_second: read("throughputKBps").map(|kb| (kb * KB).round() as u64),
        archive_lag: read("archiveLagMillis").map(|millis| millis as Millis),
        index_lag: read("indexLagMillis").map(|millis| millis as Millis),
    }
}

fn start_at(checkpoint: &Checkpoint) -> Option<Millis> {
    match checkpoint {
        Checkpoint::AtTimestamp(at) => Some(*at),
        _ => None,
    }
}

/// Why a row is not a lease of ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum RowError {
    #[error("the row has no `{0}`")]
    Missing(&'static str),
    #[error("`{name}` is `{value}`, which this program does not write")]
    Odd { name: &'static str, value: String },
}

/// The lease that a row holds. Attributes of others are passed over.
fn lease(row: &Row) -> Result<Lease, RowError> {
    let start_at = digits(row, "startAtMillis")?;
    let indexed_through = match text(row, "indexedThrough") {
        Some(_) => checkpoint(row, "indexedThrough", start_at)?,
        // A row of KCL's own: nobody has said that anything of it is indexed.
        None => Checkpoint::TrimHorizon,
    };
    Ok(Lease {
        key: text(row, "leaseKey").ok_or(RowError::Missing("leaseKey"))?.to_owned(),
        owner: text(row, "leaseOwner").map(str::to_owned),
        counter: digits(row, "leaseCounter")?.ok_or(RowError::Missing("leaseCounter"))?,
        handoff_to: text(row, "handoffTo").map(str::to_owned),
        checkpoint: checkpoint(row, "checkpoint", start_at)?,
        checkpoint_arrival: digits(row, "checkpointArrivalMillis")?,
        indexed_through,
        owner_switches: digits(row, "ownerSwitchesSinceCheckpoint")?.unwrap_or(0),
        parents: set(row, "parentShardId"),
        children: set(row, "childShardIds"),
        starting_hash_key: text(row, "startingHashKey").unwrap_or_default().to_owned(),
        ending_hash_key: text(row, "endingHashKey").unwrap_or_default().to_owned(),
        stream_created: digits(row, "streamCreatedMillis")?,
        standing: standing(row),
    })
}

fn checkpoint(row: &Row, name: &'static str, start_at: Option<Millis>) -> Result<Checkpoint, RowError> {
    let value = text(row, name).ok_or(RowError::Missing(name))?;
    match value {
        "TRIM_HORIZON" => Ok(Checkpoint::TrimHorizon),
        "AT_TIMESTAMP" => start_at.map(Checkpoint::AtTimestamp).ok_or(RowError::Missing("startAtMillis")),
        "SHARD_END" => Ok(Checkpoint::ShardEnd),
        _ => SequenceNumber::new(value).map(Checkpoint::At).ok_or_else(|| odd(name, value)),
    }
}

fn text<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    row.get(name)?.as_s().ok().map(String::as_str)
}

fn set(row: &Row, name: &str) -> Vec<String> {
    row.get(name).and_then(|value| value.as_ss().ok()).cloned().unwrap_or_default()
}

fn digits<T: FromStr>(row: &Row, name: &'static str) -> Result<Option<T>, RowError> {
    let Some(value) = row.get(name).and_then(|value| value.as_n().ok()) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| odd(name, value))
}

fn odd(name: &'static str, value: &str) -> RowError {
    RowError::Odd { name, value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::error::ErrorMetadata;
    use aws_sdk_dynamodb::operation::scan::ScanError;

    fn digits(digits: &str) -> Checkpoint {
        Checkpoint::At(SequenceNumber::new(digits).unwrap())
    }

    fn example() -> Lease {
        Lease {
            key: "shardId-000000000003".into(),
            owner: Some("task-7f3a".into()),
            counter: 42,
            handoff_to: Some("task-90c1".into()),
            checkpoint: digits("49590338271490256608559692538361571095921575989136588898"),
            checkpoint_arrival: Some(1_795_392_000_123),
            indexed_through: digits("49590338271490256608559692538361571095921575989136588000"),
            owner_switches: 2,
            parents: vec!["shardId-000000000001".into(), "shardId-000000000002".into()],
            children: vec!["shardId-000000000005".into()],
            starting_hash_key: "0".into(),
            ending_hash_key: "340282366920938463463374607431768211455".into(),
            stream_created: Some(1_795_000_000_000),
            standing: Standing { bytes_per_second: Some(12_345), archive_lag: Some(900), index_lag: Some(0) },
        }
    }

    #[test]
    fn a_lease_is_the_same_after_a_round_trip() {
        let bare = Lease {
            owner: None,
            handoff_to: None,
            checkpoint_arrival: None,
            parents: Vec::new(),
            children: Vec::new(),
            stream_created: None,
            standing: Standing::default(),
            ..example()
        };
        for lease_in in [example(), bare] {
            assert_eq!(lease(&row(&lease_in)), Ok(lease_in));
        }
    }

    #[test]
    fn every_checkpoint_is_the_same_after_a_round_trip() {
        let at = Checkpoint::AtTimestamp(1_795_392_000_000);
        let all = [Checkpoint::TrimHorizon, at, digits("17"), Checkpoint::ShardEnd];
        for checkpoint in &all {
            for indexed_through in &all {
                let expected =
                    Lease { checkpoint: checkpoint.clone(), indexed_through: indexed_through.clone(), ..example() };
                assert_eq!(lease(&row(&expected)), Ok(expected));
            }
        }
    }

    #[test]
    fn a_row_has_kcls_attributes() {
        let expected: Row = [
            ("leaseKey", string("shardId-000000000003")),
            ("leaseOwner", string("task-7f3a")),
            ("leaseCounter", number(42)),
            ("handoffTo", string("task-90c1")),
            ("checkpoint", string("49590338271490256608559692538361571095921575989136588898")),
            ("checkpointSubSequenceNumber", number(0)),
            ("ownerSwitchesSinceCheckpoint", number(2)),
            ("parentShardId", AttributeValue::Ss(example().parents)),
            ("childShardIds", AttributeValue::Ss(vec!["shardId-000000000005".into()])),
            ("startingHashKey", string("0")),
            ("endingHashKey", string("340282366920938463463374607431768211455")),
            ("checkpointArrivalMillis", number(1_795_392_000_123_i64)),
            ("indexedThrough", string("49590338271490256608559692538361571095921575989136588000")),
            ("streamCreatedMillis", number(1_795_000_000_000_i64)),
            ("throughputKBps", number("12.055664")),
            ("archiveLagMillis", number(900)),
            ("indexLagMillis", number(0)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        assert_eq!(row(&example()), expected);
    }

    #[test]
    fn attributes_of_others_are_passed_over() {
        let mut kcls = row(&example());
        kcls.insert("throughputKBps".into(), AttributeValue::N("12.5".into()));
        kcls.insert("pendingCheckpointState".into(), AttributeValue::Bool(true));
        let standing = Standing { bytes_per_second: Some(12_800), ..example().standing };
        assert_eq!(lease(&kcls), Ok(Lease { standing, ..example() }));
        // What others may write there is no reason to leave a row out.
        kcls.insert("throughputKBps".into(), AttributeValue::N("-1E+3".into()));
        assert_eq!(lease(&kcls).unwrap().standing.bytes_per_second, None);
    }

    #[test]
    fn a_row_that_kcl_made_counts_as_not_indexed() {
        let mut kcls = row(&example());
        kcls.remove("indexedThrough");
        kcls.remove("startingHashKey");
        let lease = lease(&kcls).unwrap();
        assert_eq!(lease.indexed_through, Checkpoint::TrimHorizon);
        assert_eq!(lease.starting_hash_key, "");
    }

    #[test]
    fn a_row_that_is_no_lease_of_ours_says_why() {
        let mut latest = row(&example());
        latest.insert("checkpoint".into(), string("LATEST"));
        let error = lease(&latest).unwrap_err().to_string();
        assert_eq!(error, "`checkpoint` is `LATEST`, which this program does not write");
        let mut timeless = row(&example());
        timeless.insert("checkpoint".into(), string("AT_TIMESTAMP"));
        assert_eq!(lease(&timeless), Err(RowError::Missing("startAtMillis")));
        assert_eq!(lease(&Row::new()), Err(RowError::Missing("leaseKey")));
    }

    #[test]
    fn a_leader_of_kcl_is_read_from_its_row() {
        let row = |more: Option<&str>| -> Row {
            let all = [("ownerName", "worker-1"), ("recordVersionNumber", "a7"), ("leaseDuration", "90000")];
            let all = all.into_iter().chain(more.map(|name| (name, "1")));
            all.map(|(name, value)| (name.to_owned(), string(value))).collect()
        };
        let expected = Leader { owner: "worker-1".into(), version: "a7".into(), duration: Duration::from_secs(90) };
        assert_eq!(leader(&row(None)), Some(expected));
        assert_eq!(leader(&row(Some("isReleased"))), None);
    }

    /// What becomes of a call that DynamoDB refuses with this code.
    fn failed(code: &str) -> LeaseError {
        let config = aws_sdk_dynamodb::Config::builder().behavior_version_latest().build();
        let leases = DynamoLeases::new(Client::from_conf(config), "twosec-leases");
        let refusal = ScanError::generic(ErrorMetadata::builder().code(code).build());
        let answer = HttpResponse::new(400u16.try_into().unwrap(), "".into());
        leases.failed("scan", SdkError::service_error(refusal, answer))
    }

    #[test]
    fn a_throttled_table_is_asked_again() {
        for code in ["ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"] {
            assert!(matches!(failed(code), LeaseError::Transient { .. }), "{code}");
        }
        assert!(matches!(failed("AccessDeniedException"), LeaseError::Refused { .. }));
    }

    #[test]
    fn a_missing_table_is_told_with_what_makes_it() {
        let error = failed("ResourceNotFoundException");
        assert!(matches!(error, LeaseError::Refused { .. }));
        let cause = std::error::Error::source(&error).unwrap().to_string();
        let expected = "there is no lease table `twosec-leases` in this account and region; \
                        the Terraform in `packaging` makes it (`aws_dynamodb_table.leases`)";
        assert_eq!(cause, expected);
    }
}
