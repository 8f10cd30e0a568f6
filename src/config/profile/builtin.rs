//! The files of `models/`, part of the program so that a profile's name works anywhere.

use super::Price;
use super::constants::{GpuConstants, Machine, ModelShape, read_gpu, read_machine, read_model};
use crate::config::diagnostic::{Diagnostics, Span};
use crate::config::reader::{Context, Fields};
use crate::config::tree;

macro_rules! profiles {
    ($($name:literal,)*) => {
        /// Name and text of every built-in profile, by name.
        pub(super) const PROFILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../models/", $name, ".toml"))),)*];
    };
}

include!("builtin_list.rs");

/// The built-in constants.
#[derive(Clone, Debug)]
pub struct Constants {
    /// GPUs by name.
    pub gpus: Vec<GpuConstants>,
    /// Models by name.
    pub models: Vec<ModelShape>,
    /// Machine types.
    pub machines: Vec<Machine>,
    /// Region and date of the machines' prices.
    pub price_basis: String,
}

impl Constants {
    /// Reads the built-in constants; an error is a broken build and shows in the tests.
    pub fn builtin() -> Result<Self, Diagnostics> {
        let mut found = Diagnostics::default();
        let gpus = read(
            &mut found,
            "models/constants/gpus.toml",
            include_str!("../../../models/constants/gpus.toml"),
            |root| {
                let gpus = root.key("gpus", "GPUs by name").map();
                gpus.iter().map(|(name, f)| read_gpu(f, name)).collect::<Vec<_>>()
            },
        );
        let models = read(
            &mut found,
            "models/constants/llms.toml",
            include_str!("../../../models/constants/llms.toml"),
            |root| {
                let models = root.key("models", "Models by name").map();
                models.iter().map(|(name, f)| read_model(f, name)).collect::<Vec<_>>()
            },
        );
        let machines = read(
            &mut found,
            "models/constants/machines.toml",
            include_str!("../../../models/constants/machines.toml"),
            |root| {
                let region = root.key("region", "Region of the prices").string_or("");
                let date = root.key("date", "When the prices were collected").string_or("");
                let machines = root.key("machines", "Machine types by name").map();
                let machines = machines.iter().map(|(name, f)| read_machine(f, name));
                (machines.collect::<Vec<_>>(), format!("{region}, {date}"))
            },
        );
        match (gpus, models, machines) {
            (Some(gpus), Some(models), Some((machines, price_basis))) => {
                Ok(Self { gpus, models, machines, price_basis })
            }
            _ => Err(found),
        }
    }
}

impl Constants {
    /// The cheapest machine type that holds one replica, at its list price; without a name and price where no
    /// cloud of the constants has the GPU in such numbers.
    pub(super) fn usual_price(&self, gpu: &GpuConstants, tensor_parallel_size: u32) -> Price {
        let machine = self
            .machines
            .iter()
            .filter(|m| gpu.name == m.gpu && m.gpus >= tensor_parallel_size)
            .min_by(|a, b| a.usd_per_hour.total_cmp(&b.usd_per_hour));
        Price {
            machine_type: machine.map_or_else(String::new, |m| m.name.clone()),
            gpus: machine.map_or(tensor_parallel_size, |m| m.gpus),
            usd_per_hour: machine.map_or(0.0, |m| m.usd_per_hour),
            basis: self.price_basis.clone(),
            confidence: machine.map_or("unstated", |m| m.confidence.as_str()).to_owned(),
        }
    }
}

fn read<T>(
    found: &mut Diagnostics,
    name: &str,
    text: &str,
    read: impl FnOnce(&Fields<'_>) -> T,
) -> Option<T> {
    let source = found.sources.add(name, text);
    let table = match tree::parse(&found.sources, source) {
        Ok(table) => table,
        Err(errors) => {
            found.items.extend(errors);
            return None;
        }
    };
    let none = crate::config::registry::Registry::default();
    let context = Context::reading(&none);
    let value = {
        let root = Fields::root(&context, Some(&table), Span { source, range: 0..0 });
        let _ = root.key("schema", "Version of the format").required().u32(1..=1);
        read(&root)
    };
    let (errors, _) = context.into_parts();
    let ok = errors.is_empty();
    found.items.extend(errors);
    ok.then_some(value)
}
