//! What the shared folder knows of one history.

use flate2::read::GzDecoder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// One recorded history.
pub(super) struct History {
    pub(super) id: String,
    pub(super) record: Value,
    /// (time \[s\], value) by name, in time order.
    pub(super) series: BTreeMap<String, Vec<(f64, f64)>>,
    /// The autoscaler as autoscaling/v2.
    pub(super) manifest: Option<String>,
    /// (quantity, value) of single figures.
    pub(super) figures: BTreeMap<String, f64>,
    folder: PathBuf,
}

/// One stream of the recorded load.
pub(super) struct Load {
    pub(super) start_s: f64,
    pub(super) rate_rps: f64,
    pub(super) requests: Option<u64>,
    pub(super) duration_s: Option<f64>,
    pub(super) cap: Option<u64>,
    /// `--seed` of the load generator.
    pub(super) seed: Option<u64>,
    /// Fixed (prompt, output) lengths \[tokens\], where the record has them.
    pub(super) lengths: Option<(u64, u64)>,
}

/// One row of a client log.
pub(super) struct Sent {
    pub(super) at_s: f64,
    /// `None` if it was not completed.
    pub(super) output_tokens: Option<u32>,
}

impl History {
    /// All histories of the folder, by name.
    pub(super) fn all(folder: &Path) -> Vec<Self> {
        let mut paths: Vec<_> =
            fs::read_dir(folder.join("records")).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| Self::read(folder, path)).collect()
    }

    fn read(folder: &Path, path: &Path) -> Self {
        let id = path.file_stem().unwrap().to_string_lossy().into_owned();
        let record = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        if let Ok(text) = fs::read_to_string(folder.join(format!("series/{id}.csv"))) {
            for row in rows(text.as_bytes()) {
                let point = (row[0].parse().unwrap(), row[2].parse().unwrap());
                series.entry(row[1].clone()).or_default().push(point);
            }
        }
        let milestones = fs::read_to_string(folder.join("milestones.csv")).unwrap();
        let figures = rows(milestones.as_bytes())
            .into_iter()
            .filter(|row| row[0] == id)
            .filter_map(|row| Some((row[1].clone(), row[2].parse().ok()?)))
            .collect();
        let manifest = fs::read_to_string(folder.join(format!("manifests/{id}.yaml"))).ok();
        Self { id, record, series, manifest, figures, folder: folder.to_owned() }
    }

    /// Text at a path of the record; empty if there is none.
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.record.pointer(pointer).and_then(Value::as_str).unwrap_or("")
    }

    /// Whether one of the `uses` starts with `word`.
    pub(super) fn is_for(&self, word: &str) -> bool {
        let uses = self.record["uses"].as_array();
        uses.is_some_and(|u| u.iter().any(|u| u.as_str().unwrap_or("").starts_with(word)))
    }

    /// Whether rates and lengths of the load are known with high certainty.
    pub(super) fn load_is_known(&self) -> bool {
        let words = self.text("/load_certainty");
        words.starts_with("high") && !words.contains("unknown number of connections")
    }

    /// The middle of the recorded interval of start-up times \[s\].
    pub(super) fn startup_s(&self) -> Option<f64> {
        let bounds = self.record.pointer("/startup/estimate_s")?.as_array()?;
        Some(f64::midpoint(bounds.first()?.as_f64()?, bounds.get(1)?.as_f64()?))
    }

    pub(super) fn loads(&self) -> Vec<Load> {
        let loads = self.record["load"].as_array().unwrap();
        let read = |load: &Value| {
            let number = |key: &str| load[key].as_f64();
            let prompt = load["input_tokens"].as_u64();
            Some(Load {
                start_s: number("start_s").unwrap_or(0.0),
                rate_rps: number("rate_rps")?,
                requests: load["requests"].as_u64(),
                duration_s: number("duration_s"),
                cap: load["max_concurrency"].as_u64(),
                seed: load["seed"].as_u64(),
                lengths: prompt.zip(load["output_tokens"].as_u64()),
            })
        };
        loads.iter().filter_map(read).collect()
    }

    /// The client log of this history or, if it has none, of a sister run of the same load.
    pub(super) fn client_log(&self) -> Option<Vec<Sent>> {
        let family = self.id.split('-').take(2).collect::<Vec<_>>().join("-");
        let own = self.folder.join(format!("requests/{}.csv.gz", self.id));
        let sister = || {
            let mut all: Vec<_> = fs::read_dir(self.folder.join("requests"))
                .ok()?
                .map(|entry| entry.unwrap().path())
                .filter(|path| {
                    path.file_name().unwrap().to_string_lossy().starts_with(&format!("{family}-"))
                })
                .collect();
            all.sort();
            all.into_iter().next()
        };
        let path = if own.exists() { own } else { sister()? };
        let mut text = String::new();
        GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        let sent = |row: &Vec<String>| Sent {
            at_s: row[2].parse().unwrap(),
            output_tokens: row[4].parse().ok(),
        };
        Some(rows(text.as_bytes()).iter().map(sent).collect())
    }

    /// Middle of the last zero and the first other value of any metric, at which the load became visible.
    pub(super) fn first_visible_s(&self) -> Option<f64> {
        let metrics = self.series.iter().filter(|(name, _)| name.starts_with("metric_avg:"));
        let first = |points: &Vec<(f64, f64)>| {
            let i = points.iter().position(|p| p.1 > 0.0)?;
            Some(f64::midpoint(points[i.checked_sub(1)?].0, points[i].0))
        };
        metrics.filter_map(|(_, points)| first(points)).min_by(f64::total_cmp)
    }
}

fn rows(text: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text);
    reader.records().map(|r| r.unwrap().iter().map(str::to_owned).collect()).collect()
}
