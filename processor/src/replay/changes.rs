//! What newer rules find in old lines, counted.

use crate::progress::{count, counted};
use event::{Attack, Finding};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Rules that a report names on each side.
const RULES_SHOWN: usize = 10;

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Lines that were judged anew.
    pub lines: u64,
    /// What is no line, and lines that newer rules than these have judged: it stays as it is.
    pub not_judged: u64,
    /// Lines of which the rules that matched are others now.
    pub changed: u64,
    /// Lines that are attacks now and were none.
    pub new_attacks: u64,
    /// Lines that were attacks and are none now.
    pub no_attacks: u64,
    /// Findings that are new, by rule.
    pub found: BTreeMap<String, u64>,
    /// Findings that are gone, by rule.
    pub gone: BTreeMap<String, u64>,
}

impl Changes {
    /// Counts a line, which `old` was found in and now `new`.
    pub fn note(&mut self, is_judged: bool, old: Option<&Attack>, new: Option<&Attack>) {
        if !is_judged {
            self.not_judged += 1;
            return;
        }
        self.lines += 1;
        self.new_attacks += u64::from(old.is_none() && new.is_some());
        self.no_attacks += u64::from(old.is_some() && new.is_none());
        let (old, new) = (rules(old), rules(new));
        self.changed += u64::from(old != new);
        new.difference(&old).for_each(|rule| *self.found.entry((*rule).to_owned()).or_default() += 1);
        old.difference(&new).for_each(|rule| *self.gone.entry((*rule).to_owned()).or_default() += 1);
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: Changes) {
        self.lines += other.lines;
        self.not_judged += other.not_judged;
        self.changed += other.changed;
        self.new_attacks += other.new_attacks;
        self.no_attacks += other.no_attacks;
        other.found.into_iter().for_each(|(rule, count)| *self.found.entry(rule).or_default() += count);
        other.gone.into_iter().for_each(|(rule, count)| *self.gone.entry(rule).or_default() += count);
    }
}

fn rules(attack: Option<&Attack>) -> BTreeSet<&str> {
    attack.iter().flat_map(|attack| &attack.findings).map(|finding: &Finding| finding.rule.as_str()).collect()
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lines, changed) = (counted(self.lines, "line"), count(self.changed));
        let (new, none) = (count(self.new_attacks), count(self.no_attacks));
        writeln!(f, "judged anew: {lines}; {changed} changed, {new} are attacks now, {none} are none any more")?;
        if self.not_judged > 0 {
            writeln!(f, "not judged: {} that are no lines, or were judged by newer rules", count(self.not_judged))?;
        }
        for (sign, rules) in [('+', &self.found), ('-', &self.gone)] {
            let mut rules: Vec<_> = rules.iter().collect();
            rules.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for (rule, lines) in rules.into_iter().take(RULES_SHOWN) {
                writeln!(f, "  {sign} {rule}  {}", count(*lines))?;
            }
        }
        Ok(())
    }
}
