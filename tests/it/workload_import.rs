//! Importers: recorded files of other tools where they are at hand, small texts of our own always.

use flate2::Compression;
use flate2::write::GzEncoder;
use hpasim::units::SimTime;
use hpasim::workload::import::{
    Columns, Content, Format, ReadOptions, TimeUnit, TraceError, ZeroOutput, read, read_rate_csv,
    read_trace, write_csv,
};
use hpasim::workload::{Interpolation, RateCurve, Recorded, Request, Summary};
use proptest::prelude::*;
use std::io::Write as _;
use std::path::PathBuf;

/// A recorded file beside the checkout, if it is there.
fn recorded(name: &str) -> Option<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../shared/data/traces").join(name);
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        println!("skipped: {} is not there", path.display());
    }
    bytes
}

pub(crate) fn trace(bytes: &[u8], options: &ReadOptions) -> Recorded {
    read_trace(bytes, options).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn rate(bytes: &[u8], options: &ReadOptions) -> RateCurve {
    match read(bytes, options).unwrap_or_else(|e| panic!("{e}")).content {
        Content::Rate(curve) => curve,
        Content::Trace(_) => panic!("a rate was expected"),
    }
}

pub(crate) fn rows(trace: &Recorded) -> Vec<(u64, u32, u32)> {
    trace.requests.iter().map(|r| (r.arrival.as_ps(), r.prompt_tokens, r.output_tokens)).collect()
}

fn with_format(format: Format) -> ReadOptions {
    ReadOptions { format: Some(format), ..ReadOptions::default() }
}

#[test]
fn azure_2023_files_have_their_published_figures() {
    struct Known {
        file: &'static str,
        golden: &'static str,
        rows: u64,
        span_ps: u64,
        cv: f64,
        rps: f64,
        peaks: [f64; 4],
        empty_minutes: f64,
        idc: [f64; 2],
        prompt: [f64; 7],
        output: [f64; 7],
        means: [f64; 2],
        correlation: f64,
    }
    // Source: statistics computed apart from this program.
    for k in [
        Known {
            file: "azure/AzureLLMInferenceTrace_conv.csv",
            golden: "azure/vidur_splitwise_conv.csv.gz",
            rows: 19_366,
            span_ps: 3_501_721_937_000_000,
            cv: 1.0942,
            rps: 5.530,
            peaks: [2.89, 1.64, 1.52, 1.32],
            empty_minutes: 0.0,
            idc: [1.39, 16.1],
            prompt: [181.0, 396.0, 1020.0, 1189.0, 2734.5, 4083.0, 4142.0],
            output: [41.0, 85.0, 129.0, 395.0, 424.0, 451.0, 601.0],
            means: [1154.7, 211.1],
            correlation: -0.11,
        },
        Known {
            file: "azure/AzureLLMInferenceTrace_code.csv",
            golden: "azure/vidur_splitwise_code.csv.gz",
            rows: 8_819,
            span_ps: 3_435_948_056_000_000,
            cv: 13.1513,
            rps: 2.567,
            peaks: [26.1, 11.7, 4.18, 1.56],
            empty_minutes: 0.21,
            idc: [13.2, 164.0],
            prompt: [75.0, 578.0, 1469.0, 2744.5, 5187.6, 7303.3, 7436.0],
            output: [6.0, 9.0, 13.0, 24.0, 55.0, 90.0, 251.46],
            means: [2047.8, 27.9],
            correlation: 0.0,
        },
    ] {
        let Some(bytes) = recorded(k.file) else { return };
        let imported = read(&bytes[..], &ReadOptions::default()).unwrap();
        assert_eq!(imported.report.format, "azure");
        assert_eq!((imported.report.rows, imported.report.kept), (k.rows, k.rows));
        let Content::Trace(got) = imported.content else { panic!("a trace") };
        let s = Summary::of(&got.requests).unwrap();
        assert_eq!((s.requests, s.span_ps), (k.rows, k.span_ps), "{}", k.file);
        let near = |a: f64, b: f64, by: f64| {
            assert!((a - b).abs() <= by, "{}: {a} instead of {b}", k.file);
        };
        near(s.gap_cv, k.cv, 5e-5);
        near(s.mean_rps, k.rps, 5e-4);
        for (w, want) in s.windows.iter().zip(k.peaks) {
            near(w.peak_to_mean(), want, if want > 10.0 { 0.05 } else { 0.005 });
        }
        near(s.windows[2].empty, k.empty_minutes, 0.005);
        near(s.windows[0].idc(), k.idc[0], 0.05);
        near(s.windows[2].idc(), k.idc[1], 0.05);
        for i in 0..7 {
            near(s.prompt.percentiles[i], k.prompt[i], 0.01);
            near(s.output.percentiles[i], k.output[i], 0.01);
        }
        near(s.prompt.mean, k.means[0], 0.06);
        near(s.output.mean, k.means[1], 0.06);
        near(s.correlation, k.correlation, 0.006);

        // Another project's reading of the same file, with float seconds.
        let golden = recorded(k.golden).expect("beside the other");
        let golden = trace(&golden, &ReadOptions::default());
        assert_eq!(golden.requests.len(), got.requests.len());
        for (a, b) in got.requests.iter().zip(golden.requests.iter()) {
            assert_eq!((a.prompt_tokens, a.output_tokens), (b.prompt_tokens, b.output_tokens));
            assert!(a.arrival.as_ps().abs_diff(b.arrival.as_ps()) <= 1_000_000, "{a:?} {b:?}");
        }
    }
}

#[test]
fn other_azure_editions_and_burstgpt_heads() {
    let Some(bytes) = recorded("format_samples/azure_2024_week_rows.csv") else { return };
    let got = rows(&trace(&bytes, &ReadOptions::default()));
    assert_eq!(got[..2], [(0, 2162, 5), (7_405_000_000, 2399, 6)]);
    assert_eq!(got.len(), String::from_utf8(bytes).unwrap().trim_end().lines().count() - 1);

    let bytes = recorded("format_samples/azure_multimodal_2025_rows.csv").unwrap();
    let got = rows(&trace(&bytes, &ReadOptions::default()));
    assert_eq!(got[..2], [(0, 770, 491), (5_550_000_000_000, 949, 126)]);

    let seconds = |bytes: &[u8]| -> Vec<f64> {
        trace(bytes, &ReadOptions::default())
            .requests
            .iter()
            .map(|r| r.arrival.as_secs_f64())
            .collect()
    };
    let v1 = recorded("format_samples/burstgpt_v1_head.csv").unwrap();
    assert_eq!(seconds(&v1), [0.0, 40.0, 113.0]);
    let v2 = recorded("format_samples/burstgpt_v2_head.csv").unwrap();
    assert_eq!(seconds(&v2), [0.0, 51.0, 82.0, 144.0]);
    let side = trace(&v2, &ReadOptions::default()).side.expect("sessions");
    assert_eq!(side.name(side.rows[0].session), "1722ac82-0a46-4bf0-aa08-89794e7a2b3f");
    // A filter does not shift time.
    let gpt4 = ReadOptions { model: Some("GPT-4".to_owned()), ..ReadOptions::default() };
    let only: Vec<f64> =
        trace(&v1, &gpt4).requests.iter().map(|r| r.arrival.as_secs_f64()).collect();
    assert_eq!(only, [113.0]);
}

#[test]
fn burstgpt_failed_calls() {
    let text = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                5.0,,1,ChatGPT,10,0,10,API log\n\
                6.0,,1,ChatGPT,10,5,15,API log\n\
                7.0,x,1,ChatGPT,0,5,5,Conversation log\n\
                7.0,x,1,ChatGPT,3,4,7,Conversation log\n";
    let imported = read(text.as_bytes(), &ReadOptions::default()).unwrap();
    assert_eq!(imported.report.dropped["zero output tokens"], 1);
    assert_eq!(imported.report.dropped["zero prompt tokens"], 1);
    let Content::Trace(got) = imported.content else { panic!("a trace") };
    assert_eq!(rows(&got), [(1_000_000_000_000, 10, 5), (2_000_000_000_000, 3, 4)]);
    let side = got.side.expect("one row has a session");
    assert_eq!((side.name(side.rows[0].session), side.name(side.rows[1].session)), ("", "x"));
    let keep = ReadOptions { zero_output: ZeroOutput::KeepAsOne, ..ReadOptions::default() };
    assert_eq!(rows(&trace(text.as_bytes(), &keep))[0], (0, 10, 1));
}

#[test]
fn one_trace_in_many_spellings() {
    let base = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                2024-05-12 00:00:00+00:00,10,1\n\
                2024-05-12 00:00:00.25+00:00,20,2\n\
                2024-05-12 00:00:01.5+00:00,30,3\n";
    let want = vec![(0, 10, 1), (250_000_000_000, 20, 2), (1_500_000_000_000, 30, 3)];
    let other = |text: &str| {
        assert_eq!(rows(&trace(text.as_bytes(), &ReadOptions::default())), want, "{text}");
    };
    other(base);
    other(&base.replace('\n', "\r\n"));
    other(base.trim_end());
    other(&format!("\u{feff}{base}"));
    other(&base.replace("+00:00", ""));
    other(&base.replace("+00:00", "Z"));
    other(&base.replace("05-12 00:", "05-12T02:").replace("+00:00", "+02:00"));
    for digits in ["250", "250000", "2500000", "250000000"] {
        other(&base.replace(".25+", &format!(".{digits}+")));
    }
    other(&base.replace('\n', "\n# remark\n\n"));
    other(&base.replace("TIMESTAMP", " timestamp ").replace("ContextTokens", "CONTEXTTOKENS"));
    let lines: Vec<&str> = base.lines().collect();
    other(&[lines[0], lines[3], lines[1], lines[2]].join("\n"));
    let reordered: String = base
        .lines()
        .map(|l| l.split(',').collect::<Vec<_>>())
        .map(|c| format!("{},x,{},{}\n", c[2], c[0], c[1]))
        .collect();
    other(&reordered);
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(base.as_bytes()).unwrap();
    assert_eq!(rows(&trace(&gz.finish().unwrap(), &ReadOptions::default())), want);

    let shuffled = [lines[0], lines[3], lines[1], lines[2]].join("\n");
    let imported = read(shuffled.as_bytes(), &ReadOptions::default()).unwrap();
    assert_eq!(imported.report.out_of_order, 2);
    let strict = ReadOptions { strict_order: true, ..ReadOptions::default() };
    assert!(read(shuffled.as_bytes(), &strict).is_err());
}

#[test]
fn mooncake_blocks_and_reuse() {
    let Some(bytes) = recorded("mooncake/mooncake_trace_1000.jsonl") else { return };
    let imported = read(&bytes[..], &ReadOptions::default()).unwrap();
    assert_eq!((imported.report.format, imported.report.kept), ("mooncake", 1000));
    assert_eq!(
        imported.report.notes,
        Vec::<String>::new(),
        "every row has ceil(prompt/512) blocks"
    );
    let reuse = imported.report.prefix_reuse.unwrap();
    assert!((reuse - 0.391).abs() < 0.0006, "{reuse}");
    let Content::Trace(got) = imported.content else { panic!("a trace") };
    let s = Summary::of(&got.requests).unwrap();
    assert!((s.gap_cv - 4.03).abs() < 0.01, "{}", s.gap_cv);
    assert!((s.distinct_ratio - 0.059).abs() < 1e-9);
    assert!((s.prompt.mean - 9792.0).abs() < 1.0 && (s.output.mean - 199.0).abs() < 1.0);

    // The batches are an artefact of the clock: spread out, the arrivals are Poisson.
    let t = hpasim::workload::Transform { dequantize: true, ..Default::default() };
    let cvs: Vec<f64> = (0..10)
        .map(|seed| {
            let spread = t.apply(&got, hpasim::rng::Seed(seed), 0);
            assert!(spread.is_sorted_by_key(|r| r.arrival));
            Summary::of(&spread).unwrap().gap_cv
        })
        .collect();
    let mean = cvs.iter().sum::<f64>() / 10.0;
    assert!((mean - 1.0).abs() < 0.05, "{cvs:?}");

    let bytes = recorded("mooncake/synthetic_trace.jsonl.gz").unwrap();
    let imported = read(&bytes[..], &ReadOptions::default()).unwrap();
    assert_eq!(imported.report.kept, 3993);
    let reuse = imported.report.prefix_reuse.unwrap();
    assert!((reuse - 0.651).abs() < 0.0006, "{reuse}");

    let bytes = recorded("format_samples/bailian_row.jsonl").unwrap();
    let imported = read(&bytes[..], &ReadOptions::default()).unwrap();
    assert_eq!(imported.report.format, "mooncake (bailian)");
}

#[test]
fn mooncake_dialects() {
    let ms = r#"{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}
{"timestamp": 2500, "input_length": 1100, "output_length": 6, "hash_ids": [1, 2, 3]}"#;
    let got = trace(ms.as_bytes(), &ReadOptions::default());
    assert_eq!(rows(&got), [(0, 600, 5), (2_500_000_000_000, 1100, 6)]);
    let side = got.side.unwrap();
    assert_eq!((side.rows[0].prefix_tokens, side.rows[1].prefix_tokens), (0, 1024));
    // The second row begins with the first one's text.
    assert_eq!(side.rows[1].prefix_group, side.rows[0].session);
    assert_ne!(side.rows[1].session, side.rows[0].session);

    let options = ReadOptions {
        time_unit: Some(TimeUnit::S),
        block_tokens: Some(16),
        ..with_format(Format::Mooncake)
    };
    let imported = read(ms.as_bytes(), &options).unwrap();
    assert_eq!(imported.report.notes.len(), 1, "wrong block size is noticed");
    let Content::Trace(got) = imported.content else { panic!("a trace") };
    assert_eq!(rows(&got)[1].0, 2_500_000_000_000_000);

    let aiperf = r#"{"session_id": "a", "timestamp": 1000, "input_length": 5, "output_length": 5}
{"session_id": "a", "delay": 500, "input_length": 6, "output_length": 5}"#;
    let got = trace(aiperf.as_bytes(), &with_format(Format::Mooncake));
    assert_eq!(got.requests[1].arrival.as_secs_f64(), 0.5);

    let own = r#"{"arrival_s": 1.5, "prompt_tokens": 5, "output_tokens": 6}"#;
    assert_eq!(rows(&trace(own.as_bytes(), &ReadOptions::default())), [(1_500_000_000_000, 5, 6)]);
    let error = read(br#"{"x": 1}"#.as_slice(), &ReadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("its keys are: x"), "{error}");
}

#[test]
fn locust_histories() {
    for name in ["locust_2.47_stats_history.csv", "locust_2.47_full_history.csv"] {
        let Some(bytes) = recorded(&format!("format_samples/{name}")) else { return };
        let curve = rate(&bytes, &ReadOptions::default());
        let points = curve.points();
        let sum: f64 = points.windows(2).map(|w| w[0].1 * (w[1].0 - w[0].0)).sum();
        // The last total of the aggregate rows.
        let text = String::from_utf8(bytes).unwrap();
        let last = text.lines().rev().find(|l| l.contains(",Aggregated,")).unwrap();
        let total: f64 = last.split(',').nth(17).unwrap().parse().unwrap();
        assert!((sum - total).abs() < 1e-6, "{name}: {sum} {total}");
        assert_eq!(curve.interpolation(), Interpolation::Step);
    }
}

#[test]
fn locust_reset_and_missing_cells() {
    let text = "Timestamp,User Count,Type,Name,Requests/s,50%,Total Request Count\r\n\
                100,0,,Aggregated,0.0,N/A,0\r\n\
                101,5,GET,/a,9,1,4\r\n\
                101,5,,Aggregated,0.0,N/A,4\r\n\
                103,5,,Aggregated,0.0,7,10\r\n\
                104,5,,Aggregated,0.0,7,2\r\n";
    let curve = rate(text.as_bytes(), &ReadOptions::default());
    assert_eq!(curve.points(), [(0.0, 4.0), (1.0, 3.0), (3.0, 2.0), (4.0, 0.0)]);
}

#[test]
fn vllm_bench_results() {
    let text = r#"{"date": "x", "num_prompts": 3, "input_lens": [1]}
{"date": "y", "num_prompts": 3, "input_lens": [10, 20, 30], "output_lens": [5, 0, 7],
 "start_times": [1000.5, 1001.25, 1002.0]}"#;
    let imported = read(text.as_bytes(), &ReadOptions::default()).unwrap();
    assert_eq!(imported.report.dropped["failed request"], 1);
    assert!(imported.report.notes[0].contains("2 results"), "{:?}", imported.report.notes);
    let Content::Trace(got) = imported.content else { panic!("a trace") };
    assert_eq!(rows(&got), [(0, 10, 5), (1_500_000_000_000, 30, 7)]);
    // A failed request may have no start either.
    let zero = text.replace("1001.25", "0.0");
    assert_eq!(rows(&trace(zero.as_bytes(), &ReadOptions::default())), rows(&got));
    let plain = read(br#"{"num_prompts": 3}"#.as_slice(), &ReadOptions::default()).unwrap_err();
    assert!(plain.to_string().contains("--save-detailed"), "{plain}");
}

#[test]
fn prometheus_answers() {
    let gauge = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{},"values":[[100,"1"],[115,"2.5"],[130,"NaN"],[145,"4"]]},
        {"metric":{},"values":[[100,"1"],[115,"1"],[145,"1"]]}]}}"#;
    let curve = rate(gauge.as_bytes(), &ReadOptions::default());
    assert_eq!(curve.points(), [(0.0, 2.0), (15.0, 3.5), (45.0, 5.0)]);
    assert_eq!(curve.interpolation(), Interpolation::Linear);
    let counter = r#"[{"metric":{"__name__":"vllm:request_success_total"},
        "values":[[100,"7"],[110,"27"],[120,"10"]]}]"#;
    let curve = rate(counter.as_bytes(), &ReadOptions::default());
    assert_eq!(curve.points(), [(0.0, 2.0), (10.0, 1.0), (20.0, 0.0)]);
    assert!(read(b"[]".as_slice(), &ReadOptions::default()).is_err());
}

#[test]
fn column_map_and_units() {
    let text = "when;in;out\n1500;7;8\n2750.5;9;10\n";
    let options = ReadOptions {
        columns: Columns {
            arrival: Some("when".into()),
            prompt: Some("IN".into()),
            output: Some("out".into()),
        },
        time_unit: Some(TimeUnit::Ms),
        ..with_format(Format::Csv)
    };
    let got = rows(&trace(text.as_bytes(), &options));
    assert_eq!(got, [(0, 7, 8), (1_250_500_000_000, 9, 10)]);
    let error = read(text.as_bytes(), &ReadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("`arrival_s`"), "{error}");
    assert!(error.to_string().contains("when, in, out"), "{error}");
    // A tar archive is text to UTF-8, zero bytes and all; a terminal should not get them.
    let error =
        read(b"a.csv\x00ustar\x00, x\n1,2\n".as_slice(), &ReadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("not readable text"), "{error}");
}

#[test]
fn own_format_keeps_its_zero_and_names_bad_rows() {
    let text = "# made by hand\narrival_s,prompt_tokens,output_tokens\n1.5,10,5\n\n2,x,5\n3,10\n-1,3,3\n4,0,3\n";
    let error = read(text.as_bytes(), &ReadOptions::strict()).unwrap_err();
    let errors = error.row_errors();
    let lines: Vec<u64> = errors.iter().map(|e| e.line).collect();
    assert_eq!(lines, [5, 6, 7, 8]);
    assert!(errors[0].message.contains("`x`"), "{}", errors[0]);
    assert!(errors[3].hint.is_some());
    let TraceError::Rows { total, read: all, .. } = error else { panic!("rows") };
    assert_eq!((total, all), (4, 5));

    let foreign = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-12 00:00:00,1,1\n";
    let errors = read(foreign.as_bytes(), &ReadOptions::strict()).unwrap_err().row_errors();
    assert!(errors[0].hint.as_ref().unwrap().contains("import --format azure"), "{}", errors[0]);

    let good = "arrival_s,prompt_tokens,output_tokens\n1.5,10,5\n";
    assert_eq!(rows(&trace(good.as_bytes(), &ReadOptions::strict())), [(1_500_000_000_000, 10, 5)]);
    for empty in ["", "\n\n", "# x\n", "arrival_s,prompt_tokens,output_tokens\n", "\u{feff}"] {
        assert!(read(empty.as_bytes(), &ReadOptions::strict()).is_err(), "{empty:?}");
    }
    // One percent of bad rows is let through on import, with their lines in the report.
    let many: String = (0..200).map(|i| format!("{i},10,5\n")).collect();
    let text = format!("arrival_s,prompt_tokens,output_tokens\n{many}oops,1,1\n");
    let imported = read(text.as_bytes(), &ReadOptions::default()).unwrap();
    assert_eq!(imported.report.bad["unreadable time"].lines, [202]);
}

#[test]
fn rate_tables() {
    let text = "t_s,rate_rps\n10,1.5\n20,0\n40,3\n";
    let curve = read_rate_csv(text.as_bytes(), Interpolation::Linear).unwrap();
    assert_eq!(curve.points(), [(0.0, 1.5), (10.0, 0.0), (30.0, 3.0)]);
    for bad in ["", "a,b\n1,2\n", "t,rps\n1,x\n", "t,rps\n2,1\n1,1\n", "t,rps\n1,-1\n"] {
        assert!(read_rate_csv(bad.as_bytes(), Interpolation::Linear).is_err(), "{bad}");
    }
}

prop_compose! {
    fn any_trace()(rows in prop::collection::vec(
        (0..90 * 86_400_000_000_000_000_u64, 1..1_000_000_u32, 1..100_000_u32), 1..50)
    ) -> Recorded {
        Recorded::new(rows.into_iter().map(|(t, prompt_tokens, output_tokens)| Request {
            arrival: SimTime::from_ps(t), prompt_tokens, output_tokens, ..Request::default()
        }).collect())
    }
}

proptest! {
    /// What is written is read back, to the picosecond, in any spelling of the file.
    #[test]
    fn written_traces_come_back(t in any_trace(), crlf in any::<bool>(), cut in any::<bool>()) {
        let mut bytes = Vec::new();
        write_csv(&t, &["a remark".to_owned()], &mut bytes).unwrap();
        let mut text = String::from_utf8(bytes).unwrap();
        if crlf { text = text.replace('\n', "\r\n"); }
        if cut { text.truncate(text.trim_end().len()); }
        prop_assert_eq!(rows(&trace(text.as_bytes(), &ReadOptions::strict())), rows(&t));
    }

    /// Side columns come back too, whatever characters the names hold.
    #[test]
    fn side_columns_come_back(t in any_trace(), names in prop::collection::vec("[a-c,\"; é\r\n]{0,3}", 50)) {
        use hpasim::workload::{Side, SideTable};
        let mut side = SideTable::default();
        for (i, r) in t.requests.iter().enumerate() {
            let session = side.intern(&names[i % names.len()]);
            let row = Side { session, turn: i as u32, prefix_tokens: r.prompt_tokens / 2, ..Side::default() };
            side.rows.push(row);
        }
        let t = Recorded { side: Some(side.into()), ..t };
        let mut bytes = Vec::new();
        write_csv(&t, &[], &mut bytes).unwrap();
        let back = trace(&bytes, &ReadOptions::strict());
        prop_assert_eq!(rows(&back), rows(&t));
        let (a, b) = (t.side.unwrap(), back.side.unwrap());
        for (x, y) in a.rows.iter().zip(&b.rows) {
            prop_assert_eq!(a.name(x.session), b.name(y.session));
            prop_assert_eq!((x.turn, x.prefix_tokens), (y.turn, y.prefix_tokens));
        }
    }

    /// One spoiled row is reported with the line number that an editor shows, and nothing panics.
    #[test]
    fn a_bad_row_is_found_at_its_line(t in any_trace(), at in any::<prop::sample::Index>(), junk in "[^#\r\n]{1,12}") {
        let mut bytes = Vec::new();
        write_csv(&t, &["one".to_owned(), "two".to_owned()], &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let i = 3 + at.index(lines.len() - 3);
        prop_assume!(!junk.trim().is_empty() && !junk.contains(','));
        lines[i] = junk;
        let errors = read(lines.join("\n").as_bytes(), &ReadOptions::strict()).unwrap_err().row_errors();
        prop_assert_eq!(errors[0].line, i as u64 + 1);
    }

    /// No bytes make the reader panic.
    #[test]
    fn any_bytes_are_read_or_refused(
        head in prop::sample::select(vec![
            "arrival_s,prompt_tokens,output_tokens\n", "TIMESTAMP,ContextTokens,GeneratedTokens\n",
            "Timestamp,Request tokens,Response tokens\n", "{\"timestamp\":0,\"input_length\":", "[{\"metric\":{},\"values\":[",
            "Timestamp,User Count,Type,Name,Total Request Count\n", "\u{1f}\u{8b}", "",
        ]),
        tail in prop::collection::vec(any::<u8>(), 0..200),
        text in "[0-9.,:eE+-]{0,60}",
    ) {
        let bytes: Vec<u8> = head.bytes().chain(text.bytes()).chain(tail).collect();
        for format in [None, Some(Format::Csv), Some(Format::Jsonl), Some(Format::Mooncake), Some(Format::VllmBench),
                       Some(Format::Prometheus), Some(Format::Locust), Some(Format::Azure), Some(Format::Burstgpt)] {
            let _ = read(&bytes[..], &ReadOptions { format, ..ReadOptions::default() });
        }
        let _ = read_rate_csv(&bytes[..], Interpolation::Step);
    }
}
