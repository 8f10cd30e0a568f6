//! `[model]` and `[engine]`: a profile and vLLM's flags become an engine.

use std::sync::Arc;

use super::inputs::Inputs;
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::profile::{GpuProfile, INGEST, ServerDefaults, num_gpu_blocks};
use crate::config::reader::Fields;
use crate::config::registry::Kind;
use crate::config::values::release_of;
use crate::engine::{
    EngineConfig, EngineMode, SchedulerConfig, SchedulerRules, SchedulingPolicy, StepModel,
    usable_tokens,
};
use crate::units::SimDuration;

/// Minor releases of vLLM 0.x that may be named.
const VLLM_MINORS: std::ops::RangeInclusive<u32> = 11..=33;
/// The release whose defaults apply when none is named.
const DEFAULT_MINOR: u32 = 33;

/// Reads `[model]`; `None` if there is no usable profile.
pub(super) fn model(root: &Fields<'_>, inputs: &Inputs<'_>) -> Option<GpuProfile> {
    let table = root.key("model", "The model and the GPU it runs on").table_or_empty();
    let doc = "GPU profile: `<gpu>-<model>[-tpN][-fp8]` (`hpasim profile list`; others are composed) or the path of a file";
    let name = table.key("profile", doc).required().string()?;
    let span = table.span_of("profile");
    if GpuProfile::is_path(name) {
        let path = inputs.resolve(name);
        let text = match inputs.read_text(&path) {
            Ok(text) => text,
            Err(reason) => {
                root.report(inputs.unreadable(&path, &reason, &span));
                return None;
            }
        };
        return inputs.profile(&path, &text, root);
    }
    match inputs.named_profile(name) {
        Ok(profile) => {
            if profile.composed {
                root.report(
                    Diagnostic::warning(
                        Code::Suspicious,
                        format!("profile `{name}` is composed from GPU and model constants"),
                    )
                    .at(&span, profile.known_error.clone())
                    .help("`hpasim profile fit` makes one from your own benchmark"),
                );
            }
            Some(profile)
        }
        Err(why) => {
            root.report(
                Diagnostic::error(Code::UnknownProfile, format!("there is no profile `{name}`"))
                    .at(&span, why.label)
                    .help(why.help),
            );
            None
        }
    }
}

/// `0.N` or `0.N.P`, as the minor release N.
fn vllm_minor(table: &Fields<'_>) -> u32 {
    let doc = "vLLM release: selects defaults and scheduler rules; 0.11 to 0.33";
    table
        .key("vllm_version", doc)
        .parse(Kind::Text, Some(format!("\"0.{DEFAULT_MINOR}\"")), |node| {
            let hint = "older engines schedule differently; the nearest modelled one is \"0.11\"";
            release_of(node, "0", &VLLM_MINORS, "0.33", Some(hint))
        })
        .unwrap_or(DEFAULT_MINOR)
}

/// What `[engine]` says.
pub(super) struct Engine {
    /// Minor release of vLLM.
    pub(super) minor: u32,
    /// Its share of the GPU's memory.
    pub(super) gpu_memory_utilization: f64,
    /// `None` if there is no profile or an error was reported.
    pub(super) config: Option<EngineConfig>,
}

/// Reads `[engine]`.
pub(super) fn engine(root: &Fields<'_>, profile: Option<&GpuProfile>) -> Engine {
    let table = root.key("engine", "vLLM's own flags; absent = its default").table_or_empty();
    let minor = vllm_minor(&table);
    let gpu_memory_utilization = table
        .key(
            "gpu_memory_utilization",
            "Share of GPU memory. Source: vLLM 0.11.0 and 0.33.0 arg_utils.py",
        )
        .shown("0.92; 0.9 before 0.33")
        .number_or(0.05..=1.0, ServerDefaults::of(minor, profile).gpu_memory_utilization);
    let config = engine_of(root, &table, profile, minor, gpu_memory_utilization);
    Engine { minor, gpu_memory_utilization, config }
}

fn engine_of(
    root: &Fields<'_>,
    table: &Fields<'_>,
    profile: Option<&GpuProfile>,
    minor: u32,
    gpu_memory_utilization: f64,
) -> Option<EngineConfig> {
    let before = root.context().errors();
    let defaults = ServerDefaults::of(minor, profile);
    let tensor_parallel_size =
        table.key("tensor_parallel_size", "Must be the profile's").u32(1..=64);
    if let (Some(given), Some(profile)) = (tensor_parallel_size, profile)
        && given != profile.tensor_parallel_size
    {
        let made_for = profile.tensor_parallel_size;
        root.report(
            Diagnostic::error(
                Code::Conflict,
                format!("profile `{}` is for tensor_parallel_size {made_for}", profile.name),
            )
            .at(&table.span_of("tensor_parallel_size"), "another value here")
            .help(
                "profiles for several GPUs end in `-tp2`, `-tp4`; `hpasim profile list` shows all",
            ),
        );
    }
    let max_num_seqs = table
        .key("max_num_seqs", "Most requests in the running batch. Source: vLLM 0.33.0 arg_utils.py")
        .shown("256; 1024 on GPUs of at least 70 GiB other than A100")
        .u32_or(1..=65_536, defaults.max_num_seqs);
    let max_num_batched_tokens = table
        .key("max_num_batched_tokens", "Token budget of a step. Source: vLLM 0.33.0 arg_utils.py")
        .shown("2048; 8192 on GPUs of at least 70 GiB other than A100")
        .u32_or(1..=131_072, defaults.max_num_batched_tokens);
    let block_size =
        table.key("block_size", "Tokens per KV block. Source: vLLM on CUDA").u32_or(1..=1024, 16);
    let kv_tokens = profile
        .map_or(0, |p| p.kv_tokens_of(minor, gpu_memory_utilization, max_num_batched_tokens));
    let by_rule = num_gpu_blocks(kv_tokens, block_size);
    let num_gpu_blocks = table
        .key("num_gpu_blocks", "Size of the KV pool [blocks], as the server's log shows it")
        .shown("from the profile, `gpu_memory_utilization` and `max_num_batched_tokens`")
        .u32_or(2..=1 << 30, by_rule);
    let max_model_len = table
        .key(
            "max_model_len",
            "Longest prompt plus output [tokens]. Source: vLLM, the model's config",
        )
        .shown("the model's max_position_embeddings, or what fits the KV cache (as `auto` does)")
        .u32_or(1..=1 << 24, profile.map_or(8192, |p| p.max_model_len(num_gpu_blocks, block_size)));
    let scheduler = SchedulerConfig {
        rules: defaults.rules,
        max_num_seqs,
        max_num_batched_tokens,
        num_gpu_blocks,
        block_size,
        max_model_len,
        enable_prefix_caching: table
            .key("enable_prefix_caching", "Find full blocks again by content. Source: vLLM V1")
            .boolean_or(true),
        enable_chunked_prefill: table
            .key("enable_chunked_prefill", "Compute a prompt in several steps. Source: vLLM V1")
            .boolean_or(true),
        policy: table.key("scheduling_policy", "Order of admission. Source: vLLM").choice_or(
            &[("fcfs", SchedulingPolicy::Fcfs), ("priority", SchedulingPolicy::Priority)],
            SchedulingPolicy::Fcfs,
        ),
        async_scheduling: table
            .key("async_scheduling", "Schedule a step while the last one runs. Source: vLLM 0.33.0")
            .shown("true; false before 0.14")
            .boolean_or(defaults.async_scheduling),
        long_prefill_token_threshold: table
            .key(
                "long_prefill_token_threshold",
                "Longest chunk while others wait [tokens]; 0 = off",
            )
            .u32_or(0..=1 << 24, 0),
        long_prefill_token_threshold_adaptive: false,
        scheduler_reserve_full_isl: table
            .key(
                "scheduler_reserve_full_isl",
                "Admit a prompt only if all of it fits. Source: 0.33.0",
            )
            .shown("true; false before 0.22")
            .boolean_or(defaults.scheduler_reserve_full_isl),
        watermark: table
            .key("watermark", "Share of the pool that admissions leave free. Source: vLLM 0.33.0")
            .number_or(0.0..=0.99, 0.0),
        prefill_schedule_interval: 1,
        max_num_active_seqs: None,
    };
    let ingest = table
        .key("ingest", "Front-end time before the engine sees a request. Estimate: 15.6 ms")
        .shown("the profile's where it states one, else 15.6ms")
        .duration_or(
            SimDuration::ZERO..=SimDuration::from_secs(10),
            profile.map_or(INGEST, GpuProfile::ingest),
        );
    let profile = profile?;
    if !matches!(minor, 11 | 33) && table.has("vllm_version") {
        let modern = defaults.rules == SchedulerRules::V0_33;
        let (rules, other) = if modern { ("0.33.0", "0.11.0") } else { ("0.11.0", "0.33.0") };
        root.report(
            Diagnostic::warning(
                Code::Suspicious,
                format!("scheduling of vLLM 0.{minor} is taken to be that of {rules}"),
            )
            .at(&table.span_of("vllm_version"), "")
            .help(format!("only {rules} and {other} were compared with the real scheduler")),
        );
    }
    check_scheduler(table, profile, &scheduler, kv_tokens);
    let coefficients = profile.step_coefficients(minor, max_num_seqs);
    let step_model = match StepModel::new(&coefficients, max_num_batched_tokens) {
        Ok(model) => Arc::new(model),
        Err(error) => {
            root.report(
                Diagnostic::error(Code::Range, format!("profile `{}`: {error}", profile.name))
                    .at(table.span(), "the step model cannot be used"),
            );
            return None;
        }
    };
    (root.context().errors() == before).then_some(EngineConfig {
        scheduler,
        step_model,
        ingest,
        mode: EngineMode::Fast,
    })
}

/// What vLLM would refuse at start-up, in its own order of thought.
fn check_scheduler(
    table: &Fields<'_>,
    profile: &GpuProfile,
    scheduler: &SchedulerConfig,
    kv_tokens: u64,
) {
    if kv_tokens == 0 && !table.has("num_gpu_blocks") {
        let gb = profile.model.weight_bytes(profile.weights) as f64 / 1e9;
        table.report(
            Diagnostic::error(
                Code::DoesNotFit,
                format!("`{}` does not fit: no memory is left for the KV cache", profile.name),
            )
            .at(&table.span_of("gpu_memory_utilization"), format!("{gb:.1} GB of weights"))
            .help("use a profile with more GPUs (`-tp2`) or fp8 weights"),
        );
        return;
    }
    for error in scheduler.validate() {
        let mut diagnostic = Diagnostic::error(
            if error.field == "max_model_len" { Code::DoesNotFit } else { Code::Conflict },
            format!("`engine.{}`: vLLM would not start", error.field),
        )
        .at(&table.span_of(error.field), error.message);
        if error.field == "max_model_len" {
            let fits = usable_tokens(scheduler.num_gpu_blocks, scheduler.block_size);
            diagnostic = diagnostic.help(format!(
                "set `engine.max_model_len` to at most {fits}, the KV cache of `{}`",
                profile.name
            ));
        }
        table.report(diagnostic);
    }
}
