//! One run: the event loop and what each event moves.

mod metrics;
mod routing;
mod servers;

use super::autoscaling::{Controller, ScaleCounter};
use super::clients::{ClientSide, is_retriable};
use super::collector::{Collector, ratio};
use super::event::{Event, Rank};
use super::held::Held;
use super::keda::ScaleLoop;
use super::measures::Measures;
use super::queue::{EventQueue, Key};
use super::record::{MetricsPage, PoolUse, RecordLevel, RunRecord, Series, TimelineRow};
use super::scenario::{Autoscaler, Scenario};
use crate::cluster::{self, Cluster, DeletionCost, Usage};
use crate::engine::{Effect, EngineRequest, FinishReason, Replica, RequestRecord, TokenSpan};
use crate::gateway::{EndpointView, Gateway, TextPiece};
use crate::pipeline::{Pipeline, ResourceMetrics};
use crate::rng::{Seed, Stream};
use crate::stats::TimeWeighted;
use crate::units::{PS_PER_S, PodId, RequestId, SimDuration, SimTime};
use crate::workload::{ArrivalSource, Live, OpenLoop, Request, TextId, Texts, Trace};
use rand::RngExt as _;

/// Picoseconds in one hour.
const PS_PER_HOUR: f64 = 3600.0 * PS_PER_S as f64;

/// Runs the scenario's own workload, streamed.
pub fn run_workload(scenario: &Scenario, seed: Seed, level: RecordLevel) -> RunRecord {
    let until = SimTime::ZERO + scenario.duration;
    if scenario.workload.is_realisable() {
        let mut arrivals = OpenLoop::new(scenario.workload.source(seed, until));
        return run(scenario, seed, &mut arrivals, level);
    }
    run(scenario, seed, &mut Live::new(&scenario.workload, seed, until), level)
}

/// The realisation of an open-loop workload that `seed` gives, to be shared by all cases that meet it.
pub type Realised = Trace;

/// All arrivals of the scenario's open-loop workload; [`run_realised`] with the same seed then gives what
/// [`run_workload`] gives.
pub fn realise(scenario: &Scenario, seed: Seed) -> Realised {
    scenario.workload.materialise(seed, SimTime::ZERO + scenario.duration)
}

/// Runs the scenario on a realisation of its workload.
pub fn run_realised(
    scenario: &Scenario,
    seed: Seed,
    arrivals: &Realised,
    level: RecordLevel,
) -> RunRecord {
    let mut arrivals = OpenLoop::new(arrivals.iter().copied());
    run(scenario, seed, &mut arrivals, level)
}

/// Runs `scenario` on `arrivals`, which must be in time order; those at or after the horizon are left out.
///
/// # Panics
/// If a law is broken, which is a fault of this program, or if the scenario was not validated.
pub fn run<A: ArrivalSource>(
    scenario: &Scenario,
    seed: Seed,
    arrivals: &mut A,
    level: RecordLevel,
) -> RunRecord {
    let mut run = Run::new(scenario, seed, level, arrivals.waits());
    run.start();
    loop {
        let event_key = run.queue.peek();
        let next = arrivals.peek().filter(|at| *at < run.horizon);
        if let Some(at) = next
            && event_key.is_none_or(|key| Key::new(at, Rank::Arrival, 0) < key)
        {
            let request = arrivals.next_arrival().expect("peeked");
            run.arrive(request);
            run.tell(arrivals);
            continue;
        }
        let (now, event) = run.queue.pop().expect("the horizon ends the loop");
        assert!(now >= run.now, "law L3: {now:?} after {:?}", run.now);
        run.now = now;
        if matches!(event, Event::Horizon) {
            break;
        }
        run.handle(event);
        run.tell(arrivals);
    }
    let horizon = run.horizon;
    let mut record = run.finish();
    record.accounting.unsent = arrivals.unsent(horizon);
    record
}

/// One server process.
#[derive(Debug)]
struct Server {
    replica: Replica,
    /// It takes requests (SIGTERM has not come).
    accepting: bool,
    /// Somebody waits for it to become empty.
    draining: bool,
    /// The wake-up that counts; others in the queue are stale.
    armed: Option<SimTime>,
    /// GPU time before the statistics started.
    busy_at_restart: SimDuration,
}

struct Run<'a> {
    scenario: &'a Scenario,
    seed: Seed,
    level: RecordLevel,
    now: SimTime,
    horizon: SimTime,
    queue: EventQueue,
    cluster: Cluster,
    pipeline: Pipeline,
    gateway: Gateway,
    controller: Option<Controller>,
    keda: Option<ScaleLoop>,
    /// What exporters know of each pod, by ordinal.
    devices: Vec<Option<metrics::Device>>,
    resources: ResourceMetrics,
    /// Requests that reached the front door, retries included.
    incoming: u64,
    /// `spec.replicas` of the deployment.
    spec_replicas: u32,
    schedule_next: usize,
    sync_phase: SimDuration,
    /// By pod ordinal; present while the server listens.
    servers: Vec<Option<Server>>,
    /// Pods the gateway routes to, by ordinal.
    endpoints: Vec<EndpointView>,
    /// What prompts have in common, and whether any have.
    texts: Texts,
    shares_texts: bool,
    /// The present prompt in the words of `workload`, `gateway` and `engine`; scratch.
    pieces: Vec<(TextId, u32, u32)>,
    prompt: Vec<TextPiece>,
    spans: Vec<TokenSpan>,
    effects: Vec<Effect>,
    cluster_effects: Vec<cluster::Effect>,
    /// How many of them have been carried out.
    cluster_effects_done: usize,
    /// The values of one scrape.
    row: Vec<f64>,
    collector: Collector,
    clients: ClientSide,
    /// What the gateway holds, and whether it will look at it again.
    held: Held,
    dispatches: bool,
    replicas: TimeWeighted,
    scales: ScaleCounter,
    /// GPU time of servers that are gone.
    busy_gone: SimDuration,
    usage_at_restart: Vec<Usage>,
    restarted: bool,
    record: RunRecord,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, seed: Seed, level: RecordLevel, waits: bool) -> Self {
        let horizon = SimTime::ZERO + scenario.duration;
        assert!(horizon <= SimTime::MAX_HORIZON, "validated: a run has at most 90 days");
        assert!(scenario.warmup < scenario.duration, "validated: the warm-up is part of the run");
        let warmup = SimTime::ZERO + scenario.warmup;
        let hpa = scenario.autoscaler.hpa();
        let controller = hpa.map(|setup| Controller::new(setup, &scenario.devices.cpu));
        let queries = hpa.map_or(Vec::new(), |setup| {
            Controller::queries(setup, scenario.cluster.gpus_per_replica)
        });
        let spec_replicas = match &scenario.autoscaler {
            Autoscaler::Hpa(setup) => setup.start_replicas,
            Autoscaler::Fixed(n) => *n,
            Autoscaler::Schedule(rows) => rows.first().map_or(0, |row| row.1),
        };
        let texts = scenario.workload.texts(seed);
        let sync_phase = controller.as_ref().map_or(SimDuration::ZERO, |c| {
            let period = c.schedule().sync_period.as_ps().max(1);
            let mut rng = seed.stream(Stream::HpaSync, 0);
            SimDuration::from_ps(rng.random_range(0..period))
        });
        Self {
            scenario,
            seed,
            level,
            now: SimTime::ZERO,
            horizon,
            queue: EventQueue::default(),
            cluster: Cluster::new(&scenario.cluster, seed),
            pipeline: Pipeline::new(&scenario.pipeline, &queries, seed),
            gateway: {
                let cache = &scenario.engine.scheduler;
                let policy = scenario.gateway.with_kv_cache(cache.block_size, cache.num_gpu_blocks);
                Gateway::new(policy, seed)
            },
            controller,
            keda: hpa.and_then(|setup| setup.keda.as_ref()).map(ScaleLoop::new),
            devices: Vec::new(),
            resources: ResourceMetrics::default(),
            incoming: 0,
            spec_replicas,
            schedule_next: 1,
            sync_phase,
            servers: Vec::new(),
            endpoints: Vec::new(),
            shares_texts: texts.any(),
            texts,
            pieces: Vec::new(),
            prompt: Vec::new(),
            spans: Vec::new(),
            effects: Vec::new(),
            cluster_effects: Vec::new(),
            cluster_effects_done: 0,
            row: Vec::new(),
            collector: Collector::new(scenario.slo, warmup, horizon, level),
            clients: ClientSide::new(
                scenario.workload.clients(),
                waits || scenario.gateway.keeps_connections() || scenario.gateway.holds(),
            ),
            held: Held::default(),
            dispatches: false,
            replicas: TimeWeighted::new(SimTime::ZERO, 0),
            scales: ScaleCounter::default(),
            busy_gone: SimDuration::ZERO,
            usage_at_restart: vec![Usage::default(); scenario.cluster.pools.len()],
            restarted: false,
            record: RunRecord::default(),
        }
    }

    fn start(&mut self) {
        self.queue.push(self.horizon, Event::Horizon);
        self.queue.push(SimTime::ZERO + self.scenario.warmup, Event::Warmup);
        if self.level > RecordLevel::Measures {
            self.queue.push(SimTime::ZERO, Event::Sample);
        }
        if self.controller.is_some() {
            self.queue.push(SimTime::ZERO + self.sync_phase, Event::HpaSync);
        }
        self.start_metrics();
        for at in self.scenario.expose_at.iter().filter(|at| **at <= self.horizon) {
            self.queue.push(*at, Event::Expose);
        }
        self.push_schedule();
        self.cluster.start(self.spec_replicas, &mut self.cluster_effects);
        self.apply_cluster_effects();
    }

    fn push_schedule(&mut self) {
        if let Autoscaler::Schedule(rows) = &self.scenario.autoscaler
            && let Some((at, _)) = rows.get(self.schedule_next)
        {
            self.queue.push(*at, Event::Schedule);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::ReplicaWake(pod) => self.wake(pod),
            Event::Cluster(event) => {
                self.cluster.handle(self.now, event, &mut self.cluster_effects);
                self.apply_cluster_effects();
            }
            Event::Retry(id) => {
                let request = self.clients.again(id);
                self.route(id, request);
            }
            Event::Dispatch => {
                self.dispatches = false;
                self.dispatch();
            }
            Event::ClientTimeout => self.give_up(),
            Event::Warmup => self.restart_statistics(),
            Event::Scrape(origin, pod) => self.scrape(origin, pod),
            Event::WindowOpens(origin, pod) => self.window_opens(origin, pod),
            Event::Collect(pod) => self.read_gpus(pod),
            Event::ReadCpu => self.read_cpu(),
            Event::KedaPoll => self.keda_poll(),
            Event::Sample => self.sample(),
            Event::Expose => self.expose(),
            Event::HpaWrite => {
                let controller = self.controller.as_mut().expect("only an HPA writes");
                let replicas = controller.write(self.now, self.level);
                self.set_replicas(replicas);
            }
            Event::Schedule => {
                let Autoscaler::Schedule(rows) = &self.scenario.autoscaler else { return };
                let replicas = rows[self.schedule_next].1;
                self.schedule_next += 1;
                self.set_replicas(replicas);
                self.push_schedule();
            }
            Event::HpaSync => self.sync(),
            Event::Horizon => {}
        }
    }

    /// One request comes in at the front door.
    fn arrive(&mut self, request: Request) {
        assert!(request.arrival >= self.now, "law L3: arrivals are in time order");
        self.now = request.arrival;
        let id = RequestId(self.collector.arrivals());
        self.collector.arrived(self.now);
        self.route(id, request);
    }

    /// One attempt of a request, which first arrived at `request.arrival`.
    fn route(&mut self, id: RequestId, request: Request) {
        self.incoming += 1;
        if self.scenario.gateway.holds() {
            self.hold(id, request);
        } else {
            self.send(id, request);
        }
    }

    /// Sends an attempt to a replica.
    fn send(&mut self, id: RequestId, request: Request) {
        let chosen = self.choose(id, &request);
        if chosen.is_none() && !self.endpoints.is_empty() {
            self.collector.shed();
        }
        let prompt = self.prompt(&request);
        let server = chosen
            .and_then(|pod| self.servers[pod.0 as usize].as_mut())
            .filter(|server| server.accepting);
        let (Some(pod), Some(server)) = (chosen, server) else {
            self.refuse(id, request);
            return;
        };
        server.replica.enqueue(EngineRequest {
            id,
            arrival: self.now,
            prompt_tokens: request.prompt_tokens,
            output_tokens: request.output_tokens,
            priority: 0,
            prompt,
        });
        self.gateway.sent(id, request.text.stream());
        self.clients.remember(id, request);
        if let Some(at) = self.clients.sent(self.now, id, pod) {
            self.queue.push(at, Event::ClientTimeout);
        }
        self.arm(pod);
    }

    fn refuse(&mut self, id: RequestId, request: Request) {
        if let Some(at) = self.clients.retry_at(self.now, id, Some(request)) {
            self.retry(at, id);
            return;
        }
        let record = refused(id, &request, self.now);
        self.clients.refused(self.now, id);
        self.collector.refused(record);
    }

    /// The next attempt, or nothing if the run ends before.
    fn retry(&mut self, at: SimTime, id: RequestId) {
        if at < self.horizon {
            self.queue.push(at, Event::Retry(id));
            self.collector.retried();
        } else {
            let request = self.clients.again(id);
            self.collector.refused(refused(id, &request, self.now));
        }
    }

    /// Clients whose patience is over go away; their requests leave at the next step boundary.
    fn give_up(&mut self) {
        while let Some((id, pod)) = self.clients.give_up(self.now) {
            let Some(pod) = pod else {
                // Otherwise it was answered before.
                if let Some(request) = self.held.remove(id) {
                    self.collector.left(&unserved(id, &request, self.now, FinishReason::Aborted));
                }
                continue;
            };
            if let Some(server) = &mut self.servers[pod.0 as usize] {
                server.replica.abort(self.now, id);
            }
            // What the replica does next may now come earlier.
            self.arm(pod);
        }
        if let Some(at) = self.clients.next_deadline() {
            self.queue.push(at, Event::ClientTimeout);
        }
    }

    /// Tells the source which requests have ended.
    fn tell(&mut self, arrivals: &mut impl ArrivalSource) {
        for (at, id, answered) in self.clients.done.drain(..) {
            if arrivals.waits() {
                arrivals.on_done(at, id, answered);
            }
        }
    }

    /// Brings one replica to now and collects what it did.
    fn advance(&mut self, pod: PodId) {
        if let Some(server) = &mut self.servers[pod.0 as usize] {
            server.replica.advance_to(self.now, &mut self.effects);
            self.collect(pod);
        }
    }

    fn collect(&mut self, pod: PodId) {
        if !self.clients.watching() {
            for effect in self.effects.drain(..) {
                self.collector.effect(&effect, pod);
            }
            return;
        }
        let mut effects = std::mem::take(&mut self.effects);
        for mut effect in effects.drain(..) {
            if let Effect::Finished(record) = &mut effect {
                let answered = record.reason == FinishReason::Length;
                self.gateway.ended(self.now, record.id, pod, answered);
                record.arrival = self.clients.first_arrival(record);
                if is_retriable(record.reason)
                    && let Some(at) = self.clients.retry_at(record.end, record.id, None)
                {
                    self.retry(at, record.id);
                    continue;
                }
                self.clients.ended(record);
            }
            self.collector.effect(&effect, pod);
        }
        self.effects = effects;
    }

    fn advance_all(&mut self) {
        for i in 0..self.servers.len() {
            self.advance(PodId(i as u32));
        }
    }

    /// Somebody waits for this replica.
    fn wake(&mut self, pod: PodId) {
        match &mut self.servers[pod.0 as usize] {
            Some(server) if server.armed == Some(self.now) => server.armed = None,
            _ => return,
        }
        self.advance(pod);
        self.watch_drain(pod);
        self.arm(pod);
    }

    /// Asks to be woken at the replica's next change, if somebody waits for it.
    fn arm(&mut self, pod: PodId) {
        let watching = self.clients.watching();
        let Some(server) = &mut self.servers[pod.0 as usize] else { return };
        if !(watching || server.draining) {
            return;
        }
        let Some(at) = server.replica.next_change() else { return };
        let at = at.max(self.now);
        if server.armed != Some(at) {
            server.armed = Some(at);
            self.queue.push_ordered(at, Event::ReplicaWake(pod), u64::from(pod.0));
        }
    }

    fn sync(&mut self) {
        let controller = self.controller.as_mut().expect("only an HPA syncs");
        let synced = controller.sync(
            self.now,
            self.spec_replicas,
            &self.cluster,
            &mut self.pipeline,
            &self.resources,
            self.level,
        );
        if let Some(at) = synced.write_at {
            self.queue.push(at, Event::HpaWrite);
        }
        self.queue.push(synced.next, Event::HpaSync);
    }

    fn set_replicas(&mut self, replicas: u32) {
        self.scales.changed(self.now, self.spec_replicas, replicas);
        self.spec_replicas = replicas;
        if replicas < self.cluster.status_replicas() {
            self.set_deletion_costs();
        }
        self.cluster.set_replicas(self.now, replicas, &mut self.cluster_effects);
        self.apply_cluster_effects();
    }

    /// Brings the pods' annotations up to date before some of them are chosen.
    fn set_deletion_costs(&mut self) {
        if self.scenario.cluster.termination.deletion_cost == DeletionCost::None {
            return;
        }
        self.advance_all();
        for (i, server) in self.servers.iter().enumerate() {
            let running = server.as_ref().map(|s| s.replica.gauges().num_requests_running);
            let cost = i32::try_from(running.unwrap_or(0)).unwrap_or(i32::MAX);
            self.cluster.set_deletion_cost(PodId(i as u32), cost);
        }
    }

    /// The warm-up is over: every measure starts from here.
    fn restart_statistics(&mut self) {
        self.advance_all();
        for i in 0..self.servers.len() {
            if let Some(server) = &mut self.servers[i] {
                server.replica.flush_gaps(&mut self.effects);
                server.busy_at_restart = server.replica.busy_time();
            }
            self.collect(PodId(i as u32));
        }
        self.collector.restart();
        self.busy_gone = SimDuration::ZERO;
        self.replicas.restart(self.now);
        self.scales.restart();
        for (pool, usage) in self.usage_at_restart.iter_mut().enumerate() {
            *usage = self.cluster.usage(self.now, pool);
        }
        self.restarted = true;
    }

    /// One row per series of the timeline.
    fn sample(&mut self) {
        self.advance_all();
        let (mut running, mut waiting, mut usage, mut servers) = (0_u32, 0_u32, 0.0, 0_u32);
        for server in self.servers.iter().flatten() {
            let gauges = server.replica.gauges();
            running += gauges.num_requests_running;
            waiting += gauges.num_requests_waiting;
            usage += gauges.kv_cache_usage_perc();
            servers += 1;
        }
        let pods = self.cluster.pods();
        let ready = pods.iter().filter(|pod| pod.is_ready() && !pod.is_deleting()).count();
        let pending = pods.iter().filter(|pod| pod.is_kube_pending()).count();
        let at = self.now;
        let rows = &mut self.record.timeline;
        let mut row = |series, value| rows.push(TimelineRow { at, series, value });
        row(Series::ReplicasCurrent, f64::from(self.cluster.status_replicas()));
        row(Series::ReplicasReady, ready as f64);
        row(Series::PodsPending, pending as f64);
        row(Series::Nodes, f64::from(self.cluster.billed_nodes()));
        row(Series::NumRequestsRunning, f64::from(running));
        row(Series::NumRequestsWaiting, f64::from(waiting));
        if self.scenario.gateway.holds() {
            row(Series::FlowControlQueueSize, self.held.len() as f64);
        }
        if servers > 0 {
            row(Series::KvCacheUsagePerc, usage / f64::from(servers));
        }
        match &self.controller {
            Some(controller) => {
                let decision = controller.decision();
                row(Series::ReplicasDesired, f64::from(decision.desired_replicas));
                for (i, metric) in decision.metrics.iter().enumerate() {
                    let value = metric.current.average_value.or(metric.current.value);
                    if let Some(value) = value {
                        row(Series::HpaMetric(i as u8), value.0 as f64 / 1000.0);
                    }
                }
            }
            None => row(Series::ReplicasDesired, f64::from(self.spec_replicas)),
        }
        self.queue.push(self.now + self.scenario.timeline_interval, Event::Sample);
    }

    /// The whole `/metrics` page of every server that listens.
    fn expose(&mut self) {
        self.advance_all();
        for (i, server) in self.servers.iter_mut().enumerate() {
            let Some(server) = server else { continue };
            let gauges = server.replica.gauges();
            let Some(metrics) = server.replica.metrics() else { continue };
            self.record.pages.push(MetricsPage {
                at: self.now,
                pod: PodId(i as u32),
                metrics: metrics.clone(),
                gauges,
            });
        }
    }

    /// The horizon: everything that is left ends, and the measures are taken.
    fn finish(mut self) -> RunRecord {
        assert!(self.restarted, "the warm-up ends before the horizon");
        for i in 0..self.servers.len() {
            self.end_server(PodId(i as u32), FinishReason::Unfinished);
        }
        while let Some((id, request)) = self.held.pop() {
            self.collector.left(&unserved(id, &request, self.now, FinishReason::Unfinished));
        }
        let mut measures = Measures::default();
        self.collector.fill(&mut measures);
        self.record.pools = self.fill_usage(&mut measures);
        let span = (self.horizon - (SimTime::ZERO + self.scenario.warmup)).as_ps() as f64;
        measures.replicas_mean = self.replicas.integral_until(self.horizon) as f64 / span;
        measures.replicas_max = self.replicas.max() as f64;
        measures.scale_ups = f64::from(self.scales.ups);
        measures.scale_downs = f64::from(self.scales.downs);
        measures.flaps = f64::from(self.scales.flaps);
        let mut record = self.record;
        record.measures = measures;
        if self.level > RecordLevel::Measures {
            self.collector.minute_rows(&mut record.timeline);
            record.timeline.sort_by_key(|row| (row.at, row.series));
        }
        if let Some(controller) = self.controller {
            controller.hand_over(&mut record);
        }
        (record.accounting, record.requests) = self.collector.into_parts();
        record
    }

    fn fill_usage(&self, measures: &mut Measures) -> Vec<PoolUse> {
        let mut pools = Vec::new();
        let (mut node_ps, mut gpu_ps, mut usd) = (0_u128, 0_u128, 0.0);
        let span = (self.horizon - (SimTime::ZERO + self.scenario.warmup)).as_ps();
        for (pool, before) in self.usage_at_restart.iter().enumerate() {
            let usage = self.cluster.usage(self.horizon, pool);
            let nodes = usage.node_ps - before.node_ps;
            node_ps += nodes;
            gpu_ps += usage.gpu_ps - before.gpu_ps;
            let pool = &self.scenario.cluster.pools[pool];
            let billed = match pool.capacity {
                cluster::Capacity::Reservation => u128::from(span) * u128::from(pool.max_nodes),
                _ => nodes,
            };
            let cost_usd = billed as f64 / PS_PER_HOUR * pool.usd_per_hour;
            usd += cost_usd;
            let name = match pool.zone.as_str() {
                "" => pool.name.clone(),
                zone => format!("{}/{zone}", pool.name),
            };
            pools.push(PoolUse { name, node_hours: nodes as f64 / PS_PER_HOUR, cost_usd });
        }
        let per_replica = f64::from(self.scenario.cluster.gpus_per_replica);
        let busy = self.busy_gone.as_ps() as f64 * per_replica;
        measures.node_hours = node_ps as f64 / PS_PER_HOUR;
        measures.gpu_hours = gpu_ps as f64 / PS_PER_HOUR;
        measures.gpu_idle_ratio = 1.0 - ratio(busy, gpu_ps as f64);
        measures.cost_usd = usd;
        let tokens = self.collector.output_tokens() as f64;
        measures.usd_per_million_output_tokens = ratio(measures.cost_usd, tokens / 1e6);
        pools
    }
}

/// The record of a request that was refused at the door.
fn refused(id: RequestId, request: &Request, now: SimTime) -> RequestRecord {
    unserved(id, request, now, FinishReason::Rejected)
}

/// The record of a request that no server took.
fn unserved(id: RequestId, request: &Request, now: SimTime, reason: FinishReason) -> RequestRecord {
    RequestRecord {
        id,
        arrival: request.arrival,
        queued: now,
        first_scheduled: None,
        first_token: None,
        last_token: None,
        end: now,
        prompt_tokens: request.prompt_tokens,
        output_tokens: 0,
        cached_tokens: 0,
        preemptions: 0,
        reason,
    }
}
