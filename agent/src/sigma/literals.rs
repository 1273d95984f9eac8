//! Texts that every match of a regex holds.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind};

/// A shorter one stands in nearly every line.
const LITERAL_BYTES_MIN: usize = 2;

/// Literals of one rule.
const LITERALS_MAX: usize = 256;

/// Literals, in lower case, one of which is in every match. `None` where there are none.
pub fn required(regex: &str) -> Option<Vec<String>> {
    // Without case every letter is a class, and nothing is a literal.
    let hir = parse(&regex.replace("(?i:", "(?:"))?;
    let mut literals = of(&hir)?;
    literals.sort();
    literals.dedup();
    (literals.len() <= LITERALS_MAX).then_some(literals)
}

/// A regex as the rules compile it.
pub fn parse(regex: &str) -> Option<Hir> {
    ParserBuilder::new().unicode(false).utf8(false).dot_matches_new_line(true).build().parse(regex).ok()
}

fn of(hir: &Hir) -> Option<Vec<String>> {
    let literals = match hir.kind() {
        HirKind::Literal(literal) => vec![std::str::from_utf8(&literal.0).ok()?.to_ascii_lowercase()],
        HirKind::Capture(capture) => of(&capture.sub)?,
        HirKind::Repetition(repetition) if repetition.min > 0 => of(&repetition.sub)?,
        HirKind::Concat(parts) => {
            let shortest = |literals: &Vec<String>| literals.iter().map(String::len).min();
            parts.iter().filter_map(of).max_by_key(shortest)?
        }
        HirKind::Alternation(parts) => parts.iter().map(of).collect::<Option<Vec<_>>>()?.concat(),
        _ => return None,
    };
    literals.iter().all(|literal| literal.len() >= LITERAL_BYTES_MIN).then_some(literals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_match_holds_is_found() {
        for (regex, expected) in [
            ("^/a/.*x=longer", Some(vec!["x=longer"])),
            ("(?:union|select.*from)", Some(vec!["select", "union"])),
            ("(?i:Union[\\s+]+Select)", Some(vec!["select"])),
            ("a?b*", None),
            ("(?:long|x)", None),
        ] {
            let expected = expected.map(|all| all.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(required(regex), expected, "{regex}");
        }
    }
}
