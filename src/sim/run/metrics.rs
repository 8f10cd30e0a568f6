//! Metrics sources: who reads what of a pod, and when.
//!
//! Servers are scraped once they listen. The GPUs and the CPU of a pod are there from the start of its container on,
//! whether its server listens or not.

use super::Run;
use crate::cluster::ModelLoad;
use crate::pipeline::Origin;
use crate::rng::Stream;
use crate::sim::event::Event;
use crate::sim::signal::{FeedShape, Signal};
use crate::units::{PodId, SimDuration, SimTime};
use rand::RngExt as _;

/// Bytes of a MiB.
const BYTES_PER_MIB: f64 = 1_048_576.0;

/// The router's only target.
const ROUTER: PodId = PodId(0);

/// What exporters and the kubelet know of a pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    container: Container,
    /// A container has died since the last reading of the CPU.
    died: bool,
    /// GPU time at the start of the present window, by exporter and system.
    opened: [SimDuration; 2],
    /// What the exporter last read: utilisation \[%\] and memory \[MiB\].
    collected: Option<(f64, f64)>,
    /// Core-seconds used so far, and what they were counted up to.
    core_seconds: f64,
    cpu_read_at: SimTime,
    cpu_busy: SimDuration,
    cpu_running: f64,
}

/// What runs in a pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Container {
    /// A server that does not listen yet, since its start.
    Loading(SimTime),
    /// A server that listens.
    Serving,
    /// Nothing: it died and waits for its restart. The pod keeps its GPUs, a process that ends frees their memory.
    Dead,
}

/// The first instant of a period with the given phase at or after `now`.
fn first_at(now: SimTime, phase: SimDuration, period: SimDuration) -> SimTime {
    let behind = now.as_ps().saturating_sub(phase.as_ps()).div_ceil(period.as_ps());
    SimTime::ZERO + phase + period * behind
}

impl Run<'_> {
    /// Sources that are there from the start.
    pub(super) fn start_metrics(&mut self) {
        if self.pipeline.reads(Origin::Router)
            && let Some(at) = self.pipeline.target_up(self.now, Origin::Router, ROUTER)
        {
            self.queue.push(at, Event::Scrape(Origin::Router, ROUTER));
        }
        if self.reads_cpu() {
            let period = self.scenario.devices.cpu.resolution;
            let phase = self.phase(u64::MAX, period);
            self.queue.push(SimTime::ZERO + phase, Event::ReadCpu);
        }
        if let Some(keda) = &self.keda {
            // A cached value is that of a poll: both have one phase.
            let first = match self.pipeline.renewals() {
                Some((first, _)) => first,
                None => SimTime::ZERO + self.phase(u64::MAX - 1, keda.interval()),
            };
            self.queue.push(first, Event::KedaPoll);
        }
    }

    fn phase(&self, index: u64, period: SimDuration) -> SimDuration {
        let mut rng = self.seed.stream(Stream::MetricsPhase, index);
        SimDuration::from_ps(rng.random_range(0..period.as_ps()))
    }

    /// Whether a metric needs the servers' counters or histograms.
    pub(super) fn reads_counters(&self) -> bool {
        let Some(controller) = &self.controller else { return false };
        controller.feeds().iter().any(|feed| feed.signal.needs_metrics())
    }

    fn reads_cpu(&self) -> bool {
        let Some(controller) = &self.controller else { return false };
        controller.feeds().iter().any(|feed| feed.shape == FeedShape::Resource)
    }

    /// A pod's container runs: its GPUs and its CPU can be read. Called again when its server listens, and when it
    /// restarts.
    pub(super) fn container_up(&mut self, pod: PodId) {
        let (exporter, system) =
            (self.pipeline.reads(Origin::Exporter), self.pipeline.reads(Origin::System));
        if !(exporter || system || self.reads_cpu()) {
            return;
        }
        let index = pod.0 as usize;
        if self.devices.len() <= index {
            self.devices.resize(index + 1, None);
        }
        // Pods that serve from the start on have no loading stage.
        let serving = self.servers.get(index).is_some_and(Option::is_some);
        let container = if serving { Container::Serving } else { Container::Loading(self.now) };
        if self.devices[index].is_some() {
            self.container_becomes(pod, container);
            return;
        }
        self.devices[index] = Some(Device {
            container,
            died: false,
            opened: [SimDuration::ZERO; 2],
            collected: None,
            core_seconds: 0.0,
            cpu_read_at: self.now,
            cpu_busy: SimDuration::ZERO,
            cpu_running: 0.0,
        });
        if exporter && let Some(at) = self.pipeline.target_up(self.now, Origin::Exporter, pod) {
            self.queue.push(at, Event::Scrape(Origin::Exporter, pod));
            let period = self.scenario.devices.gpu.collect_interval;
            let first = first_at(self.now, self.phase(u64::from(pod.0), period), period);
            self.expect_reading(Origin::Exporter, pod, first);
            self.queue.push(first, Event::Collect(pod));
        }
        if system && let Some(at) = self.pipeline.target_up(self.now, Origin::System, pod) {
            self.expect_reading(Origin::System, pod, at);
            self.queue.push(at, Event::Scrape(Origin::System, pod));
        }
    }

    /// A pod's container has died; its pod waits to restart it.
    pub(super) fn container_down(&mut self, pod: PodId) {
        self.container_becomes(pod, Container::Dead);
        if let Some(Some(device)) = self.devices.get_mut(pod.0 as usize) {
            device.died = true;
            // The next server counts from zero.
            device.opened = [SimDuration::ZERO; 2];
            device.cpu_busy = SimDuration::ZERO;
            device.cpu_running = 0.0;
        }
    }

    /// What ran before has used CPU until now.
    fn container_becomes(&mut self, pod: PodId, container: Container) {
        if self.reads_cpu() {
            self.use_cpu(pod);
        }
        if let Some(Some(device)) = self.devices.get_mut(pod.0 as usize) {
            device.container = container;
        }
    }

    /// A pod is gone, and with it everything that could be read of it.
    pub(super) fn metrics_gone(&mut self, pod: PodId) {
        for origin in [Origin::Server, Origin::Exporter, Origin::System] {
            self.pipeline.target_down(self.now, origin, pod);
        }
        self.machine_lost(pod);
    }

    /// Nothing of a pod answers any more; its targets stay while its object does, and their scrapes fail.
    // Source: metrics-server pkg/scraper: a node that does not answer has no readings in the next cycle.
    pub(super) fn machine_lost(&mut self, pod: PodId) {
        if let Some(device) = self.devices.get_mut(pod.0 as usize) {
            *device = None;
            self.resources.remove(pod);
        }
    }

    fn gpu_window(&self, origin: Origin) -> SimDuration {
        let gpu = &self.scenario.devices.gpu;
        if origin == Origin::System { gpu.duty_cycle_window } else { gpu.util_window }
    }

    /// A reading at `at` covers the window before it.
    fn expect_reading(&mut self, origin: Origin, pod: PodId, at: SimTime) {
        let opens = (at - self.gpu_window(origin)).max(self.now);
        self.queue.push(opens, Event::WindowOpens(origin, pod));
    }

    /// GPU time of a pod so far.
    fn busy_time(&mut self, pod: PodId) -> SimDuration {
        if self.servers.len() <= pod.0 as usize {
            return SimDuration::ZERO;
        }
        self.advance(pod);
        let server = self.servers[pod.0 as usize].as_ref();
        server.map_or(SimDuration::ZERO, |server| server.replica.busy_time())
    }

    /// The window of a pod's next reading starts.
    pub(super) fn window_opens(&mut self, origin: Origin, pod: PodId) {
        let busy = self.busy_time(pod);
        if let Some(Some(device)) = self.devices.get_mut(pod.0 as usize) {
            device.opened[usize::from(origin == Origin::System)] = busy;
        }
    }

    /// Share of the window in which a kernel ran \[%\]; `None` without such a pod.
    fn utilisation(&mut self, origin: Origin, pod: PodId) -> Option<f64> {
        let busy = self.busy_time(pod);
        let device = self.devices.get(pod.0 as usize)?.as_ref()?;
        // A server that has just died counts no more.
        let inside = busy.saturating_sub(device.opened[usize::from(origin == Origin::System)]);
        let share = inside.as_ps() as f64 / self.gpu_window(origin).as_ps() as f64;
        Some(100.0 * self.scenario.devices.gpu.util_max * share.min(1.0))
    }

    /// The exporter reads a pod's GPUs.
    pub(super) fn read_gpus(&mut self, pod: PodId) {
        let Some(util) = self.utilisation(Origin::Exporter, pod) else { return };
        let Some(fb) = self.memory_used(pod) else { return };
        let next = self.now + self.scenario.devices.gpu.collect_interval;
        let Some(Some(device)) = self.devices.get_mut(pod.0 as usize) else { return };
        device.collected = Some((util, fb));
        self.expect_reading(Origin::Exporter, pod, next);
        self.queue.push(next, Event::Collect(pod));
    }

    /// Memory in use on each GPU of a pod \[MiB\]; `None` without such a pod.
    fn memory_used(&self, pod: PodId) -> Option<f64> {
        let gpu = &self.scenario.devices.gpu;
        let device = self.devices.get(pod.0 as usize)?.as_ref()?;
        Some(match device.container {
            Container::Serving => gpu.fb_serving_mib,
            // Weights come in evenly over a typical load; the KV cache is taken when the server is about to listen.
            Container::Loading(since) => {
                let share = (self.now - since).as_secs_f64() / self.typical_load().as_secs_f64();
                gpu.fb_context_mib + gpu.fb_weights_mib * share.min(1.0)
            }
            Container::Dead => 0.0,
        })
    }

    /// How long a load takes without company \[not 0\].
    // ASSUMPTION(A245): memory in use grows evenly over the median load time, whatever the volume gives this pod.
    fn typical_load(&self) -> SimDuration {
        let time = match &self.scenario.cluster.startup.load {
            ModelLoad::Storage(load) => {
                SimDuration::from_secs_f64(load.bytes as f64 / load.pod_rate.median as f64)
            }
            ModelLoad::Time(time) => time.median(),
        };
        time.max(SimDuration::from_millis(1))
    }

    /// One scrape of a target, or one sample of a system metric.
    pub(super) fn scrape(&mut self, origin: Origin, pod: PodId) {
        self.row.clear();
        let succeeded = match origin {
            Origin::Server => self.scrape_server(pod),
            Origin::Exporter => {
                let device = self.devices.get(pod.0 as usize).and_then(Option::as_ref);
                let collected = device.and_then(|device| device.collected);
                if let Some((util, fb)) = collected {
                    let value = |signal| if signal == Signal::FbUsed { fb } else { util };
                    self.fill_row(origin, value);
                }
                collected.is_some()
            }
            Origin::System => {
                let read = self.utilisation(origin, pod).zip(self.memory_used(pod));
                if let Some((util, used)) = read {
                    let total = self.scenario.devices.gpu.fb_total_mib;
                    self.fill_row(origin, |signal| match signal {
                        Signal::MemoryUsed => used * BYTES_PER_MIB,
                        Signal::MemoryTotal => total * BYTES_PER_MIB,
                        _ => util,
                    });
                }
                read.is_some()
            }
            Origin::Router => {
                let incoming = self.incoming as f64;
                let (queue, running) = self.pool();
                let average = queue / (self.endpoints.len().max(1) as f64);
                let held = self.held.len() as f64;
                self.fill_row(origin, |signal| match signal {
                    Signal::PoolQueueSize => queue,
                    Signal::PoolAverageQueueSize => average,
                    Signal::FlowControlQueueSize => held,
                    Signal::ObjectiveRunningRequests => running,
                    _ => incoming,
                });
                true
            }
        };
        let values = succeeded.then_some(self.row.as_slice());
        let Some(next) = self.pipeline.scrape(self.now, origin, pod, values) else { return };
        if origin == Origin::System {
            self.expect_reading(origin, pod, next);
        }
        self.queue.push(next, Event::Scrape(origin, pod));
    }

    /// The row of a server's scrape; false if it does not answer.
    fn scrape_server(&mut self, pod: PodId) -> bool {
        self.advance(pod);
        let Some(server) = &mut self.servers[pod.0 as usize] else { return false };
        let gauges = server.replica.gauges();
        let Some(controller) = &self.controller else { return true };
        let metrics = server.replica.metrics();
        for feed in controller.feeds() {
            if feed.signal.origin() == Some(Origin::Server) {
                feed.signal.scrape(&gauges, metrics, &mut self.row);
            }
        }
        true
    }

    /// Requests that wait in the pods in service, and all that no pod has ended, as the endpoint picker knows it.
    // ASSUMPTION(A376): as of the scrape; what the picker has read is up to its refresh period older, and pods that
    // have gone are not shown any more.
    fn pool(&mut self) -> (f64, f64) {
        let Some(controller) = &self.controller else { return (0.0, 0.0) };
        let pool =
            [Signal::PoolQueueSize, Signal::PoolAverageQueueSize, Signal::ObjectiveRunningRequests];
        if !controller.feeds().iter().any(|feed| pool.contains(&feed.signal)) {
            return (0.0, 0.0);
        }
        self.advance_all();
        let in_service =
            self.endpoints.iter().filter_map(|e| self.servers[e.pod.0 as usize].as_ref());
        let waiting: u32 = in_service.map(|s| s.replica.gauges().num_requests_waiting).sum();
        // A pod that ends what it has counts as well.
        let unfinished: usize = self.servers.iter().flatten().map(|s| s.replica.unfinished()).sum();
        (f64::from(waiting), unfinished as f64)
    }

    fn fill_row(&mut self, origin: Origin, value: impl Fn(Signal) -> f64) {
        let Some(controller) = &self.controller else { return };
        let own = controller.feeds().iter().filter(|feed| feed.signal.origin() == Some(origin));
        self.row.extend(own.map(|feed| value(feed.signal)));
    }

    /// metrics-server reads all pods.
    // Source: metrics-server pkg/storage/pod.go: readings of a container that has started anew since are forgotten; a
    // pod without a running container has none.
    pub(super) fn read_cpu(&mut self) {
        for index in 0..self.devices.len() {
            let pod = PodId(index as u32);
            let Some(core_seconds) = self.use_cpu(pod) else { continue };
            let Some(device) = &mut self.devices[index] else { continue };
            if std::mem::take(&mut device.died) {
                self.resources.remove(pod);
            }
            if device.container != Container::Dead {
                self.resources.read(self.now, pod, core_seconds);
            }
        }
        self.queue.push(self.now + self.scenario.devices.cpu.resolution, Event::ReadCpu);
    }

    /// Brings the CPU time of a pod to now; returns what it used since its start \[core-seconds\].
    fn use_cpu(&mut self, pod: PodId) -> Option<f64> {
        let index = pod.0 as usize;
        self.devices.get(index)?.as_ref()?;
        let busy = self.busy_time(pod);
        let server = self.servers.get(index).and_then(Option::as_ref);
        let running = server.map_or(0, |server| server.replica.gauges().num_requests_running);
        let running = f64::from(running);
        let cpu = &self.scenario.devices.cpu;
        let device = self.devices[index].as_mut()?;
        let span = (self.now - device.cpu_read_at).as_secs_f64();
        if span > 0.0 {
            let inside = busy.saturating_sub(device.cpu_busy).as_secs_f64();
            let busy_share = (inside / span).min(1.0);
            let cores = match device.container {
                Container::Serving => {
                    cpu.serving(busy_share, f64::midpoint(device.cpu_running, running))
                }
                Container::Loading(_) => cpu.starting(),
                Container::Dead => 0.0,
            };
            device.core_seconds += cores * span;
        }
        (device.cpu_read_at, device.cpu_busy, device.cpu_running) = (self.now, busy, running);
        Some(device.core_seconds)
    }

    /// KEDA's own loop.
    pub(super) fn keda_poll(&mut self) {
        let (Some(keda), Some(controller)) = (&mut self.keda, &self.controller) else { return };
        let triggers = controller.triggers(self.now, &mut self.pipeline);
        let wanted = keda.poll(self.now, self.spec_replicas, triggers);
        let next = self.now + keda.interval();
        if let Some(replicas) = wanted {
            self.set_replicas(replicas);
        }
        self.queue.push(next, Event::KedaPoll);
    }
}
