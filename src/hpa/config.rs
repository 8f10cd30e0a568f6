//! Flags and feature gates of the controller, with their defaults per Kubernetes minor.

use std::ops::RangeInclusive;

use crate::units::SimDuration;

/// kube-controller-manager's settings that the algorithm reads; those of its loop are in [`super::SyncSchedule`].
/// Source: pkg/controller/podautoscaler/config/v1alpha1/defaults.go.
#[derive(Clone, Debug, PartialEq)]
pub struct ControllerConfig {
    /// `--horizontal-pod-autoscaler-tolerance`, a share.
    pub tolerance: f64,
    /// `--horizontal-pod-autoscaler-downscale-stabilization`.
    pub downscale_stabilization: SimDuration,
    /// `--horizontal-pod-autoscaler-cpu-initialization-period` (cpu metrics only).
    pub cpu_initialization_period: SimDuration,
    /// `--horizontal-pod-autoscaler-initial-readiness-delay` (cpu metrics only).
    pub initial_readiness_delay: SimDuration,
    /// Minor release 1.N whose rules apply.
    pub kube_minor: u32,
    /// Feature gate `HPAScaleToZero` (alpha, off by default up to 1.36).
    pub scale_to_zero: bool,
    /// Feature gate `HPAConfigurableTolerance` (on by default since 1.35, unknown before 1.33).
    pub configurable_tolerance: bool,
    /// Legacy path: factor of the scale-up limit. A constant upstream.
    pub scale_up_limit_factor: f64,
    /// Legacy path: minimum of the scale-up limit \[replicas\]. A constant upstream.
    pub scale_up_limit_minimum: f64,
}

impl ControllerConfig {
    /// Minor releases whose rules are implemented.
    pub const SUPPORTED_MINORS: RangeInclusive<u32> = 25..=36;
    /// The minor whose rules apply when none is given.
    pub const DEFAULT_MINOR: u32 = 36;

    /// Default flags and gates of Kubernetes 1.`kube_minor`.
    pub fn for_minor(kube_minor: u32) -> Self {
        Self {
            tolerance: 0.1,
            downscale_stabilization: SimDuration::from_secs(300),
            cpu_initialization_period: SimDuration::from_secs(300),
            initial_readiness_delay: SimDuration::from_secs(30),
            kube_minor,
            scale_to_zero: false,
            configurable_tolerance: kube_minor >= 35,
            scale_up_limit_factor: 2.0,
            scale_up_limit_minimum: 4.0,
        }
    }
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self::for_minor(Self::DEFAULT_MINOR)
    }
}
