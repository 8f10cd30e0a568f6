//! `hpasim export`, `completions` and `man` from outside.

use crate::cli_support::{Scratch, TINY};

/// The recommendation of a sweep comes out again as the sweep wrote it, and in the other formats.
#[test]
fn a_sweep_is_exported_in_every_format() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    scratch.hpasim(&["sweep", "tiny.toml"]).expect(0);
    scratch.hpasim(&["export", "out/tiny", "-o", "again"]).expect(0);
    assert_eq!(scratch.files("again"), scratch.files("out/tiny/recommended"));

    let shown = scratch.hpasim(&["export", "out/tiny", "--format", "keda", "-o", "-"]).expect(0);
    let read = shown.stdout;
    assert!(read.contains("kind: ScaledObject"), "{read}");
    assert!(read.contains("# Recommended by hpasim"), "the figures go along: {read}");
    assert!(!read.contains("kind: HorizontalPodAutoscaler"), "KEDA makes it: {read}");

    let name = ["export", "out/tiny", "--format", "prometheus-adapter", "--hpa-name", "mine"];
    scratch.hpasim(&[&name[..], &["--namespace", "llm"]].concat()).expect(0);
    let hpa = scratch.read("out/tiny/manifests/hpa.yaml");
    assert!(hpa.contains("name: vllm_num_requests_running") && hpa.contains("name: mine"), "{hpa}");
    assert!(hpa.contains("namespace: llm"), "{hpa}");
    let rules = scratch.read("out/tiny/manifests/prometheus-adapter-rules.yaml");
    assert!(rules.contains("^vllm:num_requests_running$"), "{rules}");
    // Files of another format do not stay.
    let gmp = ["export", "out/tiny", "--format", "gmp-external"];
    scratch.hpasim(&gmp).expect(0);
    assert!(!scratch.exists("out/tiny/manifests/prometheus-adapter-rules.yaml"));
    let hpa = scratch.read("out/tiny/manifests/hpa.yaml");
    assert!(hpa.contains("type: External"), "{hpa}");
}

#[test]
fn an_experiment_is_exported_as_it_stands_or_refused() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let shown = scratch.hpasim(&["export", "tiny.toml", "-o", "-"]).expect(0).stdout;
    assert!(
        shown.starts_with("# The HPA of experiment tiny, with the first of all values"),
        "{shown}"
    );
    assert!(shown.contains("\n---\napiVersion: monitoring.googleapis.com/v1"), "{shown}");
    let refused = scratch.hpasim(&["export", "tiny.toml", "--hpa-name", "Mine"]).expect(2);
    assert!(refused.stderr.contains("metadata.name"), "{}", refused.stderr);
    assert!(!scratch.exists("out"));
    let wrong = scratch.hpasim(&["export", "tiny.toml", "--kube-version", "1.20"]).expect(2);
    assert!(wrong.stderr.contains("1.25 to 1.36"), "{}", wrong.stderr);
    std::fs::create_dir(scratch.path().join("empty")).unwrap();
    let wrong = scratch.hpasim(&["export", "empty"]).expect(2);
    assert!(wrong.stderr.contains("not the directory of a finished sweep"), "{}", wrong.stderr);
}

/// The name of an experiment is often that of its file, which Kubernetes may not admit as the name of an object.
#[test]
fn a_recommendation_has_a_name_that_kubernetes_admits() {
    let scratch = Scratch::new();
    scratch.write("Night_v2.toml", &TINY.replace("name = \"tiny\"\n", ""));
    scratch.hpasim(&["sweep", "Night_v2.toml"]).expect(0);
    let read = hpasim::manifest::read(&scratch.read("out/Night_v2/recommended/hpa.yaml")).unwrap();
    let hpa = &read.hpas[0];
    assert_eq!((hpa.name(), hpa.spec.scale_target_ref.name.as_str()), ("night-v2", "night-v2"));
    let own = ["export", "Night_v2.toml", "-o", "-", "--set"];
    let wrong = scratch.hpasim(&[&own[..], &["hpa.name=Night_v2"]].concat()).expect(2);
    assert!(wrong.stderr.contains("error[E0202]: `hpa.name`"), "{}", wrong.stderr);
    let wrong = scratch.hpasim(&["export", "Night_v2.toml", "--namespace", "A b"]).expect(2);
    assert!(wrong.stderr.contains("lower case letters"), "{}", wrong.stderr);
}

/// Keys of `[hpa]` go on top of its manifest, the name too.
#[test]
fn a_name_in_the_file_replaces_that_of_the_manifest() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    scratch.hpasim(&["export", "tiny.toml", "-o", "out"]).expect(0);
    let set = ["--set", "hpa={manifest=\"out/hpa.yaml\",name=\"other\"}"];
    let shown = scratch.hpasim(&[&["export", "tiny.toml", "-o", "-"], &set[..]].concat()).expect(0);
    assert!(shown.stdout.contains("\n  name: other\n"), "{}", shown.stdout);
    assert!(shown.stdout.contains("\n    name: tiny\n"), "its target stays: {}", shown.stdout);
}

#[test]
fn completions_and_manual_name_every_command() {
    let scratch = Scratch::new();
    let bash = scratch.hpasim(&["completions", "bash"]).expect(0).stdout;
    let page = scratch.hpasim(&["man"]).expect(0).stdout;
    for command in ["sweep", "run", "explain", "export", "backtest", "verify", "profile"] {
        assert!(bash.contains(command) && page.contains(command), "{command}");
    }
    scratch.hpasim(&["completions", "bash", "-o", "hpasim.bash"]).expect(0);
    assert_eq!(scratch.read("hpasim.bash"), bash);
    assert!(page.starts_with(".ie") && page.contains(".SH SYNOPSIS"), "{page}");
    scratch.hpasim(&["man", "-o", "man1"]).expect(0);
    assert!(scratch.read("man1/hpasim-sweep.1").contains("\\-\\-resume"));
    scratch.hpasim(&["completions", "tcsh"]).expect(2);
}
