//! `hpasim profile list`: the built-in profiles.

use super::{UTILIZATION, load, output};
use crate::config::profile::{Constants, GpuProfile};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

/// Prints one line per built-in profile.
pub(super) fn run(constants: &Constants) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_width(200);
    table.set_header([
        "profile",
        "GPUs",
        "weights",
        "KV tokens",
        "USD/h",
        "machine",
        "known error",
    ]);
    for name in GpuProfile::builtin_names() {
        let profile = load(name, constants)?;
        table.add_row([
            name.to_owned(),
            profile.tensor_parallel_size.to_string(),
            profile.weights.as_str().to_owned(),
            profile.kv_tokens(UTILIZATION, profile.gpu.overhead_tokens).to_string(),
            profile.price.usd_per_hour.to_string(),
            profile.price.machine_type.clone(),
            profile.known_error.clone(),
        ]);
    }
    for column in [1, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    output::print(&text)?;
    Ok(())
}
