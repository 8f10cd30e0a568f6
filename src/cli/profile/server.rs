//! The flags of the server that was measured, for `fit` and `check --requests`.

use super::MINOR;
use crate::config::profile::{GpuProfile, ServerFlags};
use crate::engine::EngineConfig;
use anyhow::anyhow;

/// Flags of the measured server; vLLM's own defaults where absent.
#[derive(clap::Args, Debug)]
pub(super) struct ServerArgs {
    /// vLLM release of the measured server, as in 0.19 [default: 0.33]
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    vllm_version: Option<u32>,
    /// Its --max-num-seqs [default: vLLM's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    max_num_seqs: Option<u32>,
    /// Its --max-num-batched-tokens [default: vLLM's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=131_072))]
    max_num_batched_tokens: Option<u32>,
    /// The KV cache that it printed at start-up, in tokens [default: by rule]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(32..=1 << 34))]
    kv_tokens: Option<u64>,
}

impl ServerArgs {
    /// The minor release of vLLM 0.x.
    pub(super) fn minor(&self) -> u32 {
        self.vllm_version.unwrap_or(MINOR)
    }

    /// Whether any flag was given.
    pub(super) fn given(&self) -> bool {
        let sizes = [self.max_num_seqs, self.max_num_batched_tokens];
        self.vllm_version.or(sizes[0]).or(sizes[1]).is_some() || self.kv_tokens.is_some()
    }

    /// The release, as people write it.
    pub(super) fn version(&self) -> String {
        format!("0.{}", self.minor())
    }

    /// The KV cache that was given.
    pub(super) fn kv_tokens(&self) -> Option<u64> {
        self.kv_tokens
    }

    /// The engine of a profile under these flags.
    pub(super) fn engine(&self, profile: &GpuProfile) -> anyhow::Result<EngineConfig> {
        profile
            .engine(&ServerFlags {
                vllm_minor: self.minor(),
                max_num_seqs: self.max_num_seqs,
                max_num_batched_tokens: self.max_num_batched_tokens,
                kv_tokens: self.kv_tokens,
                // Measured prompts are taken to be fresh: their content is not recorded.
                enable_prefix_caching: false,
            })
            .map_err(|why| anyhow!("profile `{}`: {why}", profile.name))
    }
}

/// `0.N` or `0.N.P`, as the minor release N.
fn parse_version(text: &str) -> Result<u32, String> {
    let mut parts = text.trim_start_matches('v').split('.');
    match (parts.next(), parts.next().and_then(|m| m.parse().ok())) {
        (Some("0"), Some(minor)) if minor <= 99 => Ok(minor),
        _ => Err("a vLLM release is written as in 0.19".to_owned()),
    }
}
