//! Named workloads that imitate real traces by parameters only; no trace content.
// Source: our fits to the public Azure 2023 and 2024, BurstGPT, Mooncake and ServeGen traces.

use super::lengths::{LengthDist, LengthKind, LengthModel, LognormalComponent};
use super::rate::{
    Diurnal, Generated, Interpolation, LogNoise, Mmpp, MmppState, RateCurve, RateModel, Renewal,
};
use super::{Growth, ParamError, Sessions, Think};

/// The names of length presets.
pub const LENGTHS: [&str; 5] =
    ["azure-conv-like", "azure-code-like", "azure-code-week", "reasoning-like", "seed-locust"];

/// The names of arrival presets.
pub const ARRIVALS: [&str; 9] = [
    "azure-conv-like",
    "azure-code-like",
    "azure-code-like-2state",
    "azure-code-week",
    "hill-8min",
    "reasoning-like",
    "step",
    "ramp",
    "spike",
];

/// The names of session presets.
pub const SESSIONS: [&str; 1] = ["chat-sessions"];

/// The conversations with this name, beginning one per second; their arrivals are the caller's to set.
pub fn sessions(name: &str) -> Result<Sessions, ParamError> {
    match name {
        // Source: turns and lengths: ShareGPT without a chat template (24 % of one round, p50 3, p75 5, p95 8);
        // pauses and the shared system prompt: the published catalogue of inference-perf.
        "chat-sessions" => {
            // ASSUMPTION(A311): the longest conversations of the set have about 13 rounds.
            let turns =
                [(0.0, 1.0), (0.24, 1.5), (0.5, 3.0), (0.75, 5.0), (0.95, 8.0), (1.0, 13.0)];
            let turns = LengthKind::Quantiles(turns.to_vec().into());
            let user = LengthKind::Lognormal { mu: 3.21, sigma: 1.40 };
            let answer = LengthKind::Lognormal { mu: 5.40, sigma: 1.09 };
            let user = LengthDist::new(user, 1, 4096)?;
            Ok(Sessions {
                open: false,
                arrivals: Generated::new(RateModel::Constant(1.0), Renewal::Exponential),
                turns: LengthDist::new(turns, 1, 13)?,
                first_prompt_tokens: user.clone(),
                prompt_tokens: user,
                output_tokens: LengthDist::new(answer, 1, 2048)?,
                think: Think::Lognormal { mean: 45.0, sd: 40.0, min: 5.0, max: 300.0 },
                system_prompt_tokens: 1000,
                system_prompts: 1,
                max_context: 8192,
                growth: Growth::Accumulate,
            })
        }
        _ => Err(unknown(name, &SESSIONS)),
    }
}

/// The length model with this name.
pub fn lengths(name: &str) -> Result<LengthModel, ParamError> {
    match name {
        "azure-conv-like" => mixture(&AZURE_CONV, (2, 8192), (7, 1000)),
        "azure-code-like" => mixture(&AZURE_CODE, (3, 7437), (6, 2000)),
        // Digitised from a published plot: prompts p50 1910, mean 2490, clipped at 7700; outputs 10, 25.
        "azure-code-week" => Ok(independent(
            LengthDist::lognormal_mean_p50(2490.0, 1910.0, 1, 7700)?,
            LengthDist::lognormal_mean_p50(25.0, 10.0, 1, 2000)?,
        )),
        // Outputs include reasoning tokens.
        "reasoning-like" => Ok(independent(
            LengthDist::lognormal_mean_p50(1377.0, 260.0, 1, 32_768)?,
            LengthDist::lognormal_mean_p50(1502.0, 730.0, 1, 16_384)?,
        )),
        // ASSUMPTION(A202): the guide's one-sentence prompts are 25-35 tokens with the chat template, and its
        // answers lognormal with mean 200, capped at its max_tokens of 256.
        "seed-locust" => Ok(independent(
            LengthDist::new(LengthKind::Uniform { min: 25, max: 35 }, 1, 64)?,
            LengthDist::lognormal_mean_sd(200.0, 80.0, 1, 256)?,
        )),
        _ => Err(unknown(name, &LENGTHS)),
    }
}

/// The arrival process with this name at its own rate; change it by `rate_scale`.
pub fn arrivals(name: &str) -> Result<Generated, ParamError> {
    match name {
        "azure-conv-like" => {
            let curve = RateCurve::new(AZURE_CONV_RATE.to_vec(), Interpolation::Linear, None)?;
            Ok(Generated::new(RateModel::Curve(curve), Renewal::Gamma { shape: 0.945 }))
        }
        "azure-code-like" => {
            let jumps = AZURE_CODE_JUMPS.iter().map(|row| row.to_vec()).collect();
            chain(&AZURE_CODE_STATES, Some(jumps))
        }
        "azure-code-like-2state" => chain(&[(0.0, 43.2), (9.08, 16.7)], None),
        "azure-code-week" => {
            // Starts on Monday 00:00 UTC at the mean of the week; `rate_scale` sets the level.
            let diurnal = Diurnal::new(1.0, WEEKDAY, WEEKEND, 0, 0.0)?;
            let mut g = Generated::new(RateModel::Diurnal(diurnal), Renewal::Exponential);
            g.noise = Some(LogNoise { sd: 0.13, time_constant_s: 900.0 });
            Ok(g)
        }
        "hill-8min" => Ok(curve(RateCurve::new(HILL.to_vec(), Interpolation::Linear, None)?)),
        // Plateaus of 10 min between 4 and 43 rps at full scale.
        "reasoning-like" => {
            Ok(curve(RateCurve::new(REASONING.to_vec(), Interpolation::Step, Some(3600.0))?))
        }
        // ASSUMPTION(A203): test shapes of our own, 30 min each: what a scaling policy must follow.
        "step" => Ok(curve(RateCurve::step(1.0, 6.0, 300.0, 900.0)?)),
        "ramp" => Ok(curve(RateCurve::ramp(0.5, 6.0, 300.0, 900.0)?)),
        "spike" => Ok(curve(RateCurve::spike(1.0, 10.0, 600.0, (30.0, 120.0, 30.0))?)),
        _ => Err(unknown(name, &ARRIVALS)),
    }
}

fn curve(curve: RateCurve) -> Generated {
    Generated::new(RateModel::Curve(curve), Renewal::Exponential)
}

fn chain(states: &[(f64, f64)], jumps: Option<Vec<Vec<f64>>>) -> Result<Generated, ParamError> {
    let states = states
        .iter()
        .map(|&(rate_rps, mean_sojourn_s)| MmppState { rate_rps, mean_sojourn_s })
        .collect();
    let mmpp = Mmpp::new(states, jumps)?;
    let mut g = Generated::new(RateModel::Mmpp(mmpp), Renewal::Exponential);
    g.batch_mean = 1.45;
    Ok(g)
}

fn independent(prompt: LengthDist, output: LengthDist) -> LengthModel {
    LengthModel::Independent { prompt, output }
}

fn unknown(name: &str, known: &[&str]) -> ParamError {
    ParamError::new("preset", format!("unknown: `{name}` (known: {})", known.join(", ")))
}

fn mixture(
    rows: &[[f64; 6]],
    prompt: (u32, u32),
    output: (u32, u32),
) -> Result<LengthModel, ParamError> {
    let components = rows
        .iter()
        .map(|&[weight, mu_in, sigma_in, mu_out, sigma_out, rho]| LognormalComponent {
            weight,
            mu_in,
            sigma_in,
            mu_out,
            sigma_out,
            rho,
        })
        .collect();
    LengthModel::mixture(components, prompt, output)
}

/// weight, mu_in, sigma_in, mu_out, sigma_out, rho.
const AZURE_CONV: [[f64; 6]; 8] = [
    [0.2786, 6.9737, 0.0666, 6.0066, 0.0505, -0.015],
    [0.2433, 5.9889, 0.0424, 4.5382, 0.2543, 0.402],
    [0.1712, 7.3734, 0.5768, 4.4322, 0.4135, 0.066],
    [0.0983, 5.2941, 0.0896, 4.9591, 0.4253, -0.285],
    [0.0866, 7.0801, 0.1122, 5.8253, 0.5769, -0.811],
    [0.0755, 8.3161, 0.0111, 4.0349, 0.4995, 0.034],
    [0.0261, 3.8608, 1.1735, 4.9904, 0.3666, 0.330],
    [0.0205, 5.3304, 0.5039, 2.7445, 0.2021, 0.393],
];

const AZURE_CODE: [[f64; 6]; 6] = [
    [0.2679, 7.7446, 0.5789, 2.1565, 0.2703, 0.153],
    [0.2475, 7.3672, 0.6963, 2.6357, 0.4182, 0.462],
    [0.1899, 7.2985, 0.7567, 3.6307, 0.7351, 0.313],
    [0.1672, 5.1545, 0.9524, 2.4683, 0.4228, 0.075],
    [0.0785, 5.3023, 1.6234, 4.0957, 1.1136, 0.620],
    [0.0489, 8.9129, 0.0107, 2.7428, 0.7410, -0.012],
];

/// (s, requests/s).
#[allow(clippy::approx_constant, reason = "a rate, not a multiple of pi")]
const AZURE_CONV_RATE: [(f64, f64); 12] = [
    (0.0, 4.82),
    (450.0, 4.74),
    (750.0, 5.19),
    (1050.0, 5.20),
    (1350.0, 6.28),
    (1650.0, 7.46),
    (1950.0, 7.43),
    (2250.0, 6.13),
    (2550.0, 5.67),
    (2850.0, 4.75),
    (3150.0, 4.32),
    (3500.0, 3.81),
];

/// (requests/s, mean stay in s).
const AZURE_CODE_STATES: [(f64, f64); 4] = [(0.0, 38.2), (0.281, 1.7), (7.099, 4.4), (22.746, 2.8)];

const AZURE_CODE_JUMPS: [[f64; 4]; 4] = [
    [0.0, 0.2031, 0.7739, 0.0230],
    [0.2029, 0.0, 0.7541, 0.0430],
    [0.2450, 0.4365, 0.0, 0.3185],
    [0.0784, 0.1211, 0.8005, 0.0],
];

const WEEKDAY: [f64; 24] = [
    0.86, 0.84, 0.79, 0.64, 0.51, 0.42, 0.36, 0.31, 0.29, 0.30, 0.33, 0.49, 0.90, 1.52, 2.11, 2.24,
    2.15, 2.48, 2.72, 2.77, 2.52, 1.84, 1.33, 1.00,
];

const WEEKEND: [f64; 24] = [
    0.54, 0.53, 0.47, 0.46, 0.38, 0.31, 0.26, 0.17, 0.14, 0.12, 0.11, 0.16, 0.25, 0.33, 0.40, 0.46,
    0.50, 0.53, 0.59, 0.59, 0.61, 0.59, 0.60, 0.55,
];

const HILL: [(f64, f64); 8] = [
    (0.0, 1.3),
    (100.0, 2.0),
    (165.0, 5.6),
    (240.0, 11.5),
    (300.0, 7.0),
    (320.0, 2.9),
    (400.0, 2.0),
    (460.0, 0.9),
];

// ASSUMPTION(A204): order and levels of the plateaus; known are their length (10 min), their range (4 to
// 43 requests/s) and the mean of 16.
const REASONING: [(f64, f64); 6] =
    [(0.0, 8.0), (600.0, 12.0), (1200.0, 26.0), (1800.0, 43.0), (2400.0, 15.0), (3000.0, 4.0)];
