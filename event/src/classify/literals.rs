//! Which rules have a literal in a text: one pass over it, however many literals there are.
//!
//! An automaton of Aho and Corasick ("Efficient string matching: an aid to bibliographic search",
//! CACM 18, 1975). Texts keep it near its root: a few letters of a word, and back. So the states of
//! up to [`TABLE_DEPTH`] letters, which are some hundreds, have a row of a table that names the next
//! state for each byte; the thousands behind them have a short list of the bytes that lead on, and
//! the state that knows better. A table for all would take megabytes and be no faster.

use super::rules::RuleSet;
use std::iter;

/// Letters behind the root up to which a state has a row in the table.
const TABLE_DEPTH: u32 = 2;

/// Set in a step to a state where a literal ends.
const ENDS: u32 = 1 << 31;

/// Literals of rules, in ASCII of either case.
#[derive(Debug)]
pub struct Literals {
    /// The class of each byte: all that no literal holds are one, and a letter's cases are one.
    classes: [u8; 256],
    class_count: usize,
    /// A row of steps for each state near the root. States are numbered by their depth, so these
    /// are the first ones.
    table: Vec<u32>,
    table_states: usize,
    /// The others, from the first that has no row.
    far: Vec<Far>,
    edges: Vec<Edge>,
    /// For each state the place of its rules in `sets`.
    set_of: Vec<u32>,
    sets: Vec<RuleSet>,
}

/// A state far from the root.
#[derive(Debug)]
struct Far {
    /// Where its edges begin; they end where the next one's begin.
    edges: u32,
    /// The state for the longest end of what was read that begins another literal.
    fail: u32,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    class: u8,
    step: u32,
}

/// A state while the automaton is made. Small, for a user's rules may make a million. A 0 is the root
/// as the state that knows better, and none elsewhere: the root is nobody's child, and its set is
/// that of no rules.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    depth: u32,
    class: u8,
    first_child: u32,
    sibling: u32,
    fail: u32,
    set: u32,
}

/// Nodes by their numbers, the root first, and the sets of rules that they name.
struct Tree {
    nodes: Vec<Node>,
    sets: Vec<RuleSet>,
}

impl Tree {
    fn new() -> Tree {
        Tree { nodes: vec![Node::default()], sets: vec![RuleSet::default()] }
    }

    fn children(&self, of: u32) -> impl Iterator<Item = u32> + '_ {
        let some = |at: u32| (at != 0).then_some(at);
        iter::successors(some(self.nodes[of as usize].first_child), move |at| some(self.nodes[*at as usize].sibling))
    }

    fn child(&self, of: u32, class: u8) -> Option<u32> {
        self.children(of).find(|child| self.nodes[*child as usize].class == class)
    }

    fn insert(&mut self, literal: impl Iterator<Item = u8>, rule: usize) {
        let mut at = 0;
        for class in literal {
            at = self.child(at, class).unwrap_or_else(|| {
                let new = self.nodes.len() as u32;
                let parent = &mut self.nodes[at as usize];
                let node = Node { depth: parent.depth + 1, class, sibling: parent.first_child, ..Node::default() };
                parent.first_child = new;
                self.nodes.push(node);
                new
            });
        }
        let node = &mut self.nodes[at as usize];
        if node.set == 0 {
            node.set = self.sets.len() as u32;
            self.sets.push(RuleSet::default());
        }
        self.sets[node.set as usize].insert(rule);
    }

    /// Gives each node the one that knows better and the rules of that one, and returns all nodes in
    /// the order of their depth.
    fn link(&mut self) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.nodes.len());
        order.push(0);
        for next in 0..self.nodes.len() {
            let at = order[next];
            order.extend(self.children(at));
            let mut child = self.nodes[at as usize].first_child;
            while child != 0 {
                let fail = self.better(at, self.nodes[child as usize].class);
                let inherited = self.nodes[fail as usize].set;
                let node = &mut self.nodes[child as usize];
                node.fail = fail;
                match node.set {
                    0 => node.set = inherited,
                    own => {
                        let rules = self.sets[inherited as usize];
                        self.sets[own as usize].extend(rules);
                    }
                }
                child = node.sibling;
            }
        }
        order
    }

    /// The state for the longest end of `at` and one more byte that is not `at`'s own child.
    fn better(&self, mut at: u32, class: u8) -> u32 {
        while at != 0 {
            at = self.nodes[at as usize].fail;
            if let Some(found) = self.child(at, class) {
                return found;
            }
        }
        0
    }
}

impl Literals {
    /// The automaton for literals, none of them empty, each with the place of a rule that has it.
    pub fn new<'t>(literals: impl Iterator<Item = (&'t str, usize)> + Clone) -> Literals {
        let (classes, class_count) = classes(literals.clone());
        let mut tree = Tree::new();
        for (literal, rule) in literals {
            tree.insert(literal.bytes().map(|byte| classes[usize::from(byte)]), rule);
        }
        let order = tree.link();
        Literals::of(classes, class_count, tree, &order)
    }

    /// Writes the nodes down in the order of their depth.
    fn of(classes: [u8; 256], class_count: usize, tree: Tree, order: &[u32]) -> Literals {
        let mut numbers = vec![0; order.len()];
        order.iter().enumerate().for_each(|(number, node)| numbers[*node as usize] = number as u32);
        let node = |at: u32| &tree.nodes[at as usize];
        let step = |at: u32| numbers[at as usize] | if node(at).set == 0 { 0 } else { ENDS };
        let table_states = order.iter().take_while(|at| node(**at).depth <= TABLE_DEPTH).count();
        let mut table = vec![0; table_states * class_count];
        let (mut far, mut edges) = (Vec::with_capacity(order.len() - table_states + 1), Vec::new());
        for (number, &at) in order.iter().enumerate() {
            let fail = numbers[node(at).fail as usize];
            let own = tree.children(at).map(|child| Edge { class: node(child).class, step: step(child) });
            if number >= table_states {
                far.push(Far { edges: edges.len() as u32, fail });
                edges.extend(own);
                continue;
            }
            // Where it has no step of its own, the state that knows better has one: it is nearer to
            // the root, so its row is there.
            let row = number * class_count;
            if number > 0 {
                let better = fail as usize * class_count;
                table.copy_within(better..better + class_count, row);
            }
            own.for_each(|edge| table[row + usize::from(edge.class)] = edge.step);
        }
        far.push(Far { edges: edges.len() as u32, fail: 0 });
        let set_of = order.iter().map(|at| node(*at).set).collect();
        Literals { classes, class_count, table, table_states, far, edges, set_of, sets: tree.sets }
    }

    /// The rules that have a literal in `text`.
    pub fn rules_in(&self, text: &[u8]) -> RuleSet {
        let mut rules = RuleSet::default();
        let mut state = 0;
        for &byte in text {
            let step = self.step(state, self.classes[usize::from(byte)]);
            state = (step & !ENDS) as usize;
            if step & ENDS != 0 {
                rules.extend(self.sets[self.set_of[state] as usize]);
            }
        }
        rules
    }

    fn step(&self, mut state: usize, class: u8) -> u32 {
        while state >= self.table_states {
            let [here, next] = &self.far[state - self.table_states..][..2] else { unreachable!("two were asked for") };
            let edges = &self.edges[here.edges as usize..next.edges as usize];
            if let Some(edge) = edges.iter().find(|edge| edge.class == class) {
                return edge.step;
            }
            state = here.fail as usize;
        }
        self.table[state * self.class_count + usize::from(class)]
    }
}

/// The class of each byte, and how many there are. 0 is that of bytes that no literal holds.
fn classes<'t>(literals: impl Iterator<Item = (&'t str, usize)>) -> ([u8; 256], usize) {
    let mut classes = [0; 256];
    let mut count = 1;
    for byte in literals.flat_map(|(literal, _)| literal.bytes()) {
        let (lower, upper) = (byte.to_ascii_lowercase() as usize, byte.to_ascii_uppercase() as usize);
        if classes[lower] == 0 {
            (classes[lower], classes[upper]) = (count as u8, count as u8);
            count += 1;
        }
    }
    (classes, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(literals: &[&str], text: &[u8]) -> Vec<usize> {
        let numbered = literals.iter().enumerate().map(|(at, literal)| (*literal, at));
        Literals::new(numbered).rules_in(text).iter().collect()
    }

    #[test]
    fn a_literal_is_found_in_any_case_wherever_it_stands_and_within_another() {
        let literals = ["he", "she", "hers", "his", "e", "sh e"];
        assert_eq!(found(&literals, b"uSHErs"), [0, 1, 2, 4]);
        assert_eq!(found(&literals, b"hi"), [0; 0]);
        assert_eq!(found(&[], b"anything"), [0; 0]);
    }

    #[test]
    fn bytes_that_differ_in_more_than_case_are_told_apart() {
        let texts: Vec<String> =
            (0..=0x7f).filter(|b: &u8| !b.is_ascii_uppercase()).map(|b| char::from(b).into()).collect();
        let literals: Vec<&str> = texts.iter().map(String::as_str).chain(["é", "ü", "日"]).collect();
        for (at, literal) in literals.iter().enumerate() {
            assert_eq!(found(&literals, literal.as_bytes()), [at], "{literal:?}");
        }
        assert_eq!(found(&literals, b"\xff\xfe"), [0; 0]);
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_the_text_contains(
            literals in prop::collection::vec("[abc.]{1,6}", 1..40),
            text in "[abcABC.x]{0,60}",
        ) {
            let lower = text.to_ascii_lowercase();
            let literals: Vec<&str> = literals.iter().map(String::as_str).collect();
            let contained: Vec<usize> = (0..literals.len()).filter(|at| lower.contains(literals[*at])).collect();
            prop_assert_eq!(found(&literals, text.as_bytes()), contained);
        }
    }
}
