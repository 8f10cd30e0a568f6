//! What pods may ask for on a GKE node: the machine's CPU and memory less what GKE keeps for itself.
//!
//! Source: Google Cloud documentation, "Plan GKE Standard node sizes", memory and CPU reservations. What the pods of
//! GKE's DaemonSets request comes on top (`presets::DAEMONSETS`).

/// CPU and memory, of a node or of a pod's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// CPU \[thousandths of a core\].
    pub cpu_milli: u64,
    /// Memory \[bytes\].
    pub memory_bytes: u64,
}

const MIB: u64 = 1 << 20;

/// Steps of (size of the slice, reserved share of it), the last one without an end: the reserved amount of `total`.
fn reserved(total: u64, steps: &[(u64, u64)], scale: u64) -> u64 {
    let mut left = total;
    let mut sum = 0;
    for (size, share) in steps {
        let slice = left.min(*size);
        sum += slice * share;
        left -= slice;
    }
    sum.div_ceil(scale)
}

/// What pods may ask for on a node of a machine with `vcpus` CPUs and `memory_gib` GiB.
pub fn gke_allocatable(vcpus: u32, memory_gib: u32) -> Resources {
    const REST: u64 = u64::MAX;
    // 6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the others.
    const CPU: [(u64, u64); 4] = [(1_000, 600), (1_000, 100), (2_000, 50), (REST, 25)];
    // 25 % of the first 4 GiB, 20 % of the next 4, 10 % of the next 8, 6 % of the next 112, 2 % of the rest.
    const MEMORY: [(u64, u64); 5] =
        [(4_096, 25), (4_096, 20), (8_192, 10), (114_688, 6), (REST, 2)];
    // The kubelet evicts pods when less than this is left.
    const EVICTION_MIB: u64 = 100;
    let (cpu, mib) = (u64::from(vcpus) * 1_000, u64::from(memory_gib) * 1_024);
    let kept_mib = if memory_gib < 1 { 255 } else { reserved(mib, &MEMORY, 100) };
    Resources {
        cpu_milli: cpu - reserved(cpu, &CPU, 10_000),
        memory_bytes: mib.saturating_sub(kept_mib + EVICTION_MIB) * MIB,
    }
}

impl Resources {
    /// What is left of it beside `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
        }
    }

    /// How many pods with these requests fit; a request of 0 takes no room.
    pub fn room_for(self, pod: Resources) -> u32 {
        let fit =
            |has: u64, asks: u64| has.checked_div(asks).map_or(u32::MAX, |n| n.min(1 << 20) as u32);
        fit(self.cpu_milli, pod.cpu_milli).min(fit(self.memory_bytes, pod.memory_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published allocatable CPUs of machines with 1 to 96 cores, and memory of a 150 GiB machine.
    // Source: Google Cloud documentation, allocatable resources of the n1-standard types; 140.1423 GiB of 150:
    // hatemosphere/gke-node-allocatable-memory-calculator, README.
    #[test]
    fn published_figures() {
        let cpu = |vcpus| gke_allocatable(vcpus, 1).cpu_milli;
        let cores = [1, 2, 4, 8, 16, 32, 64, 96];
        assert_eq!(cores.map(cpu), [940, 1_930, 3_920, 7_910, 15_890, 31_850, 63_770, 95_690]);
        let gib = |memory| gke_allocatable(1, memory).memory_bytes as f64 / (1_u64 << 30) as f64;
        assert!((gib(150) - 140.1423).abs() < 0.001, "{}", gib(150));
    }

    #[test]
    fn the_scarcer_resource_binds() {
        let node = Resources { cpu_milli: 11_900, memory_bytes: 43 << 30 };
        let pod = |cpu_milli, gib: u64| Resources { cpu_milli, memory_bytes: gib << 30 };
        assert_eq!(node.room_for(pod(2_000, 25)), 1);
        assert_eq!(node.room_for(pod(4_000, 10)), 2);
        assert_eq!(node.room_for(pod(12_000, 1)), 0);
        assert_eq!(node.room_for(pod(0, 44)), 0);
        assert_eq!(node.room_for(pod(0, 0)), u32::MAX);
        assert_eq!(node.without(pod(1_900, 3)), pod(10_000, 40));
        assert_eq!(node.without(pod(12_000, 44)), pod(0, 0));
    }
}
