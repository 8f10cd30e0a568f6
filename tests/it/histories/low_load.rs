//! What the Llama stack's settings were calibrated on: stretches of the recordings with one replica, no queue and KV
//! usage of at most 0.2. Each figure is simulated with the settings of `setup.rs`; `-- --nocapture` prints them.

use super::record::History;
use super::{SEEDS, by_id, clock, histories, runs, setup};
use hpasim::engine::FinishReason;
use hpasim::sim::{RecordLevel, RunRecord, Series};

/// A stretch of a recording with a steady load \[requests/s; s\].
struct Stretch {
    rate_rps: f64,
    history: &'static str,
    from_s: f64,
    to_s: f64,
}

const fn stretch(rate_rps: f64, history: &'static str, from_s: f64, to_s: f64) -> Stretch {
    Stretch { rate_rps, history, from_s, to_s }
}

const STRETCHES: [Stretch; 12] = [
    stretch(5.0, "h100-llama8b-fleet-ext-a", 170.0, 240.0),
    stretch(5.0, "h100-llama8b-hpa-smooth", 110.0, 180.0),
    stretch(7.0, "h100-llama8b-fleet-mid-a", 1410.0, 1840.0),
    stretch(7.0, "h100-llama8b-hpa-flat", 115.0, 400.0),
    stretch(10.0, "h100-llama8b-hpa-moderate", 110.0, 218.0),
    stretch(10.0, "h100-llama8b-hpa-smooth", 230.0, 320.0),
    stretch(14.0, "h100-llama8b-fleet-mid-a", 810.0, 880.0),
    stretch(15.0, "h100-llama8b-hpa-smooth", 355.0, 425.0),
    stretch(17.0, "h100-llama8b-fleet-ext-a", 350.0, 420.0),
    stretch(20.0, "h100-llama8b-fleet-high-a", 190.0, 200.0),
    stretch(20.0, "h100-llama8b-fleet-high-d", 180.0, 185.0),
    stretch(20.0, "h100-llama8b-hpa-smooth", 460.0, 550.0),
];

/// Polls of the HPA object hold a scrape; a controller's log holds the larger one of two scrapes, half a minute apart.
const POLLED: &str = "metric_avg:kv_cache_usage_perc";
const LARGER: &str = "pod1:kv_cache_usage_perc_max_1m";

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

impl Stretch {
    fn recorded(&self, history: &History, name: &str) -> Option<f64> {
        let inside = |p: &&(f64, f64)| (self.from_s..self.to_s).contains(&p.0);
        let points = history.series.get(name)?.iter().filter(inside);
        let values: Vec<f64> = points.map(|p| p.1).collect();
        (!values.is_empty()).then(|| mean(&values))
    }
}

/// One replica under a steady load for 20 minutes.
fn steady(rate_rps: f64) -> setup::Setup {
    let load = format!(
        "[[workload.stream]]\n[workload.stream.poisson]\nrate_rps = {rate_rps}\n{}",
        setup::SHAREGPT
    );
    setup::one_replica(&load, 1200.0)
}

/// KV usage at scrapes every 30 s from the second minute on: mean, and mean of the larger one of two.
fn kv_usage(run: &RunRecord) -> (f64, f64) {
    let rows = run.series(Series::KvCacheUsagePerc);
    let all: Vec<f64> =
        rows.filter(|row| row.at.as_secs_f64() > 60.0).map(|row| row.value).collect();
    // Rows are 3 s apart.
    let larger: Vec<f64> = all.iter().zip(&all[10..]).map(|(a, b)| a.max(*b)).collect();
    (mean(&all), mean(&larger))
}

/// Mean of all gaps between tokens \[ms\].
fn inter_token_ms(run: &RunRecord) -> f64 {
    let (mut total_s, mut gaps) = (0.0, 0.0);
    for r in run.requests.iter().map(|row| &row.record) {
        if let (Some(first), Some(last)) = (r.first_token, r.last_token) {
            total_s += last.as_secs_f64() - first.as_secs_f64();
            gaps += f64::from(r.output_tokens) - 1.0;
        }
    }
    1e3 * total_s / gaps
}

#[test]
fn inter_token_times_and_kv_usage_at_low_load() {
    let Some(histories) = histories() else { return };
    if !STRETCHES.iter().all(|stretch| by_id(&histories, stretch.history).is_some()) {
        return;
    }
    let mut itl_errors = Vec::new();
    let mut kv_errors = Vec::new();
    for part in STRETCHES.chunk_by(|a, b| a.rate_rps == b.rate_rps) {
        let runs = runs(&steady(part[0].rate_rps), RecordLevel::Requests, SEEDS);
        let itl_ms = mean(&runs.iter().map(inter_token_ms).collect::<Vec<_>>());
        let (polled, larger): (Vec<f64>, Vec<f64>) = runs.iter().map(kv_usage).unzip();
        for stretch in part {
            let history = by_id(&histories, stretch.history).unwrap();
            let mut line = format!("{:>5} requests/s  {:<28}", stretch.rate_rps, stretch.history);
            if let Some(recorded) = stretch.recorded(history, "itl_mean_1m_ms") {
                let error = itl_ms / recorded - 1.0;
                line += &format!(" ITL {recorded:.2} ms {:+.1} %", 100.0 * error);
                itl_errors.push(error);
            }
            for (name, simulated) in [(POLLED, mean(&polled)), (LARGER, mean(&larger))] {
                if let Some(recorded) = stretch.recorded(history, name) {
                    let error = simulated / recorded - 1.0;
                    line += &format!(" KV usage {recorded:.3} {:+.0} %", 100.0 * error);
                    kv_errors.push(error);
                }
            }
            println!("{line}");
        }
    }
    assert!(itl_errors.iter().all(|e| e.abs() < 0.05), "{itl_errors:?}");
    let kv = mean(&kv_errors);
    assert!(kv.abs() < 0.10, "mean error {kv}");
    assert!(kv_errors.iter().all(|e| e.abs() < 0.30), "{kv_errors:?}");
}

/// One pod under 26 to 28 requests/s, just what it can serve, before a queue forms: history, from and to \[s\]. No setting
/// was chosen by these, and what a full pod serves too much or too little shows here many times as large: simulated
/// pods, a few percent faster when they are that full, are up to a fifth emptier.
const NEAR_CAPACITY: [(&str, f64, f64); 2] =
    [("h100-llama8b-fleet-ext-a", 470.0, 600.0), ("h100-llama8b-fleet-mid-a", 210.0, 340.0)];

#[test]
fn kv_usage_of_one_pod_near_its_capacity() {
    let Some(histories) = histories() else { return };
    if !NEAR_CAPACITY.iter().all(|(id, ..)| by_id(&histories, id).is_some()) {
        return;
    }
    let mut errors = Vec::new();
    for (id, from_s, to_s) in NEAR_CAPACITY {
        let history = by_id(&histories, id).unwrap();
        let runs = runs(&setup::setup(history).unwrap(), RecordLevel::Timeline, SEEDS);
        for (t, recorded) in history.series[LARGER].iter().filter(|p| (from_s..to_s).contains(&p.0))
        {
            let larger: Vec<f64> = runs.iter().flat_map(|run| larger_before(run, *t)).collect();
            let simulated = mean(&larger);
            println!("{id} {t:.0} s: KV usage {recorded:.3}, simulated {simulated:.3}");
            errors.push(simulated / recorded - 1.0);
        }
    }
    assert_eq!(errors.len(), 6, "three minutes of each");
    assert!(errors.iter().all(|e| e.abs() < 0.25), "{errors:?}");
}

/// The larger KV usage of two scrapes half a minute apart, the later one up to half a minute before `t_s`.
fn larger_before(run: &RunRecord, t_s: f64) -> Vec<f64> {
    let rows: Vec<(f64, f64)> =
        run.series(Series::KvCacheUsagePerc).map(|row| (row.at.as_secs_f64(), row.value)).collect();
    let at = |t: f64| rows[rows.partition_point(|row| row.0 <= t) - 1].1;
    (0..10).map(|i| t_s - 3.0 * f64::from(i)).map(|t| at(t).max(at(t - 30.0))).collect()
}

/// The first stream is alone on one replica until this instant of the recording \[s\].
const ALONE: [(&str, f64); 4] = [
    ("h100-llama8b-fleet-ext-a", 220.0),
    ("h100-llama8b-fleet-high-a", 185.0),
    ("h100-llama8b-fleet-high-d", 175.0),
    ("h100-llama8b-fleet-mid-a", 104.0),
];

/// Outputs of the same mean without the two extremes: a quarter at the cap, the rest around 268.
const EVEN: &str =
    "mixture = { prompt_min = 4, prompt_max = 1024, output_max = 1024, components = [
  { weight = 0.75, mu_in = 4.70, sigma_in = 1.417, mu_out = 5.455, sigma_out = 0.522 },
  { weight = 0.25, mu_in = 4.70, sigma_in = 1.417, mu_out = 6.9315, sigma_out = 0.0 },
] }
";

/// Completions of the first stream between two lines of its client's log, recorded and expected: sum of squared
/// differences over the expected number, and the number of intervals.
fn completions(history: &History, until_s: f64, lengths: &str) -> (f64, usize) {
    let shift_s = clock::shifts(history).unwrap()[0];
    let load = &history.loads()[0];
    let mut text = String::new();
    setup::stream(&mut text, load, load.start_s + shift_s, lengths, setup::Test::Over);
    let runs = runs(&setup::one_replica(&text, until_s + 2.0), RecordLevel::Requests, SEEDS);
    let ends_s: Vec<f64> = runs.iter().flat_map(ends_s).collect();
    let name = history.record["load"][0]["name"].as_str().unwrap();
    let seen = &history.series[&format!("completed:{name}")];
    let with_offset = |offset_s: f64| {
        let expected = |seen_s: f64| {
            let before = ends_s.iter().filter(|end| **end <= seen_s + shift_s + offset_s);
            before.count() as f64 / runs.len() as f64
        };
        let pairs = seen.windows(2).filter(|pair| pair[1].0 + shift_s < until_s);
        pairs.fold((0.0, 0), |(sum, intervals), pair| {
            let simulated = expected(pair[1].0) - expected(pair[0].0);
            let error = pair[1].1 - pair[0].1 - simulated;
            (sum + error * error / simulated.max(4.0), intervals + 1)
        })
    };
    // A line of the log may be up to a second later than its stamp says.
    let all = [0.2, 0.5, 0.8, 1.0].map(with_offset);
    all.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

/// When requests were answered.
fn ends_s(run: &RunRecord) -> impl Iterator<Item = f64> {
    let answered = run.requests.iter().map(|row| &row.record);
    answered.filter(|r| r.reason == FinishReason::Length).map(|r| r.end.as_secs_f64())
}

/// Send times are known to the last digit, so how completions follow them tells how long the answers are.
#[test]
fn completions_follow_the_send_times_at_low_load() {
    let Some(histories) = histories() else { return };
    if !ALONE.iter().all(|(id, _)| by_id(&histories, id).is_some()) {
        return;
    }
    let (mut totals, mut intervals) = ([0.0, 0.0], 0);
    for (id, until_s) in ALONE {
        let history = by_id(&histories, id).unwrap();
        let [(own, n), (even, _)] =
            [setup::SHAREGPT, EVEN].map(|lengths| completions(history, until_s, lengths));
        println!("{id}: {n} intervals, {own:.1} (a quarter at the cap: {even:.1})");
        totals = [totals[0] + own, totals[1] + even];
        intervals += n;
    }
    println!("all {intervals} intervals: {:.1} ({:.1})", totals[0], totals[1]);
    assert!(totals[0] < intervals as f64, "{totals:?}");
    assert!(totals[0] + 8.0 < totals[1], "{totals:?}");
}
