//! The one integration-test binary: a module per theme.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::manual_midpoint,
    reason = "tests"
)]

mod architecture;
mod backtest;
mod calibrate_fit;
mod calibrate_requests;
mod calibrate_windows;
mod cli_errors;
mod cli_explain;
mod cli_export;
mod cli_mistakes;
mod cli_page;
mod cli_profile_fit;
mod cli_run;
mod cli_support;
mod cli_sweep;
mod cluster_known_answers;
mod config_cluster;
mod config_diagnostics;
mod config_experiments;
mod config_startup;
mod config_values;
mod disruptions;
mod engine_guards;
mod engine_laws;
mod engine_oracle;
mod engine_script;
mod engines;
mod histories;
mod hpa_cases;
mod hpa_enumerated;
mod hpa_laws;
mod hpa_manifest;
mod hpa_messages;
mod hpa_oracle;
mod keda;
mod known_answers;
mod laws;
mod profile_check;
mod routing;
mod sessions;
mod signal_faults;
mod signals;
mod storage;
mod support;
mod sweep;
mod systems;
mod tidy;
mod workload_editions;
mod workload_fit;
mod workload_generators;
mod workload_import;
mod workload_shipped;
