//! The arrivals of `vllm bench serve`, instant by instant: what its `--seed` gives, not another draw of the same law.
//!
//! Source: vllm 0.11.0 to 0.33.0, benchmarks/serve.py: `numpy.random.seed(seed)`, then in `get_request` one
//! `numpy.random.gamma(burstiness, 1 / (request_rate * burstiness))` per prompt; the sums are rescaled so that the last
//! request is sent at `num_prompts / request_rate`. The tool draws its prompts with the same seed, so two runs with one
//! seed send the same ones. Before that, releases up to 0.13 send the first prompt alone and wait for its answer
//! (`--ready-check-timeout-sec`, 600 by default there and 0 since).

use super::{ParamError, positive};
use crate::units::{SimDuration, SimTime};
use rand_mt::Mt;

/// A load of `vllm bench serve` without `--ramp-up-strategy`; fields as its options.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VllmBench {
    /// `--request-rate` \[requests/s\]; above 0 and finite.
    pub request_rate: f64,
    /// `--num-prompts`; at least 1.
    pub num_prompts: u64,
    /// `--seed`.
    pub seed: u32,
    /// `--burstiness`: shape of the gamma gaps; 1 is Poisson.
    pub burstiness: f64,
    /// The initial test run: the first prompt is sent alone and asks for this many output tokens, and the load starts
    /// when it is answered. `None`: the load starts at once.
    pub test_run: Option<u32>,
}

impl VllmBench {
    /// The first parameter that cannot be.
    pub fn check(&self) -> Result<(), ParamError> {
        positive("request_rate", self.request_rate)?;
        if self.num_prompts == 0 {
            return Err(ParamError::new("num_prompts", "must be at least 1"));
        }
        if self.test_run == Some(0) {
            return Err(ParamError::new("test_run_tokens", "must be at least 1"));
        }
        positive("burstiness", self.burstiness).map(drop)
    }

    /// When the last request is sent \[s\].
    pub fn last_s(&self) -> f64 {
        self.num_prompts as f64 / self.request_rate
    }

    /// When each request is sent, counted from the first one's gap on.
    pub fn times(&self) -> BenchTimes {
        let mut total = 0.0;
        let mut gaps = Gaps::new(self);
        for _ in 0..self.num_prompts {
            total += gaps.next();
        }
        let factor = if total > 0.0 { self.last_s() / total } else { 1.0 };
        BenchTimes { gaps: Gaps::new(self), left: self.num_prompts, sum: 0.0, factor }
    }
}

/// Send times in order, as many as there are prompts. The gaps are drawn a second time instead of being kept.
pub struct BenchTimes {
    gaps: Gaps,
    left: u64,
    sum: f64,
    factor: f64,
}

impl Iterator for BenchTimes {
    type Item = SimTime;

    fn next(&mut self) -> Option<SimTime> {
        self.left = self.left.checked_sub(1)?;
        self.sum += self.gaps.next();
        Some(SimTime::ZERO + SimDuration::from_secs_f64(self.sum * self.factor))
    }
}

/// Gaps before rescaling \[s\].
struct Gaps {
    random: RandomState,
    shape: f64,
    scale: f64,
}

impl Gaps {
    fn new(bench: &VllmBench) -> Self {
        Self {
            random: RandomState::new(bench.seed),
            shape: bench.burstiness,
            scale: 1.0 / (bench.request_rate * bench.burstiness),
        }
    }

    fn next(&mut self) -> f64 {
        self.scale * self.random.standard_gamma(self.shape)
    }
}

/// The draws of `numpy.random.RandomState`, whose stream is frozen.
// Source: numpy 2.4, random/src/legacy/legacy-distributions.c; Mersenne Twister with the reference seeding.
struct RandomState {
    twister: Mt,
    /// The second normal of a pair.
    spare: Option<f64>,
}

impl RandomState {
    fn new(seed: u32) -> Self {
        Self { twister: Mt::new(seed), spare: None }
    }

    /// Uniform in [0, 1) with 53 bits.
    fn uniform(&mut self) -> f64 {
        let high = f64::from(self.twister.next_u32() >> 5);
        let low = f64::from(self.twister.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    fn standard_exponential(&mut self) -> f64 {
        -libm::log(1.0 - self.uniform())
    }

    /// Marsaglia's polar method.
    fn standard_normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let x = 2.0 * self.uniform() - 1.0;
            let y = 2.0 * self.uniform() - 1.0;
            let square = x * x + y * y;
            if square < 1.0 && square > 0.0 {
                let factor = (-2.0 * libm::log(square) / square).sqrt();
                self.spare = Some(factor * x);
                return factor * y;
            }
        }
    }

    /// Gamma with this shape, scale 1: exponential at 1, Ahrens and Dieter below, Marsaglia and Tsang above.
    fn standard_gamma(&mut self, shape: f64) -> f64 {
        if shape == 1.0 {
            return self.standard_exponential();
        }
        if shape < 1.0 {
            loop {
                let u = self.uniform();
                let v = self.standard_exponential();
                if u <= 1.0 - shape {
                    let x = libm::pow(u, 1.0 / shape);
                    if x <= v {
                        return x;
                    }
                } else {
                    let y = -libm::log((1.0 - u) / shape);
                    let x = libm::pow(1.0 - shape + shape * y, 1.0 / shape);
                    if x <= v + y {
                        return x;
                    }
                }
            }
        }
        let centre = shape - 1.0 / 3.0;
        let width = 1.0 / (9.0 * centre).sqrt();
        loop {
            let x = self.standard_normal();
            let root = 1.0 + width * x;
            if root <= 0.0 {
                continue;
            }
            let v = root * root * root;
            let u = self.uniform();
            let quick = u < 1.0 - 0.0331 * (x * x) * (x * x);
            if quick || libm::log(u) < 0.5 * x * x + centre * (1.0 - v + libm::log(v)) {
                return centre * v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: numpy 2.4.6: `numpy.random.seed(s)`, then 2000 times `numpy.random.gamma(shape, 2.0)`; the first three
    /// and the sum.
    #[test]
    fn draws_are_those_of_numpy() {
        let expected: [(u32, f64, [f64; 3], f64); 6] = [
            (
                0,
                1.0,
                [1.591_749_016_326_22, 2.511_861_525_931_675_7, 1.846_446_291_608_137_7],
                4_139.182_473_367_466,
            ),
            (
                0,
                0.25,
                [0.181_438_376_597_575_47, 0.264_008_203_845_569_67, 0.064_428_573_855_923_75],
                1_026.026_927_957_683,
            ),
            (
                0,
                3.5,
                [14.914_735_740_443_06, 7.866_921_011_867_119, 15.576_338_931_185_607],
                13_795.594_633_640_352,
            ),
            (
                12_345,
                1.0,
                [5.307_581_266_203_497, 0.760_693_137_104_742, 0.406_482_866_947_243_17],
                3_964.232_066_113_582_3,
            ),
            (
                12_345,
                0.25,
                [2.591_090_797_771_220_5, 0.002_288_414_045_313_662_4, 0.207_769_675_060_352_65],
                985.335_524_270_147_1,
            ),
            (
                u32::MAX,
                3.5,
                [8.932_673_719_495_405, 9.026_617_584_996_263, 3.213_517_142_505_733_4],
                14_179.600_594_213_902,
            ),
        ];
        for (seed, shape, first, sum) in expected {
            let mut random = RandomState::new(seed);
            let drawn: Vec<f64> = (0..2000).map(|_| 2.0 * random.standard_gamma(shape)).collect();
            for (ours, theirs) in drawn.iter().zip(first) {
                assert!((ours / theirs - 1.0).abs() < 1e-12, "{seed} {shape}: {ours} {theirs}");
            }
            let ours: f64 = drawn.iter().sum();
            assert!((ours / sum - 1.0).abs() < 1e-12, "{seed} {shape}: {ours} {sum}");
        }
    }

    #[test]
    fn the_last_request_is_sent_at_prompts_over_rate() {
        let bench = VllmBench {
            request_rate: 10.0,
            num_prompts: 3600,
            seed: 12_345,
            burstiness: 1.0,
            test_run: None,
        };
        let times: Vec<SimTime> = bench.times().collect();
        assert_eq!(times.len(), 3600);
        assert!(times.is_sorted());
        let last = times[3599].saturating_since(SimTime::ZERO).as_secs_f64();
        assert!((last - 360.0).abs() < 1e-9, "{last}");
        // Source: numpy 2.4.6: the gaps add up to 353.189574568 s before the rescaling.
        let first = times[0].saturating_since(SimTime::ZERO).as_secs_f64();
        let expected = 5.307_581_266_203_497 / 2.0 * 0.1 * 360.0 / 353.189_574_546_095_1;
        assert!((first / expected - 1.0).abs() < 1e-9, "{first} {expected}");
    }
}
