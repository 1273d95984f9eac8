//! Networks in queries: `source.ip:"192.0.2.0/24"` finds what OpenSearch finds, though an
//! address is a text here.

use super::LocalIndex;
use super::search::SearchError;
use event::address;
use std::collections::BTreeSet;
use std::net::IpAddr;
use tantivy::query_grammar::{UserInputAst, UserInputLeaf};

/// The field that holds addresses.
const FIELD: &str = "source.ip";

impl LocalIndex {
    /// Puts the addresses of a network that were seen in place of the network.
    pub(super) fn with_addresses(&self, tree: UserInputAst) -> Result<UserInputAst, SearchError> {
        Ok(match tree {
            UserInputAst::Clause(clauses) => UserInputAst::Clause(
                clauses.into_iter().map(|(occur, clause)| Ok((occur, self.with_addresses(clause)?))).collect::<Result<
                    _,
                    SearchError,
                >>(
                )?,
            ),
            UserInputAst::Boost(tree, by) => UserInputAst::Boost(Box::new(self.with_addresses(*tree)?), by),
            UserInputAst::Leaf(leaf) => UserInputAst::Leaf(match network(&leaf) {
                Some(network) => Box::new(self.seen_in(network)?),
                None => leaf,
            }),
        })
    }

    fn seen_in(&self, network: &str) -> Result<UserInputLeaf, SearchError> {
        let network = address::network(network).map_err(|error| SearchError::Query(error.to_string()))?;
        let mut seen = BTreeSet::new();
        for segment in self.store.reader.searcher().segment_readers() {
            let addresses = segment.inverted_index(self.fields.field(FIELD))?;
            let mut terms = addresses.terms().stream().map_err(tantivy::TantivyError::from)?;
            while let Some((term, _)) = terms.next() {
                let text = String::from_utf8_lossy(term);
                if text.parse().is_ok_and(|address: IpAddr| network.contains(&address)) {
                    seen.insert(text.into_owned());
                }
            }
        }
        Ok(UserInputLeaf::Set { field: Some(FIELD.to_owned()), elements: seen.into_iter().collect() })
    }
}

/// The network that a part of a query names.
fn network(leaf: &UserInputLeaf) -> Option<&str> {
    match leaf {
        UserInputLeaf::Literal(literal) if literal.field_name.as_deref() == Some(FIELD) => {
            Some(literal.phrase.as_str()).filter(|phrase| phrase.contains('/'))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trouble::Trouble;
    use processor::index::Index;

    const SEEN: [&str; 7] = [
        "192.0.2.7",
        "192.0.2.255",
        "192.0.20.1",
        "2001:db8::1",
        "2001:db8:0:0:1::",
        "2001:db8::1:2:3:4:5",
        "198.51.100.9",
    ];

    #[tokio::test(flavor = "multi_thread")]
    async fn a_network_finds_the_addresses_in_it_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let index = LocalIndex::open(folder.path(), Trouble::default()).unwrap();
        for address in SEEN {
            let body = format!(r#"{{"@timestamp":"2026-11-16T08:00:00.000Z","source":{{"ip":"{address}"}}}}"#);
            let (document, _) = index.fields.document(body.as_bytes()).unwrap();
            index.store.writing().writer.as_ref().unwrap().add_document(document).unwrap();
        }
        index.flush().await.unwrap();
        let count = |query: &str| index.events(&*index.query(query).unwrap(), 100, 0).unwrap().total;
        assert_eq!((count("source.ip:\"192.0.2.0/24\""), count("source.ip:192.0.2.0/24")), (2, 2));
        assert_eq!(count("source.ip:\"2001:db8::/64\""), 2);
        assert_eq!(count("NOT source.ip:\"2001:db8::/32\""), 4);
        assert_eq!(count("source.ip:(\"192.0.2.0/24\" OR \"198.51.100.0/24\")"), 3);
        assert_eq!((count("source.ip:\"203.0.113.0/24\""), count("source.ip:\"0.0.0.0/0\"")), (0, 4));
        let error = index.query("source.ip:\"192.0.2.0/64\"").err().unwrap().to_string();
        let text = "cannot read the query: `192.0.2.0/64` is no network: write an address, or one with the length of its prefix, as in `10.0.0.0/8`";
        assert_eq!(error, text);
    }
}
