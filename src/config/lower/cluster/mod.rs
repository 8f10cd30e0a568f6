//! `[cluster]`: nodes, pod start, termination and routing, from presets that every key overrides.

mod autoscaler;
mod disruption;
mod faults;
mod pools;
mod requests;
mod startup;
mod termination;

use crate::cluster::presets::{self, Accelerator, ModelSize, Storage};
use crate::cluster::{ClusterConfig, ModelLoad, Packing};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::profile::{Constants, GpuProfile};
use crate::config::reader::Fields;
use crate::config::registry::Kind;
use crate::config::values::release_of;
use crate::gateway::Policy;
use crate::hpa::ControllerConfig;

/// What `[cluster]` says.
pub(super) struct Lowered {
    /// Parameters of the cluster.
    pub(super) cluster: ClusterConfig,
    /// Kubernetes 1.N.
    pub(super) kube_minor: u32,
    /// Routing policy.
    pub(super) gateway: Policy,
    /// Machine type of `[cluster]`.
    pub(super) machine_type: String,
    /// The pools, whose prices are still to be set.
    priced: Vec<pools::Priced>,
    /// List price of a node \[USD/h\] and its basis in words; `None` if the machine type is not known.
    pub(super) price: Option<(f64, String)>,
}

impl Lowered {
    /// Sets the pools' prices; returns what to tell beside the base price.
    pub(super) fn set_prices(&mut self, base_price: f64, source: &str) -> String {
        let (pools, note) = pools::set_prices(std::mem::take(&mut self.priced), base_price, source);
        self.cluster.pools = pools;
        note
    }

    /// Whether a pool has a price of its own in the experiment.
    pub(super) fn has_given_prices(&self) -> bool {
        self.priced.iter().any(|one| one.given.is_some())
    }
}

/// Published set-ups that change the defaults of `[cluster]`.
#[derive(Clone, Copy, PartialEq)]
enum Preset {
    /// None.
    None,
    /// Google's guide for vLLM with GCS, Hyperdisk ML or a disk.
    Guide,
    /// The newer reference architecture: Run:ai streamer.
    ReferenceArchitecture,
    /// The same with pod snapshots.
    Snapshots,
    /// Its llm-d variant.
    LlmD,
    /// The sample of the Gateway API inference extension.
    InferenceGateway,
}

impl Preset {
    const WORDS: [(&'static str, Self); 6] = [
        ("none", Self::None),
        ("guide", Self::Guide),
        ("reference-architecture", Self::ReferenceArchitecture),
        ("reference-architecture-snapshots", Self::Snapshots),
        ("llm-d", Self::LlmD),
        ("inference-gateway", Self::InferenceGateway),
    ];
}

const MB: f64 = 1e6;

/// Reads `[cluster]`.
pub(super) fn cluster(
    root: &Fields<'_>,
    profile: Option<&GpuProfile>,
    vllm_minor: u32,
    constants: &Constants,
) -> Lowered {
    let table = root.key("cluster", "Nodes, pods and their delays").table_or_empty();
    let preset = table
        .key(
            "preset",
            "Published set-up whose values are the defaults of the keys below. `guide`: two GPUs per pod, its machine \
             types, vLLM 0.6.3's start-up, 240 s probe delay, optimize-utilization",
        )
        .choice_or(&Preset::WORDS, Preset::None);
    let accelerator = table
        .key("accelerator", "Whose node and start-up presets apply")
        .shown("the profile's GPU")
        .choice_or(
            &Accelerator::ALL.map(|a| (a.as_str(), a)),
            profile.map_or(Accelerator::L4, |p| p.gpu.accelerator),
        );
    if let Some(profile) = profile
        && profile.gpu.accelerator != accelerator
        && table.has("accelerator")
    {
        table.report(
            Diagnostic::error(
                Code::Conflict,
                format!("profile `{}` is for {}", profile.name, profile.gpu.title),
            )
            .at(&table.span_of("accelerator"), "another accelerator here"),
        );
    }
    let kube_minor = kube_minor(&table);
    let gpus_per_replica = table
        .key("gpus_per_replica", "GPUs that one pod asks for")
        .shown("the profile's tensor_parallel_size; at least 2 with preset `guide`")
        .u32_or(1..=64, {
            let needs = profile.map_or(1, |p| p.tensor_parallel_size);
            if preset == Preset::Guide { needs.max(2) } else { needs }
        });
    if let Some(profile) = profile
        && gpus_per_replica < profile.tensor_parallel_size
    {
        let needs = profile.tensor_parallel_size;
        table.report(
            Diagnostic::error(
                Code::DoesNotFit,
                format!("profile `{}` needs {needs} GPUs per replica", profile.name),
            )
            .at(&table.span_of("gpus_per_replica"), format!("{gpus_per_replica} here")),
        );
    }
    let requests = requests::requests(&table, gpus_per_replica, preset);
    let (mut base, price) = pools::base(&table, accelerator, profile, &requests, preset, constants);
    let storage = table
        .key(
            "model_storage",
            "Where the weights are: Cloud Storage, Hyperdisk ML, a disk, a streamer",
        )
        .shown("\"pd\"; \"streamer\" with preset `reference-architecture`")
        .choice_or(
            &Storage::ALL.map(|s| (s.as_str(), s)),
            match preset {
                Preset::ReferenceArchitecture | Preset::Snapshots => Storage::Streamer,
                _ => Storage::Pd,
            },
        );
    let provisioning =
        table.key("provisioning", "The cluster autoscaler and new nodes").table_or_empty();
    let optimize = provisioning
        .key("profile", "GKE's autoscaling profile. Source: the guide sets optimize-utilization")
        .choice_or(&[("balanced", false), ("optimize-utilization", true)], preset == Preset::Guide);
    pools::provisioning(&provisioning, &mut base);
    let max_gpus =
        if preset == Preset::Guide { presets::guide_max_gpus(accelerator) } else { None };
    let autoscaler = autoscaler::autoscaler(&provisioning, optimize, max_gpus);
    let priced = pools::pools(&table, &base, storage, &requests, profile, constants);
    let spare_replicas = table
        .key(
            "spare_replicas",
            "Placeholder pods of low priority that keep room for this many replicas on nodes. Source: GKE's balloon pods",
        )
        .u32_or(0..=100_000, 0);
    let packing = table
        .key("packing", "Which node gets a pod. Source: kube-scheduler; optimize-utilization packs")
        .shown("\"spread\"; \"pack\" with optimize-utilization")
        .choice_or(
            &[("pack", Packing::Pack), ("spread", Packing::Spread)],
            if optimize { Packing::Pack } else { Packing::Spread },
        );
    let quota = pools::quota(&table);
    let any = ModelSize { bytes: 16_000_000_000, layers: presets::REFERENCE_LAYERS };
    let model = profile.map_or(any, |p| ModelSize {
        bytes: p.model.weight_bytes(p.weights),
        layers: p.model.num_hidden_layers,
    });
    let startup_table = table.key("startup", "From a bound pod to traffic").table_or_empty();
    let mut startup =
        startup::startup(&startup_table, accelerator, storage, vllm_minor, model, preset);
    if let ModelLoad::Storage(load) = &mut startup.load {
        load.pod_memory_bytes = requests.pod_memory();
    }
    let probe = startup::probe(&startup_table, preset);
    startup::warn_about_liveness(&startup_table, &startup, &probe);
    let termination = termination::termination(&table, vllm_minor, preset);
    let disruption = disruption::disruption(&table);
    let faults = faults::faults(&table, kube_minor);
    let gateway =
        super::routing::routing(&table, matches!(preset, Preset::InferenceGateway | Preset::LlmD));
    let cluster = ClusterConfig {
        pools: priced.iter().flat_map(|p| p.pools.iter().cloned()).collect(),
        quota,
        gpus_per_replica,
        spare_replicas,
        packing,
        autoscaler,
        startup,
        probe,
        termination,
        disruption,
        faults,
    };
    if root.context().errors() == 0 && !root.context().is_describing() {
        for error in cluster.validate() {
            let title = format!("`cluster`: {}", error.message);
            root.report(Diagnostic::error(Code::Conflict, title).at(table.span(), error.field));
        }
    }
    Lowered { cluster, kube_minor, gateway, machine_type: base.machine_type, priced, price }
}

/// `1.N` or `1.N.P`, as the minor release N.
fn kube_minor(table: &Fields<'_>) -> u32 {
    let supported = ControllerConfig::SUPPORTED_MINORS;
    let default = format!("\"1.{}\"", ControllerConfig::DEFAULT_MINOR);
    table
        .key("kube_version", "Kubernetes release whose HPA controller decides; 1.25 to 1.36")
        .parse(Kind::Text, Some(default), |node| release_of(node, "1", &supported, "1.34", None))
        .unwrap_or(ControllerConfig::DEFAULT_MINOR)
}
