//! Small spaces of the HPA enumerated against a second, naive implementation.

use std::collections::BTreeMap;

use super::hpa_laws::{S, pod, rules};
use hpasim::hpa::behavior::{self, Events, Policy, PolicyType, Rules, ScaleEvent, SelectPolicy};
use hpasim::hpa::calculator::{PodMetric, Scratch, calc_plain_metric_replicas};
use hpasim::hpa::{MetricFailure, PodPhase, PodSample, PodView};
use hpasim::units::{Milli, SimTime};

/// A second implementation of the plain average, as the rules read: maps and sets, no shortcuts.
fn naive_replicas(
    current: i32,
    pods: &[PodView],
    samples: &[(u32, i64)],
    target: i64,
    minor: u32,
) -> Result<i32, ()> {
    let mut metrics: BTreeMap<u32, i64> = samples.iter().copied().collect();
    let (mut ready, mut unready, mut missing) = (0, Vec::new(), Vec::new());
    let mut removed = Vec::new();
    for p in pods {
        if p.deleting || p.phase == PodPhase::Failed {
            removed.push(p.key);
        } else if p.phase == PodPhase::Pending {
            unready.push(p.key);
        } else if metrics.contains_key(&p.key) {
            ready += 1;
        } else {
            missing.push(p.key);
        }
    }
    metrics.retain(|key, _| !removed.contains(key) && !unready.contains(key));
    if pods.is_empty() || metrics.is_empty() {
        return Err(());
    }
    let ratio = |metrics: &BTreeMap<u32, i64>| {
        let usage = metrics.values().sum::<i64>() / metrics.len() as i64;
        usage as f64 / target as f64
    };
    let within = |r: f64| {
        if minor >= 33 { (1.0 - 0.1..=1.0 + 0.1).contains(&r) } else { (1.0 - r).abs() <= 0.1 }
    };
    let first = ratio(&metrics);
    let grow = !unready.is_empty() && first > 1.0;
    if !grow && missing.is_empty() {
        let scaled = (first * f64::from(ready)).ceil() as i32;
        return Ok(if within(first) { current } else { scaled });
    }
    for key in &missing {
        if first < 1.0 {
            metrics.insert(*key, target);
        } else if first > 1.0 || minor < 28 {
            metrics.insert(*key, 0);
        }
    }
    if grow {
        metrics.extend(unready.iter().map(|key| (*key, 0)));
    }
    let second = ratio(&metrics);
    if within(second) || (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0) {
        return Ok(current);
    }
    let wanted = (second * metrics.len() as f64).ceil() as i32;
    let turned = (second < 1.0 && wanted > current) || (second > 1.0 && wanted < current);
    Ok(if turned { current } else { wanted })
}

/// All fleets of up to four pods in every state, with a sample of a pod that is not listed.
#[test]
fn every_small_fleet_agrees_with_the_naive_rules() {
    // Phase, deleting, sample.
    let states = [
        (PodPhase::Running, false, Some(3_000)),
        (PodPhase::Running, false, Some(11_000)),
        (PodPhase::Running, false, Some(40_000)),
        (PodPhase::Running, false, None),
        (PodPhase::Pending, false, None),
        (PodPhase::Pending, false, Some(9_000)),
        (PodPhase::Running, true, Some(90_000)),
        (PodPhase::Failed, false, None),
    ];
    let scratch = &mut Scratch::default();
    let mut checked = 0;
    for count in 0..=4u32 {
        for code in 0..8usize.pow(count) {
            let chosen = (0..count).map(|i| (i, states[code / 8usize.pow(i) % 8]));
            let pods: Vec<PodView> =
                chosen.clone().map(|(i, (phase, del, _))| pod(i, phase, del)).collect();
            for foreign in [None, Some((9, 20_000))] {
                let samples: Vec<(u32, i64)> = chosen
                    .clone()
                    .filter_map(|(i, (_, _, v))| v.map(|v| (i, v)))
                    .chain(foreign)
                    .collect();
                let rows: Vec<PodSample> = samples
                    .iter()
                    .map(|(k, v)| PodSample::new(*k, Milli(*v), SimTime::ZERO))
                    .collect();
                for current in 1..=5 {
                    for minor in [25, 28, 32, 33, 36] {
                        let input = PodMetric {
                            current_replicas: current,
                            pods: &pods,
                            samples: &rows,
                            cpu: false,
                            now_decide: SimTime::ZERO,
                        };
                        let got = calc_plain_metric_replicas(
                            scratch,
                            &input,
                            Milli(10_000),
                            &rules(minor),
                        );
                        let wanted = naive_replicas(current, &pods, &samples, 10_000, minor);
                        let got = got.map(|p| p.replicas).map_err(|_: MetricFailure| ());
                        assert_eq!(got, wanted, "{pods:?} {samples:?} {current} 1.{minor}");
                        checked += 1;
                    }
                }
            }
        }
    }
    assert_eq!(checked, (1 + 8 + 64 + 512 + 4096) * 2 * 5 * 5);
}

/// All sets of up to three policies: the selected limit is the extreme of the single ones, more
/// policies never tighten `Max` nor loosen `Min`, and `Disabled` admits nothing.
#[test]
fn every_small_policy_set_selects_an_extreme() {
    let kinds = [
        (PolicyType::Pods, 1),
        (PolicyType::Pods, 4),
        (PolicyType::Percent, 10),
        (PolicyType::Percent, 100),
    ];
    let policies: Vec<Policy> = kinds
        .iter()
        .flat_map(|&(kind, value)| [15, 60].map(|p| Policy { kind, value, period: p * S }))
        .collect();
    let event = |change, at: i64| ScaleEvent { change, at: at * S, outdated: false };
    let histories = [
        (vec![], vec![]),
        (vec![event(2, 990)], vec![]),
        (vec![event(3, 950), event(1, 985)], vec![event(2, 970)]),
        (vec![], vec![event(4, 985), event(1, 940)]),
    ];
    let limits = |select, chosen: &[Policy], current, up: &[ScaleEvent], down: &[ScaleEvent]| {
        let rules = Rules { window: 0, select, policies: chosen.to_vec() };
        let events = Events { up, down };
        (
            behavior::calculate_scale_up_limit_with_scaling_rules(
                current,
                &events,
                &rules,
                1000 * S,
            ),
            behavior::calculate_scale_down_limit_with_behaviors(current, &events, &rules, 1000 * S),
        )
    };
    let n = policies.len();
    let mut sets = Vec::new();
    for a in 0..n {
        sets.push(vec![policies[a]]);
        for b in 0..n {
            sets.push(vec![policies[a], policies[b]]);
            for c in 0..n {
                sets.push(vec![policies[a], policies[b], policies[c]]);
            }
        }
    }
    assert_eq!(sets.len(), 8 + 64 + 512);
    for (up, down) in &histories {
        for current in [1, 2, 5, 10, 50, 100] {
            for set in &sets {
                let single: Vec<(i32, i32)> = set
                    .iter()
                    .map(|p| limits(SelectPolicy::Max, &[*p], current, up, down))
                    .collect();
                let ups = || single.iter().map(|s| s.0);
                let downs = || single.iter().map(|s| s.1);
                let max = limits(SelectPolicy::Max, set, current, up, down);
                let min = limits(SelectPolicy::Min, set, current, up, down);
                assert_eq!(max, (ups().max().unwrap(), downs().min().unwrap()));
                assert_eq!(min, (ups().min().unwrap(), downs().max().unwrap()));
                let off = limits(SelectPolicy::Disabled, set, current, up, down);
                assert_eq!(off, (current, current));
            }
        }
    }
}
