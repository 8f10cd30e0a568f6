//! The measures of one run: one number per column of `runs.csv`.

macro_rules! measures {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What one run is judged by. Requests that arrived before the end of the warm-up are left out, and so is
        /// every other quantity of that time.
        #[derive(Clone, Copy, PartialEq, Debug, Default)]
        pub struct Measures {
            $($(#[doc = $doc])+ pub $name: f64,)+
        }

        impl Measures {
            /// Column names, in the order of [`Measures::values`].
            pub const COLUMNS: &'static [&'static str] = &[$(stringify!($name)),+];
            /// What each column means, in the same order.
            pub const DOCS: &'static [&'static str] = &[$(concat!($($doc),+)),+];

            /// The values in column order. NaN where a quantity does not exist (a latency without requests).
            pub fn values(&self) -> Vec<f64> {
                vec![$(self.$name),+]
            }

            /// The inverse of [`Measures::values`]; `None` if the number of values differs.
            pub fn from_values(values: &[f64]) -> Option<Self> {
                let mut it = values.iter().copied();
                let measures = Self { $($name: it.next()?,)+ };
                it.next().is_none().then_some(measures)
            }
        }
    };
}

measures! {
    /// Requests that arrived.
    requests_total,
    /// Requests that got all their tokens.
    requests_completed,
    /// Requests that failed: refused, aborted, rejected.
    requests_failed,
    /// Share of decided requests that met both the TTFT and the TPOT objective. Failed requests count as
    /// missed; requests still unfinished at the end count as missed if their TTFT objective has already passed
    /// without a first token, and are left out otherwise.
    slo_attainment,
    /// Requests within the objectives per second.
    goodput_rps,
    /// Time to first token, median \[s\].
    ttft_p50_s,
    /// Time to first token, 95th percentile \[s\].
    ttft_p95_s,
    /// Time to first token, 99th percentile \[s\].
    ttft_p99_s,
    /// Mean gap after the first token of a request, median over requests \[s\].
    tpot_p50_s,
    /// As above, 95th percentile \[s\].
    tpot_p95_s,
    /// As above, 99th percentile \[s\].
    tpot_p99_s,
    /// Every single gap between tokens, median \[s\].
    itl_p50_s,
    /// As above, 95th percentile \[s\].
    itl_p95_s,
    /// As above, 99th percentile \[s\].
    itl_p99_s,
    /// Arrival to last token, median \[s\].
    e2e_p50_s,
    /// As above, 95th percentile \[s\].
    e2e_p95_s,
    /// As above, 99th percentile \[s\].
    e2e_p99_s,
    /// Time from the engine's queue to the first scheduling, 95th percentile \[s\].
    queue_p95_s,
    /// Preemptions of requests that ended.
    preemptions,
    /// Node time billed \[h\].
    node_hours,
    /// GPU time billed \[h\].
    gpu_hours,
    /// Share of billed GPU time in which no step ran.
    gpu_idle_ratio,
    /// Cost of the nodes \[USD\].
    cost_usd,
    /// Cost per million generated tokens \[USD\].
    usd_per_million_output_tokens,
    /// Time-weighted mean of existing replicas (pods that are not terminating).
    replicas_mean,
    /// Largest number of existing replicas.
    replicas_max,
    /// Scale writes that raised the number.
    scale_ups,
    /// Scale writes that lowered the number.
    scale_downs,
    /// Direction changes within 30 minutes.
    flaps,
    /// Minutes in which the attainment of the requests that arrived in them was below the objective.
    slo_violation_minutes,
    /// Requests still unfinished at the end.
    unserved_at_end,
    /// Share of the prompt tokens of scheduled requests that the prefix cache had when they were first scheduled.
    prefix_hit_ratio,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip() {
        let values: Vec<f64> = (0..Measures::COLUMNS.len()).map(|i| i as f64).collect();
        let measures = Measures::from_values(&values).expect("right length");
        assert_eq!(measures.values(), values);
        assert_eq!(measures.slo_attainment, 3.0);
        assert!(Measures::from_values(&values[1..]).is_none());
    }
}
