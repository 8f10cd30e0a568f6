//! Per-request traces of real servers, where the shared data folder exists: fitted, and replayed within 5 %.

use hpasim::calibrate::fit::{Fit, Residual, fit};
use hpasim::calibrate::replay::Candidate;
use hpasim::calibrate::requests::{Figures, RequestTrace};
use hpasim::calibrate::work::{NAMES, Theta};
use hpasim::engine::{SchedulerConfig, SchedulerRules, StepCoefficients};
use std::path::Path;

/// One traced server: GPU, `--max-num-seqs`, KV cache \[tokens\].
// Source: the traces' own README and the records they come from.
const SERVERS: [(&str, u32, u32); 2] = [("rtx4090", 256, 41_408), ("rtxpro6000", 128, 574_608)];

/// Both servers: vLLM 0.19 with asynchronous scheduling and `--max-num-batched-tokens 2048`.
fn server(max_num_seqs: u32, kv_tokens: u32) -> Candidate {
    let scheduler = SchedulerConfig {
        rules: SchedulerRules::V0_11,
        max_num_seqs,
        max_num_batched_tokens: 2048,
        num_gpu_blocks: kv_tokens / 16,
        max_model_len: 32_768,
        scheduler_reserve_full_isl: false,
        ..SchedulerConfig::default()
    };
    Candidate { scheduler }
}

/// A deliberately rough start: what an L40S would have. The fit must find its way from there.
fn start() -> Theta {
    let step = StepCoefficients {
        t0_ms: 0.5,
        m_ms: 22.0,
        c_ms_per_token: 0.06,
        p: 1.37,
        c_seq_ms: 0.003,
        c_kv_us: 0.19,
        c_att_1e6_ms: 5.2,
        cpu_step_ms: 0.0,
        cpu_seq_ms: 0.0,
        cpu_launch_ms: 0.0,
        graph_tokens: u32::MAX,
        g_table: None,
    };
    Theta { step, ingest_ms: 12.0 }
}

#[test]
fn traces_of_real_servers_are_replayed_within_five_percent() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/profiles");
    for (gpu, max_num_seqs, kv_tokens) in SERVERS {
        let path = folder.join(format!("requests_vllm019_{gpu}_llama-3.1-8b.csv"));
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("skipped: {} does not exist", path.display());
            continue;
        };
        let trace = RequestTrace::read(&text).unwrap();
        let server = server(max_num_seqs, kv_tokens);
        let wanted = [true, true, true, true, true, false];
        let fit = fit(&start(), wanted, |theta| Ok(trace.points(gpu, &server.at(theta)?, theta)))
            .unwrap();
        for (i, name) in NAMES.into_iter().enumerate() {
            println!("{gpu} {name} {:.5} {:?}", fit.theta.unknowns()[i], fit.outcomes[i]);
        }
        let left_out = fit.residuals.iter().filter_map(Residual::left_out_error);
        println!("{gpu} left out (median, worst): {:?}", Fit::spread(left_out));
        let measured = trace.figures();
        let simulated = Figures::of(&trace.replay(&server.at(&fit.theta).unwrap(), false));
        println!("{gpu} measured  {measured:?}\n{gpu} simulated {simulated:?}");
        for (figure, measured, simulated) in [
            ("mean TTFT", measured.ttft_mean_s, simulated.ttft_mean_s),
            ("makespan", measured.makespan_s, simulated.makespan_s),
            ("queue", measured.queue_mean_s.unwrap(), simulated.queue_mean_s.unwrap()),
            ("TPOT", measured.tpot_mean_ms.unwrap(), simulated.tpot_mean_ms.unwrap()),
        ] {
            let error = simulated / measured - 1.0;
            println!("{gpu} {figure}: {:+.1} %", error * 100.0);
            assert!(error.abs() < 0.05, "{gpu} {figure}: {simulated} for {measured}");
        }
    }
}

#[test]
fn faults_of_a_trace_are_all_named_with_their_lines() {
    let text = "request_id,input_tokens,output_tokens,arrival_s,first_token_s,last_token_s\n\
        a,10,5,0.0,1.0,2.0\nb,0,5,0.0,1.0,2.0\nc,10,5,0.0,3.0,2.0\nd,10,,x,1.0,2.0\n";
    let errors = RequestTrace::read(text).unwrap_err();
    let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let text = text.join("\n");
    for part in [
        "line 3: `input_tokens` is 0, below 1",
        "line 4: the last token (2) is before the first (3)",
        "line 5: `output_tokens` is empty",
        "line 5: `arrival_s` is `x`, not a number",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let missing = RequestTrace::read("input_tokens,output_tokens\n1,2\n").unwrap_err();
    assert_eq!(missing.len(), 3, "{missing:?}");
    assert!(RequestTrace::read("").is_err());
    let header = "input_tokens,output_tokens,arrival_s,first_token_s,last_token_s\n";
    let milliseconds = format!("{header}1,2,0,5,9\n1,2,1e300,1e300,1e300\n");
    let errors = RequestTrace::read(&milliseconds).unwrap_err();
    assert!(errors[0].to_string().contains("more than 90 days"), "{errors:?}");
}
