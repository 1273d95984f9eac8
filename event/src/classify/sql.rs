//! Does a value go on as SQL where it should end?
//!
//! Words do not make an attack: `union square select hotel` is a search. What a database
//! would run has a grammar, and prose hardly ever follows it: operands stand apart by
//! operators, brackets close, a quote that ends the value is followed by an operator and
//! not by a word, and a comment swallows what is left of the real statement. So a text is
//! read as what would stand in a statement, in four ways: as it is (an id without quotes)
//! and behind the first quote of each kind (a value in quotes). If one of them reads to the
//! end, what it is made of decides.
//!
//! The dialects differ in what they allow; this grammar takes what any of MySQL,
//! PostgreSQL, SQL Server, Oracle and SQLite takes.

use std::ops::Range;

/// Bytes that are read. A payload that needs more room than this to begin with has other
/// signs.
const TEXT_BYTES_MAX: usize = 1024;

/// Tokens that are read.
const TOKENS_MAX: usize = 256;

/// How deep brackets may stand in one another.
const DEPTH_MAX: usize = 24;

/// Where a text, in lower case, is SQL by its grammar.
pub fn injection(text: &[u8]) -> Option<Range<usize>> {
    let text = &text[..text.len().min(TEXT_BYTES_MAX)];
    let quotes = Quote::ALL.into_iter().filter_map(|quote| Some((quote, quote.first(text)?)));
    let broken = quotes.map(|(quote, (at, length))| (Some(quote), at, at + length));
    let mut read = Vec::new();
    for (quote, at, from) in [(None, 0, 0)].into_iter().chain(broken) {
        read.clear();
        let row = Row { tokens: Tokens { text, at: from, open_at: None }, read: &mut read };
        let mut reader = Reader { row, at: 0, depth: 0, facts: Facts::default() };
        let is_read = if quote.is_some() { reader.rest_of_statement(true) } else { reader.value() };
        if !is_read {
            continue;
        }
        let is_told = match quote {
            Some(quote) if is_quoted_words(text, quote) => false,
            Some(_) => reader.facts.tell_behind_quote(&text[..at], reader.row.open().map(|at| &text[at..])),
            None => reader.facts.tell(),
        };
        if is_told {
            return Some(at..text.len());
        }
    }
    None
}

/// Whether a text is words, some of them in quotes: `"or" vs "and"`. What would be code, were its first
/// quote the end of a string, is one word at a time, and no string between has anything but words.
fn is_quoted_words(text: &[u8], quote: Quote) -> bool {
    let quote = match quote {
        Quote::Single => b'\'',
        Quote::Double => b'"',
        Quote::Back => b'`',
    };
    let parts: Vec<&[u8]> = text.split(|byte| *byte == quote).collect();
    let is_words = |part: &&[u8]| part.iter().all(|byte| byte.is_ascii_alphabetic() || b" ,.?".contains(byte));
    let is_word = |part: &&[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_alphabetic);
    let (mut outside, mut inside) = (parts.iter().step_by(2), parts.iter().skip(1).step_by(2));
    let last = parts.len() - 1;
    let is_apart = |(at, part): (usize, &&[u8])| {
        (at == 0 || part.first().is_none_or(|byte| !byte.is_ascii_alphabetic()))
            && (2 * at == last || part.last().is_none_or(|byte| *byte == b' '))
            && (at == 0 || 2 * at == last || !part.is_empty())
    };
    parts.len() % 2 == 1
        && inside.all(is_word)
        && outside.clone().enumerate().all(is_apart)
        && outside.clone().any(|part| part.iter().any(u8::is_ascii_alphabetic))
        && outside.all(is_words)
}

/// What strings are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    Single,
    Double,
    Back,
}

impl Quote {
    const ALL: [Quote; 3] = [Quote::Single, Quote::Double, Quote::Back];

    /// The first such quote, and its length: some databases turn U+2019, U+2032 and U+FF07
    /// into `'` on their way into a statement.
    fn first(self, text: &[u8]) -> Option<(usize, usize)> {
        (0..text.len()).find_map(|at| Some((at, self.at(&text[at..])?)))
    }

    fn at(self, rest: &[u8]) -> Option<usize> {
        match (self, rest) {
            (Quote::Single, [b'\'', ..]) | (Quote::Double, [b'"', ..]) | (Quote::Back, [b'`', ..]) => Some(1),
            (Quote::Single, [0xe2, 0x80, 0x99 | 0xb2, ..] | [0xef, 0xbc, 0x87, ..]) => Some(3),
            _ => None,
        }
    }
}

/// What a piece of the text is to a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Number,
    Text,
    /// A string that does not end here: the real statement's quote ends it.
    Open,
    /// `@name`, `@@name`, `:name`
    Variable,
    /// `null`, `true`, `current_user`
    Constant,
    Name,
    /// A name in backticks or square brackets.
    QuotedName,
    /// `-`, `+`, `~`, `!`, `not`, `binary`, `distinct`, `prior`
    Unary,
    Arithmetic,
    Compare(Written),
    /// `and`, `or`, `xor`, `&&`, `||`
    Logic(Written),
    Open1,
    Close1,
    Comma,
    Semicolon,
    Star,
    /// A comment to the end of the text; whether dashes begin it.
    Comment(bool),
    Word(Word),
}

/// How an operator is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Word,
    Symbol,
}

/// Words that have a place of their own in statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Select,
    Union,
    Case,
    When,
    Then,
    Else,
    End,
    /// `where`, `having`, `order`, `group`, `limit`, `procedure`, `into`, `from`, `offset`
    Clause,
    /// `drop`, `insert`, `exec`, `waitfor`, ...
    Statement,
}

/// Reads tokens off a text.
struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    /// Where a string begins, behind its quote, that does not end.
    open_at: Option<usize>,
}

/// A row of tokens, read no further than somebody looks: most texts are no SQL after a few.
struct Row<'a, 'r> {
    tokens: Tokens<'a>,
    read: &'r mut Vec<Token>,
}

impl Row<'_, '_> {
    fn get(&mut self, at: usize) -> Option<Token> {
        while self.read.len() <= at && self.read.len() < TOKENS_MAX {
            let token = self.tokens.token()?;
            // `is not`, `sounds like`, `not in`: one operator in several words.
            match (self.read.last(), token) {
                (Some(Token::Compare(_)), Token::Compare(_)) => {}
                _ => self.read.push(token),
            }
        }
        self.read.get(at).copied()
    }

    /// Where a string begins, behind its quote, that does not end.
    fn open(&mut self) -> Option<usize> {
        self.get(TOKENS_MAX - 1);
        self.tokens.open_at
    }
}

impl Tokens<'_> {
    fn token(&mut self) -> Option<Token> {
        self.skip_blanks();
        let rest = &self.text[self.at.min(self.text.len())..];
        let (token, length) = match rest {
            [] => return None,
            [b'-', b'-', ..] => return Some(self.comment(true, 2)),
            [b'#', ..] => return Some(self.comment(false, 1)),
            [b'/', b'*', ..] => {
                self.at = self.text.len();
                return Some(Token::Comment(true));
            }
            [b'\'' | b'"' | b'`', ..] | [0xe2, 0x80, 0x99 | 0xb2, ..] | [0xef, 0xbc, 0x87, ..] => {
                return Some(self.string());
            }
            [b'(' | b'{', ..] => (Token::Open1, 1),
            [b')' | b'}', ..] => (Token::Close1, 1),
            [b',', ..] => (Token::Comma, 1),
            [b';', ..] => (Token::Semicolon, 1),
            [b'[', ..] => (Token::QuotedName, rest.iter().position(|b| *b == b']').map_or(rest.len(), |end| end + 1)),
            [b'<', b'=', b'>', ..] => (Token::Compare(Written::Symbol), 3),
            [b'<', b'=' | b'>', ..]
            | [b'>' | b'!' | b'^' | b'=', b'=', ..]
            | [b'!', b'<' | b'>', ..]
            | [b':', b'=', ..] => (Token::Compare(Written::Symbol), 2),
            [b'&', b'&', ..] | [b'|', b'|', ..] => (Token::Logic(Written::Symbol), 2),
            [b'<', b'<', ..] | [b'>', b'>', ..] | [b':', b':', ..] => (Token::Arithmetic, 2),
            [b'=' | b'<' | b'>', ..] => (Token::Compare(Written::Symbol), 1),
            [b'-' | b'+' | b'~' | b'!', ..] => (Token::Unary, 1),
            [b'*', ..] => (Token::Star, 1),
            [b'/' | b'%' | b'&' | b'|' | b'^', ..] => (Token::Arithmetic, 1),
            [b'@', b'@', name @ ..] => (Token::Variable, 2 + word_length(name)),
            [b'@' | b':', first, ..] if is_word(*first) => (Token::Variable, 1 + word_length(&rest[1..])),
            [b'\\', b'n', ..] => (Token::Constant, 2),
            [b'\\', digit, ..] if digit.is_ascii_digit() => (Token::Number, 1 + number_length(&rest[1..])),
            [byte, ..] if byte.is_ascii_digit() => (Token::Number, number_length(rest)),
            [b'.', byte, ..] if byte.is_ascii_digit() => (Token::Number, 1 + number_length(&rest[1..])),
            [byte, ..] if is_word(*byte) => {
                let length = word_length(rest);
                (word(&rest[..length]), length)
            }
            _ => (Token::Name, 1),
        };
        self.at += length;
        Some(token)
    }

    /// Blanks, control characters, and comments that end before the text does. What stands
    /// in `/*! */` is run by MySQL.
    fn skip_blanks(&mut self) {
        while let Some(byte) = self.text.get(self.at) {
            let rest = &self.text[self.at..];
            self.at += match rest {
                [b'/', b'*', b'!', inner @ ..] => 3 + inner.iter().take_while(|b| b.is_ascii_digit()).count(),
                [b'*', b'/', ..] => 2,
                [b'/', b'*', inner @ ..] => match memchr::memmem::find(inner, b"*/") {
                    Some(end) => end + 4,
                    None => return,
                },
                [0xc2, 0xa0, ..] => 2,
                _ if *byte <= b' ' || *byte == 0x7f => 1,
                _ => return,
            };
        }
    }

    /// A comment goes on to the end of its line; the statement goes on behind that.
    fn comment(&mut self, dashes: bool, length: usize) -> Token {
        let rest = &self.text[self.at + length..];
        match rest.iter().position(|b| *b == b'\n') {
            Some(end) if rest[end..].iter().any(|b| *b > b' ') => {
                self.at += length + end + 1;
                self.token().unwrap_or(Token::Comment(dashes))
            }
            _ => {
                self.at = self.text.len();
                Token::Comment(dashes)
            }
        }
    }

    /// A doubled quote, or one behind a backslash, stands for itself.
    fn string(&mut self) -> Token {
        let rest = &self.text[self.at..];
        let quote = Quote::ALL.into_iter().find_map(|quote| Some((quote, quote.at(rest)?)));
        let Some((quote, mut at)) = quote else { return Token::Name };
        while at < rest.len() {
            match quote.at(&rest[at..]) {
                _ if rest[at] == b'\\' => at += 2,
                Some(length) if quote.at(rest.get(at + length..).unwrap_or_default()).is_some() => at += 2 * length,
                Some(length) => {
                    self.at += at + length;
                    return if quote == Quote::Back { Token::QuotedName } else { Token::Text };
                }
                None => at += 1,
            }
        }
        self.open_at = Some(self.text.len() - rest.len() + quote.at(rest).unwrap_or(1));
        self.at = self.text.len();
        Token::Open
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.') || byte >= 0x80
}

/// A blank without a break and the quotes of typesetters end a word.
fn word_length(rest: &[u8]) -> usize {
    let ends = |at: &usize| {
        let rest = &rest[*at..];
        !is_word(rest[0]) || rest.starts_with(&[0xc2, 0xa0]) || Quote::Single.at(rest).is_some()
    };
    (0..rest.len()).find(ends).unwrap_or(rest.len())
}

/// A number: decimal, hexadecimal, with an exponent. Letters behind it begin a word, as
/// MySQL reads `1union`.
fn number_length(rest: &[u8]) -> usize {
    if let [b'0', b'x', digits @ ..] = rest {
        return 2 + digits.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    }
    let digits = |from: usize| rest[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut length = digits(0);
    if rest.get(length) == Some(&b'.') {
        length += 1 + digits(length + 1);
    }
    if let [b'e', exponent @ ..] = &rest[length..] {
        let sign = usize::from(matches!(exponent.first(), Some(b'+' | b'-')));
        let there = digits(length + 1 + sign);
        if there > 0 {
            length += 1 + sign + there;
        }
    }
    length
}

fn word(text: &[u8]) -> Token {
    use Word::*;
    match text {
        b"and" | b"or" | b"xor" => Token::Logic(Written::Word),
        b"like" | b"rlike" | b"ilike" | b"regexp" | b"is" | b"in" | b"between" | b"sounds" | b"glob" | b"similar" => {
            Token::Compare(Written::Word)
        }
        b"div" | b"mod" | b"collate" | b"escape" => Token::Arithmetic,
        b"not" | b"binary" | b"distinct" | b"prior" | b"exists" | b"any" | b"all" => Token::Unary,
        b"null" | b"true" | b"false" | b"current_user" | b"current_date" | b"current_time" | b"current_timestamp" => {
            Token::Constant
        }
        b"select" => Token::Word(Select),
        b"union" | b"intersect" | b"except" => Token::Word(Union),
        b"case" => Token::Word(Case),
        b"when" => Token::Word(When),
        b"then" => Token::Word(Then),
        b"else" => Token::Word(Else),
        b"end" => Token::Word(End),
        b"where" | b"having" | b"order" | b"group" | b"limit" | b"procedure" | b"into" | b"from" | b"offset" => {
            Token::Word(Clause)
        }
        b"drop" | b"insert" | b"delete" | b"update" | b"exec" | b"execute" | b"declare" | b"waitfor" | b"shutdown"
        | b"create" | b"alter" | b"truncate" | b"grant" | b"begin" | b"load" | b"merge" | b"if" | b"call" | b"set"
        | b"copy" | b"replace" | b"handler" | b"revoke" | b"while" | b"do" => Token::Word(Statement),
        _ => Token::Name,
    }
}

/// What a text was read as.
#[derive(Debug, Default)]
struct Facts {
    logic: usize,
    compare: usize,
    /// Operators of conditions that are no words.
    symbols: usize,
    /// Comparisons of two things that never change, where that stands in brackets or beside
    /// others.
    constant_compare: usize,
    constant_compare_inside: usize,
    arithmetic: usize,
    brackets: usize,
    calls: usize,
    numbers: usize,
    texts: usize,
    variables: usize,
    words_before: usize,
    names: usize,
    cases: usize,
    selects: usize,
    unions: usize,
    statements: usize,
    clauses: usize,
    /// The text ends in a string that the real statement's quote will end.
    ends_open: bool,
    ends_in_comment: bool,
    ends_in_dashes: bool,
}

impl Facts {
    fn is_statement(&self) -> bool {
        self.unions > 0 && self.selects > 0 || self.statements > 0 || self.cases > 0
    }

    /// Whether what follows a quote is more than somebody could mean who knows no SQL.
    /// `before` stands in front of the quote; `open` is the string that does not end.
    fn tell_behind_quote(&self, before: &[u8], open: Option<&[u8]>) -> bool {
        let condition = self.logic + self.compare > 0;
        let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        // `rock" and "roll`, `"like" stamp`: two quotes around one word of prose.
        let is_one_word = self.logic + self.compare == 1 && self.arithmetic + self.calls + self.brackets == 0;
        let ends = match open {
            Some(open) if is_one_word && self.symbols == 0 => {
                is_number(open)
                    || open.len() == 1
                    || open.is_empty() && !before.contains(&b' ')
                    || !open.is_empty() && open == before
            }
            Some(_) => true,
            None => self.ends_in_comment,
        };
        self.is_statement()
            || condition && ends
            || self.logic > 0 && self.compare > 0
            || self.clauses > 0 && (condition || self.ends_in_comment)
            || self.arithmetic > 1 && self.names + self.variables > 0 && open.is_some_and(is_number)
    }

    /// The same of a text as it is.
    fn tell(&self) -> bool {
        let condition = self.logic + self.compare > 0;
        let is_plain = self.brackets + self.calls == 0 && self.names > 0;
        let dashes =
            self.ends_in_dashes && !is_plain && (condition || self.variables + self.words_before + self.selects > 0);
        let hash = self.ends_in_comment && !self.ends_in_dashes && self.constant_compare > 0;
        let sum = self.ends_in_dashes && self.names + self.texts == 0 && self.arithmetic > 0 && self.numbers > 1;
        self.is_statement()
            || dashes
            || hash
            || sum
            || self.variables > 0 && self.ends_in_dashes
            || self.logic > 0 && self.constant_compare > 0
            || self.constant_compare_inside > 0
            || self.selects > 0 && self.clauses > 0 && (condition || self.brackets > 0)
    }
}

/// Reads a row of tokens as a part of a statement. Each method takes what it reads, and
/// says whether the text could go on there.
struct Reader<'a, 'r> {
    row: Row<'a, 'r>,
    at: usize,
    depth: usize,
    facts: Facts,
}

impl Reader<'_, '_> {
    fn peek(&mut self) -> Option<Token> {
        self.row.get(self.at)
    }

    fn take(&mut self, token: Token) -> bool {
        let is_there = self.peek() == Some(token);
        self.at += usize::from(is_there);
        is_there
    }

    /// A text that begins a value of its own.
    fn value(&mut self) -> bool {
        match self.peek() {
            Some(Token::Semicolon) => self.rest_of_statement(false),
            Some(Token::Word(Word::Select)) => {
                self.query();
                self.rest_of_statement(false)
            }
            _ => match self.operand() {
                Some(constant) => self.rest_of_expression(constant).is_some() && self.rest_of_statement(false),
                None => false,
            },
        }
    }

    /// What follows a value: brackets close, conditions go on, clauses follow, a comment
    /// swallows the rest.
    fn rest_of_statement(&mut self, is_behind_quote: bool) -> bool {
        let mut is_first = true;
        loop {
            match self.peek() {
                None => return true,
                Some(Token::Comment(dashes)) => {
                    (self.facts.ends_in_comment, self.facts.ends_in_dashes) = (true, dashes);
                    return true;
                }
                Some(Token::Close1) => {
                    self.at += 1;
                    self.facts.brackets += 1;
                    if self.rest_of_expression(false).is_none() {
                        return false;
                    }
                }
                Some(Token::Semicolon) => {
                    self.at += 1;
                    let follows = self.peek();
                    if follows == Some(Token::Word(Word::Statement)) && self.facts.names == 0 {
                        return self.statement();
                    }
                    if !matches!(follows, None | Some(Token::Comment(_) | Token::Semicolon)) {
                        return false;
                    }
                }
                Some(Token::Word(Word::Union)) => {
                    self.at += 1;
                    self.facts.unions += 1;
                    while matches!(self.peek(), Some(Token::Unary | Token::Open1)) {
                        self.at += 1;
                    }
                    if !self.take(Token::Word(Word::Select)) {
                        return false;
                    }
                    self.facts.selects += 1;
                    return self.begins_columns();
                }
                Some(Token::Word(Word::Clause)) if self.facts.names == 0 || is_behind_quote => return self.clause(),
                _ if is_first && is_behind_quote => {
                    if self.rest_of_expression(false).is_none() {
                        return false;
                    }
                }
                _ => return false,
            }
            is_first = false;
        }
    }

    /// A statement behind a semicolon, as far as it must be told from a sentence.
    fn statement(&mut self) -> bool {
        self.at += 1;
        let is_code = |token| !matches!(token, Token::Name | Token::Word(_) | Token::Number | Token::Comma);
        let is_statement = self.peek().is_none() || (self.at..).map_while(|at| self.row.get(at)).any(is_code);
        self.facts.statements += usize::from(is_statement);
        is_statement
    }

    /// `order by 3`, `having 1=1`, `limit 1`, `into outfile '...'`: with what must follow.
    fn clause(&mut self) -> bool {
        self.at += 1;
        self.facts.clauses += 1;
        while matches!(self.peek(), Some(Token::Name)) {
            self.at += 1;
        }
        match self.peek() {
            None => false,
            Some(Token::Comment(dashes)) => {
                (self.facts.ends_in_comment, self.facts.ends_in_dashes) = (true, dashes);
                true
            }
            _ => {
                let Some(constant) = self.operand() else { return false };
                self.rest_of_expression(constant).is_some() && self.rest_of_statement(true)
            }
        }
    }

    /// What a SELECT must be followed by: something that no sentence has there.
    fn begins_columns(&mut self) -> bool {
        let Some(first) = self.peek() else { return true };
        match first {
            // `sql union select explained`: words alone are a sentence.
            Token::Name if self.facts.names > 0 && self.row.get(self.at + 1).is_none() => false,
            Token::Name => matches!(
                self.row.get(self.at + 1),
                None | Some(
                    Token::Comma
                        | Token::Open1
                        | Token::Comment(_)
                        | Token::Word(Word::Clause)
                        | Token::Open
                        | Token::QuotedName
                )
            ),
            Token::Word(_) | Token::Logic(_) => false,
            _ => true,
        }
    }

    /// `select ... `, read loosely up to its end.
    fn query(&mut self) {
        self.at += 1;
        self.facts.selects += usize::from(self.begins_columns());
        let mut open = 0;
        while let Some(token) = self.peek() {
            match token {
                Token::Open1 => open += 1,
                Token::Close1 if open == 0 => return,
                Token::Close1 => open -= 1,
                Token::Comment(_) => return,
                Token::Open => self.facts.ends_open = true,
                Token::Word(Word::Clause) => self.facts.clauses += 1,
                Token::Compare(_) => self.facts.compare += 1,
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Operators and operands in turn, behind an operand. Returns whether the whole never
    /// changes.
    fn rest_of_expression(&mut self, mut constant: bool) -> Option<bool> {
        loop {
            // `not like`, `not in`
            let is_not =
                self.peek() == Some(Token::Unary) && matches!(self.row.get(self.at + 1), Some(Token::Compare(_)));
            self.at += usize::from(is_not);
            match self.peek() {
                Some(Token::Compare(written)) => {
                    self.at += 1;
                    self.facts.compare += 1;
                    self.facts.symbols += usize::from(written == Written::Symbol);
                    let right = self.operand().and_then(|right| self.rest_of_sum(right))?;
                    if constant && right {
                        self.facts.constant_compare += 1;
                        self.facts.constant_compare_inside += usize::from(self.depth > 0);
                    }
                    constant &= right;
                }
                Some(Token::Logic(written)) => {
                    self.at += 1;
                    self.facts.logic += 1;
                    self.facts.symbols += usize::from(written == Written::Symbol);
                    let right = self.operand().and_then(|right| self.rest_of_sum(right))?;
                    constant = right;
                }
                Some(Token::Arithmetic | Token::Star | Token::Unary) => constant = self.rest_of_sum(constant)?,
                _ => return Some(constant),
            }
        }
    }

    /// As [`Reader::rest_of_expression`], of arithmetic alone.
    fn rest_of_sum(&mut self, mut constant: bool) -> Option<bool> {
        while matches!(self.peek(), Some(Token::Arithmetic | Token::Star | Token::Unary)) {
            if self.peek() == Some(Token::Unary) && matches!(self.row.get(self.at + 1), Some(Token::Compare(_))) {
                break;
            }
            self.at += 1;
            self.facts.arithmetic += 1;
            constant &= self.operand()?;
        }
        Some(constant)
    }

    /// One thing that has a value. Returns whether that never changes.
    fn operand(&mut self) -> Option<bool> {
        while self.peek() == Some(Token::Unary) {
            self.at += 1;
            self.facts.words_before += 1;
        }
        let token = self.peek()?;
        self.at += 1;
        match token {
            Token::Number => {
                self.facts.numbers += 1;
                Some(true)
            }
            Token::Text => {
                self.facts.texts += 1;
                Some(true)
            }
            Token::Open => {
                self.facts.ends_open = true;
                Some(true)
            }
            Token::Constant => Some(true),
            Token::Variable => {
                self.facts.variables += 1;
                Some(true)
            }
            Token::Name | Token::Word(Word::Statement) if self.peek() == Some(Token::Open1) => {
                self.at += 1;
                self.facts.calls += 1;
                self.in_brackets()
            }
            Token::Name | Token::QuotedName => {
                self.facts.names += 1;
                Some(false)
            }
            Token::Open1 => {
                self.facts.brackets += 1;
                self.in_brackets()
            }
            Token::Word(Word::Case) => self.case(),
            Token::Word(Word::Select) if self.depth > 0 => {
                self.at -= 1;
                self.query();
                Some(false)
            }
            _ => None,
        }
    }

    /// What stands in brackets, with the closing one if it is there: a comment or a string
    /// that does not end may come first.
    fn in_brackets(&mut self) -> Option<bool> {
        if self.depth == DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        let mut constant = true;
        loop {
            match self.peek() {
                None | Some(Token::Close1 | Token::Comment(_)) => break,
                Some(Token::Comma) => self.at += 1,
                Some(Token::Star) => self.at += 1,
                _ => {
                    let first = self.operand()?;
                    constant &= self.rest_of_expression(first)?;
                    if matches!(self.peek(), Some(Token::Word(Word::Clause))) {
                        self.query();
                    }
                }
            }
        }
        self.depth -= 1;
        self.take(Token::Close1);
        Some(constant)
    }

    /// `case a when 1 then 2 else 3 end`
    fn case(&mut self) -> Option<bool> {
        if !matches!(self.peek(), Some(Token::Word(Word::When))) {
            let first = self.operand()?;
            self.rest_of_expression(first)?;
        }
        let mut branches = 0;
        while self.take(Token::Word(Word::When)) {
            for ends in [true, false] {
                let first = self.operand()?;
                self.rest_of_expression(first)?;
                if ends && !self.take(Token::Word(Word::Then)) {
                    return None;
                }
            }
            branches += 1;
        }
        if self.take(Token::Word(Word::Else)) {
            let first = self.operand()?;
            self.rest_of_expression(first)?;
        }
        if branches == 0 || !self.take(Token::Word(Word::End)) {
            return None;
        }
        self.facts.cases += 1;
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_that_goes_on_as_a_statement_is_told() {
        for text in [
            "1 or 1=1",
            "1' or '1'='1",
            "' or 1=1--",
            "x\") or (\"a\"=\"a",
            "aa' / +1 like '0",
            "aa' - + ! 2 != + - '1",
            "1'*null is null - '",
            "' or userid is not 2",
            "admin' and uid like '%",
            "1\"or-\"1",
            "1' or '1",
            "aa' like 0 -- -a",
            "((1) or (1 or 1))--",
            "( binary ( 'a' or 'b') )  --",
            "( @a or cos ( binary ( 'b')) )  -- ",
            "hope and 1+2=3+4",
            "(2329=4209)*1",
            "1#x\nand#y\n9227=9227",
            "case '1' when 2 then 2 end",
            "0/**/union/*!50000select*/table_name`foo`/**/",
            "-1#a\nunion #b\nselect 1,2",
            "1;load xml low_priority infile \"foo\"",
            "';if 1=1 shutdown-- -a",
            "1) and 2=(2",
            "’ or ’1’=’1",
            "1'\u{a0}or\u{a0}'1'='1",
            "@version--",
            "1 * 1--",
            "x' having 1=1 -- ",
            "' or '",
            "1' * id - '0",
            "@version /*",
            "( (select binary cos ( 'b')) )  -- ",
        ] {
            assert!(injection(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn prose_is_no_statement() {
        for text in [
            "",
            "5",
            "union square select hotel",
            "o'reilly sql book",
            "rock 'n' roll",
            "rock and 'roll'",
            "d'or and fin",
            "'tis true and just = fair",
            "16\" or 18\" chain",
            "5' - 6' tall",
            "\"wool\" or \"cotton\"",
            "price gt 10 and price lt 50",
            "name eq 'milk' and price gt 3",
            "2 or 3 bedrooms",
            "project = foo and priority = 1",
            "2+2=4",
            "a=b",
            "x--y",
            "c++ -- the language",
            "photo (large) -- print",
            "mom's; drop leaf table",
            "first lift; drop leaf table",
            "stop; select your size",
            "select a shirt from the range",
            "please select 2 items",
            "phone case when it rains",
            "(red or blue) and wool",
            "f(x) = 2",
            "#1 dad",
            "in case when then",
            "order by phone",
            "24 and more",
            "size: 10 or 12",
            "don't or can't",
            "it's 5 and '6'",
            "a && b || c",
            "\"like\" stamp",
            "browning \"like\"",
            "'countdown calendar\" and \"disney:",
            "select 'and'",
            ":) -- seen on #linux",
        ] {
            assert_eq!(injection(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_place_begins_at_the_quote_that_ends_the_value() {
        assert_eq!(injection(b"abc' or 'x'='x"), Some(3..14));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(bytes: Vec<u8>, text in "([0-9a-z'\"`()=<>,;#*/@.\\\\ \n-]|or |and |union |select |case |when |then |end ){0,80}") {
            let _ = injection(&bytes);
            let _ = injection(text.as_bytes());
        }
    }
}
