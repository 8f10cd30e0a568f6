//! Node pools: the keys of `[cluster]` and `[cluster.provisioning]` describe one, `[[cluster.pools]]` several.

use super::Preset;
use super::requests::{self, Requests};
use crate::cluster::presets::{self, Accelerator, Storage};
use crate::cluster::{Capacity, NodePool, Preemption, Quota, StockOut};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::lower::spans::{any_span, within_a_day};
use crate::config::profile::{Constants, GpuProfile};
use crate::config::reader::Fields;
use crate::config::tree::Value;
use crate::units::{SimDuration, SimTime};
use std::fmt::Write as _;

/// Reads the keys of `[cluster]` that describe nodes.
pub(super) fn base(
    table: &Fields<'_>,
    accelerator: Accelerator,
    profile: Option<&GpuProfile>,
    requests: &Requests,
    preset: Preset,
    constants: &Constants,
) -> (NodePool, Option<(f64, String)>) {
    let gpus_per_replica = requests.gpus;
    let usual = profile.map_or("", |p| p.price.machine_type.as_str());
    let usual = if preset == Preset::Guide { "" } else { usual };
    let usual = if usual.is_empty() { presets::guide_machine_type(accelerator) } else { usual };
    let machine_type = table
        .key("machine_type", "Machine type of the node pool")
        .shown("the profile's usual one")
        .string()
        .unwrap_or(usual)
        .to_owned();
    let known = constants.machines.iter().find(|m| m.name == machine_type);
    let by_profile = profile.filter(|p| p.price.machine_type == machine_type).map(|p| &p.price);
    let by_type = by_profile
        .map(|p| p.gpus)
        .or(known.map(|m| m.gpus))
        .or_else(|| presets::gpus_of_machine_type(&machine_type));
    let gpus_per_node = table
        .key("gpus_per_node", "GPUs of one node. Source: Google Cloud's machine types")
        .shown("by machine type")
        .u32_or(1..=64, by_type.unwrap_or(gpus_per_replica));
    if by_type.is_none() && !table.has("gpus_per_node") && !table.context().is_describing() {
        table.report(
            Diagnostic::error(
                Code::MissingKey,
                format!("machine type `{machine_type}` is not known"),
            )
            .at(&table.span_of("machine_type"), "how many GPUs does it have?")
            .help("set `cluster.gpus_per_node`, and its price in `cost.node_usd_per_hour`"),
        );
    }
    if let (Some(profile), Some(machine)) = (profile, known)
        && machine.gpu != profile.gpu.name
    {
        table.report(
            Diagnostic::error(
                Code::Conflict,
                format!("`{machine_type}` has other GPUs than profile `{}`", profile.name),
            )
            .at(
                &table.span_of("machine_type"),
                format!("{}, not {}", machine.gpu, profile.gpu.name),
            )
            .help(
                "a machine type that is not known needs `cluster.gpus_per_node` and `cost.node_usd_per_hour`",
            ),
        );
    }
    let mut pool = presets::node_pool(accelerator, &machine_type, gpus_per_node, gpus_per_replica);
    if pool.replicas_per_node == 0 {
        table.report(
            Diagnostic::error(
                Code::DoesNotFit,
                format!("a pod with {gpus_per_replica} GPUs does not fit on a `{machine_type}`"),
            )
            .at(&table.span_of("machine_type"), format!("{gpus_per_node} GPUs per node"))
            .help("choose a machine type with more GPUs, or a profile for fewer"),
        );
    }
    let by_gpus = pool.replicas_per_node.max(1);
    // With pools of their own each tells what does not fit on its machines.
    pool.memory_bytes = requests::memory_of(&machine_type, constants);
    let most = if table.has("pools") {
        by_gpus
    } else {
        requests.limit(table, &machine_type, by_gpus, constants)
    };
    pool.replicas_per_node = table
        .key("replicas_per_node", "Pods that fit on one node")
        .shown(
            "gpus_per_node / gpus_per_replica, or what `pod_cpu` and `pod_memory` leave room for",
        )
        .u32_or(1..=most, most);
    pool.min_nodes = table
        .key("min_nodes", "The autoscaler never goes below. Source: the guide's node pools")
        .u32_or(0..=100_000, 0);
    pool.max_nodes = table
        .key("max_nodes", "The autoscaler never goes above. Source: the guide's node pools")
        .u32_or(1..=100_000, 1_000);
    if pool.min_nodes > pool.max_nodes {
        table.report(
            Diagnostic::error(Code::Conflict, "`cluster.min_nodes` is above `cluster.max_nodes`")
                .at(&table.span_of("min_nodes"), format!("{} nodes", pool.min_nodes))
                .and_at(&table.span_of("max_nodes"), format!("at most {}", pool.max_nodes)),
        );
    }
    let price = price_of(&machine_type, profile, constants);
    (pool, price)
}

/// List price of a machine type and its basis in words.
fn price_of(
    machine_type: &str,
    profile: Option<&GpuProfile>,
    constants: &Constants,
) -> Option<(f64, String)> {
    let by_profile = profile.filter(|p| p.price.machine_type == machine_type).map(|p| &p.price);
    let known = constants.machines.iter().find(|m| m.name == machine_type);
    by_profile.map(|p| (p.usd_per_hour, format!("{}, confidence {}", p.basis, p.confidence))).or(
        known.map(|m| {
            let basis = format!("{}, confidence {}", constants.price_basis, m.confidence);
            (m.usd_per_hour, basis)
        }),
    )
}

/// Reads the keys of `[cluster.provisioning]` that describe nodes.
pub(super) fn provisioning(t: &Fields<'_>, pool: &mut NodePool) {
    pool.provisioning = t
        .key(
            "node_ready",
            "From the request of a node to allocatable GPUs. Estimate by accelerator",
        )
        .shown("l4 180 s (p95 330), a100 210 s (p95 420), h100 300 s (p95 720)")
        .delay_or(&pool.provisioning);
    pool.delete = t
        .key("node_delete", "From the removal decision until a VM is gone. Estimate")
        .delay_or(&pool.delete);
    pool.stock_out = StockOut {
        probability: t
            .key("stock_out_probability", "Chance that one requested node cannot be had")
            .number_or(0.0..=1.0, 0.0),
        windows: windows(t),
        report_delay: t
            .key("stock_out_report", "From the request until its failure is reported. Estimate")
            .delay_or(&pool.stock_out.report_delay),
    };
}

/// Times without stock.
fn windows(t: &Fields<'_>) -> Vec<(SimTime, SimTime)> {
    let tables = t.key("stock_outs", "Times in which no node can be had").tables();
    let window = |t: &Fields<'_>| {
        let from = t.key("from", "From the start of the run").required().duration(any_span());
        let until = t.key("until", "From the start of the run").required().duration(any_span());
        let (from, until) = (from?, until?);
        if from >= until {
            t.report(
                Diagnostic::error(Code::Conflict, "a stock-out ends before it begins")
                    .at(&t.span_of("from"), "")
                    .and_at(&t.span_of("until"), ""),
            );
        }
        Some((SimTime::ZERO + from, SimTime::ZERO + until))
    };
    tables.iter().filter_map(window).collect()
}

/// Reads `[cluster.quota]`.
pub(super) fn quota(table: &Fields<'_>) -> Quota {
    let t = table.key("quota", "GPUs that the project may have at one time").table_or_empty();
    Quota {
        standard: t
            .key("gpus", "On demand and reserved. A request above it fails as on GKE")
            .shown("no limit")
            .u32(0..=1_000_000),
        preemptible: t
            .key("preemptible_gpus", "Spot and flex-start")
            .shown("no limit")
            .u32(0..=1_000_000),
    }
}

/// A pool of the experiment before its price is known.
pub(super) struct Priced {
    /// One pool per zone.
    pub(super) pools: Vec<NodePool>,
    /// `usd_per_hour`.
    pub(super) given: Option<f64>,
    /// Times the list price.
    factor: f64,
    /// List price of its machine type, if that is not the one of `[cluster]`.
    list: Option<f64>,
}

/// Reads `[[cluster.pools]]`; without it there is one pool, `base`.
pub(super) fn pools(
    table: &Fields<'_>,
    base: &NodePool,
    storage: Storage,
    requests: &Requests,
    profile: Option<&GpuProfile>,
    constants: &Constants,
) -> Vec<Priced> {
    let volume_zone = table
        .key(
            "zone",
            "Zone of the model's disk: with pd and hdml no replica can run in another zone",
        )
        .shown("the first zone of the first pool")
        .string()
        .unwrap_or("");
    let tables = table.key("pools", "Node pools in order of preference").tables();
    if tables.is_empty() || table.context().is_describing() && !table.has("pools") {
        for t in &tables {
            let _ = pool(t, base, requests, profile, constants);
        }
        let one = NodePool { zone: volume_zone.to_owned(), ..base.clone() };
        return vec![Priced { pools: vec![one], given: None, factor: 1.0, list: None }];
    }
    let mut found: Vec<Priced> =
        tables.iter().map(|t| pool(t, base, requests, profile, constants)).collect();
    let zonal = matches!(storage, Storage::Pd | Storage::Hdml);
    let first = found.iter().flat_map(|p| &p.pools).map(|p| p.zone.clone()).find(|z| !z.is_empty());
    let zone =
        if volume_zone.is_empty() { first.unwrap_or_default() } else { volume_zone.to_owned() };
    for (t, priced) in tables.iter().zip(&mut found) {
        if zonal {
            priced.pools.retain(|pool| pool.zone.is_empty() || pool.zone == zone);
        }
        if priced.pools.is_empty() {
            t.report(
                Diagnostic::error(Code::Conflict, format!("no replica can run in `{}`", t.path()))
                    .at(&t.span_of("zones"), format!("the model's disk is in `{zone}`"))
                    .help("a disk is zonal; add its zone, set `cluster.zone`, or choose another `model_storage`"),
            );
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for (t, priced) in tables.iter().zip(&found) {
        let Some(pool) = priced.pools.first() else { continue };
        if names.contains(&pool.name.as_str()) {
            t.report(
                Diagnostic::error(Code::Conflict, format!("two pools are called `{}`", pool.name))
                    .at(&t.span_of("name"), "its second use"),
            );
        }
        names.push(&pool.name);
    }
    found
}

/// Reads one entry of `[[cluster.pools]]`.
fn pool(
    t: &Fields<'_>,
    base: &NodePool,
    requests: &Requests,
    profile: Option<&GpuProfile>,
    constants: &Constants,
) -> Priced {
    let capacity = t
        .key("capacity", "How its machines are had; a reservation is paid for whether used or not")
        .choice_or(&Capacity::ALL.map(|c| (c.as_str(), c)), Capacity::OnDemand);
    let name = t.key("name", "For reports").shown("its capacity").string();
    let mut pool = NodePool {
        name: name.unwrap_or(capacity.as_str()).to_owned(),
        zone: String::new(),
        capacity,
        ..sized(t, base, requests, constants)
    };
    let zones = zones(t);
    own_provisioning(t, &mut pool);
    pool.preemption = preemption(t, capacity);
    flex_start(t, &mut pool);
    let (given, factor) = price(t, capacity);
    let list = if pool.machine_type == base.machine_type {
        None
    } else {
        list_price(t, &pool.machine_type, given, profile, constants)
    };
    let pools = match zones.len() {
        0 => vec![pool],
        _ => zones.into_iter().map(|zone| NodePool { zone, ..pool.clone() }).collect(),
    };
    Priced { pools, given, factor: factor.unwrap_or(1.0), list }
}

/// `base` on the pool's own machines, in their numbers.
fn sized(t: &Fields<'_>, base: &NodePool, requests: &Requests, constants: &Constants) -> NodePool {
    let gpus_per_replica = requests.gpus;
    let machine_type = t
        .key("machine_type", "Machine type")
        .shown("`cluster.machine_type`")
        .string()
        .unwrap_or(&base.machine_type)
        .to_owned();
    let same = machine_type == base.machine_type;
    let known = constants.machines.iter().find(|m| m.name == machine_type).map(|m| m.gpus);
    let by_type = if same {
        Some(base.gpus_per_node)
    } else {
        known.or_else(|| presets::gpus_of_machine_type(&machine_type))
    };
    let gpus_per_node = t
        .key("gpus_per_node", "GPUs of one node")
        .shown("by machine type")
        .u32_or(1..=64, by_type.unwrap_or(base.gpus_per_node));
    if by_type.is_none() && !t.has("gpus_per_node") && !t.context().is_describing() {
        let title = format!("machine type `{machine_type}` is not known");
        t.report(
            Diagnostic::error(Code::MissingKey, title)
                .at(&t.span_of("machine_type"), "how many GPUs does it have?")
                .help("set `gpus_per_node` and `usd_per_hour`"),
        );
    }
    let by_gpus = (gpus_per_node / gpus_per_replica).max(1);
    let most = requests.limit(t, &machine_type, by_gpus, constants);
    if gpus_per_node < gpus_per_replica {
        let title =
            format!("a pod with {gpus_per_replica} GPUs does not fit on a `{machine_type}`");
        t.report(
            Diagnostic::error(Code::DoesNotFit, title)
                .at(&t.span_of("machine_type"), format!("{gpus_per_node} GPUs per node")),
        );
    }
    let usual = if same { base.replicas_per_node.min(most) } else { most };
    let replicas_per_node = t
        .key("replicas_per_node", "Pods that fit on one node")
        .shown("as `cluster.replicas_per_node`, by its machine type")
        .u32_or(1..=most, usual);
    let min_nodes = t
        .key("min_nodes", "Per zone: the autoscaler never goes below; these exist at the start")
        .u32_or(0..=100_000, 0);
    let max_nodes = t
        .key(
            "max_nodes",
            "Per zone: the autoscaler never goes above. Of a reservation: its machines",
        )
        .shown("`cluster.max_nodes`")
        .u32_or(1..=100_000, base.max_nodes);
    if min_nodes > max_nodes {
        t.report(
            Diagnostic::error(Code::Conflict, "`min_nodes` is above `max_nodes`")
                .at(&t.span_of("min_nodes"), format!("{min_nodes} nodes"))
                .and_at(&t.span_of("max_nodes"), format!("at most {max_nodes}")),
        );
    }
    NodePool {
        memory_bytes: requests::memory_of(&machine_type, constants),
        machine_type,
        gpus_per_node,
        replicas_per_node,
        min_nodes,
        max_nodes,
        ..base.clone()
    }
}

/// The keys of machines whose time is limited, as that of flex-start is.
fn flex_start(t: &Fields<'_>, pool: &mut NodePool) {
    let longest = SimDuration::LONGEST_RUN;
    pool.max_run_duration = t
        .key("max_run_duration", "A node is drained and removed this long after it became ready")
        .shown("\"7d\" for flex-start (source: the reference ComputeClass), else never")
        .duration(SimDuration::from_secs(60)..=longest)
        .or((pool.capacity == Capacity::FlexStart).then_some(presets::FLEX_START_RUN));
    let lead = t
        .key(
            "recycling_lead_time",
            "A replacement of a node in use is asked for this long before the end of its run",
        )
        .shown("\"1h\" for flex-start (source: nodeRecycling of the reference ComputeClass), else none")
        .duration(SimDuration::from_secs(1)..=longest);
    let usual_lead = (pool.capacity == Capacity::FlexStart).then_some(presets::RECYCLING_LEAD_TIME);
    let within = |lead: &SimDuration| pool.max_run_duration.is_some_and(|run| *lead < run);
    if let Some(lead) = lead.filter(|lead| !within(lead)) {
        t.report(
            Diagnostic::error(
                Code::Conflict,
                "`recycling_lead_time` is not within the run of a node",
            )
            .at(&t.span_of("recycling_lead_time"), format!("{} s", lead.as_secs_f64()))
            .and_at(&t.span_of("max_run_duration"), ""),
        );
    }
    pool.recycling_lead_time = lead.or(usual_lead).filter(within);
    pool.queued = t
        .key(
            "queued",
            "Flex-start with queued provisioning: the nodes of a request come together or not at all, a refused request is \
             repeated after 1 to 10 min",
        )
        .boolean_or(false);
    if pool.queued && pool.capacity != Capacity::FlexStart {
        t.report(
            Diagnostic::error(Code::Conflict, "only flex-start machines are queued for")
                .at(&t.key_span("queued"), format!("of a pool of {}", pool.capacity.as_str())),
        );
    }
}

/// `usd_per_hour` and `price_factor`.
fn price(t: &Fields<'_>, capacity: Capacity) -> (Option<f64>, Option<f64>) {
    let given = t.key("usd_per_hour", "Price of one node [USD/h]").number(0.0..=1e6);
    let factor = t
        .key("price_factor", "Times the list price; required for spot unless `usd_per_hour` is set")
        .shown("1")
        .number(0.0..=100.0);
    if capacity == Capacity::Spot && given.is_none() && factor.is_none() {
        t.report(
            Diagnostic::error(
                Code::MissingKey,
                format!("the price of `{}` is not known", t.path()),
            )
            .at(t.span(), "Spot prices change daily")
            .help("set `price_factor` (share of the list price) or `usd_per_hour`"),
        );
    }
    (given, factor)
}

/// The list price of a machine type that is not the one of `[cluster]`.
fn list_price(
    t: &Fields<'_>,
    machine_type: &str,
    given: Option<f64>,
    profile: Option<&GpuProfile>,
    constants: &Constants,
) -> Option<f64> {
    let list = price_of(machine_type, profile, constants).map(|(usd_per_hour, _)| usd_per_hour);
    if list.is_none() && given.is_none() && !t.context().is_describing() {
        let title = format!("the price of `{machine_type}` is not known");
        t.report(
            Diagnostic::error(Code::MissingKey, title)
                .at(&t.span_of("machine_type"), "")
                .help("set `usd_per_hour`"),
        );
    }
    list
}

/// The names of a pool's zones, in order.
fn zones(t: &Fields<'_>) -> Vec<String> {
    let list = t
        .key(
            "zones",
            "One node group per zone, tried in order, each with its own limits and backoff",
        )
        .list();
    let mut zones = Vec::new();
    for node in list.unwrap_or_default() {
        match &node.value {
            Value::String(zone) if !zones.contains(zone) => zones.push(zone.clone()),
            Value::String(zone) => t.report(
                Diagnostic::error(Code::Conflict, format!("zone `{zone}` is listed twice"))
                    .at(&node.span, ""),
            ),
            other => t.report(
                Diagnostic::error(Code::Type, "a zone must be a string")
                    .at(&node.span, format!("this is {}", other.kind())),
            ),
        }
    }
    zones
}

/// The keys of `[cluster.provisioning]` that a pool may have of its own.
fn own_provisioning(t: &Fields<'_>, pool: &mut NodePool) {
    let usual = "as in `cluster.provisioning`";
    let ready =
        t.key("node_ready", "From the request of a node to allocatable GPUs").shown(usual).delay();
    pool.provisioning = ready.unwrap_or_else(|| pool.provisioning.clone());
    let delete =
        t.key("node_delete", "From the removal decision until a VM is gone").shown(usual).delay();
    pool.delete = delete.unwrap_or_else(|| pool.delete.clone());
    let stock_out = &mut pool.stock_out;
    stock_out.probability = t
        .key("stock_out_probability", "Chance that one requested node cannot be had")
        .shown(usual)
        .number(0.0..=1.0)
        .unwrap_or(stock_out.probability);
    let report = t
        .key("stock_out_report", "From the request until its failure is reported")
        .shown(usual)
        .delay();
    stock_out.report_delay = report.unwrap_or_else(|| stock_out.report_delay.clone());
    let own = windows(t);
    if t.has("stock_outs") {
        stock_out.windows = own;
    }
}

fn preemption(t: &Fields<'_>, capacity: Capacity) -> Preemption {
    let base = presets::no_preemption();
    let per_node_hour = t
        .key("preemptions_per_hour", "Mean number per node and hour; no rate is published")
        .number_or(0.0..=3_600.0, 0.0);
    if per_node_hour > 0.0 && capacity != Capacity::Spot {
        t.report(Diagnostic::error(Code::Conflict, "only spot machines are preempted").at(
            &t.key_span("preemptions_per_hour"),
            format!("of a pool of {}", capacity.as_str()),
        ));
    }
    Preemption {
        per_node_hour,
        notice: t
            .key(
                "preemption_notice",
                "Pods are told that long before the 30 s shutdown, of which they have 15. Source: GKE Spot VMs",
            )
            .duration_or(within_a_day(), base.notice),
        ..base
    }
}

/// Puts the prices in: `base_price` is that of the machine type of `[cluster]`, `source` tells where prices of the
/// experiment come from. Returns what to tell beside it.
pub(super) fn set_prices(
    priced: Vec<Priced>,
    base_price: f64,
    source: &str,
) -> (Vec<NodePool>, String) {
    let mut note = String::new();
    let several = priced.len() > 1;
    let mut pools = Vec::new();
    for one in priced {
        let price = one.given.unwrap_or(one.list.unwrap_or(base_price) * one.factor);
        if let Some(pool) = one.pools.first()
            && (several || one.given.is_some() || one.factor != 1.0)
        {
            let _ = write!(note, "; {} {price:.4} USD/h per {}", pool.name, pool.machine_type);
            if one.given.is_some() {
                let _ = write!(note, ", {source}");
            }
        }
        pools.extend(one.pools.into_iter().map(|pool| NodePool { usd_per_hour: price, ..pool }));
    }
    (pools, note)
}
