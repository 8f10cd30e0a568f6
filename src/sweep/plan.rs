//! What a sweep is asked to do.

use super::execute::Unit;
use crate::rng::Seed;
use crate::sim::Scenario;

/// One point of the grid.
#[derive(Clone, Debug)]
pub struct Case<S = Scenario> {
    /// Stable name, unique in the plan; not to be mistaken for a number (`c007`).
    pub id: String,
    /// The varied keys with this case's values as the user would write them, in the same order for all
    /// cases: `("metric", "vllm:num_requests_waiting")`, `("target", "5")`, then the axes by their key.
    pub knobs: Vec<(String, String)>,
    /// Everything a run of this case needs.
    pub scenario: S,
    /// Digest of everything that decides this case's results besides seed and version: the canonical
    /// configuration and the files it reads. Names the case's units in the log of finished units.
    pub digest: String,
}

/// A validated sweep.
#[derive(Clone, Debug)]
pub struct Plan<S = Scenario> {
    /// The cases in the order of the grid; not empty.
    pub cases: Vec<Case<S>>,
    /// Replications of each case, at least 1.
    pub replications: u32,
    /// Confidence level of all intervals, in (0.5, 1).
    pub confidence: f64,
    /// Master seed; replication `r` runs with `seed.replication(r)` in every case.
    pub seed: Seed,
    /// What makes a case good.
    pub objective: Objective,
    /// Index of the case that is in use today, if the user gave one; savings are stated against it.
    pub current: Option<usize>,
}

/// What makes a case good: the least cost at which the objective holds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Objective {
    /// Least share of requests that must meet the SLO, in (0, 1].
    pub attainment: f64,
}

/// One of `count` equal parts of a sweep, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shard {
    /// Which part, from 1 to `count`.
    pub index: usize,
    /// Number of parts.
    pub count: usize,
}

impl Shard {
    /// The whole sweep.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// Whether the unit with this number in plan order belongs to the part.
    pub fn contains(self, number: usize) -> bool {
        number % self.count == self.index - 1
    }
}

impl<S> Plan<S> {
    /// All units of a shard in the order in which they are started: replication by replication, so that the
    /// arrivals of one replication can be dropped before those of the next are made.
    ///
    /// `cost` estimates a case's running time in any unit; within a replication long cases go first, so that
    /// no long unit is left for the end.
    pub fn units(&self, shard: Shard, cost: impl Fn(&Case<S>) -> f64) -> Vec<Unit> {
        let mut by_cost: Vec<usize> = (0..self.cases.len()).collect();
        by_cost.sort_by(|&a, &b| cost(&self.cases[b]).total_cmp(&cost(&self.cases[a])));
        let cases = self.cases.len();
        (0..self.replications)
            .flat_map(|replication| by_cost.iter().map(move |&case| Unit { case, replication }))
            .filter(|unit| shard.contains(unit.replication as usize * cases + unit.case))
            .collect()
    }

    /// The varied keys in order of first appearance.
    pub fn knob_keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = Vec::new();
        for (key, _) in self.cases.iter().flat_map(|case| &case.knobs) {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
        keys
    }
}

impl<S> Case<S> {
    /// This case's value of a varied key; empty where the key does not apply.
    pub fn knob(&self, key: &str) -> &str {
        self.knobs.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plan of `cases` cases whose scenario is their index.
    pub(crate) fn plan(cases: usize, replications: u32) -> Plan<usize> {
        Plan {
            cases: (0..cases)
                .map(|index| Case {
                    id: format!("c{index:03}"),
                    knobs: vec![("target".into(), (index + 1).to_string())],
                    scenario: index,
                    digest: format!("digest-{index}"),
                })
                .collect(),
            replications,
            confidence: 0.95,
            seed: Seed(1),
            objective: Objective { attainment: 0.99 },
            current: None,
        }
    }

    #[test]
    fn long_cases_go_first_within_a_replication() {
        let units = plan(3, 2).units(Shard::WHOLE, |case| case.scenario as f64);
        let order: Vec<(u32, usize)> = units.iter().map(|u| (u.replication, u.case)).collect();
        assert_eq!(order, [(0, 2), (0, 1), (0, 0), (1, 2), (1, 1), (1, 0)]);
    }

    #[test]
    fn shards_partition_the_units() {
        let plan = plan(7, 3);
        let mut all: Vec<Unit> = Vec::new();
        for index in 1..=4 {
            let part = plan.units(Shard { index, count: 4 }, |_| 1.0);
            assert!((5..=6).contains(&part.len()), "uneven shard of {}", part.len());
            all.extend(part);
        }
        all.sort();
        let mut whole = plan.units(Shard::WHOLE, |_| 1.0);
        whole.sort();
        assert_eq!(all, whole);
    }
}
