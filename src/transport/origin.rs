//! Which of a vendor's hosts a request goes to.

/// The host that a request goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestOrigin {
    /// The vendor's, at `base_url`.
    #[default]
    Vendor,
    /// The one that issues tokens, where that is another one; its address is configured and checked
    /// like `base_url`.
    SignIn,
}
