//! How near the presets come to the recorded traces they imitate; needs the recordings beside the checkout.

use hpasim::rng::Seed;
use hpasim::units::SimTime;
use hpasim::workload::import::{ReadOptions, read_rate_csv, read_trace};
use hpasim::workload::{Interpolation, RateModel, Request, WorkloadSpec, presets};
use std::path::PathBuf;

fn recorded(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/traces").join(name);
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        println!("skipped: {} is not there", path.display());
    }
    bytes
}

/// Largest difference of two empirical distribution functions.
fn kolmogorov_smirnov(mut a: Vec<u32>, mut b: Vec<u32>) -> f64 {
    a.sort_unstable();
    b.sort_unstable();
    let share = |v: &[u32], x: u32| v.partition_point(|&y| y <= x) as f64 / v.len() as f64;
    a.iter().chain(&b).map(|&x| (share(&a, x) - share(&b, x)).abs()).fold(0.0, f64::max)
}

#[test]
fn length_mixtures_are_near_the_recorded_lengths() {
    // Source: our fits: KS .025 and .027 (conversation), .033 and .020 (code), over 30 seeds.
    for (file, preset, bounds) in [
        ("azure/AzureLLMInferenceTrace_conv.csv", "azure-conv-like", [0.029, 0.033]),
        ("azure/AzureLLMInferenceTrace_code.csv", "azure-code-like", [0.039, 0.026]),
    ] {
        let Some(bytes) = recorded(file) else { return };
        let real = read_trace(&bytes[..], &ReadOptions::default()).unwrap().requests;
        let lengths = presets::lengths(preset).unwrap();
        let spec = WorkloadSpec::poisson(5.0, lengths).unwrap();
        let made: Vec<Request> =
            spec.source(Seed(1), SimTime::MAX_HORIZON).take(real.len()).collect();
        for (side, bound) in [(0, bounds[0]), (1, bounds[1])] {
            let tokens = |rows: &[Request]| -> Vec<u32> {
                rows.iter().map(|r| [r.prompt_tokens, r.output_tokens][side]).collect()
            };
            let ks = kolmogorov_smirnov(tokens(&real), tokens(&made));
            assert!(ks < bound, "{preset} side {side}: KS {ks}");
        }
    }
}

#[test]
fn the_week_curve_follows_the_recorded_week() {
    let Some(bytes) = recorded("rate_series/azure_code_2024_week_10min_digitised.csv") else {
        return;
    };
    let real = read_rate_csv(&bytes[..], Interpolation::Linear).unwrap();
    let preset = presets::arrivals("azure-code-week").unwrap();
    let RateModel::Diurnal(week) = &preset.rate else { panic!("a week") };
    // The recording starts on Friday 10 May 2024, 00:00 UTC; a point is the mean of ten minutes.
    let model = |t: f64| week.rate_at(4.0 * 24.0 + (t + 300.0) / 3600.0);
    let pairs: Vec<(f64, f64)> = real.points().iter().map(|&(t, r)| (r, model(t))).collect();
    assert_eq!(pairs.len(), 1008);
    let n = pairs.len() as f64;
    let (mr, mm) =
        (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    // Source: our fit: R^2 .97, mean error 8.7 %.
    let scale = mr / mm;
    let residual: f64 = pairs.iter().map(|(r, m)| (r - m * scale).powi(2)).sum();
    let total: f64 = pairs.iter().map(|(r, _)| (r - mr).powi(2)).sum();
    let r2 = 1.0 - residual / total;
    assert!(r2 > 0.96, "R^2 {r2}");
}
