//! An HPA manifest. No input may panic, and what is read and written again is read as the same.

#![no_main]

use hpasim::manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let file = match manifest::read(text) {
        Ok(file) => file,
        Err(findings) => {
            let _ = findings.iter().map(ToString::to_string).collect::<Vec<_>>();
            return;
        }
    };
    for hpa in &file.hpas {
        let yaml = hpa.to_yaml("written again");
        let again = manifest::read(&yaml).unwrap_or_else(|e| panic!("{e:?}\n{yaml}"));
        assert_eq!(again.hpas[0].spec, hpa.spec, "{yaml}");
    }
});
