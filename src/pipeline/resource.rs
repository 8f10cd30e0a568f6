//! metrics-server: the CPU that a pod used, from two readings of its counter.

use crate::units::{Milli, PodId, SimDuration, SimTime};

/// What `metrics.k8s.io` answers for one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceSample {
    /// Cores used, in thousandths.
    pub usage: Milli,
    /// Time of the newer reading.
    pub timestamp: SimTime,
    /// Span between the two readings.
    pub window: SimDuration,
}

/// The store of metrics-server: the last two readings of each pod.
// Source: metrics-server pkg/storage/pod.go: usage is the growth between the last two readings; a pod with one reading
// has no sample. The reading from a container's start, which newer releases use for very young containers, is left out.
#[derive(Clone, Debug, Default)]
pub struct ResourceMetrics {
    /// In order of pod.
    pods: Vec<Readings>,
}

#[derive(Clone, Copy, Debug)]
struct Readings {
    pod: PodId,
    /// (time, core-seconds used since the start).
    newest: (SimTime, f64),
    before: Option<(SimTime, f64)>,
}

impl ResourceMetrics {
    /// A reading of a pod: core-seconds used since its container started. Times must rise.
    pub fn read(&mut self, now: SimTime, pod: PodId, core_seconds: f64) {
        match self.pods.binary_search_by_key(&pod, |r| r.pod) {
            Ok(i) => {
                let readings = &mut self.pods[i];
                assert!(now > readings.newest.0, "law L3: readings of a pod are in time order");
                readings.before = Some(readings.newest);
                readings.newest = (now, core_seconds);
            }
            Err(i) => {
                self.pods.insert(i, Readings { pod, newest: (now, core_seconds), before: None });
            }
        }
    }

    /// The pod is gone.
    pub fn remove(&mut self, pod: PodId) {
        self.pods.retain(|r| r.pod != pod);
    }

    /// The answer for one pod; `None` before its second reading.
    pub fn query(&self, pod: PodId) -> Option<ResourceSample> {
        let i = self.pods.binary_search_by_key(&pod, |r| r.pod).ok()?;
        let readings = &self.pods[i];
        let (from, used) = readings.before?;
        let window = readings.newest.0 - from;
        let cores = (readings.newest.1 - used) / window.as_secs_f64();
        // Source: metrics-server keeps nanocores and the HPA reads MilliValue, which rounds up.
        let usage = Milli((cores * 1000.0).ceil() as i64);
        Some(ResourceSample { usage, timestamp: readings.newest.0, window })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_needs_two_readings_and_is_their_slope() {
        let mut store = ResourceMetrics::default();
        let (pod, at) = (PodId(4), SimTime::from_secs);
        assert_eq!(store.query(pod), None);
        store.read(at(10), pod, 3.0);
        assert_eq!(store.query(pod), None);
        store.read(at(25), pod, 33.0);
        let window = SimDuration::from_secs(15);
        let sample = ResourceSample { usage: Milli(2000), timestamp: at(25), window };
        assert_eq!(store.query(pod), Some(sample));
        store.read(at(40), pod, 33.0);
        assert_eq!(store.query(pod).unwrap().usage, Milli(0));
        store.remove(pod);
        assert_eq!(store.query(pod), None);
    }
}
