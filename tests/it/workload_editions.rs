//! Importers on what other editions of the formats may hold: other clocks, other containers, missing samples.

use crate::workload_import::{rate, rows, trace};
use hpasim::units::SimTime;
use hpasim::workload::import::{Content, ReadOptions, read};

/// Series of pods that were scraped at times of their own, or missed a scrape, add up all the same.
#[test]
fn prometheus_series_need_not_be_aligned() {
    let answer = |a: &str, b: &str| {
        format!(
            r#"[{{"metric":{{"__name__":"x_total","pod":"a"}},"values":[{a}]}},
                {{"metric":{{"__name__":"x_total","pod":"b"}},"values":[{b}]}}]"#
        )
    };
    let read = |text: String| rate(text.as_bytes(), &ReadOptions::default());
    let full = r#"[100,"0"],[110,"20"],[120,"40"],[130,"60"]"#;
    let gap = read(answer(full, r#"[100,"0"],[120,"40"],[130,"60"]"#));
    assert_eq!(gap.points(), [(0.0, 4.0), (10.0, 4.0), (20.0, 4.0), (30.0, 0.0)]);
    let phase = read(answer(full, r#"[104,"0"],[114,"20"],[124,"40"]"#));
    let want =
        [(0.0, 2.0), (4.0, 4.0), (10.0, 4.0), (14.0, 4.0), (20.0, 4.0), (24.0, 2.0), (30.0, 0.0)];
    assert_eq!(phase.points(), want);
    // A gauge holds between its samples for five minutes; a pod that is gone counts for nothing.
    let gauges = read(
        answer(r#"[0,"1"],[60,"1"],[600,"1"]"#, r#"[0,"2"],[30,"2"],[60,"2"]"#)
            .replace("_total", ""),
    );
    assert_eq!(gauges.points(), [(0.0, 3.0), (30.0, 3.0), (60.0, 3.0), (600.0, 1.0)]);
}

/// Dates where numbers are usual, and the other way round.
#[test]
fn the_unit_of_time_follows_from_the_first_row() {
    let want = [(0, 10, 5), (1_500_000_000_000, 20, 6)];
    for (header, date) in [
        ("arrival_s,prompt_tokens,output_tokens", true),
        ("TIMESTAMP,ContextTokens,GeneratedTokens", false),
        ("Timestamp,Request tokens,Response tokens", true),
        ("arrived_at,num_prefill_tokens,num_decode_tokens", true),
    ] {
        let [a, b] = if date {
            ["2024-05-10 00:00:00", "2024-05-10 00:00:01.5"]
        } else {
            ["1715299200", "1715299201.5"]
        };
        let text = format!("{header}\n{a},10,5\n{b},20,6\n");
        assert_eq!(rows(&trace(text.as_bytes(), &ReadOptions::default())), want, "{text}");
    }
    let text = r#"{"timestamp":"2024-05-10T00:00:00Z","input_length":10,"output_length":5}
{"timestamp":"2024-05-10T00:00:01.5Z","input_length":20,"output_length":6}"#;
    assert_eq!(rows(&trace(text.as_bytes(), &ReadOptions::default())), want);
    // Seconds since 1970 in hpasim's own format, which counts from zero.
    let text = "arrival_s,prompt_tokens,output_tokens\n1715299200,1,1\n";
    let errors = read(text.as_bytes(), &ReadOptions::default()).unwrap_err().row_errors();
    assert!(errors[0].hint.as_ref().unwrap().contains("--map arrival=arrival_s"), "{}", errors[0]);
}

/// BurstGPT holds 121 days, more than a run: the rest is for `--from` and `--to`.
#[test]
fn a_trace_may_be_longer_than_a_run() {
    let days = |n: u64| {
        let rows: String = (0..=n).map(|d| format!("{},10,5\n", d * 86_400)).collect();
        format!("Timestamp,Request tokens,Response tokens\n{rows}")
    };
    let got = trace(days(121).as_bytes(), &ReadOptions::default());
    assert_eq!(got.requests.len(), 122);
    // Rotated copies of it stay within its span.
    let double = hpasim::workload::Transform { rate_scale: 2.0, ..Default::default() };
    let copies = double.apply(&got, hpasim::rng::Seed(1), 0);
    assert_eq!(copies.len(), 244);
    assert!(copies.iter().all(|r| r.arrival <= SimTime::from_secs(121 * 86_400)));
    let error = read(days(200).as_bytes(), &ReadOptions::default()).unwrap_err();
    assert!(error.row_errors()[0].hint.as_ref().unwrap().contains("--time-unit"), "{error}");
}

#[test]
fn arrays_of_objects_and_inference_perf() {
    let text = r#"[{"timestamp": 0, "input_length": 10, "output_length": 5},
        {"timestamp": 1500, "input_length": 20, "output_length": 6}]"#;
    let got = trace(text.as_bytes(), &ReadOptions::default());
    assert_eq!(rows(&got), [(0, 10, 5), (1_500_000_000_000, 20, 6)]);

    let text = r#"[{"start_time": 7001.5, "end_time": 7003.0, "request": "..", "error": null,
         "info": {"input_tokens": 20, "output_tokens": 6, "output_token_times": [7002.0]}},
        {"start_time": 7000.0, "info": {"request_metrics": {"text": {"input_tokens": 10}},
         "response_metrics": {"output_tokens": 5}}, "error": null},
        {"start_time": 6999.0, "info": null, "error": {"error_type": "TimeoutError"}}]"#;
    let imported = read(text.as_bytes(), &ReadOptions::default()).unwrap();
    assert_eq!(imported.report.format, "inference-perf");
    assert_eq!(imported.report.dropped["failed request"], 1);
    let Content::Trace(got) = imported.content else { panic!("a trace") };
    assert_eq!(rows(&got), [(1_000_000_000_000, 10, 5), (2_500_000_000_000, 20, 6)]);
}

/// Names of blocks may be of any kind.
#[test]
fn prefix_blocks_with_digests_for_names() {
    for [a, b, c] in [["1", "2", "3"], ["-7", "-8", "-9"], [r#""ab""#, r#""cd""#, r#""ef""#]] {
        let text = format!(
            "{{\"timestamp\":0,\"input_length\":1024,\"output_length\":5,\"hash_ids\":[{a},{b}]}}\n\
             {{\"timestamp\":1,\"input_length\":1400,\"output_length\":5,\"hash_ids\":[{a},{b},{c}]}}\n"
        );
        let side = trace(text.as_bytes(), &ReadOptions::default()).side.unwrap();
        assert_eq!(side.rows[1].prefix_tokens, 1024, "{text}");
    }
}

#[test]
fn what_is_no_text_is_named() {
    let mut tar = vec![b'x'; 257];
    tar.extend(b"ustar");
    for (bytes, what, hint) in [
        (b"\x28\xb5\x2f\xfd...".to_vec(), "compressed by zstd", "zstd -dc"),
        (b"PAR1...".to_vec(), "Parquet", "CSV"),
        (tar, "tar archive", "unpack"),
        (b"\xff\xfea\0".to_vec(), "UTF-16", "UTF-8"),
        (b"t,rps\n0,1\n".to_vec(), "a rate over time", "rate_curve"),
        ("1 2 ".repeat(4000).into_bytes(), "has no column `arrival_s`", ", .."),
    ] {
        let error = read(&bytes[..], &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains(hint) && error.len() < 600, "{error}");
    }
}
