//! Reads one profile file.

use super::constants::{GpuConstants, ModelShape, Weights, derive, read_gpu, read_model};
use super::{COEFFICIENTS, Constants, GpuProfile, MeasuredKv, Price, Status};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::reader::Fields;
use crate::config::registry::Kind;
use crate::config::tree::{Node, Value};
use crate::config::values::{Problem, nearest, number_of, word_of};

const STATUS: [(&str, Status); 4] = [
    ("measured", Status::Measured),
    ("fitted", Status::Fitted),
    ("derived", Status::Derived),
    ("assumption", Status::Assumption),
];

/// Reads a profile. `None` if GPU or model are unknown; whether there were other errors is the caller's to see.
pub(super) fn profile(root: &Fields<'_>, constants: &Constants) -> Option<GpuProfile> {
    let _ = root.key("schema", "Version of the file format; 1").required().u32(1..=1);
    let name = root
        .key("name", "Name, `<gpu>-<model>[-tpN][-fp8]`")
        .required()
        .string()
        .unwrap_or_default()
        .to_owned();
    let summary = root.key("summary", "One line for people").string_or("");
    let gpu = gpu(root, constants);
    let model = model(root, constants);
    let tensor_parallel_size = root
        .key("tensor_parallel_size", "GPUs of one replica. Source: vLLM --tensor-parallel-size")
        .u32_or(1..=64, 1);
    let weights = root
        .key("weights", "Number format of the weights")
        .choice_or(&Weights::ALL.map(|w| (w.as_str(), w)), Weights::Bf16);
    let range = 0.0..=10_000.0;
    let ingest_ms = root
        .key("ingest_ms", "Time before the engine sees a request [ms]")
        .shown("the engine's default")
        .parse(Kind::Number { min: *range.start(), max: *range.end() }, None, |node| {
            with_status(node, &range)
        });
    let stated = coefficients(root);
    let measured_kv = measured_kv(root);
    let validity = root.key("validity", "Where the numbers hold").table_or_empty();
    let vllm_versions = validity
        .key("vllm_versions", "vLLM versions for which the coefficients hold")
        .string_or("unstated");
    let valid_for = validity
        .key("range", "Range of batch sizes, contexts and chunks for which they hold")
        .string_or("unstated");
    let known_error =
        validity.key("known_error", "Error against measurements").string_or("unknown");
    let sources = strings(root);
    let price = price(root, constants, gpu.as_ref(), tensor_parallel_size);
    let (gpu, model) = (gpu?, model?);
    let Some(mut coefficients) = derive(&gpu, &model, tensor_parallel_size, weights) else {
        root.report(
            Diagnostic::error(Code::DoesNotFit, format!("`{}` has no fp8", gpu.name))
                .at(&root.span_of("weights"), "needs `fp8_tflops` of the GPU"),
        );
        return None;
    };
    let mut status = [Status::Derived; 7];
    for (index, slot) in [
        &mut coefficients.t0_ms,
        &mut coefficients.m_ms,
        &mut coefficients.c_ms_per_token,
        &mut coefficients.p,
        &mut coefficients.c_seq_ms,
        &mut coefficients.c_kv_us,
        &mut coefficients.c_att_1e6_ms,
    ]
    .into_iter()
    .enumerate()
    {
        if let Some((value, how)) = stated.values[index] {
            *slot = value;
            status[index] = how;
        }
    }
    coefficients.g_table = stated.g_table;
    Some(GpuProfile {
        host: stated.host,
        ingest_ms,
        name,
        summary,
        gpu,
        model,
        tensor_parallel_size,
        weights,
        coefficients,
        status,
        measured_kv,
        vllm_versions,
        valid_for,
        known_error,
        sources,
        price,
        composed: false,
    })
}

/// A named or given part: `key` holds a name or a table.
fn named<T: Clone>(
    root: &Fields<'_>,
    key: &'static str,
    doc: &'static str,
    known: &[T],
    name_of: impl Fn(&T) -> &str,
    read: impl Fn(&Fields<'_>, &str) -> T,
) -> Option<T> {
    let is_table = matches!(root.node(key), Some(Node { value: Value::Table(_), .. }));
    if is_table || root.context().is_describing() {
        let _ = root.key(key, doc).required().any(Kind::Text);
        let table = root.key(key, doc).table()?;
        let name = table.key("name", "Name for reports").string_or(key);
        return Some(read(&table, &name));
    }
    let name = root.key(key, doc).required().string()?;
    if let Some(found) = known.iter().find(|t| name_of(t) == name) {
        return Some(found.clone());
    }
    let names: Vec<&str> = known.iter().map(&name_of).collect();
    let mut diagnostic = Diagnostic::error(Code::UnknownProfile, format!("unknown {key} `{name}`"))
        .at(
            &root.span_of(key),
            match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "not built in".to_owned(),
            },
        )
        .help(format!("built in: {}", names.join(", ")));
    diagnostic = diagnostic.help(format!("or give its constants in a table `[{key}]`"));
    root.report(diagnostic);
    None
}

fn gpu(root: &Fields<'_>, constants: &Constants) -> Option<GpuConstants> {
    let doc = "GPU: a built-in name, or a table of constants as in models/constants/gpus.toml";
    named(root, "gpu", doc, &constants.gpus, |g| &g.name, read_gpu)
}

fn model(root: &Fields<'_>, constants: &Constants) -> Option<ModelShape> {
    let doc = "Model: a built-in name, or a table of its shape in the words of its config.json";
    named(root, "model", doc, &constants.models, |m| &m.name, read_model)
}

/// Coefficients that the file states itself.
struct Stated {
    values: [Option<(f64, Status)>; 7],
    host: Option<(f64, f64)>,
    g_table: Option<Vec<(u32, f64)>>,
}

fn coefficients(root: &Fields<'_>) -> Stated {
    let table = root
        .key(
            "coefficients",
            "Coefficients of the step model; those left out follow from GPU and model",
        )
        .table_or_empty();
    let docs = [
        "Fixed cost of a step on the GPU side [ms]",
        "Streaming the weights once, the memory roof [ms]",
        "GEMM time per token, the compute roof [ms/token]",
        "Softness of the corner between the roofs, at least 1",
        "Cost per decoding sequence [ms]",
        "Reading the KV cache [us per token of context]",
        "Prefill attention [1e-6 ms per (query, key) pair]",
    ];
    let mut values = [None; 7];
    for ((slot, name), doc) in values.iter_mut().zip(COEFFICIENTS).zip(docs) {
        let range = if name == "p" { 1.0..=100.0 } else { 0.0..=1e6 };
        *slot = table.key(name, doc).shown("follows from GPU and model").parse(
            Kind::Number { min: *range.start(), max: *range.end() },
            None,
            |node| with_status(node, &range),
        );
    }
    let g_table = table
        .key("g_table", "Measured G(T) instead of the soft roof: `[[tokens, ms], ..]`")
        .parse(Kind::List, None, knots);
    let host = |name, doc| table.key(name, doc).shown("by vLLM version").number(0.0..=1e6);
    let step = host("cpu_step_ms", "Host part of a step that the GPU does not hide [ms]");
    let seq = host("cpu_seq_ms", "Host part per decoding sequence [ms]");
    let host = (step.is_some() || seq.is_some()).then(|| (step.unwrap_or(0.0), seq.unwrap_or(0.0)));
    Stated { values, host, g_table }
}

/// A number, or `{ value = .., status = "fitted" }`.
fn with_status(
    node: &Node,
    range: &std::ops::RangeInclusive<f64>,
) -> Result<(f64, Status), Problem> {
    let Value::Table(table) = &node.value else {
        return number_of(node, range).map(|value| (value, Status::Assumption));
    };
    let mut value = None;
    let mut status = Status::Assumption;
    for entry in &table.entries {
        match (entry.key.as_str(), &entry.node.value) {
            ("value", _) => value = Some(number_of(&entry.node, range)?),
            ("status", Value::String(word)) => status = word_of(word, &STATUS)?,
            _ => {
                let title = "holds `value` and `status` only";
                return Err(Problem::new(Code::Type, title, format!("`{}` is neither", entry.key)));
            }
        }
    }
    let value = value.ok_or_else(|| Problem::new(Code::MissingKey, "has no `value`", ""))?;
    Ok((value, status))
}

fn knots(node: &Node) -> Result<Vec<(u32, f64)>, Problem> {
    let wrong =
        || Problem::new(Code::Type, "must be a list of `[tokens, ms]`", "not a list of pairs");
    let Value::Array(items) = &node.value else { return Err(wrong()) };
    let mut knots = Vec::with_capacity(items.len());
    for item in items {
        let Value::Array(pair) = &item.value else { return Err(wrong()) };
        let [tokens, ms] = pair.as_slice() else { return Err(wrong()) };
        let tokens = number_of(tokens, &(0.0..=1e6))? as u32;
        if knots.last().is_some_and(|(last, _)| *last >= tokens) {
            return Err(Problem::new(Code::Range, "must have rising numbers of tokens", ""));
        }
        knots.push((tokens, number_of(ms, &(0.0..=1e6))?));
    }
    if knots.len() < 2 {
        return Err(Problem::new(Code::Range, "needs at least two points", ""));
    }
    Ok(knots)
}

fn measured_kv(root: &Fields<'_>) -> Option<MeasuredKv> {
    let table = root
        .key("measured_kv_cache", "KV cache size that a server printed; absent = by rule")
        .table()?;
    let tokens = table.key("tokens", "GPU KV cache size [tokens]").required().integer(16..=1 << 40);
    let utilization = table
        .key("gpu_memory_utilization", "That server's --gpu-memory-utilization")
        .required()
        .number(0.01..=1.0);
    let source = table.key("source", "vLLM version and source").string_or("");
    Some(MeasuredKv { tokens: tokens? as u64, gpu_memory_utilization: utilization?, source })
}

fn strings(root: &Fields<'_>) -> Vec<String> {
    let items = root.key("sources", "Where the numbers come from, with versions").list();
    let mut out = Vec::new();
    for item in items.unwrap_or_default() {
        match &item.value {
            Value::String(text) => out.push(text.clone()),
            other => root.report(
                Diagnostic::error(Code::Type, "`sources` must be a list of strings")
                    .at(&item.span, format!("this is {}", other.kind())),
            ),
        }
    }
    out
}

fn price(
    root: &Fields<'_>,
    constants: &Constants,
    gpu: Option<&GpuConstants>,
    tensor_parallel_size: u32,
) -> Price {
    let table = root.key("price", "Usual machine type and what it costs").table_or_empty();
    let usual = gpu.map(|gpu| constants.usual_price(gpu, tensor_parallel_size));
    let machine_type = table
        .key("machine_type", "Usual machine type")
        .shown("the cheapest built-in one with enough GPUs")
        .string()
        .map_or_else(|| usual.map_or_else(String::new, |p| p.machine_type), str::to_owned);
    let known = constants.machines.iter().find(|m| m.name == machine_type);
    Price {
        gpus: table
            .key("gpus", "GPUs of one machine")
            .u32_or(1..=64, known.map_or(tensor_parallel_size, |m| m.gpus)),
        usd_per_hour: table
            .key("usd_per_hour", "On-demand price of one machine [USD/h]")
            .number_or(0.0..=1e6, known.map_or(0.0, |m| m.usd_per_hour)),
        basis: table.key("basis", "Region and date of the price").string_or(&constants.price_basis),
        confidence: table
            .key("confidence", "How sure the price is: high, medium or low")
            .string_or(known.map_or("unstated", |m| m.confidence.as_str())),
        machine_type,
    }
}
