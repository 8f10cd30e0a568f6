//! Typical durations of a configuration, for warnings. Runs draw their own.

use super::config::{ClusterConfig, ImagePull, ModelLoad, StartupConfig};
use crate::units::SimDuration;

impl ClusterConfig {
    /// From a wanted replica to one in service when no node is free, every link at its median: the
    /// autoscaler's wait and half a loop, the first pool's node, attach, image, container, load, engine,
    /// the startup or else the readiness probe, and the endpoint. Nothing shared, no page cache, no stock-out.
    pub fn typical_cold_start(&self) -> SimDuration {
        let node = self.pools.first().map_or(SimDuration::ZERO, |pool| pool.provisioning.median());
        let startup = &self.startup;
        let image = match &startup.image {
            ImagePull::Rate { unpacked_bytes, rate } => {
                SimDuration::from_secs_f64(*unpacked_bytes as f64 / rate.median as f64)
            }
            ImagePull::Time(time) => time.median(),
        };
        let listening = startup.container_start.median() + startup.typical();
        let probe = self.probe.startup.unwrap_or(self.probe.readiness);
        let passed = listening.max(probe.initial_delay) + probe.period / 2;
        let ready =
            passed.max(self.probe.readiness.initial_delay) + self.probe.endpoint_delay.median();
        let autoscaler = &self.autoscaler;
        let old_enough = autoscaler.min_age().max(autoscaler.new_pod_scale_up_delay);
        let wait = old_enough + autoscaler.scan_interval / 2;
        wait + node + startup.attach.median() + image + ready
    }
}

impl StartupConfig {
    /// From the start of the container to the listening server, at the medians and alone.
    pub fn typical(&self) -> SimDuration {
        let load = match &self.load {
            ModelLoad::Storage(load) => {
                SimDuration::from_secs_f64(load.bytes as f64 / load.pod_rate.median as f64)
            }
            ModelLoad::Time(time) => time.median(),
        };
        load + self.init.median()
    }
}
