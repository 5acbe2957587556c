//! Descriptions that a request can do without: it waits for them only for a short time.

use std::time::Duration;

use tokio::time::timeout;

use crate::record::{VendorError, VendorErrorKind};

/// The longest that a request waits for a description that it can do without.
pub(crate) const MAX_DESCRIPTION_WAIT: Duration = Duration::from_secs(2);
/// How long a description that was too slow is not requested again.
pub(crate) const SLOW_DESCRIPTION_TTL: Duration = Duration::from_secs(10);

/// The result of a call that describes records; `Timeout` after [`MAX_DESCRIPTION_WAIT`].
///
/// # Errors
/// As the call, and `Timeout`.
pub(crate) async fn load_within_limit<T>(call: impl Future<Output = Result<T, VendorError>>) -> Result<T, VendorError> {
    timeout(MAX_DESCRIPTION_WAIT, call).await.unwrap_or_else(|_| {
        let fault = VendorError::new(VendorErrorKind::Timeout);
        Err(fault.message("the vendor did not describe its records in time").without_effect())
    })
}
