//! The traces of `traces/`: each is what its command writes, and its README tells its figures.

use hpasim::workload::Summary;
use hpasim::workload::import::{ReadOptions, read_trace};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn hpasim(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_hpasim")).args(args).output().expect("the program runs")
}

/// File name and arguments of every command in the README.
fn commands(readme: &str) -> Vec<(String, Vec<&str>)> {
    readme
        .lines()
        .filter_map(|l| l.strip_prefix("hpasim "))
        .map(|l| {
            let (args, file) = l.split_once(" -o traces/").expect("every command names its file");
            (file.to_owned(), args.split(' ').collect())
        })
        .collect()
}

#[test]
fn shipped_traces_are_regenerated_byte_for_byte() {
    let folder = root().join("traces");
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let commands = commands(&readme);
    let mut total = 0;
    for (file, args) in &commands {
        let shipped = std::fs::read(folder.join(file)).unwrap();
        total += shipped.len();
        let written = hpasim(args);
        assert!(written.status.success(), "{file}: {}", String::from_utf8_lossy(&written.stderr));
        assert!(shipped == written.stdout, "{file} is not what `hpasim {}` writes", args.join(" "));
    }
    assert!(total < 5_000_000, "{total} bytes");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n != "README.md")
        .collect();
    names.sort();
    let mut listed: Vec<String> = commands.into_iter().map(|c| c.0).collect();
    listed.sort();
    assert_eq!(names, listed, "every file has its command");
}

#[test]
fn the_readme_tells_the_figures_of_the_files() {
    let folder = root().join("traces");
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let rows: Vec<&str> = readme.lines().filter(|l| l.starts_with("| `")).collect();
    assert_eq!(rows.len(), commands(&readme).len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let file = cells[0].trim_matches('`');
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let trace = read_trace(&bytes[..], &ReadOptions::strict()).unwrap();
        let s = Summary::of(&trace.requests).unwrap();
        let peak = |w| s.peak_to_mean(w).unwrap();
        let want = [
            format!("`{file}`"),
            s.requests.to_string(),
            format!("{:.1}", s.span_s / 60.0),
            format!("{:.3}", s.mean_rps),
            format!("{:.4}", s.gap_cv),
            format!("{:.2}", peak(15)),
            format!("{:.2}", peak(60)),
            format!("{:.0} / {:.0}", s.prompt.mean, s.prompt.percentiles[5]),
            format!("{:.0} / {:.0}", s.output.mean, s.output.percentiles[5]),
        ];
        assert_eq!(cells, want);
    }
}

fn scratch(name: &str, text: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trace");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn import_writes_the_trace_and_reports_to_standard_error() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                2024-05-12 00:00:00,10,1\n2024-05-12 00:00:00.25,20,0\n2024-05-12 00:00:01.5,30,3\n";
    let path = scratch("azure.csv", text);
    let out = hpasim(&["trace", "import", "--format", "azure", path.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0));
    let stdout = String::from_utf8(out.stdout).unwrap();
    assert_eq!(stdout, "arrival_s,prompt_tokens,output_tokens\n0,10,1\n1.5,30,3\n");
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(stderr.contains("1: zero output tokens"), "{stderr}");

    // Through a gzip file and back: the same figures.
    let packed = path.with_extension("gz");
    let packed = packed.to_str().unwrap();
    let out = hpasim(&["trace", "import", path.to_str().unwrap(), "-q", "-o", packed]);
    assert_eq!((out.status.code(), out.stderr.len()), (Some(0), 0));
    let out = hpasim(&["trace", "stats", packed]);
    let stdout = String::from_utf8(out.stdout).unwrap();
    assert!(stdout.contains("span                  1.5s"), "{stdout}");
}

#[test]
fn bad_input_is_code_2_with_file_and_line() {
    let bad = scratch("bad.csv", "arrival_s,prompt_tokens,output_tokens\n1,2,3\n1,x,3\n");
    let bad = bad.to_str().unwrap();
    for (args, words) in [
        (vec!["trace", "stats", bad], vec![bad, "line 3", "`x`"]),
        (vec!["trace", "import", "--format", "azure", bad], vec![bad, "line 1", "timestamp"]),
        (vec!["trace", "stats", "no-such-file.csv"], vec!["no-such-file.csv"]),
        (vec!["trace", "generate", "--preset", "azure"], vec!["azure-conv-like"]),
        (vec!["trace", "generate", "--preset", "poisson"], vec!["--duration"]),
        (vec!["trace", "generate", "--preset", "poisson", "--duration", "9"], vec!["no unit"]),
        (vec!["trace", "generate"], vec!["EXP.toml"]),
        (vec!["trace", "import", bad, "--map", "arrival"], vec!["COLUMN=NAME"]),
        (vec!["trace", "import", bad, "--rate-scale", "0"], vec!["line 3"]),
    ] {
        let out = hpasim(&args);
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(out.stdout.is_empty(), "{args:?} wrote a result");
        for word in words {
            assert!(stderr.contains(word), "{args:?} does not say `{word}`: {stderr}");
        }
    }
}

#[test]
fn an_experiment_gives_the_requests_of_its_replications() {
    let experiment = root().join("experiments/l4.toml");
    let generate = |more: &[&str]| -> String {
        let mut args = vec!["trace", "generate", experiment.to_str().unwrap(), "-q"];
        args.extend(["--set", "duration=\"20m\"", "--set", "warmup=\"1m\""]);
        args.extend(more);
        let out = hpasim(&args);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let base = generate(&[]);
    assert_eq!(base, generate(&["--replication", "0"]));
    assert!(base.starts_with("# generated from the experiment `l4`, seed 20261124, replication 0"));
    let rows = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert!(rows(&base).len() > 500);
    assert_ne!(rows(&base), rows(&generate(&["--replication", "1"])));
    assert_ne!(rows(&base), rows(&generate(&["--seed", "7"])));
    // A shorter run is the head of a longer one.
    let short = generate(&["--set", "duration=\"10m\""]);
    assert_eq!(rows(&short)[..], rows(&base)[..rows(&short).len()]);
}
