//! Generated workloads: the tests of the generator table and the realised figures of the presets.

use hpasim::rng::Seed;
use hpasim::units::{SimDuration, SimTime};
use hpasim::workload::presets;
use hpasim::workload::{
    Arrivals, Clients, Diurnal, Generated, Interpolation, LengthModel, Mmpp, MmppState, RateCurve,
    RateModel, Recorded, Renewal, Request, StreamSpec, Summary, Trace, Transform, WorkloadSpec,
};

fn generate(g: Generated, seconds: u64, seed: u64) -> Trace {
    let lengths = LengthModel::constant(100, 10).unwrap();
    let spec = WorkloadSpec::single(Arrivals::Generated(g, lengths)).unwrap();
    spec.materialise(Seed(seed), SimTime::from_secs(seconds))
}

fn constant(rate: f64, renewal: Renewal) -> Generated {
    Generated::new(RateModel::Constant(rate), renewal)
}

fn summary(trace: &[Request]) -> Summary {
    Summary::of(trace).expect("not empty")
}

fn preset(name: &str, seconds: u64, seed: u64) -> Trace {
    let spec = WorkloadSpec::single(Arrivals::Generated(
        presets::arrivals(name).unwrap(),
        presets::lengths(if name.contains("conv") { "azure-conv-like" } else { "azure-code-like" })
            .unwrap(),
    ))
    .unwrap();
    spec.materialise(Seed(seed), SimTime::from_secs(seconds))
}

fn mean_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, var.sqrt())
}

/// Mean over seeds of one figure must lie within `spread` of `want`.
fn expect(what: &str, runs: &[Summary], want: f64, spread: f64, f: &dyn Fn(&Summary) -> f64) {
    let (mean, _) = mean_sd(&runs.iter().map(f).collect::<Vec<_>>());
    assert!((mean - want).abs() <= spread, "{what}: {mean} instead of {want} +- {spread}");
}

#[test]
fn poisson_gamma_and_weibull_meet_rate_cv_and_dispersion() {
    for (renewal, cv) in [
        (Renewal::Exponential, 1.0),
        (Renewal::gamma_cv(0.5).unwrap(), 0.5),
        (Renewal::gamma_cv(3.0).unwrap(), 3.0),
        // CV^2 = G(1 + 2/k) / G(1 + 1/k)^2 - 1: G(2) / G(3/2)^2 = 4 / pi, G(5) / G(3)^2 = 6.
        (Renewal::Weibull { shape: 2.0 }, (4.0 / std::f64::consts::PI - 1.0).sqrt()),
        (Renewal::Weibull { shape: 0.5 }, 5_f64.sqrt()),
    ] {
        let s = summary(&generate(constant(5.0, renewal), 40_000, 1));
        assert!(s.requests > 190_000);
        assert!((s.gap_cv / cv - 1.0).abs() < 0.03, "{renewal:?}: cv {}", s.gap_cv);
        assert!((s.mean_rps / 5.0 - 1.0).abs() < 0.02, "{renewal:?}: rate {}", s.mean_rps);
        if renewal == Renewal::Exponential {
            assert!((s.windows[0].idc() - 1.0).abs() < 0.02, "IDC {}", s.windows[0].idc());
        }
    }
    let even = generate(constant(4.0, Renewal::Deterministic), 10, 1);
    let times: Vec<f64> = even.iter().map(|r| r.arrival.as_secs_f64()).collect();
    assert_eq!(times[..3], [0.25, 0.5, 0.75]);
    assert_eq!(times.len(), 39, "the end itself is not inside");
}

#[test]
fn curves_hold_their_integral_in_every_part() {
    // 0..100 s: linear 0 -> 40 (2000 requests), then step-like parts by a second curve.
    let linear =
        RateCurve::new(vec![(0.0, 0.0), (100.0, 40.0)], Interpolation::Linear, None).unwrap();
    let trace = generate(Generated::new(RateModel::Curve(linear), Renewal::Deterministic), 150, 1);
    let before = |s: u64| trace.iter().filter(|r| r.arrival < SimTime::from_secs(s)).count();
    // Integral of the rate: 0.2 t^2, then 40 per second. The request number n comes when it reaches n.
    assert!(before(50).abs_diff(500) <= 1);
    assert!(before(100).abs_diff(2000) <= 1);
    assert!(before(150).abs_diff(4000) <= 1);

    let step = RateCurve::new(
        vec![(0.0, 10.0), (10.0, 0.0), (20.0, 30.0)],
        Interpolation::Step,
        Some(40.0),
    )
    .unwrap();
    let trace = generate(Generated::new(RateModel::Curve(step), Renewal::Deterministic), 80, 1);
    let between = |a, b| trace.iter().filter(|r| (a..b).contains(&r.arrival.as_secs_f64())).count();
    assert!(between(0.0, 10.0).abs_diff(100) <= 1);
    assert!(between(10.0, 19.99) <= 1);
    assert!(between(20.0, 40.0).abs_diff(600) <= 1);
    assert!(between(40.0, 50.0).abs_diff(100) <= 1, "the curve repeats");
    assert!(between(60.0, 80.0).abs_diff(600) <= 1);
}

#[test]
fn modulated_rate_meets_its_stationary_mean() {
    let g = presets::arrivals("azure-code-like").unwrap();
    let RateModel::Mmpp(chain) = &g.rate else { panic!("a chain") };
    // Source: our fit to the trace: stationary shares and mean of the four-state chain.
    for (got, want) in chain.stationary().iter().zip([0.699, 0.045, 0.209, 0.047]) {
        assert!((got - want).abs() < 0.001, "{got} {want}");
    }
    assert!((chain.mean_rps() - 2.56).abs() < 0.02, "{}", chain.mean_rps());
    let s = summary(&generate(g, 400_000, 5));
    assert!((s.mean_rps - 2.56).abs() < 0.08, "{}", s.mean_rps);

    let states = vec![
        MmppState { rate_rps: 0.0, mean_sojourn_s: 30.0 },
        MmppState { rate_rps: 8.0, mean_sojourn_s: 10.0 },
    ];
    let two = Mmpp::new(states, None).unwrap();
    assert!((two.mean_rps() - 2.0).abs() < 1e-9);
}

#[test]
fn diurnal_week_follows_its_hours() {
    let g = presets::arrivals("azure-code-week").unwrap();
    let RateModel::Diurnal(week) = &g.rate else { panic!("a week") };
    // Monday 19:30 is the centre of the busiest hour, Saturday 10:30 of the quietest.
    assert!((week.rate_at(19.5) - 2.77).abs() < 1e-9);
    assert!((week.rate_at(5.0 * 24.0 + 10.5) - 0.11).abs() < 1e-9);
    assert!((week.rate_at(0.0) - (0.55 + 0.86) / 2.0).abs() < 1e-9, "Sunday night into Monday");
    let mean = (0..1680).map(|i| week.rate_at((f64::from(i) + 0.5) / 10.0)).sum::<f64>() / 1680.0;
    assert!((mean - 1.0).abs() < 0.02, "multipliers average {mean}");

    let mut quiet = g.clone();
    quiet.rate_scale = 2.8;
    let runs: Vec<Summary> =
        (0..6).map(|s| summary(&generate(quiet.clone(), 604_800, s))).collect();
    expect("week mean", &runs, 2.8, 0.1, &|s| s.mean_rps);
    let minute = |s: &Summary| s.peak_to_mean(60).unwrap();
    // Source: our fit to the trace: 3.5 to 4.2 for one-minute windows at 2.8 rps.
    expect("week p/m@60", &runs, 3.85, 0.45, &minute);
}

#[test]
fn the_expected_mean_is_the_realised_one() {
    for name in presets::ARRIVALS {
        let mut g = presets::arrivals(name).unwrap();
        g.rate_scale = 3.0;
        let (seconds, tolerance) =
            if name.contains("code-like") { (300_000, 0.05) } else { (5_000, 0.03) };
        let want = g.mean_rps(SimDuration::from_secs(seconds));
        g.noise = None;
        let got = generate(g, seconds, 2).len() as f64 / seconds as f64;
        assert!((got / want - 1.0).abs() < tolerance, "{name}: {got} {want}");
    }
}

#[test]
fn presets_reproduce_the_published_fit() {
    // Source: our fits, quality tables (mean over 20-40 seeds, +- one standard deviation).
    let run = |name: &str, seconds| -> Vec<Summary> {
        (0..40).map(|s| summary(&preset(name, seconds, s))).collect()
    };
    let conv = run("azure-conv-like", 3502);
    let peak = |w: u64| move |s: &Summary| s.peak_to_mean(w).unwrap();
    expect("conv CV", &conv, 1.065, 0.007, &|s| s.gap_cv);
    expect("conv p/m@1", &conv, 3.2, 0.3, &peak(1));
    expect("conv p/m@15", &conv, 1.61, 0.07, &peak(15));
    expect("conv p/m@60", &conv, 1.44, 0.05, &peak(60));
    expect("conv p/m@300", &conv, 1.31, 0.02, &peak(300));
    expect("conv IDC@60", &conv, 13.0, 0.8, &|s| s.windows[2].idc());
    expect("conv requests", &conv, 19_366.0, 150.0, &|s| s.requests as f64);
    expect("conv in", &conv, 1155.0, 8.0, &|s| s.prompt.mean);
    expect("conv out", &conv, 211.2, 1.0, &|s| s.output.mean);
    expect("conv correlation", &conv, -0.12, 0.01, &|s| s.correlation);
    for (i, (prompt, output)) in
        [(2, (1020.0, 126.0)), (4, (2935.0, 420.0)), (5, (4083.0, 436.0)), (6, (4176.0, 677.0))]
    {
        expect("conv in", &conv, prompt, 0.02 * prompt, &|s| s.prompt.percentiles[i]);
        expect("conv out", &conv, output, 0.01 * output, &|s| s.output.percentiles[i]);
    }

    let code = run("azure-code-like", 3436);
    expect("code CV", &code, 11.8, 1.0, &|s| s.gap_cv);
    expect("code p/m@1", &code, 16.6, 2.6, &peak(1));
    expect("code p/m@15", &code, 7.4, 1.1, &peak(15));
    expect("code p/m@60", &code, 4.1, 0.56, &peak(60));
    expect("code p/m@300", &code, 1.83, 0.31, &peak(300));
    expect("code empty minutes", &code, 0.154, 0.04, &|s| s.windows[2].empty);
    expect("code IDC@1", &code, 12.0, 0.8, &|s| s.windows[0].idc());
    expect("code requests", &code, 8_840.0, 630.0, &|s| s.requests as f64);
    expect("code in", &code, 2037.0, 15.0, &|s| s.prompt.mean);
    expect("code out", &code, 27.5, 0.5, &|s| s.output.mean);
    for (i, (prompt, output)) in
        [(2, (1467.0, 13.0)), (4, (4923.0, 56.0)), (5, (7374.0, 91.0)), (6, (7437.0, 234.0))]
    {
        expect("code in", &code, prompt, 0.02 * prompt, &|s| s.prompt.percentiles[i]);
        expect("code out", &code, output, 0.02 * output, &|s| s.output.percentiles[i]);
    }

    let two = run("azure-code-like-2state", 3436);
    expect("2-state CV", &two, 12.4, 0.9, &|s| s.gap_cv);
    expect("2-state p/m@1", &two, 10.1, 1.5, &peak(1));
    expect("2-state IDC@1", &two, 8.2, 0.8, &|s| s.windows[0].idc());
}

#[test]
fn lengths_do_not_depend_on_the_arrival_process() {
    let lengths = presets::lengths("azure-conv-like").unwrap();
    let tokens = |name: &str, scale: f64| -> Vec<(u32, u32)> {
        let mut g = presets::arrivals(name).unwrap();
        g.rate_scale = scale;
        let spec = WorkloadSpec::single(Arrivals::Generated(g, lengths.clone())).unwrap();
        spec.source(Seed(9), SimTime::from_secs(100_000))
            .take(1000)
            .map(|r| (r.prompt_tokens, r.output_tokens))
            .collect()
    };
    let base = tokens("azure-conv-like", 1.0);
    assert_eq!(base.len(), 1000);
    for (name, scale) in [("azure-code-like", 1.0), ("azure-code-week", 2.0), ("spike", 0.5)] {
        assert_eq!(tokens(name, scale), base, "{name}");
    }
}

#[test]
fn arrivals_do_not_depend_on_the_lengths_or_on_other_streams() {
    let times = |spec: WorkloadSpec| -> Vec<SimTime> {
        spec.source(Seed(4), SimTime::from_secs(600)).map(|r| r.arrival).collect()
    };
    let stream = |lengths: &str| {
        StreamSpec::new(Arrivals::Generated(
            presets::arrivals("azure-code-like").unwrap(),
            presets::lengths(lengths).unwrap(),
        ))
    };
    let one = |lengths| WorkloadSpec::new(vec![stream(lengths)], Clients::default()).unwrap();
    let base = times(one("azure-conv-like"));
    assert!(base.len() > 100);
    assert_eq!(base, times(one("reasoning-like")));

    // A second stream adds its requests and moves none of the first.
    let mut second = stream("reasoning-like");
    second.start = SimDuration::from_secs(60);
    second.duration = Some(SimDuration::from_secs(120));
    let both =
        WorkloadSpec::new(vec![stream("azure-conv-like"), second], Clients::default()).unwrap();
    let both = times(both);
    assert!(both.is_sorted());
    assert!(both.len() > base.len());
    let mut rest = both.clone();
    for t in &base {
        let i = rest.iter().position(|r| r == t).expect("every first-stream arrival is there");
        rest.remove(i);
    }
    assert!(
        rest.iter().all(|t| (SimTime::from_secs(60)..SimTime::from_secs(180)).contains(t)),
        "the second stream stays in its time"
    );
}

#[test]
fn same_seed_same_requests_and_a_longer_run_has_the_shorter_as_its_head() {
    for name in presets::ARRIVALS {
        let spec = WorkloadSpec::single(Arrivals::Generated(
            presets::arrivals(name).unwrap(),
            presets::lengths("azure-conv-like").unwrap(),
        ))
        .unwrap();
        let short = spec.materialise(Seed(77), SimTime::from_secs(900));
        let long = spec.materialise(Seed(77), SimTime::from_secs(1800));
        assert!(!short.is_empty(), "{name}");
        assert_eq!(short[..], long[..short.len()], "{name}");
        assert!(long.is_sorted_by_key(|r| r.arrival), "{name}");
        assert!(long[short.len()..].iter().all(|r| r.arrival >= SimTime::from_secs(900)));
        assert_ne!(short, spec.materialise(Seed(78), SimTime::from_secs(900)), "{name}");
    }
}

/// First requests of each preset. A change here changes every result: say so in the changelog.
#[test]
fn first_draws_are_pinned() {
    let mut got = String::new();
    for (name, lengths) in [
        ("azure-conv-like", "azure-conv-like"),
        ("azure-code-like", "azure-code-like"),
        ("azure-code-week", "azure-code-week"),
        ("hill-8min", "reasoning-like"),
        ("spike", "seed-locust"),
    ] {
        let spec = WorkloadSpec::single(Arrivals::Generated(
            presets::arrivals(name).unwrap(),
            presets::lengths(lengths).unwrap(),
        ))
        .unwrap();
        for r in spec.source(Seed(20_261_124), SimTime::from_secs(86_400)).take(3) {
            let (t, p, o) = (r.arrival.as_ps(), r.prompt_tokens, r.output_tokens);
            got.push_str(&format!("{name} {t} {p} {o}\n"));
        }
    }
    assert_eq!(got, PINNED);
}

const PINNED: &str = "\
azure-conv-like 49606490536 1264 395
azure-conv-like 302252683694 1074 405
azure-conv-like 432720684031 395 69
azure-code-like 80962458570993 7437 8
azure-code-like 167355620972675 2417 9
azure-code-like 167356620972675 1337 9
azure-code-week 807584791566 1196 304
azure-code-week 3528651352640 1318 4
azure-code-week 4125624523254 2023 9
hill-8min 384145426996 80 15115
hill-8min 1675739859709 103 335
hill-8min 1958542523236 300 693
spike 499905542076 27 256
spike 2188290181892 28 145
spike 2559530891060 30 183
";

#[test]
fn modulation_stretch_keeps_rates_and_lengthens_bursts() {
    let silence = |stretch: f64| {
        let mut g = presets::arrivals("azure-code-like-2state").unwrap();
        g.modulation_stretch = stretch;
        let s = summary(&generate(g, 2_000_000, 3));
        (s.mean_rps, s.gap_max_s, s.windows[0].peak_to_mean())
    };
    let (rate1, longest1, peak1) = silence(1.0);
    let (rate10, longest10, peak10) = silence(10.0);
    assert!((rate1 / rate10 - 1.0).abs() < 0.1, "{rate1} {rate10}");
    assert!(longest10 > 4.0 * longest1, "{longest1} {longest10}");
    assert!((peak1 / peak10 - 1.0).abs() < 0.3, "rates stay: {peak1} {peak10}");
}

#[test]
fn transforms_keep_what_they_promise() {
    let trace = Recorded::new(preset("azure-code-like", 20_000, 8).to_vec());
    let whole = summary(&trace.requests);
    let with = |t: Transform| {
        let spec = WorkloadSpec::single(Arrivals::Replay(trace.clone(), t)).unwrap();
        let until = SimTime::ZERO + spec.natural_duration().expect("a trace has an end");
        summary(&spec.materialise(Seed(6), until))
    };
    // Thinning: mean x p and IDC_p = 1 + p (IDC - 1).
    for p in [0.2, 0.5] {
        let thin = with(Transform { rate_scale: p, ..Transform::default() });
        let idc = 1.0 + p * (whole.windows[0].idc() - 1.0);
        assert!((thin.mean_rps / (whole.mean_rps * p) - 1.0).abs() < 0.03, "{}", thin.mean_rps);
        assert!((thin.windows[0].idc() / idc - 1.0).abs() < 0.1, "{}", thin.windows[0].idc());
    }
    let stretched = with(Transform { time_stretch: 10.0, ..Transform::default() });
    assert_eq!(stretched.requests, whole.requests);
    assert!((stretched.gap_cv / whole.gap_cv - 1.0).abs() < 1e-9);
    assert!((stretched.mean_rps * 10.0 / whole.mean_rps - 1.0).abs() < 1e-9);
    let double = with(Transform { rate_scale: 2.5, ..Transform::default() });
    assert!((double.requests as f64 / whole.requests as f64 - 2.5).abs() < 0.05);
    // Cutting the end moves nothing.
    let cut = Transform { truncate: Some(SimDuration::from_secs(5000)), ..Transform::default() };
    let spec = WorkloadSpec::single(Arrivals::Replay(trace.clone(), cut)).unwrap();
    let cut = spec.materialise(Seed(6), SimTime::MAX_HORIZON);
    assert_eq!(cut[..], trace.requests[..cut.len()]);
    assert!(trace.requests[cut.len()].arrival >= SimTime::from_secs(5000));
}

#[test]
fn an_endless_process_has_no_length_of_its_own() {
    let lengths = LengthModel::constant(1, 1).unwrap();
    let spec = WorkloadSpec::poisson(1.0, lengths.clone()).unwrap();
    assert_eq!(spec.natural_duration(), None);
    assert!(WorkloadSpec::poisson(0.0, lengths.clone()).is_err());
    assert!(WorkloadSpec::poisson(f64::NAN, lengths.clone()).is_err());
    let hill = presets::arrivals("hill-8min").unwrap();
    let spec = WorkloadSpec::single(Arrivals::Generated(hill, lengths)).unwrap();
    assert_eq!(spec.natural_duration(), Some(SimDuration::from_secs(460)));
    assert!(Diurnal::new(1.0, [1.0; 24], [1.0; 24], 7, 0.0).is_err());
    assert!(Diurnal::new(1.0, [1.0; 24], [1.0; 24], 6, 24.0).is_err());
    assert!(Mmpp::new(vec![], None).is_err());
    assert!(RateCurve::new(vec![(1.0, 1.0), (1.0, 2.0)], Interpolation::Step, None).is_err());
}
