//! The text that `/metrics` answers with.

use std::fmt::{Display, Write as _};

use super::{Histogram, Metrics};
use crate::engine::Gauges;
use crate::units::PS_PER_S;

/// Prometheus text exposition (format 0.0.4) of one replica, with vLLM's names and labels; `model_name` is
/// the served name.
pub fn exposition(metrics: &Metrics, gauges: &Gauges, model_name: &str) -> String {
    let escaped = model_name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels = format!("engine=\"0\",model_name=\"{escaped}\"");
    let mut page = Page { text: String::new(), labels };
    page.gauges(gauges);
    page.counters(metrics);
    page.histograms(metrics);
    page.text
}

struct Page {
    text: String,
    labels: String,
}

/// Writing to a string cannot fail.
macro_rules! line {
    ($page:expr, $($arg:tt)*) => {
        writeln!($page.text, $($arg)*).expect("a string takes all it is given")
    };
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        line!(self, "# HELP vllm:{name} {help}");
        line!(self, "# TYPE vllm:{name} {kind}");
    }

    fn sample(&mut self, name: &str, extra: &str, value: impl Display) {
        let labels = &self.labels;
        writeln!(self.text, "vllm:{name}{{{labels}{extra}}} {value}")
            .expect("a string takes all it is given");
    }

    fn gauge(&mut self, name: &str, help: &str, samples: &[(&str, f64)]) {
        self.head(name, "gauge", help);
        for (extra, value) in samples {
            self.sample(name, extra, number(*value));
        }
    }

    fn gauges(&mut self, g: &Gauges) {
        let (running, waiting) = (g.num_requests_running, g.num_requests_waiting);
        self.gauge("num_requests_running", "Running requests.", &[("", running.into())]);
        self.gauge("num_requests_waiting", "Waiting requests.", &[("", waiting.into())]);
        self.gauge(
            "num_requests_waiting_by_reason",
            "Waiting requests by reason.",
            // Only KV transfers and the like defer a request, and there are none.
            &[(",reason=\"capacity\"", waiting.into()), (",reason=\"deferred\"", 0.0)],
        );
        self.gauge(
            "engine_sleep_state",
            "Whether the engine sleeps, and how deeply.",
            &[
                (",sleep_state=\"awake\"", 1.0),
                (",sleep_state=\"weights_offloaded\"", 0.0),
                (",sleep_state=\"discard_all\"", 0.0),
            ],
        );
        let usage = g.kv_cache_usage_perc();
        self.gauge("kv_cache_usage_perc", "KV-cache usage, 1 is full.", &[("", usage)]);
    }

    fn counter(&mut self, name: &str, help: &str, samples: &[(&str, u64)]) {
        self.head(name, "counter", help);
        for (extra, value) in samples {
            self.sample(name, extra, number(*value as f64));
        }
    }

    fn counters(&mut self, m: &Metrics) {
        let all = |value| [("", value)];
        let queries = all(m.prefix_cache_queries);
        self.counter(
            "prefix_cache_queries_total",
            "Tokens looked up in the prefix cache.",
            &queries,
        );
        let hits = all(m.prefix_cache_hits);
        self.counter("prefix_cache_hits_total", "Tokens found in the prefix cache.", &hits);
        self.counter("num_preemptions_total", "Preemptions.", &all(m.num_preemptions));
        self.counter("prompt_tokens_total", "Prompt tokens processed.", &all(m.prompt_tokens));
        let generated = all(m.generation_tokens);
        self.counter("generation_tokens_total", "Tokens generated.", &generated);
        let success = [
            (",finished_reason=\"stop\"", 0),
            (",finished_reason=\"length\"", m.finished_length),
            (",finished_reason=\"abort\"", 0),
        ];
        self.counter("request_success_total", "Finished requests by reason.", &success);
    }

    fn histograms(&mut self, m: &Metrics) {
        for (name, help, histogram) in [
            ("iteration_tokens_total", "Tokens per engine step.", &m.iteration_tokens),
            ("request_prompt_tokens", "Prompt tokens per request.", &m.request_prompt_tokens),
            (
                "request_generation_tokens",
                "Generated tokens per request.",
                &m.request_generation_tokens,
            ),
            (
                "request_max_num_generation_tokens",
                "Most generated tokens of a request's sequences.",
                &m.request_generation_tokens,
            ),
            ("request_params_n", "Parameter n of requests.", &m.request_params_n),
            (
                "request_params_max_tokens",
                "Parameter max_tokens of requests.",
                &m.request_params_max_tokens,
            ),
            ("request_num_preemptions", "Preemptions per request.", &m.request_num_preemptions),
        ] {
            self.histogram(name, help, histogram, 1);
        }
        for (name, help, histogram) in [
            ("time_to_first_token_seconds", "Time to first token.", &m.time_to_first_token),
            ("inter_token_latency_seconds", "Time between tokens.", &m.inter_token_latency),
            (
                "request_time_per_output_token_seconds",
                "Time per output token of a request.",
                &m.time_per_output_token,
            ),
            ("e2e_request_latency_seconds", "Time from arrival to end.", &m.e2e_request_latency),
            ("request_queue_time_seconds", "Time waiting.", &m.request_queue_time),
            ("request_inference_time_seconds", "Time running.", &m.request_inference_time),
            ("request_prefill_time_seconds", "Time to prefill.", &m.request_prefill_time),
            ("request_decode_time_seconds", "Time to decode.", &m.request_decode_time),
        ] {
            self.histogram(name, help, histogram, PS_PER_S);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram, unit: u64) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.cumulative() {
            let le = format!(",le=\"{}\"", number(bound as f64 / unit as f64));
            self.sample(&bucket, &le, number(count as f64));
        }
        self.sample(&bucket, ",le=\"+Inf\"", number(histogram.count() as f64));
        self.sample(&format!("{name}_count"), "", number(histogram.count() as f64));
        self.sample(&format!("{name}_sum"), "", number(histogram.sum() as f64 / unit as f64));
    }
}

/// A number as the Python client writes it: always with a fraction.
fn number(value: f64) -> String {
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_bounds_are_vllms() {
        let mut metrics = Metrics::new(8192);
        metrics.time_to_first_token.add(40_000_000_000, 2);
        metrics.finished_length = 3;
        let gauges = Gauges {
            num_requests_running: 2,
            num_requests_waiting: 1,
            used_blocks: 25,
            usable_blocks: 100,
        };
        let text = exposition(&metrics, &gauges, "m\"1");
        for line in [
            "# TYPE vllm:num_requests_running gauge",
            "vllm:num_requests_running{engine=\"0\",model_name=\"m\\\"1\"} 2.0",
            "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"m\\\"1\"} 0.25",
            "vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"m\\\"1\",le=\"0.02\"} 0.0",
            "vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"m\\\"1\",le=\"0.04\"} 2.0",
            "vllm:time_to_first_token_seconds_bucket{engine=\"0\",model_name=\"m\\\"1\",le=\"2560.0\"} 2.0",
            "vllm:time_to_first_token_seconds_sum{engine=\"0\",model_name=\"m\\\"1\"} 0.08",
            "vllm:request_success_total{engine=\"0\",model_name=\"m\\\"1\",finished_reason=\"length\"} 3.0",
            "vllm:request_prompt_tokens_bucket{engine=\"0\",model_name=\"m\\\"1\",le=\"5000.0\"} 0.0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
        }
    }
}
