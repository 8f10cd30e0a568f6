//! The model's volume: how many nodes can have it, what one machine reads, when the page cache serves.

use super::*;

fn load(config: &mut ClusterConfig) -> &mut StorageLoad {
    match &mut config.startup.load {
        ModelLoad::Storage(load) => load,
        ModelLoad::Time(_) => panic!("read from storage"),
    }
}

/// From the start of a pod's container to its loaded weights.
fn read_time(driver: &Driver, pod: u32) -> SimDuration {
    let entered = |stage| driver.entered(pod, stage).expect("it got there");
    entered(PodStage::Initializing) - entered(PodStage::Loading)
}

/// Two nodes can have the volume: the third pod is bound, and waits until one of the two is empty.
#[test]
fn a_pod_waits_for_a_node_that_gives_the_volume_up() {
    let mut config = fixed();
    load(&mut config).attach_limit = Some(2);
    let mut driver = Driver::start(&config, 1, 2);
    driver.replicas(at(1_000), 3);
    driver.run_until(at(2_000));
    let bound = driver.entered(2, PodStage::Attaching).expect("it is bound");
    let failed = Effect::Fault(FaultEvent::FailedAttachVolume { pod: PodId(2) });
    assert_eq!(driver.times_of(failed), [bound]);
    assert!(driver.cluster.pods()[2].is_kube_pending(), "ContainerCreating");
    let node = driver.cluster.pods()[0].node().expect("bound");
    let mut out = Vec::new();
    driver.now = at(2_000);
    driver.cluster.handle(at(2_000), ClusterEvent::Preempt { node }, &mut out);
    driver.take(out);
    driver.run_until(at(4_000));
    let gone = driver.times_of(Effect::Gone(PodId(0)))[0];
    assert_eq!(driver.entered(2, PodStage::Pulling), Some(gone + secs(10)), "attached at once");
    assert!(driver.entered(2, PodStage::InService).is_some());
    // The replacement of pod 0 now waits in its stead.
    assert_eq!(driver.entered(3, PodStage::Pulling), None);
}

/// A deployment that is larger than the volume allows at the start waits in part, too.
#[test]
fn the_limit_holds_at_the_start() {
    let mut config = fixed();
    load(&mut config).attach_limit = Some(2);
    let mut driver = Driver::start(&config, 1, 4);
    assert_eq!(driver.count(PodStage::InService), 2);
    driver.run_until(at(3_000));
    assert_eq!(driver.count(PodStage::InService), 2);
    assert_eq!(driver.count(PodStage::Attaching), 2);
}

/// A second pod reads from the page cache (18 GB at 1.5 GB/s: 12 s) if the weights fit beside both pods, and from
/// the volume (450 MB/s: 40 s) if not.
#[test]
fn the_page_cache_needs_memory() {
    for (memory, reads) in [(None, 12), (Some(34_000_000_000), 12), (Some(33_900_000_000), 40)] {
        let mut config = big_nodes();
        config.pools[0].memory_bytes = memory;
        let mut driver = Driver::start(&config, 1, 1);
        driver.replicas(at(1_000), 2);
        driver.run_until(at(2_000));
        assert_eq!(read_time(&driver, 1), secs(reads), "{memory:?}");
    }
}

/// So does a container that starts again.
#[test]
fn a_restart_reads_again_what_memory_has_no_room_for() {
    for (memory, reads) in [(26_000_000_000, 12), (25_900_000_000, 40)] {
        let mut config = fixed();
        config.pools[0].memory_bytes = Some(memory);
        let crash = ScriptedFault { at: at(1_000), replica: 0, kind: FaultKind::Crash };
        config.faults.scripted.push(crash);
        let mut driver = Driver::start(&config, 1, 1);
        driver.run_until(at(2_000));
        assert_eq!(read_time(&driver, 0), secs(reads), "{memory}");
    }
}

/// GCSFuse's cache of 20 GiB outlives a container, and holds no larger model.
#[test]
fn a_restart_reads_again_what_the_file_cache_has_no_room_for() {
    use presets::{Accelerator, EngineStart, ModelSize, Storage};
    for (bytes, seconds) in [(20 << 30, 14.3), (21 << 30, 150.3)] {
        let model = ModelSize { bytes, layers: 32 };
        let gcs = presets::startup(Accelerator::L4, Storage::Gcs, EngineStart::V0, 1, model);
        let mut config = fixed();
        config.startup.load = gcs.load;
        load(&mut config).pod_rate = Rate::constant(150_000_000);
        config.faults.scripted.push(ScriptedFault {
            at: at(1_000),
            replica: 0,
            kind: FaultKind::Crash,
        });
        let mut driver = Driver::start(&config, 1, 1);
        driver.run_until(at(2_000));
        let took = read_time(&driver, 0).as_secs_f64();
        assert!((took - seconds).abs() < 0.1, "{bytes}: {took}");
    }
}

/// One machine reads 1,200 MiB/s from a disk, however fast the loader is.
#[test]
fn a_machine_bounds_its_reader() {
    let mut config = fixed();
    load(&mut config).pod_rate = Rate::constant(9_000_000_000);
    let mut driver = Driver::start(&config, 1, 1);
    driver.replicas(at(1_000), 2);
    driver.run_until(at(2_000));
    let rate = 18e9 / read_time(&driver, 1).as_secs_f64();
    assert!((rate / (1_200.0 * 1_048_576.0) - 1.0).abs() < 1e-6, "{rate}");
}

#[test]
fn published_attach_limits() {
    use presets::{DiskType, Storage, attach_limit};
    let volume_rate = |storage, gib| presets::volume_rate(storage, DiskType::PdSsd, gib);
    let hdml = |gib, mib: u64| attach_limit(Storage::Hdml, gib, Some(mib << 20)).expect("a disk");
    let plenty = 1_200_000;
    let sizes = [256, 257, 1_024, 2_048, 16_384, 16_385];
    assert_eq!(sizes.map(|gib| hdml(gib, plenty)), [2_500, 600, 600, 300, 128, 30]);
    // 100 MiB/s for each of more than 20 machines.
    assert_eq!([1_000, 2_000, 2_100, 50_000].map(|mib| hdml(1_024, mib)), [20, 20, 21, 500]);
    assert_eq!(attach_limit(Storage::Pd, 1_024, volume_rate(Storage::Pd, 1_024)), Some(100));
    assert_eq!(attach_limit(Storage::Gcs, 1_024, None), None);
    assert_eq!(volume_rate(Storage::Pd, 1_024), Some(515_000_000));
    assert_eq!(volume_rate(Storage::Pd, 2_048), Some(1_030_000_000));
    // 0.28 instead of 0.48 MiB/s per GiB.
    let balanced = presets::volume_rate(Storage::Pd, DiskType::PdBalanced, 1_024);
    assert_eq!(balanced, Some(300_000_000));
}
