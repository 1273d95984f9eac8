//! Conditions: how selections go together.

use super::detection::{Atom, Selections, Tree};

/// How deep brackets and `not` may nest.
const DEPTH_MAX: usize = 16;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    Name(String),
    OneOf(String),
    AllOf(String),
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

impl Expression {
    /// Reads a condition such as `selection and not 1 of filter_*`.
    ///
    /// # Errors
    /// What in it cannot be expressed.
    pub fn parse(text: &str) -> Result<Expression, String> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut reader = Reader { words: &words, depth: 0 };
        let expression = reader.any()?;
        match reader.words.first() {
            None => Ok(expression),
            Some(word) => Err(format!("its condition has `{word}`")),
        }
    }

    /// The condition as alternatives, of each of which all must hold; at most `most`.
    pub fn alternatives(&self, selections: &Selections, most: usize) -> Result<Vec<Vec<Atom>>, String> {
        alternatives(&self.tree(selections)?, false, most)
    }

    fn tree(&self, selections: &Selections) -> Result<Negated, String> {
        let trees = |list: &[Expression]| list.iter().map(|one| one.tree(selections)).collect::<Result<Vec<_>, _>>();
        let plain = |trees: Vec<Tree>| trees.into_iter().map(Negated::Tree).collect();
        Ok(match self {
            Expression::Name(name) => Negated::Tree(selections.get(name)?.clone()),
            Expression::OneOf(pattern) => Negated::Any(plain(selections.like(pattern)?)),
            Expression::AllOf(pattern) => Negated::All(plain(selections.like(pattern)?)),
            Expression::Not(inner) => Negated::Not(Box::new(inner.tree(selections)?)),
            Expression::All(list) => Negated::All(trees(list)?),
            Expression::Any(list) => Negated::Any(trees(list)?),
        })
    }
}

/// A condition with its selections put in.
enum Negated {
    Tree(Tree),
    Not(Box<Negated>),
    All(Vec<Negated>),
    Any(Vec<Negated>),
}

/// The alternatives of a condition, or of its opposite.
fn alternatives(condition: &Negated, not: bool, most: usize) -> Result<Vec<Vec<Atom>>, String> {
    let each = |list: &[Negated]| list.iter().map(|one| alternatives(one, not, most)).collect::<Result<Vec<_>, _>>();
    match condition {
        Negated::Tree(tree) => of_tree(tree, not, most),
        Negated::Not(inner) => alternatives(inner, !not, most),
        Negated::All(list) => join(each(list)?, !not, most),
        Negated::Any(list) => join(each(list)?, not, most),
    }
}

fn of_tree(tree: &Tree, not: bool, most: usize) -> Result<Vec<Vec<Atom>>, String> {
    let each = |list: &[Tree]| list.iter().map(|one| of_tree(one, not, most)).collect::<Result<Vec<_>, _>>();
    match tree {
        Tree::Atom(atom) => Ok(vec![vec![Atom { not: atom.not != not, ..atom.clone() }]]),
        Tree::All(list) => join(each(list)?, !not, most),
        Tree::Any(list) => join(each(list)?, not, most),
    }
}

/// Puts parts together, of which all must hold, or any.
fn join(parts: Vec<Vec<Vec<Atom>>>, all: bool, most: usize) -> Result<Vec<Vec<Atom>>, String> {
    let joined = if all {
        let mut joined: Vec<Vec<Atom>> = vec![Vec::new()];
        for part in parts {
            if joined.len() * part.len() > most {
                return Err(too_many(most));
            }
            let with = |one: &Vec<Atom>| part.iter().map(|more| [&one[..], &more[..]].concat()).collect::<Vec<_>>();
            joined = joined.iter().flat_map(with).collect();
        }
        joined
    } else {
        parts.into_iter().flatten().collect()
    };
    if joined.len() > most { Err(too_many(most)) } else { Ok(joined) }
}

fn too_many(most: usize) -> String {
    format!("its condition has more than {most} alternatives")
}

/// Words that have not been read yet.
struct Reader<'w> {
    words: &'w [&'w str],
    depth: usize,
}

impl Reader<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let is = self.words.first().is_some_and(|next| next.eq_ignore_ascii_case(word));
        if is {
            self.words = &self.words[1..];
        }
        is
    }

    fn any(&mut self) -> Result<Expression, String> {
        let mut list = vec![self.all()?];
        while self.next_is("or") {
            list.push(self.all()?);
        }
        Ok(if list.len() == 1 { list.remove(0) } else { Expression::Any(list) })
    }

    fn all(&mut self) -> Result<Expression, String> {
        let mut list = vec![self.one()?];
        while self.next_is("and") {
            list.push(self.one()?);
        }
        Ok(if list.len() == 1 { list.remove(0) } else { Expression::All(list) })
    }

    fn one(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("its condition is nested too deep".to_owned());
        }
        let expression = self.inner();
        self.depth -= 1;
        expression
    }

    fn inner(&mut self) -> Result<Expression, String> {
        if self.next_is("not") {
            return Ok(Expression::Not(Box::new(self.one()?)));
        }
        if self.next_is("(") {
            let inner = self.any()?;
            return if self.next_is(")") { Ok(inner) } else { Err("a bracket of its condition is not closed".into()) };
        }
        match *self.words {
            [count, of, pattern, ref rest @ ..] if of.eq_ignore_ascii_case("of") => {
                self.words = rest;
                match count.to_ascii_lowercase().as_str() {
                    "1" | "any" => Ok(Expression::OneOf(pattern.to_owned())),
                    "all" => Ok(Expression::AllOf(pattern.to_owned())),
                    _ => Err(format!("its condition asks for `{count} of`")),
                }
            }
            [name, ref rest @ ..] if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) => {
                self.words = rest;
                Ok(Expression::Name(name.to_owned()))
            }
            [odd, ..] => Err(format!("its condition has `{odd}`")),
            [] => Err("its condition ends too early".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(condition: &str) -> Result<Vec<String>, String> {
        let detection = json!({
            "a": {"c-uri|contains": "a"}, "b_1": {"c-uri|contains": "b"}, "b_2": {"sc-status": 404},
            "c": [{"c-uri|contains": "c"}, {"c-useragent|contains": "d"}],
        });
        let selections = Selections::read(&detection)?;
        let sign = |atom: &Atom| format!("{}{}", if atom.not { "!" } else { "" }, atom.regex);
        let all = |atoms: &Vec<Atom>| atoms.iter().map(sign).collect::<Vec<_>>().join(" ");
        Ok(Expression::parse(condition)?.alternatives(&selections, 8)?.iter().map(all).collect())
    }

    #[test]
    fn a_condition_becomes_alternatives() {
        for (condition, expected) in [
            ("a", vec!["a"]),
            ("a and not 1 of b_*", vec!["a !b !^404$"]),
            ("a and not all of b_*", vec!["a !b", "a !^404$"]),
            ("a or (c and b_1)", vec!["a", "c b", "d b"]),
            ("not (a or not b_1)", vec!["!a b"]),
            ("NOT c", vec!["!c !d"]),
            ("1 of *_1", vec!["b"]),
            ("all of b*_*", vec!["b ^404$"]),
        ] {
            assert_eq!(told(condition).unwrap(), expected, "{condition}");
        }
    }

    #[test]
    fn what_cannot_be_expressed_is_named() {
        for (condition, expected) in [
            ("a | count() > 5", "its condition has `|`"),
            ("2 of b_*", "its condition asks for `2 of`"),
            ("z", "its condition names `z`, which is not there"),
            ("(a", "a bracket of its condition is not closed"),
            ("a and", "its condition ends too early"),
            ("c and c and c and c", "its condition has more than 8 alternatives"),
            (&"not ".repeat(20_000), "its condition is nested too deep"),
        ] {
            assert_eq!(told(condition).unwrap_err(), expected);
        }
    }
}
