//! Composition: the only module that knows all parts and moves more than one of them per event.

mod measures;

pub use measures::Measures;
