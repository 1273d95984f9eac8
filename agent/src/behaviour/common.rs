//! Answers that a host gives for many paths alike: the front page of an application that does its
//! own routing, a redirect to HTTPS, a page that says that the site is being worked on. Such an
//! answer tells nothing of the path that was asked for.

use super::request::Request;
use serde::{Deserialize, Serialize};

/// Answers that are counted for each host.
const ANSWERS: usize = 32;

/// Other paths that must have got an answer before it tells nothing of the next one.
const PATHS: u32 = 5;

/// An answer's bytes for each of which others may have one more or less, and how many that are at
/// most: a token, a time.
const BYTES_PER_TOLERANCE: u32 = 256;
const TOLERANCE_MAX: u32 = 16;

/// Of how many answers to pages it must be one, where what was asked for is there: of many pages some
/// are as long as any file.
const SHARE: u32 = 10;

/// Telling paths that attackers asked for and that got an answer, where half of what they ask for gets it.
const PROBES: u32 = 3;

/// Answers at which all counts are halved.
const REMEMBERED: u32 = 4_096;

/// The answers of a host that were given for the most paths. A page's that is not among them takes the
/// place of the one with the fewest paths, or wears it down; what a page's programs ask for does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Common {
    answers: Vec<Answer>,
    /// Answers to pages, and to attacks.
    #[serde(rename = "n", default)]
    pages: u32,
    #[serde(rename = "a", default)]
    probes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    #[serde(rename = "s")]
    status: u16,
    #[serde(rename = "b")]
    bytes: u32,
    /// Whether the length of what was asked for is left out of `bytes`: a redirect to the same
    /// path elsewhere repeats it.
    #[serde(rename = "r")]
    is_rest: bool,
    /// A bit for each path.
    #[serde(rename = "p")]
    paths: u64,
    #[serde(rename = "w")]
    weight: u32,
    /// Pages that got it; attacks that did, and a bit for each of their paths.
    #[serde(rename = "n", default)]
    pages: u32,
    #[serde(rename = "a", default)]
    probes: u32,
    #[serde(rename = "q", default)]
    probed: u64,
    /// Whether it is known to tell nothing.
    #[serde(rename = "c", default)]
    is_common: bool,
}

/// What is known of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Status and bytes of the first one like it.
    pub answer: (u16, u32),
    /// Whether it was given for many other paths.
    pub is_frequent: bool,
    /// Whether that is so much the rule that it tells nothing of this one.
    pub is_common: bool,
    /// Whether that is so from now on.
    pub is_news: bool,
}

impl Common {
    /// Notes an answer, and says what is known of it by now. `is_attack` says that the request is known
    /// as one.
    pub fn note(&mut self, request: &Request<'_>, is_attack: bool) -> Known {
        let bytes = u32::try_from(request.bytes).unwrap_or(u32::MAX);
        let (paths, is_page) = (1 << (request.hash & 63), || request.query.is_none() && !request.is_of_api());
        let (pages, probes) = (u32::from(is_page()), u32::from(is_attack));
        self.count(pages, probes);
        let probed = if is_attack { paths } else { 0 };
        let new = Answer {
            status: request.status,
            bytes,
            is_rest: false,
            paths,
            weight: 1,
            pages,
            probes,
            probed,
            is_common: false,
        };
        let known = self.add(new, is_page);
        if !request.is_redirected() {
            return known;
        }
        // Applications send their users on for now, here and there.
        let is_permanent = matches!(request.status, 301 | 308);
        let is_common = known.is_common && (is_permanent || self.is_rule(&known));
        let known = Known { is_frequent: is_common, is_common, ..known };
        if bytes == 0 {
            return known;
        }
        let bytes = bytes.saturating_sub(u32::try_from(request.target_len()).unwrap_or(u32::MAX));
        let rest = self.add(Answer { bytes, is_rest: true, ..new }, is_page);
        if rest.is_common { rest } else { known }
    }

    fn count(&mut self, pages: u32, probes: u32) {
        (self.pages, self.probes) = (self.pages + pages, self.probes + probes);
        if self.pages.max(self.probes) > REMEMBERED {
            let halve = |counts: [&mut u32; 2]| counts.into_iter().for_each(|count| *count /= 2);
            halve([&mut self.pages, &mut self.probes]);
            self.answers.iter_mut().for_each(|answer| halve([&mut answer.pages, &mut answer.probes]));
        }
    }

    /// Notes an answer. One that is not among them takes a place only where a page was asked for.
    fn add(&mut self, new: Answer, is_page: impl Fn() -> bool) -> Known {
        let is_it = |known: &Answer| {
            (known.status, known.is_rest) == (new.status, new.is_rest)
                && known.bytes.abs_diff(new.bytes) <= (known.bytes / BYTES_PER_TOLERANCE).min(TOLERANCE_MAX)
        };
        if let Some(place) = self.answers.iter().position(is_it) {
            let (of_pages, of_probes) = (self.pages, self.probes);
            let known = &mut self.answers[place];
            let before = known.paths;
            known.paths |= new.paths;
            known.weight += u32::from(known.paths != before);
            (known.pages, known.probes) = (known.pages + new.pages, known.probes + new.probes);
            known.probed |= new.probed;
            // A fault, or a page that sends everybody on, is nobody's file.
            let is_file = (200..300).contains(&new.status);
            let is_rule = !is_file
                || known.pages * SHARE >= of_pages
                || known.probed.count_ones() >= PROBES && known.probes * 2 >= of_probes;
            let is_news = !known.is_common && known.paths.count_ones() > PATHS && is_rule;
            known.is_common |= is_news;
            let is_frequent = (known.paths & !new.paths).count_ones() >= PATHS;
            let told = Known {
                answer: (known.status, known.bytes),
                is_frequent,
                is_common: is_frequent && known.is_common,
                is_news,
            };
            if known.weight == 1 {
                self.answers[place..].rotate_left(1);
            }
            return told;
        }
        if !is_page() {
            return Known { answer: (new.status, new.bytes), ..Known::default() };
        }
        if self.answers.len() < ANSWERS {
            self.answers.push(new);
        } else if let Some(place) = (0..ANSWERS).min_by_key(|place| self.answers[*place].weight) {
            if self.answers[place].weight > 1 {
                self.answers[place].weight -= 1;
            } else {
                // Those that came longest ago go first.
                self.answers.remove(place);
                self.answers.push(new);
            }
        }
        Known { answer: (new.status, new.bytes), ..Known::default() }
    }

    /// Whether many more paths got this answer than all others together.
    fn is_rule(&self, known: &Known) -> bool {
        let paths = |is_it: bool| {
            let of = |answer: &&Answer| !answer.is_rest && ((answer.status, answer.bytes) == known.answer) == is_it;
            self.answers.iter().filter(of).map(|answer| answer.paths.count_ones()).sum::<u32>()
        };
        paths(true) > 2 * paths(false)
    }
}
