//! Patterns such as `/reports/*`.

/// A pattern in which `*` stands for any bytes; the case of letters does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard {
    /// What stands between the stars.
    pieces: Vec<Vec<u8>>,
}

impl Wildcard {
    /// The pattern that is written so.
    pub fn new(pattern: &str) -> Wildcard {
        Wildcard { pieces: pattern.to_ascii_lowercase().split('*').map(|piece| piece.as_bytes().to_vec()).collect() }
    }

    /// Whether it is all of `text`. Takes time in proportion to both.
    pub fn matches(&self, text: &[u8]) -> bool {
        let text = text.to_ascii_lowercase();
        let [first, between @ .., last] = &*self.pieces else {
            return self.pieces.first().is_some_and(|all| *all == text);
        };
        let Some(mut rest) = text.strip_prefix(&**first) else { return false };
        for piece in between {
            let Some(at) = memchr::memmem::find(rest, piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_bytes() {
        let matches = |pattern, text: &str| Wildcard::new(pattern).matches(text.as_bytes());
        for (pattern, text) in [("/a", "/A"), ("/a*", "/a"), ("*", ""), ("/a/*/c*e", "/a//c/e"), ("*b*b", "bb")] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("/a", "/a/"), ("/a*b", "/a"), ("*ab*ba*", "aba"), ("/a/*/c", "/a/c"), ("", "x")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
