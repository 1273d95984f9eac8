//! The names under which others know what a rule finds: techniques of MITRE ATT&CK, attack patterns
//! of CAPEC and weaknesses of CWE.
//!
//! They follow from the rule's category, unless the rule tells its own: code in a value is T1059
//! and CWE-94, but what an XML reader is made to fetch is CWE-611. Only own names travel.

use crate::attack::Category;
use serde::{Deserialize, Serialize};

/// Names of one kind that a rule may tell.
pub const NAMES_MAX: usize = 8;

/// Names of the three kinds. What is empty is what the category stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Such as `T1059.004`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub technique: Vec<String>,
    /// Such as 88 for CAPEC-88.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capec: Vec<u16>,
    /// Such as 78 for CWE-78.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cwe: Vec<u16>,
}

impl Names {
    /// What a category stands for.
    pub fn of(category: Category) -> Names {
        Names {
            technique: category.techniques().iter().map(|id| (*id).to_owned()).collect(),
            capec: category.capec().to_vec(),
            cwe: category.cwe().to_vec(),
        }
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        *self == Names::default()
    }

    /// These names, and what the category stands for where there are none.
    pub fn or_of(&self, category: Category) -> Names {
        let Names { technique, capec, cwe } = Names::of(category);
        Names {
            technique: if self.technique.is_empty() { technique } else { self.technique.clone() },
            capec: if self.capec.is_empty() { capec } else { self.capec.clone() },
            cwe: if self.cwe.is_empty() { cwe } else { self.cwe.clone() },
        }
    }

    /// These names without the kinds that say what the category stands for anyway.
    pub fn beyond(mut self, category: Category) -> Names {
        let Names { technique, capec, cwe } = Names::of(category);
        if self.technique == technique {
            self.technique.clear();
        }
        if self.capec == capec {
            self.capec.clear();
        }
        if self.cwe == cwe {
            self.cwe.clear();
        }
        self
    }

    /// Takes up names that are not among these.
    pub fn add(&mut self, more: Names) {
        add(&mut self.technique, more.technique);
        add(&mut self.capec, more.capec);
        add(&mut self.cwe, more.cwe);
    }
}

fn add<T: PartialEq>(all: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !all.contains(&one) {
            all.push(one);
        }
    }
}

/// Whether a text is the id of a technique or of a sub-technique: `T1059`, `T1059.004`.
pub fn is_technique(text: &str) -> bool {
    let Some(number) = text.strip_prefix('T') else { return false };
    let (technique, sub) = number.split_once('.').unwrap_or((number, "000"));
    let is_number = |digits: &str, length| digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number(technique, 4) && is_number(sub, 3)
}

/// The number of an id such as `CWE-611`, whose begin is `kind`. `None` where it has another form.
pub fn number(text: &str, kind: &str) -> Option<u16> {
    let digits = text.strip_prefix(kind)?.strip_prefix('-')?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_form_that_mitre_gives_it() {
        for good in ["T1190", "T1059.004"] {
            assert!(is_technique(good), "{good}");
        }
        for bad in ["", "t1190", "T119", "T11900", "T1190.", "T1190.1", "T1190.0001", "TA0001", "T１１９０"] {
            assert!(!is_technique(bad), "{bad}");
        }
        assert_eq!(number("CWE-611", "CWE"), Some(611));
        for bad in ["611", "CWE-", "CWE-+1", "CWE-011", "cwe-611", "CAPEC-1", "CWE-611 ", "CWE-99999"] {
            assert_eq!(number(bad, "CWE"), None, "{bad}");
        }
    }

    #[test]
    fn what_a_rule_names_stands_instead_of_what_its_category_stands_for() {
        let own = Names { cwe: vec![611], ..Names::default() };
        let all = own.or_of(Category::Code);
        assert_eq!(
            (all.technique.as_slice(), &*all.capec, &*all.cwe),
            (&["T1059".to_owned()][..], &[242][..], &[611][..])
        );
        assert_eq!(all.beyond(Category::Code), own);
        assert_eq!(Names::of(Category::Xss).beyond(Category::Xss), Names::default());
    }
}
