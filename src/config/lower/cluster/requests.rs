//! `pod_cpu` and `pod_memory`, and what GKE's own pods request: how many pods a machine has room for.

use super::Preset;
use crate::cluster::{Resources, gke_allocatable, presets};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::lower::hpa::quantity_of;
use crate::config::profile::Constants;
use crate::config::reader::Fields;
use crate::config::registry::Kind;
use crate::config::tree::Node;
use crate::config::values::Problem;
use crate::hpa::Quantity;

/// What the deployment asks for, per pod.
pub(super) struct Requests {
    /// GPUs, at least 1.
    pub(super) gpus: u32,
    /// CPU and memory; 0 where nothing is asked for.
    pod: Resources,
    /// The same of GKE's own pods on each node.
    daemonsets: Resources,
}

/// Reads the keys.
pub(super) fn requests(table: &Fields<'_>, gpus: u32, preset: Preset) -> Requests {
    let guide = |text: &str, value: u64| {
        let shown = format!("none; \"{text}\" with preset `guide` (source: its deployments)");
        (shown, if preset == Preset::Guide { value } else { 0 })
    };
    let (shown, usual) = guide("2", 2_000);
    let cpu_milli = table
        .key(
            "pod_cpu",
            "CPU that one pod requests, as in \"2\" or \"500m\"; limits the pods of a node",
        )
        .shown(shown)
        .parse(Kind::Quantity, None, |node| amount(node, Quantity::milli_value));
    let (shown, usual_bytes) = guide("25Gi", 25 << 30);
    let memory_bytes = table
        .key(
            "pod_memory",
            "Memory that one pod requests, as in \"25Gi\"; limits the pods of a node",
        )
        .shown(shown)
        .parse(Kind::Quantity, None, |node| amount(node, Quantity::value));
    let pod = Resources {
        cpu_milli: cpu_milli.unwrap_or(usual),
        memory_bytes: memory_bytes.unwrap_or(usual_bytes),
    };
    let usual = presets::DAEMONSETS;
    let daemonset_cpu = table
        .key(
            "daemonset_cpu",
            "CPU that the pods of DaemonSets request on each node, as `kubectl describe node` lists them; counts where \
             `pod_cpu` does",
        )
        .shown("\"444m\" (estimate)")
        .parse(Kind::Quantity, None, |node| amount(node, Quantity::milli_value));
    let daemonset_memory = table
        .key("daemonset_memory", "Memory that they request; counts where `pod_memory` does")
        .shown("\"706Mi\" (estimate)")
        .parse(Kind::Quantity, None, |node| amount(node, Quantity::value));
    let daemonsets = Resources {
        cpu_milli: daemonset_cpu.unwrap_or(usual.cpu_milli),
        memory_bytes: daemonset_memory.unwrap_or(usual.memory_bytes),
    };
    Requests { gpus: gpus.max(1), pod, daemonsets }
}

/// A quantity that is not negative, in the unit of `value`.
fn amount(node: &Node, value: fn(&Quantity) -> i64) -> Result<u64, Problem> {
    let quantity = quantity_of(node)?;
    let fits = quantity.milli_fits() && quantity.sign() >= 0;
    u64::try_from(value(&quantity))
        .ok()
        .filter(|_| fits)
        .ok_or_else(|| Problem::new(Code::Range, "must not be negative or absurdly large", ""))
}

/// CPUs and memory \[GiB\] of a machine type, if they are known.
fn size_of(machine_type: &str, constants: &Constants) -> Option<(u32, u32)> {
    let known = constants.machines.iter().find(|m| m.name == machine_type);
    let size = known.map(|m| (m.vcpus, m.memory_gib)).filter(|size| size.0 > 0 && size.1 > 0);
    size.or_else(|| presets::size_of_machine_type(machine_type))
}

/// Memory that GKE leaves to pods and page cache on a node of that type \[bytes\]; `None` if it is not known.
pub(super) fn memory_of(machine_type: &str, constants: &Constants) -> Option<u64> {
    size_of(machine_type, constants).map(|(vcpus, gib)| gke_allocatable(vcpus, gib).memory_bytes)
}

impl Requests {
    /// Memory that a pod keeps from the page cache \[bytes\].
    pub(super) fn pod_memory(&self) -> u64 {
        match self.pod.memory_bytes {
            0 => presets::POD_MEMORY_BYTES,
            requested => requested,
        }
    }

    /// How many of `by_gpus` pods a node of `machine_type` has room for, at least 1. What is wrong with that is told
    /// at `table`, which names the machine type; that GPUs are missing is told elsewhere.
    pub(super) fn limit(
        &self,
        table: &Fields<'_>,
        machine_type: &str,
        by_gpus: u32,
        constants: &Constants,
    ) -> u32 {
        if self.pod == (Resources { cpu_milli: 0, memory_bytes: 0 }) {
            return by_gpus;
        }
        let Some(size) = size_of(machine_type, constants) else {
            if !table.has("replicas_per_node") {
                let title = format!("CPU and memory of a `{machine_type}` are not known");
                table.report(
                    Diagnostic::warning(Code::Suspicious, title)
                        .at(&table.span_of("machine_type"), "its pods are counted by GPUs only")
                        .help("set `replicas_per_node` if CPU or memory bind first"),
                );
            }
            return by_gpus;
        };
        let node = gke_allocatable(size.0, size.1).without(self.daemonsets);
        let room = node.room_for(self.pod);
        if room == 0 {
            self.report(table, machine_type, size, node);
        }
        by_gpus.min(room).max(1)
    }

    fn report(&self, table: &Fields<'_>, machine_type: &str, size: (u32, u32), node: Resources) {
        let cores = |milli: u64| milli as f64 / 1_000.0;
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let (asked, key) = if node.cpu_milli < self.pod.cpu_milli {
            (format!("{} CPUs", cores(self.pod.cpu_milli)), "pod_cpu")
        } else {
            (format!("{:.1} GiB of memory", gib(self.pod.memory_bytes)), "pod_memory")
        };
        let left = format!(
            "GKE and its DaemonSets leave {} of {} CPUs and {:.1} of {} GiB to pods",
            cores(node.cpu_milli),
            size.0,
            gib(node.memory_bytes),
            size.1
        );
        let title = format!("a pod with {asked} does not fit on a `{machine_type}`");
        let place = if table.has(key) { key } else { "machine_type" };
        table.report(
            Diagnostic::error(Code::DoesNotFit, title)
                .at(&table.span_of(place), left)
                .help(
                    "request less, choose a larger machine type, or give `daemonset_cpu` and `daemonset_memory` as \
                     `kubectl describe node` shows them",
                ),
        );
    }
}
