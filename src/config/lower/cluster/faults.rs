//! `[cluster.faults]`: what goes wrong.

use crate::cluster::{FaultConfig, FaultKind, ScriptedFault, presets};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::lower::spans::{any_span, within_a_day};
use crate::config::reader::Fields;
use crate::units::{SimDuration, SimTime};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Crash,
    Unready,
    Preemption,
    NodeLoss,
}

/// Reads the table.
pub(super) fn faults(table: &Fields<'_>, kube_minor: u32) -> FaultConfig {
    let t = table
        .key("faults", "Servers that crash, probes that fail, machines that die")
        .table_or_empty();
    let base = presets::no_faults();
    let scripted = t.key("scripted", "Faults at given times").tables();
    let scripted = scripted.iter().filter_map(one).collect();
    let rate = 0.0..=3_600.0;
    FaultConfig {
        crash_per_hour: t
            .key("crashes_per_hour", "Crashes (out of memory, Xid) per hour of a running server")
            .number_or(rate.clone(), base.crash_per_hour),
        unready_per_hour: t
            .key("unready_per_hour", "Spells of a failing health check per hour of a running server")
            .number_or(rate.clone(), base.unready_per_hour),
        unready_for: t
            .key("unready_for", "Length of such a spell. Estimate")
            .delay_or(&base.unready_for),
        scripted,
        node_loss_per_hour: t
            .key(
                "node_losses_per_hour",
                "Machines that die without notice, per node and hour; no rate is published",
            )
            .number_or(rate, base.node_loss_per_hour),
        node_monitor_grace_period: t
            .key(
                "node_monitor_grace_period",
                "A node that renews no lease for this long turns NotReady. Source: kube-controller-manager, \
                 kubernetes#126287",
            )
            .shown("\"50s\"; \"40s\" before Kubernetes 1.32")
            .duration_or(within_a_day(), presets::node_monitor_grace_period(kube_minor)),
        unreachable_toleration: t
            .key(
                "unreachable_toleration",
                "tolerationSeconds of a pod on a NotReady node, after which it is deleted and replaced. Source: \
                 DefaultTolerationSeconds",
            )
            .duration_or(within_a_day(), base.unreachable_toleration),
        node_repair: node_repair(&t, base.node_repair),
        restart_backoff_initial: t
            .key(
                "restart_backoff_initial",
                "CrashLoopBackOff before the second restart; the first does not wait. Source: kubelet",
            )
            .duration_or(within_a_day(), base.restart_backoff_initial),
        restart_backoff_max: t
            .key("restart_backoff_max", "Longest CrashLoopBackOff. Source: kubelet")
            .duration_or(within_a_day(), base.restart_backoff_max),
    }
}

/// `auto_repair` and `node_repair`.
fn node_repair(t: &Fields<'_>, usual: Option<SimDuration>) -> Option<SimDuration> {
    let auto_repair = t
        .key(
            "auto_repair",
            "Whether GKE recreates machines whose nodes are NotReady; without it they stay until the cluster autoscaler \
             removes them (`cluster.provisioning.scale_down_unready`). Source: GKE, on for new node pools",
        )
        .boolean_or(true);
    let after = t
        .key(
            "node_repair",
            "A machine is recreated when its node has been NotReady for this long. Source: GKE node auto-repair",
        )
        .shown("\"10m\"")
        .duration(within_a_day());
    if !auto_repair && after.is_some() {
        t.report(
            Diagnostic::error(Code::Conflict, "`node_repair` has no effect without auto-repair")
                .at(&t.key_span("node_repair"), "")
                .and_at(&t.span_of("auto_repair"), ""),
        );
    }
    if auto_repair { after.or(usual) } else { None }
}

fn one(t: &Fields<'_>) -> Option<ScriptedFault> {
    let at = t.key("at", "When, from the start of the run").required().duration(any_span());
    let kind = t
        .key(
            "kind",
            "The server dies, its health check fails for a while, its node is taken or dies without notice",
        )
        .required()
        .choice(&[
            ("crash", Kind::Crash),
            ("unready", Kind::Unready),
            ("preemption", Kind::Preemption),
            ("node_loss", Kind::NodeLoss),
        ]);
    let replica =
        t.key("replica", "Which of the running servers, the oldest first").u32_or(0..=100_000, 0);
    let lasts = t.key("for", "Length of an unready spell").shown("30s").duration(within_a_day());
    if let (Some(Kind::Crash | Kind::Preemption | Kind::NodeLoss), Some(_)) = (kind, lasts) {
        t.report(
            Diagnostic::error(Code::Conflict, "only an unready spell has a length")
                .at(&t.key_span("for"), "")
                .and_at(&t.span_of("kind"), ""),
        );
    }
    let kind = match kind? {
        Kind::Crash => FaultKind::Crash,
        Kind::Unready => FaultKind::Unready(lasts.unwrap_or(SimDuration::from_secs(30))),
        Kind::Preemption => FaultKind::Preemption,
        Kind::NodeLoss => FaultKind::NodeLoss,
    };
    Some(ScriptedFault { at: SimTime::ZERO + at?, replica: replica as usize, kind })
}
