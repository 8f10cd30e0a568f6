//! Published and derived figures of GKE that need only the cluster, on the guide's presets.

use hpasim::cluster::presets::{self, Accelerator, EngineStart, GEMMA_2_9B, ModelSize, Storage};
use hpasim::cluster::{
    AutoscalerEvent, Cluster, ClusterConfig, ClusterEvent, Effect, EventRank, ImagePull, ModelLoad,
    PodStage, Rate, StockOut,
};
use hpasim::rng::{Dist, Seed};
use hpasim::units::{PodId, SimDuration, SimTime};
use std::collections::BTreeMap;

/// Every effect of a run in which the deployment is scaled as told.
fn run(
    config: &ClusterConfig,
    seed: u64,
    initial: u32,
    scale: &[(u64, u32)],
    until_s: u64,
) -> Vec<(SimTime, Effect)> {
    let mut cluster = Cluster::new(config, Seed(seed));
    let mut queue: BTreeMap<(SimTime, EventRank, usize), ClusterEvent> = BTreeMap::new();
    let mut log = Vec::new();
    let mut out = Vec::new();
    let mut scale = scale.iter().peekable();
    let mut now = SimTime::ZERO;
    cluster.start(initial, &mut out);
    loop {
        for effect in out.drain(..) {
            match effect {
                Effect::At(at, event) => {
                    let n = queue.len() + log.len();
                    queue.insert((at, event.rank(), n), event);
                }
                other => log.push((now, other)),
            }
        }
        let event_at = queue.first_key_value().map(|(key, _)| key.0);
        let scale_at = scale.peek().map(|(s, _)| SimTime::from_secs(*s));
        let Some(next) = event_at.into_iter().chain(scale_at).min() else { return log };
        if next > SimTime::from_secs(until_s) {
            return log;
        }
        now = next;
        if scale_at == Some(now) {
            cluster.set_replicas(now, scale.next().unwrap().1, &mut out);
        } else {
            let (_, event) = queue.pop_first().unwrap();
            cluster.handle(now, event, &mut out);
        }
    }
}

fn entered(log: &[(SimTime, Effect)], pod: u32, stage: PodStage) -> f64 {
    let is = |e: &Effect| matches!(e, Effect::Pod { pod: PodId(p), stage: s, .. } if *p == pod && *s == stage);
    let found = log.iter().find(|(_, e)| is(e)).map(|(at, _)| at.as_secs_f64());
    found.unwrap_or_else(|| panic!("pod {pod} never entered {stage:?}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// From the wanted replica to traffic, over seeds; pod 1 is the new one.
fn start_times(config: &ClusterConfig, initial: u32, scale: &[(u64, u32)], pod: u32) -> Vec<f64> {
    let wanted = scale.last().unwrap().0 as f64;
    let total = |seed| {
        let log = run(config, seed, initial, scale, 4_000);
        entered(&log, pod, PodStage::InService) - wanted
    };
    (0..200).map(total).collect()
}

/// On L4 with no free node about 540 s (35 s autoscaler, 180 s node, 80 s image,
/// 242 s probe). The attach of the disk and the container start, which that sum leaves out, add 12 s.
#[test]
fn guide_l4_without_a_free_node_takes_nine_minutes() {
    let config = presets::guide(Accelerator::L4, Storage::Pd, GEMMA_2_9B);
    let total = median(start_times(&config, 1, &[(1_000, 2)], 1));
    println!("L4, no free node: {total:.0} s");
    assert!((535.0..565.0).contains(&total), "{total}");
}

/// On a warm node with the image about 245 s (plus the attach).
#[test]
fn guide_l4_on_a_warm_node_takes_four_minutes() {
    let config = presets::guide(Accelerator::L4, Storage::Pd, GEMMA_2_9B);
    let total = median(start_times(&config, 2, &[(1_000, 1), (1_100, 2)], 2));
    println!("L4, warm node: {total:.0} s");
    assert!((245.0..265.0).contains(&total), "{total}");
}

/// The warm window is ten minutes with the autoscaler's default profile; after it the new replica needs a new node.
#[test]
fn the_warm_window_is_ten_minutes() {
    let mut config = presets::guide(Accelerator::L4, Storage::Pd, GEMMA_2_9B);
    config.autoscaler = presets::autoscaler();
    // The victim drains up to its grace period of 30 s: its node is idle from 1 030 s.
    for (back, cold) in [(1_629, false), (1_641, true)] {
        let log = run(&config, 7, 2, &[(1_000, 1), (back, 2)], 4_000);
        let waited = entered(&log, 2, PodStage::Attaching) - entered(&log, 2, PodStage::Pending);
        assert_eq!(waited > 0.0, cold, "back at {back}: waited {waited}");
    }
}

/// With the guide's probe the storage makes no difference to Ready as long
/// as load and initialisation take less than 240 s; without the delay it does.
#[test]
fn the_guides_probe_hides_the_storage() {
    let ready = |storage, delay_s| {
        let mut config = presets::guide(Accelerator::L4, storage, GEMMA_2_9B);
        config.startup.init = Dist::Constant(SimDuration::from_secs(50));
        if let ModelLoad::Storage(load) = &mut config.startup.load {
            load.pod_rate = Rate::constant(load.pod_rate.median);
        }
        config.probe.readiness.initial_delay = SimDuration::from_secs(delay_s);
        let log = run(&config, 11, 1, &[(1_000, 2)], 4_000);
        entered(&log, 1, PodStage::Ready) - entered(&log, 1, PodStage::Loading)
    };
    let all = |delay| [Storage::Gcs, Storage::Hdml, Storage::Pd].map(|s| ready(s, delay));
    let guide = all(240);
    assert!(
        guide.iter().all(|t| (t - guide[0]).abs() < 1e-6 && (240.0..245.0).contains(t)),
        "{guide:?}"
    );
    let early = all(10);
    assert!(early[0] > early[2] + 50.0 && early[2] > early[1] + 15.0, "{early:?}");
}

/// An H100 node of eight GPUs takes four replicas of two; one order serves four, the fifth
/// waits for a second node.
#[test]
fn eight_gpu_nodes_make_a_staircase() {
    let config = presets::guide(Accelerator::H100, Storage::Hdml, GEMMA_2_9B);
    let log = run(&config, 3, 0, &[(0, 4), (2_000, 5)], 5_000);
    let orders: Vec<_> = log
        .iter()
        .filter_map(|(_, e)| match e {
            Effect::Autoscaler(AutoscalerEvent::TriggeredScaleUp { nodes, .. }) => Some(*nodes),
            _ => None,
        })
        .collect();
    assert_eq!(orders, [1, 1]);
    let bound: Vec<f64> = (0..5).map(|p| entered(&log, p, PodStage::Attaching)).collect();
    assert!(bound[..4].iter().all(|t| *t == bound[0]) && bound[4] > 2_000.0, "{bound:?}");
}

/// A stock-out leaves replicas Pending for at least the backoff.
#[test]
fn a_stock_out_keeps_replicas_pending_through_the_backoff() {
    let mut config = presets::guide(Accelerator::H100, Storage::Hdml, GEMMA_2_9B);
    config.pools[0].stock_out = StockOut { probability: 1.0, ..presets::no_stock_out() };
    let log = run(&config, 3, 0, &[(0, 1)], 12_000);
    let asked: Vec<f64> = log
        .iter()
        .filter(|(_, e)| matches!(e, Effect::Autoscaler(AutoscalerEvent::TriggeredScaleUp { .. })))
        .map(|(at, _)| at.as_secs_f64())
        .collect();
    let gaps: Vec<f64> = asked.windows(2).map(|w| w[1] - w[0]).collect();
    for (gap, backoff) in gaps.iter().zip([300.0, 600.0, 1_200.0, 1_800.0, 1_800.0]) {
        // Plus the report (30-90 s, lognormal) and at most two loops.
        assert!((backoff + 20.0..backoff + 160.0).contains(gap), "{gaps:?}");
    }
    assert!(!log.iter().any(|(_, e)| matches!(e, Effect::InService(_))));
}

/// dudeperf3ct/benchmark-vllm-startup: Mistral 7B (14.5 GB) on one L4 with vLLM 0.18 from
/// pd-balanced: 436 s with the image pull, 173 s with the image; 133 s with the image by the streamer, whose rate is
/// the preset's.
#[test]
fn mistral_on_l4_starts_in_436_and_173_seconds() {
    let model = ModelSize { bytes: 14_500_000_000, layers: 32 };
    let mut config = presets::guide(Accelerator::L4, Storage::Pd, model);
    config.startup = presets::startup(
        Accelerator::L4,
        Storage::Pd,
        EngineStart::V1Cold,
        presets::V0_18_IMAGE_BYTES,
        model,
    );
    if let ModelLoad::Storage(load) = &mut config.startup.load {
        // Measured on pd-balanced: 66.1 s, about 220 MB/s; the preset is for pd-ssd.
        load.pod_rate = Rate::constant(220_000_000);
    }
    config.probe.readiness.initial_delay = SimDuration::ZERO;
    let from_pull =
        |config: &ClusterConfig, pod: u32, first: PodStage, scale: &[(u64, u32)], initial| {
            let time = |seed| {
                let log = run(config, seed, initial, scale, 4_000);
                entered(&log, pod, PodStage::NotReady) - entered(&log, pod, first)
            };
            median((0..200).map(time).collect())
        };
    let cold = from_pull(&config, 1, PodStage::Pulling, &[(1_000, 2)], 1);
    assert!((cold - 436.0).abs() < 0.1 * 436.0, "cold {cold}");
    println!("Mistral-7B on L4, cold: {cold:.0} s");
    let warm = from_pull(&config, 2, PodStage::Creating, &[(1_000, 1), (1_100, 2)], 2);
    println!("Mistral-7B on L4, warm: {warm:.0} s");
    assert!((warm - 173.0).abs() < 0.1 * 173.0, "warm {warm}");
    config.startup.load = presets::startup(
        Accelerator::L4,
        Storage::Streamer,
        EngineStart::V1Cold,
        presets::V0_18_IMAGE_BYTES,
        model,
    )
    .load;
    let streamed = from_pull(&config, 2, PodStage::Creating, &[(1_000, 1), (1_100, 2)], 2);
    println!("Mistral-7B on L4, streamed: {streamed:.0} s");
    assert!((streamed - 133.0).abs() < 0.1 * 133.0, "streamed {streamed}");
}

/// When the last of five replicas is Ready, by seed in order: one is there, desired are 2 at 50 s, 4 and 5 two syncs
/// later, as published.
fn five_ready(config: &ClusterConfig) -> Vec<f64> {
    let all_ready = |seed| {
        let log = run(config, seed, 1, &[(50, 2), (65, 4), (80, 5)], 4_000);
        (1..5).map(|pod| entered(&log, pod, PodStage::Ready)).fold(0.0, f64::max)
    };
    let mut times: Vec<f64> = (0..200).map(all_ready).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// The reference architecture with pod snapshots, saturated at once: all five Ready at 450, 475 and 490 s with
/// restores of 45, 50 and 55 s.
// Source: accelerated-platforms, vllm-with-runai-and-podsnapshots.md. Its nodes (RTX Pro 6000) have no preset: the
// node times of L4 and A100 are on either side. The image is taken to be streamed.
#[test]
fn five_replicas_are_ready_after_eight_minutes_with_snapshots() {
    let mut medians = Vec::new();
    for accelerator in [Accelerator::L4, Accelerator::A100] {
        let mut config = presets::guide(accelerator, Storage::Streamer, GEMMA_2_9B);
        config.startup = presets::snapshot_restore(config.startup);
        config.startup.image = presets::image_streaming();
        config.probe = presets::probe_reference_architecture();
        let times = five_ready(&config);
        let (low, middle, high) = (times[20], times[100], times[180]);
        println!("snapshots, {accelerator:?}: {middle:.0} s ({low:.0} to {high:.0})");
        assert!(low < 450.0 && high > 490.0, "published runs are no rarity: {low} to {high}");
        medians.push(middle);
    }
    let published = (450.0 + 475.0 + 490.0) / 3.0;
    assert!(medians[0] < published && medians[1] > 0.9 * published, "{medians:?}");
    assert!(medians.iter().all(|m| (m / published - 1.0).abs() < 0.15), "{medians:?}");
}

/// How the weights come to the pods of [`five_cold`].
fn read_at(config: &mut ClusterConfig, bytes_per_s: u64) {
    if let ModelLoad::Storage(load) = &mut config.startup.load {
        load.pod_rate = Rate::constant(bytes_per_s);
    }
}

/// A cluster of the reference architecture without its accelerations: image pulled onto new nodes, V1 without a compile
/// cache.
fn cold(accelerator: Accelerator, storage: Storage, model: ModelSize) -> ClusterConfig {
    let mut config = presets::guide(accelerator, storage, model);
    let image = presets::V0_18_IMAGE_BYTES;
    config.startup = presets::startup(accelerator, storage, EngineStart::V1Cold, image, model);
    config.probe = presets::probe_reference_architecture();
    config
}

/// What the reference architecture starts: weights as it states them (59 GiB of Gemma 4 31B; 54 and 70 GB of GPU memory
/// for the two others) and layers of their config.json.
const LARGE: [(&str, ModelSize, [f64; 2]); 3] = [
    ("Gemma 3 27B", ModelSize { bytes: 55_300_000_000, layers: 62 }, [16.0, 18.0]),
    ("Qwen 3.5 35B-A3B", ModelSize { bytes: 70_000_000_000, layers: 40 }, [18.0, 22.0]),
    ("Gemma 4 31B", ModelSize { bytes: 63_340_000_000, layers: 60 }, [17.0, 20.0]),
];

/// Five replicas after a "traditional" cold boot: published 16-18, 18-22 and 17-20 min. Its loader is the default one,
/// through GCSFuse: no streamer. The presets' rates for that are 150 and 180 MB/s; the same text measured 59 GiB in
/// 379 s, 167 MB/s.
// Source: accelerated-platforms, vllm-with-runai-and-podsnapshots.md, and its revision of 2026-09 for the 379 s.
#[test]
fn cold_start_of_large_models_from_a_bucket() {
    for (name, model, published) in LARGE {
        let minutes = |accelerator, storage| {
            let times = five_ready(&cold(accelerator, storage, model));
            [times[20], times[100], times[180]].map(|s| s / 60.0)
        };
        let bucket = [Accelerator::L4, Accelerator::A100].map(|a| minutes(a, Storage::Gcs));
        println!("{name}, published {published:?} min: from a bucket on L4 and A100 {bucket:.1?}");
        for storage in [Storage::Pd, Storage::Streamer] {
            let other = [Accelerator::L4, Accelerator::A100].map(|a| minutes(a, storage)[1]);
            println!("  {}: {other:.1?}", storage.as_str());
        }
        for [low, middle, high] in bucket {
            assert!(low < published[1] && published[0] < high, "{name}: {low} to {high}");
            assert!(
                (middle / ((published[0] + published[1]) / 2.0) - 1.0).abs() < 0.25,
                "{middle}"
            );
        }
    }
}

/// From the start of the container to the listening server, the loads being given: the reference architecture's own
/// breakdown of one pod. Known miss: what is left beside the load is longer there (gVisor, warm-up of the vision part).
// Source: accelerated-platforms, revision of 2026-09: Gemma 4 31B 570 s (load 379) and 232 s (load 40), Gemma 3 27B
// 309 s (load 145).
#[test]
fn one_cold_container_with_a_measured_load() {
    let [gemma_3, _, gemma_4] = LARGE.map(|row| row.1);
    for (model, load_s, published) in
        [(gemma_4, 379, 570.0), (gemma_4, 40, 232.0), (gemma_3, 145, 309.0)]
    {
        let ours = [Accelerator::L4, Accelerator::A100].map(|accelerator| {
            let mut config = cold(accelerator, Storage::Gcs, model);
            read_at(&mut config, model.bytes / load_s);
            container_to_server(&config)
        });
        println!(
            "cold container, load {load_s} s: published {published} s, L4 and A100 {ours:.0?}"
        );
        assert!(ours.iter().all(|t| (0.65..1.05).contains(&(t / published))), "{ours:?}");
    }
}

/// From the start of a new node's container to the listening server, median over seeds.
fn container_to_server(config: &ClusterConfig) -> f64 {
    let time = |seed| {
        let log = run(config, seed, 1, &[(1_000, 2)], 6_000);
        entered(&log, 1, PodStage::NotReady) - entered(&log, 1, PodStage::Loading)
    };
    median((0..200).map(time).collect())
}

/// Llama 3.3 70B on a2-highgpu-8g through GCSFuse: a pod is Ready 20 min after it is scheduled untuned (load 1,200 s) and
/// 3 min tuned (35 s). The engine is not stated: V0 and V1 bound it. The image is taken to be streamed.
// Source: accelerated-platforms, use-cases/inferencing/cost-optimization/gcsfuse.
#[test]
fn llama_70b_from_a_tuned_and_an_untuned_bucket() {
    let model = ModelSize { bytes: 141_000_000_000, layers: 80 };
    for (load_s, published) in [(1_200, 20.0), (35, 3.0)] {
        let minutes = [EngineStart::V0, EngineStart::V1Cold].map(|engine| {
            let mut config = presets::guide(Accelerator::A100, Storage::Gcs, model);
            let image = presets::V0_18_IMAGE_BYTES;
            config.startup =
                presets::startup(Accelerator::A100, Storage::Gcs, engine, image, model);
            config.startup.image = presets::image_streaming();
            read_at(&mut config, model.bytes / load_s);
            config.probe.readiness.initial_delay = SimDuration::ZERO;
            let ready = |seed| {
                let log = run(&config, seed, 1, &[(1_000, 2)], 6_000);
                entered(&log, 1, PodStage::Ready) - entered(&log, 1, PodStage::Attaching)
            };
            median((0..200).map(ready).collect()) / 60.0
        });
        println!("Llama 70B, load {load_s} s: published {published} min, V0 and V1 {minutes:.1?}");
        let [v0, v1] = minutes;
        // "Around": published to the minute.
        assert!(v0 < published + 1.5 && v1 > published - 0.5, "{minutes:?}");
        assert!(v1 < 1.25 * published, "{minutes:?}");
    }
}

/// EKS, an 8-10 GB image pulled in 3-4 min, a load of 2-3 min and an engine start of 30 s on a node that takes 45 s: 6-8
/// min; with lazy image and streamed weights 90-120 s. All parts are the publication's but the stages between them.
// Source: chrismld/ai-on-eks-demos, INFERENCE-ON-EKS.md.
#[test]
fn plain_and_optimised_start_on_eks() {
    let constant = |s| Dist::Constant(SimDuration::from_secs(s));
    let total = |image, load_s| {
        let mut config = presets::guide(Accelerator::L4, Storage::Streamer, GEMMA_2_9B);
        // Karpenter asks at once.
        config.autoscaler.gpu_pod_min_age = SimDuration::ZERO;
        config.pools[0].provisioning = constant(45);
        config.startup.image = ImagePull::Time(image);
        config.startup.load = ModelLoad::Time(constant(load_s));
        config.startup.init = constant(30);
        config.probe = presets::probe_inference_gateway();
        median(start_times(&config, 1, &[(1_000, 2)], 1)) / 60.0
    };
    let plain = total(constant(210), 150);
    // The streamer's preset: 18.5 GB at 900 MB/s.
    let optimised = total(
        Dist::LogNormal { median: SimDuration::from_secs(8), p95: SimDuration::from_secs(20) },
        20,
    );
    println!("EKS: plain {plain:.1} min, optimised {optimised:.1} min");
    assert!((6.0..8.0).contains(&plain), "{plain}");
    assert!((1.5..2.0).contains(&optimised), "{optimised}");
}
