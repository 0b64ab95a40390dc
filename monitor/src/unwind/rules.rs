//! The numbers of the rules that rows have: one for each that differs, shared by all tables.
//!
//! Contract: a number that no table has any more *rests* until no walk can come upon it, as ranges do.

use std::collections::{HashMap, HashSet};

use monitor_common::unwind::{PackedRow, Row};

/// No table gets more than this part of all numbers, whatever its file says: the largest of Debian's have 1,500 rules of their own.
const PART_OF_ONE: usize = 4;

/// The numbers that a table holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RuleNumbers(Vec<u32>);

/// Hands out numbers.
#[derive(Debug)]
pub(super) struct Rules {
    numbers: HashMap<u64, u32>,
    /// By number: the rules, and how many tables have them.
    held: Vec<(u64, u32)>,
    free: Vec<u32>,
    resting: Vec<u32>,
}

impl Rules {
    /// So many numbers, from 0 on.
    pub fn new(len: u32) -> Self {
        Self {
            numbers: HashMap::new(),
            held: vec![(0, 0); len as usize],
            free: (0..len).rev().collect(),
            resting: Vec::new(),
        }
    }

    /// Numbers for the rules of a table; `None` if it has too many, or there are not enough.
    pub fn take(&mut self, rows: &[Row]) -> Option<RuleNumbers> {
        let rules: HashSet<u64> = rows.iter().map(|row| row.rules()).collect();
        let new = rules.iter().filter(|rules| !self.numbers.contains_key(rules)).count();
        if new > self.free.len() || rules.len() > self.held.len().div_ceil(PART_OF_ONE) {
            return None;
        }
        let mut taken = Vec::with_capacity(rules.len());
        for rules in rules {
            let number = match self.numbers.get(&rules) {
                Some(number) => *number,
                None => {
                    let number = self.free.pop()?;
                    self.numbers.insert(rules, number);
                    self.held[number as usize] = (rules, 0);
                    number
                }
            };
            self.held[number as usize].1 += 1;
            taken.push(number);
        }
        Some(RuleNumbers(taken))
    }

    /// The numbers of a table with their rules.
    pub fn of(&self, taken: &RuleNumbers) -> impl Iterator<Item = (u32, u64)> {
        taken.0.iter().map(|number| (*number, self.held[*number as usize].0))
    }

    /// Rows as the arrays have them, whose numbers were taken.
    ///
    /// # Panics
    /// If they were not.
    pub fn pack(&self, rows: &[Row]) -> impl Iterator<Item = PackedRow> {
        // Rows that follow one another alternate between few rules, but seldom have the same: looked up each.
        rows.iter().map(|row| PackedRow::new(row.address(), self.numbers[&row.rules()]))
    }

    /// Gives the numbers of a table back; those that no other has rest.
    pub fn give_back(&mut self, taken: RuleNumbers) {
        for number in taken.0 {
            let (rules, tables) = &mut self.held[number as usize];
            *tables -= 1;
            if *tables == 0 {
                self.numbers.remove(rules);
                self.resting.push(number);
            }
        }
    }

    /// Whether anything rests.
    pub fn has_resting(&self) -> bool {
        !self.resting.is_empty()
    }

    /// Lets what rests be handed out again.
    pub fn wake(&mut self) {
        self.free.append(&mut self.resting);
    }

    /// How many numbers are in use, those that rest included.
    pub fn used(&self) -> u32 {
        (self.held.len() - self.free.len()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rules: &[u64]) -> Vec<Row> {
        rules.iter().zip(0..).map(|(rules, at)| Row::of_rules(*rules).at(at)).collect()
    }

    #[test]
    fn tables_share_numbers_and_the_last_gives_them_back() {
        let mut rules = Rules::new(16);
        let both = rows(&[7, 8, 7]);
        let first = rules.take(&both).unwrap();
        let second = rules.take(&rows(&[8, 9])).unwrap();
        assert_eq!(rules.used(), 3);
        let packed: Vec<PackedRow> = rules.pack(&both).collect();
        assert_eq!(packed.iter().map(|row| row.within_page()).collect::<Vec<_>>(), [0, 1, 2]);
        let by_number: HashMap<u32, u64> = rules.of(&first).collect();
        assert_eq!(packed.iter().map(|row| by_number[&row.rules()]).collect::<Vec<_>>(), [7, 8, 7]);

        rules.give_back(first);
        assert_eq!(rules.numbers.len(), 2);
        // 7 rests: its number is not another's yet, and the rules come back under a new one.
        let number_of_7 = packed[0].rules();
        let third = rules.take(&rows(&[7])).unwrap();
        assert!(rules.of(&third).all(|(number, rules)| number != number_of_7 && rules == 7));
        rules.give_back(second);
        rules.give_back(third);
        assert!(rules.has_resting() && rules.used() == 4);
        rules.wake();
        assert_eq!((rules.used(), rules.numbers.len()), (0, 0));
    }

    #[test]
    fn one_table_does_not_get_all() {
        let mut rules = Rules::new(16);
        assert_eq!(rules.take(&rows(&[1, 2, 3, 4, 5])), None);
        for first in [10, 20, 30, 40] {
            assert!(rules.take(&rows(&[first, first + 1, first + 2, first + 3])).is_some());
        }
        assert_eq!(rules.take(&rows(&[50])), None);
        assert!(rules.take(&rows(&[10, 43])).is_some(), "these are known");
        assert_eq!(rules.used(), 16);
    }
}
