//! What can be wrong with a request: categories, findings and the verdict on a line.

use crate::names::Names;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

macro_rules! categories {
    ($($variant:ident $name:literal $severity:ident [$($technique:literal),*] [$($capec:literal),*] [$($cwe:literal),*],)*) => {
        /// A kind of attack. The names are those that users type in queries.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Category {
            $(#[serde(rename = $name)] $variant,)*
        }

        impl Category {
            /// All categories, in the order in which they are shown.
            pub const ALL: &[Category] = &[$(Category::$variant),*];

            /// The name, as in `attack.categories:sqli`.
            pub fn name(self) -> &'static str {
                match self { $(Category::$variant => $name,)* }
            }

            /// How bad it is when it works.
            pub fn severity(self) -> Severity {
                match self { $(Category::$variant => Severity::$severity,)* }
            }

            /// Techniques of MITRE ATT&CK (Enterprise).
            pub fn techniques(self) -> &'static [&'static str] {
                match self { $(Category::$variant => &[$($technique),*],)* }
            }

            /// Attack patterns of MITRE CAPEC.
            pub fn capec(self) -> &'static [u16] {
                match self { $(Category::$variant => &[$($capec),*],)* }
            }

            /// Weaknesses of MITRE CWE.
            pub fn cwe(self) -> &'static [u16] {
                match self { $(Category::$variant => &[$($cwe),*],)* }
            }
        }
    };
}

categories! {
    Sqli "sqli" High ["T1190"] [66] [89],
    Xss "xss" Medium ["T1189", "T1059.007"] [63] [79],
    Lfi "lfi" High ["T1083", "T1190"] [126] [22, 98],
    Rfi "rfi" Critical ["T1105", "T1190"] [253] [98],
    Cmdi "cmdi" Critical ["T1059.004"] [88] [78],
    Code "code" Critical ["T1059"] [242] [94, 502],
    Ssti "ssti" Critical ["T1190"] [242] [1336],
    Nosqli "nosqli" High ["T1190"] [676] [943],
    Ldapi "ldapi" High ["T1190"] [136] [90],
    Log4shell "log4shell" Critical ["T1190"] [242] [917, 502],
    Shellshock "shellshock" Critical ["T1190", "T1059.004"] [88] [78],
    Ssrf "ssrf" High ["T1190"] [664] [918],
    OpenRedirect "open-redirect" Medium ["T1566.002"] [178] [601],
    Crlf "crlf" Medium ["T1190"] [33, 34] [93, 113],
    Webshell "webshell" Critical ["T1505.003"] [650] [434],
    Upload "upload" High ["T1105"] [650] [434],
    InfoLeak "info-leak" Medium ["T1595.003", "T1552.001"] [497] [538],
    Csrf "csrf" Medium ["T1190"] [62] [352],
    Bruteforce "bruteforce" Medium ["T1110"] [49, 16] [307],
    Idor "idor" Medium ["T1190"] [1] [639],
    Scanner "scanner" Low ["T1595.002"] [541, 310] [200],
    Recon "recon" Low ["T1595.002", "T1595.003"] [541, 310] [200],
    Protocol "protocol" Low ["T1190"] [272] [444],
    Dos "dos" Medium ["T1499"] [227] [400],
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How bad, from nuisance to a lost host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// ECS wants a number in `event.severity`: 21, 47, 73, 99, as Elastic's detection
    /// rules map the same four words.
    pub fn number(self) -> u8 {
        match self {
            Severity::Low => 21,
            Severity::Medium => 47,
            Severity::High => 73,
            Severity::Critical => 99,
        }
    }
}

/// How sure, from a name that scanners use to a payload that means nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    Low,
    Medium,
    High,
}

/// The part of a request that a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Field {
    #[serde(rename = "url.path")]
    Path,
    /// The value of a query parameter.
    #[serde(rename = "url.query")]
    Query,
    /// The name of a query parameter.
    #[serde(rename = "url.query.key")]
    QueryKey,
    #[serde(rename = "http.request.method")]
    Method,
    /// A request line that has no target: TLS bytes, garbage.
    #[serde(rename = "request_line")]
    RequestLine,
    #[serde(rename = "user_agent")]
    UserAgent,
    #[serde(rename = "http.request.referrer")]
    Referer,
    #[serde(rename = "user.name")]
    User,
    /// A header that the format logs beside those above, such as `Host` or `Cookie`; the
    /// finding's parameter is its name.
    #[serde(rename = "http.request.headers")]
    Header,
    /// The whole target, for rules that look across its parts.
    #[serde(rename = "url.original")]
    Url,
}

impl Field {
    /// Whether it stands in the request's target.
    pub fn is_in_url(self) -> bool {
        matches!(self, Field::Path | Field::Query | Field::QueryKey | Field::Url)
    }

    /// The name that findings carry and rules write in `where`.
    pub fn name(self) -> &'static str {
        match self {
            Field::Path => "url.path",
            Field::Query => "url.query",
            Field::QueryKey => "url.query.key",
            Field::Method => "http.request.method",
            Field::RequestLine => "request_line",
            Field::UserAgent => "user_agent",
            Field::Referer => "http.request.referrer",
            Field::User => "user.name",
            Field::Header => "http.request.headers",
            Field::Url => "url.original",
        }
    }
}

/// One thing that a rule found in a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Id of the rule, such as `sqli-union-select`.
    pub rule: String,
    pub category: Category,
    pub confidence: Confidence,
    /// 1 to 100.
    pub score: u8,
    /// How bad it is when it works.
    pub severity: Severity,
    /// The vulnerabilities that it is meant for, such as `CVE-2021-44228`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cve: Vec<String>,
    pub field: Field,
    /// Name of the query parameter, where the field has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// How often the value was decoded before the rule matched, 0 to 3.
    pub layer: u8,
    /// The decoded text around the match, at most 120 characters.
    pub excerpt: String,
    /// The bytes of the line that hold it, from and to: exact where the value was matched as
    /// it was sent, all of the value where it had to be decoded. None where no bytes of the
    /// line are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(u32, u32)>,
    /// The rule's own names; where people read, [`Finding::all_names`] are told.
    #[serde(flatten)]
    pub names: Names,
}

impl Finding {
    /// The names under which others know what it is.
    pub fn all_names(&self) -> Names {
        self.names.or_of(self.category)
    }

    fn named(&self) -> Finding {
        Finding { names: self.all_names(), ..self.clone() }
    }

    /// Writes the finding with its names: for `serialize_with`.
    pub(crate) fn write_named<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.named().serialize(serializer)
    }

    /// Writes findings with their names: for `serialize_with`.
    pub(crate) fn write_all_named<S: Serializer>(findings: &[Finding], serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(findings.len()))?;
        findings.iter().try_for_each(|finding| list.serialize_element(&finding.named()))?;
        list.end()
    }
}

/// What is the same for all findings of a rule.
///
/// On the wire a list: category, confidence, score; where the rule tells more than its category
/// does, its severity and CVE numbers; and where it has names of its own, those.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenFacts", into = "WrittenFacts")]
pub struct RuleFacts {
    pub category: Category,
    pub confidence: Confidence,
    /// 1 to 100.
    pub score: u8,
    pub severity: Severity,
    /// Such as `CVE-2021-44228`.
    pub cve: Vec<String>,
    /// The rule's own.
    pub names: Names,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenFacts {
    Usual(Category, Confidence, u8),
    Own(Category, Confidence, u8, Severity, Vec<String>),
    Named(Category, Confidence, u8, Severity, Vec<String>, Names),
}

impl From<WrittenFacts> for RuleFacts {
    fn from(written: WrittenFacts) -> RuleFacts {
        let (category, confidence, score, severity, cve, names) = match written {
            WrittenFacts::Usual(category, confidence, score) => {
                (category, confidence, score, category.severity(), Vec::new(), Names::default())
            }
            WrittenFacts::Own(category, confidence, score, severity, cve) => {
                (category, confidence, score, severity, cve, Names::default())
            }
            WrittenFacts::Named(category, confidence, score, severity, cve, names) => {
                (category, confidence, score, severity, cve, names)
            }
        };
        RuleFacts { category, confidence, score, severity, cve, names }
    }
}

impl From<RuleFacts> for WrittenFacts {
    fn from(facts: RuleFacts) -> WrittenFacts {
        let RuleFacts { category, confidence, score, severity, cve, names } = facts;
        if !names.is_empty() {
            return WrittenFacts::Named(category, confidence, score, severity, cve, names);
        }
        if severity == category.severity() && cve.is_empty() {
            return WrittenFacts::Usual(category, confidence, score);
        }
        WrittenFacts::Own(category, confidence, score, severity, cve)
    }
}

/// The verdict on a line that holds an attack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attack {
    /// 1 to 100: how much all findings together say that somebody attacks.
    pub score: u8,
    /// Strongest first, never empty.
    pub findings: Vec<Finding>,
}

impl Attack {
    /// The categories found, each once, strongest first.
    pub fn categories(&self) -> Vec<Category> {
        let mut found = Vec::new();
        for finding in &self.findings {
            if !found.contains(&finding.category) {
                found.push(finding.category);
            }
        }
        found
    }

    /// The surest finding's confidence.
    pub fn confidence(&self) -> Confidence {
        self.findings.iter().map(|f| f.confidence).max().unwrap_or(Confidence::Low)
    }

    /// The worst finding's severity.
    pub fn severity(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_is_written_as_users_type_it() {
        for category in Category::ALL {
            assert_eq!(serde_json::to_string(category).unwrap(), format!("\"{}\"", category.name()));
        }
        assert_eq!(Category::ALL.len(), 24);
    }

    #[test]
    fn a_field_is_written_as_its_name() {
        for field in [Field::Path, Field::Query, Field::QueryKey, Field::UserAgent, Field::Referer, Field::User] {
            assert_eq!(serde_json::to_string(&field).unwrap(), format!("\"{}\"", field.name()));
        }
    }
}
