//! DynamoDB: dynoxide with its tables in memory. Unlike on AWS every read is consistent.

use super::Served;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ScalarAttributeType;
use aws_sdk_dynamodb::types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType};
use dynoxide::Database;
use dynoxide::server::serve_with_shutdown;
use std::collections::{BTreeMap, HashMap};
use std::future::pending;

/// A DynamoDB server.
pub struct DynamoServer {
    served: Served,
}

impl DynamoServer {
    /// A server without tables.
    pub async fn start() -> DynamoServer {
        let tables = Database::memory().expect("memory takes tables");
        let serve = |listener| async {
            serve_with_shutdown(listener, tables, pending()).await.expect("the server runs");
        };
        DynamoServer { served: Served::with(serve) }
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> &str {
        &self.served.url
    }

    /// How the SDK reaches the server.
    pub async fn sdk(&self) -> SdkConfig {
        self.served.sdk().await
    }

    /// A client of it.
    pub async fn client(&self) -> Client {
        Client::new(&self.sdk().await)
    }

    /// Makes a lease table.
    pub async fn create_table(&self, name: &str) {
        create_lease_table(&self.client().await, name).await;
    }
}

/// Makes a lease table: `leaseKey` is its key.
pub async fn create_lease_table(client: &Client, name: &str) {
    let attribute = AttributeDefinition::builder().attribute_name("leaseKey");
    let key = KeySchemaElement::builder().attribute_name("leaseKey").key_type(KeyType::Hash);
    client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(
            attribute.attribute_type(ScalarAttributeType::S).build().expect("the attribute is complete"),
        )
        .key_schema(key.build().expect("the key is complete"))
        .send()
        .await
        .expect("the table is made");
}

/// The rows of a lease table, as far as they are texts.
pub async fn lease_rows(client: &Client, table: &str) -> Vec<BTreeMap<String, String>> {
    let rows = client.scan().table_name(table).consistent_read(true).send().await.expect("the table answers");
    let texts = |row: HashMap<String, AttributeValue>| {
        row.into_iter().filter_map(|(name, value)| Some((name, value.as_s().ok()?.clone()))).collect()
    };
    rows.items.unwrap_or_default().into_iter().map(texts).collect()
}
