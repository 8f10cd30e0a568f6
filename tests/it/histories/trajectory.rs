//! Replicas over time, recorded or simulated, looked at with the same eyes.

use super::record::History;
use hpasim::cluster::PodStage;
use hpasim::sim::{RunRecord, Series};
use std::collections::BTreeMap;

/// Replicas at the instants of the recording.
#[derive(Clone)]
pub(super) struct Trajectory {
    pub(super) points: Vec<(f64, f64)>,
    /// What the milestones are read from: the wanted replicas where they are recorded.
    wanted: Vec<(f64, f64)>,
}

/// Which series of a history are its replicas.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Polls of the HPA object: current and desired.
    HpaPolls,
    /// Pods by phase, terminating ones included, written when they change.
    PodPhases,
}

/// What one trajectory comes to.
#[derive(Clone, Copy, Default)]
pub(super) struct Milestones {
    pub(super) first_up_s: Option<f64>,
    pub(super) max: f64,
    pub(super) max_at_s: Option<f64>,
    pub(super) first_down_s: Option<f64>,
    pub(super) back_to_min_s: Option<f64>,
    pub(super) mean: f64,
}

impl Kind {
    pub(super) fn of(history: &History) -> Option<Self> {
        if history.series.contains_key("replicas_desired") {
            Some(Self::HpaPolls)
        } else if history.series.contains_key("pods_running_phase") {
            Some(Self::PodPhases)
        } else {
            None
        }
    }
}

impl Trajectory {
    pub(super) fn recorded(history: &History, kind: Kind) -> Self {
        match kind {
            Kind::HpaPolls => Self {
                points: history.series["replicas_current"].clone(),
                wanted: history.series["replicas_desired"].clone(),
            },
            Kind::PodPhases => {
                let phases = ["pods_running_phase", "pods_pending_phase"];
                let phases = phases.map(|name| history.series[name].as_slice());
                let end = phases[0].last().unwrap().0;
                let grid = (0..=(end / 5.0) as u32).map(|i| f64::from(i) * 5.0);
                let points: Vec<_> =
                    grid.map(|t| (t, phases.iter().map(|p| at(p, t)).sum())).collect();
                Self { wanted: points.clone(), points }
            }
        }
    }

    /// The same of a run that started `lead_s` before the recording.
    pub(super) fn simulated(run: &RunRecord, like: &Self, kind: Kind, lead_s: f64) -> Self {
        let sample = |steps: &[(f64, f64)]| {
            like.points.iter().map(|(t, _)| (*t, at(steps, *t))).collect::<Vec<_>>()
        };
        let series = |series| -> Vec<(f64, f64)> {
            let rows = run.series(series).filter(|row| row.value > 0.0);
            rows.map(|row| (row.at.as_secs_f64() - lead_s, row.value)).collect()
        };
        match kind {
            Kind::HpaPolls => {
                let points = sample(&series(Series::ReplicasCurrent));
                Self { points, wanted: series(Series::ReplicasDesired) }
            }
            Kind::PodPhases => {
                let mut lives: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
                for row in &run.pods {
                    let t = row.at.as_secs_f64() - lead_s;
                    let life = lives.entry(row.pod.0).or_insert((t, f64::INFINITY));
                    if row.stage == PodStage::Gone {
                        life.1 = t;
                    }
                }
                let alive = |t: f64| {
                    lives.values().filter(|(from, to)| (*from..*to).contains(&t)).count() as f64
                };
                let points: Vec<_> = like.points.iter().map(|(t, _)| (*t, alive(*t))).collect();
                let fine = points.windows(2).flat_map(|w| {
                    let step = (w[1].0 - w[0].0) / 5.0;
                    (0..5).map(move |i| w[0].0 + f64::from(i) * step)
                });
                Self { wanted: fine.map(|t| (t, alive(t))).collect(), points }
            }
        }
    }

    /// Mean absolute difference over the recorded instants.
    pub(super) fn difference(&self, other: &Self) -> f64 {
        let pairs = self.points.iter().zip(&other.points);
        pairs.map(|(a, b)| (a.1 - b.1).abs()).sum::<f64>() / self.points.len() as f64
    }

    /// A change is dated to the middle between the instants that show it.
    pub(super) fn milestones(&self) -> Milestones {
        let wanted = &self.wanted;
        let dated = |i: usize| f64::midpoint(wanted[i - 1].0, wanted[i].0);
        let min = self.points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let first_up = (1..wanted.len()).find(|&i| wanted[i].1 > wanted[i - 1].1);
        let mut found = Milestones {
            first_up_s: first_up.map(dated),
            mean: mean(&self.points),
            ..Milestones::default()
        };
        let Some(up) = first_up else {
            found.max = self.points.iter().map(|p| p.1).fold(0.0, f64::max);
            return found;
        };
        let after = self.points.iter().filter(|p| p.0 >= wanted[up].0);
        found.max = after.map(|p| p.1).fold(0.0, f64::max);
        let highest = wanted[up..].iter().map(|p| p.1).fold(0.0, f64::max);
        let top = (up..wanted.len()).find(|&i| wanted[i].1 >= highest).unwrap();
        found.max_at_s = Some(dated(top));
        let later =
            |test: &dyn Fn(f64) -> bool| wanted[top..].iter().find(|p| test(p.1)).map(|p| p.0);
        found.first_down_s = later(&|n| n < highest);
        found.back_to_min_s = later(&|n| n <= min);
        found
    }
}

/// Mean of a step function over its span.
pub(super) fn mean(points: &[(f64, f64)]) -> f64 {
    let span = points.last().unwrap().0 - points[0].0;
    points.windows(2).map(|w| w[0].1 * (w[1].0 - w[0].0)).sum::<f64>() / span
}

/// The value of a step function; 0 before it starts.
pub(super) fn at(points: &[(f64, f64)], t: f64) -> f64 {
    points.iter().take_while(|p| p.0 <= t).last().map_or(0.0, |p| p.1)
}
