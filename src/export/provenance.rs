//! Where a result comes from: enough to make it again.

/// What every summary and manifest says about its origin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Provenance {
    /// Name of the experiment.
    pub experiment: String,
    /// The command that makes this result again, without options that change no result (jobs, output).
    pub command: String,
    /// Files read, with the BLAKE3 digest of their bytes, in order of reading.
    pub inputs: Vec<(String, String)>,
    /// `--set` arguments, in order.
    pub overrides: Vec<String>,
    /// Master seed.
    pub seed: u64,
    /// That the GPU profile is an estimate, and how good; `None` if a file states it.
    pub profile_estimate: Option<String>,
}

impl Provenance {
    /// The version that made the result.
    pub const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    /// Digest of everything that decides the result: version, input bytes, overrides, seed.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        part(Self::VERSION);
        part(&self.inputs.len().to_string());
        for (_, digest) in &self.inputs {
            part(digest);
        }
        for argument in &self.overrides {
            part(argument);
        }
        part(&self.seed.to_string());
        hasher.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_depends_on_content_and_not_on_paths() {
        let base = Provenance {
            inputs: vec![("a.toml".into(), "d1".into()), ("b.toml".into(), "d2".into())],
            ..Provenance::default()
        };
        let mut moved = base.clone();
        moved.inputs[0].0 = "elsewhere/a.toml".into();
        assert_eq!(base.digest(), moved.digest());
        let mut changed = base.clone();
        changed.inputs[0].1 = "d3".into();
        assert_ne!(base.digest(), changed.digest());
        let mut set = base.clone();
        set.overrides.push("seed=2".into());
        assert_ne!(base.digest(), set.digest());
    }
}
