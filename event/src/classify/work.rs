//! How much work one line may be, and which part of a request gets how much of it.
//!
//! Whoever writes lines that hold the begins of all attacks shall neither stop those who read them nor
//! hide an attack among them. So a line has so much and no more. Nearly all lines take less than
//! [`UNSHARED`] and are looked at in their order. What is left then is shared out: each field has a
//! share that no other field takes from it, and so has each part of a field. Who asks for little gets all
//! of it, and who asks for much gets what the others leave (max-min fairness).

use super::views::View;
use crate::attack::Field;
use std::ops::Range;

/// Work that judging one line may take, in units of about a nanosecond and a half. Of 25,988 lines of
/// visits, attacks and test suites for filters, 53 take more than a quarter of this, and five more than
/// all; those five are attacks.
const WORK_MAX: usize = 104 << 10;

/// Work on a line before the rest is shared out.
const UNSHARED: usize = WORK_MAX / 4;

/// Work of decoding a text and of looking for literals in it: some for each text, and for each byte.
fn text_work(bytes: usize) -> usize {
    128 + 4 * bytes
}

/// Work of asking a rule: some for each rule, and for each byte that it looks at.
fn rule_work(bytes: usize) -> usize {
    32 + bytes + bytes / 8
}

/// Work of finding a part once more, to give it a share.
const PART_WORK: usize = 16;

/// Texts and rules that a part asks for: more than attacks need that somebody sends to one parameter.
const TEXTS_WANTED: usize = 3;
const RULES_WANTED: usize = 48;

/// Less than this is of no use to a part. Where so many want it that it does not suffice, the first get it.
const SHARE_MIN: usize = 1024;

/// Work on a text.
pub fn of_text(text: &[u8]) -> usize {
    text_work(text.len())
}

/// Work of asking a rule about a text.
pub fn of_rule(text: &[u8]) -> usize {
    rule_work(text.len())
}

/// What may still be done on a line.
#[derive(Debug)]
pub struct Budget {
    left: usize,
    /// Of that, on this part; before the shares, on all parts.
    here: usize,
    shares: Option<Shares>,
}

impl Budget {
    pub fn new() -> Budget {
        Budget { left: WORK_MAX, here: UNSHARED, shares: None }
    }

    /// Spends work, if there is still so much.
    pub fn spend(&mut self, work: usize) -> bool {
        let is_left = work <= self.here;
        if is_left {
            self.here -= work;
            self.left -= work;
        }
        is_left
    }

    /// Whether each part has a share by now.
    pub fn is_shared(&self) -> bool {
        self.shares.is_some()
    }

    /// Gives a share to each of `parts`, which are the one that is looked at and those behind it.
    pub fn share(&mut self, parts: Parts) {
        self.left = self.left.saturating_sub(PART_WORK * parts.0.len());
        self.shares = Some(Shares::new(parts, self.left));
        self.begin();
    }

    /// Goes on to the next part.
    pub fn next(&mut self) {
        if let Some(shares) = &mut self.shares {
            shares.end(self.left);
            self.begin();
        }
    }

    fn begin(&mut self) {
        self.here = self.shares.as_ref().map_or(0, |shares| shares.here(self.left));
    }

    /// Ends the work on this part.
    pub fn stop(&mut self) {
        self.here = 0;
    }
}

/// The parts of a request that share what is left, with what each asks for.
#[derive(Debug, Default)]
pub struct Parts(Vec<(Field, usize)>);

impl Parts {
    pub fn push(&mut self, view: &View<'_>, is_free: bool) {
        let length = view.text.len();
        // Whose keys are free leaves more to their values.
        let field = if view.field == Field::QueryKey { Field::Query } else { view.field };
        let wanted = TEXTS_WANTED * text_work(length) + RULES_WANTED * rule_work(length);
        self.0.push((field, if is_free { 0 } else { wanted }));
    }
}

/// How many fields there are; `Url` is the last.
const FIELDS: usize = Field::Url as usize + 1;

/// Who gets what is left.
#[derive(Debug)]
struct Shares {
    /// Of each part its field, and what it gets whatever the parts before it take.
    parts: Vec<(Field, usize)>,
    /// The part that is looked at, and what was left when that began.
    at: usize,
    begun: usize,
    /// For each field, what all its parts behind that one get.
    behind: [usize; FIELDS],
    /// For each field, what no other field may take.
    fields: [usize; FIELDS],
}

impl Shares {
    fn new(Parts(mut parts): Parts, left: usize) -> Shares {
        let mut wanted = [0; FIELDS];
        parts.iter().for_each(|(field, want)| wanted[*field as usize] += want);
        let most = level(&wanted, left);
        let fields = wanted.map(|want| want.min(most));
        let mut behind = [0; FIELDS];
        for (field, share) in fields.iter().enumerate() {
            let of_field = parts.iter().filter(|part| part.0 as usize == field).map(|part| part.1);
            let most = level(&of_field.collect::<Vec<_>>(), *share).max(SHARE_MIN);
            parts.iter_mut().filter(|part| part.0 as usize == field).for_each(|part| part.1 = part.1.min(most));
        }
        parts.iter().skip(1).for_each(|(field, sure)| behind[*field as usize] += sure);
        Shares { parts, at: 0, begun: left, behind, fields }
    }

    /// What the part that is looked at may take of what is left: all but what others get.
    fn here(&self, left: usize) -> usize {
        let Some(&(field, sure)) = self.parts.get(self.at) else { return 0 };
        let of_others = self.fields.iter().sum::<usize>() - self.fields[field as usize];
        let of_field = left.saturating_sub(of_others);
        sure.max(of_field.saturating_sub(self.behind[field as usize])).min(of_field)
    }

    /// Goes on to the next part. What this one has not taken is everybody's.
    fn end(&mut self, left: usize) {
        let (Some(&(this, _)), next) = (self.parts.get(self.at), self.parts.get(self.at + 1)) else { return };
        // What nobody is promised is taken first.
        let of_all = self.begun.saturating_sub(self.fields.iter().sum());
        let field = &mut self.fields[this as usize];
        *field = field.saturating_sub((self.begun - left).saturating_sub(of_all)).min(self.behind[this as usize]);
        if let Some((next, sure)) = next {
            self.behind[*next as usize] -= sure;
        }
        (self.at, self.begun) = (self.at + 1, left);
    }
}

/// The most that each may get of `left`, so that all who want less get what they want.
fn level(wanted: &[usize], left: usize) -> usize {
    let fits = |most: usize| wanted.iter().map(|want| *want.min(&most)).sum::<usize>() <= left;
    let mut range: Range<usize> = 0..left + 1;
    while range.len() > 1 {
        let middle = range.start + range.len() / 2;
        if fits(middle) { range.start = middle } else { range.end = middle }
    }
    range.start
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(of: &[(Field, usize)]) -> Parts {
        let mut parts = Parts::default();
        for (field, length) in of {
            parts.push(&View { field: *field, parameter: None, text: &vec![b'x'; *length] }, false);
        }
        parts
    }

    /// A budget that was shared out while the first of the parts was looked at.
    fn shared(of: &[(Field, usize)]) -> Budget {
        let mut budget = Budget::new();
        assert!(budget.spend(UNSHARED) && !budget.spend(1));
        budget.share(parts(of));
        budget
    }

    #[test]
    fn what_one_field_asks_for_leaves_another_what_it_asks_for() {
        let mut budget = shared(&[[(Field::Query, 1_000); 14].as_slice(), &[(Field::UserAgent, 30)]].concat());
        for _ in 0..14 {
            assert!(!budget.spend(budget.here + 1));
            assert!(budget.spend(budget.here));
            budget.next();
        }
        assert!(budget.here >= TEXTS_WANTED * text_work(30) + RULES_WANTED * rule_work(30), "{budget:?}");
    }

    #[test]
    fn of_parts_that_want_more_than_there_is_the_first_get_enough_to_be_looked_at() {
        let mut budget = shared(&[(Field::Query, 30); 900]);
        let mut served = 0;
        for _ in 0..900 {
            served += usize::from(budget.here >= SHARE_MIN && budget.spend(SHARE_MIN));
            budget.next();
        }
        assert!((60..900).contains(&served), "{served} were served");
    }

    #[test]
    fn what_a_part_does_not_take_others_get() {
        let mut budget = shared(&[(Field::Query, 4_000), (Field::Query, 4_000), (Field::Referer, 4_000)]);
        let first = budget.here;
        budget.next();
        budget.next();
        assert!(budget.here > 2 * first, "{first}, then {}", budget.here);
    }

    proptest! {
        #[test]
        fn a_line_takes_no_more_than_its_budget_and_a_part_gets_what_it_was_promised(
            of in prop::collection::vec(
                (prop::sample::select(vec![Field::Path, Field::Query, Field::Referer]), 0..4_000usize),
                1..60,
            ),
            takes in prop::collection::vec(0..=100usize, 60),
        ) {
            let mut budget = shared(&of);
            let total = budget.left;
            let Shares { parts: promised, fields, .. } = budget.shares.as_ref().unwrap();
            let (promised, fields) = (promised.clone(), *fields);
            prop_assert!(fields.iter().sum::<usize>() <= total);
            let of_field = |field: Field| promised.iter().filter(|part| part.0 == field).map(|part| part.1).sum::<usize>();
            let mut taken = 0;
            for ((field, sure), percent) in promised.iter().zip(takes) {
                let is_enough = of_field(*field) <= fields[*field as usize];
                prop_assert!(!is_enough || budget.here >= *sure, "{} of {}", budget.here, sure);
                let take = budget.here * percent / 100;
                prop_assert!(budget.spend(take));
                taken += take;
                budget.next();
            }
            prop_assert!(taken <= total);
        }
    }
}
