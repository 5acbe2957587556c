//! Fault injection on demand, in the sandbox only.

use std::any::Any;

/// Makes a fake vendor fail for one request.
pub trait FaultRehearsal: Send + Sync {
    /// Begins the failure `fault` of a system's vendor, for the request of this trace, which may
    /// name a record. It ends when the result is dropped.
    ///
    /// # Errors
    /// What would be valid.
    fn begin(&self, system: &str, record: Option<&str>, trace: &str, fault: &str) -> Result<Box<dyn Any>, String>;
}
