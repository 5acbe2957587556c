//! The words that labels take, beside the names of systems and problems.

use crate::problem::ProblemKind;

macro_rules! words {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $each:literal])* $variant:ident = $word:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $each])* $variant,)* }

        impl $name {
            /// Every word.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The label's value.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// What a request is about: the `action` label.
    RequestAction {
        /// GET or HEAD of one record.
        Read = "read",
        /// GET of a list.
        List = "list",
        /// POST.
        Create = "create",
        /// PATCH.
        Update = "update",
        /// DELETE.
        Delete = "delete",
        /// POST of a preview.
        Preview = "preview",
        /// GET of operations.
        Operation = "operation",
        /// GET of the ledger.
        Ledger = "ledger",
        /// Everything else.
        Other = "other",
    }
}

words! {
    /// How a vendor call ended: the `outcome` label.
    CallOutcome {
        /// A success.
        Ok2xx = "2xx",
        /// A redirect.
        Redirect3xx = "3xx",
        /// The vendor blames the gateway.
        Refused4xx = "4xx",
        /// The vendor blames itself.
        Failed5xx = "5xx",
        /// No answer in time.
        Timeout = "timeout",
        /// No connection.
        Connect = "connect",
        /// The answer was cut short or could not be read.
        Broken = "broken",
    }
}

words! {
    /// Why a vendor call was sent again: the `reason` label.
    RetryReason {
        /// No connection, or the vendor was out of service.
        Unavailable = "unavailable",
        /// No answer in time.
        Timeout = "timeout",
        /// The answer was cut short.
        Broken = "broken",
        /// The vendor failed.
        VendorError = "vendor_error",
        /// The vendor had too many calls.
        RateLimited = "rate_limited",
        /// The vendor did not know the token.
        TokenRefused = "token_refused",
        /// Anything else that was safe to repeat.
        Other = "other",
    }
}

words! {
    /// How a sign-in ended: the `outcome` label.
    RefreshOutcome {
        /// There is a new token.
        Ok = "ok",
        /// The vendor does not accept the credentials.
        Refused = "refused",
        /// Anything else.
        Failed = "failed",
    }
}

words! {
    /// Who saw that a record had changed: the `detected_by` label.
    DetectedBy {
        /// The gateway compared tags.
        Gateway = "gateway",
        /// The vendor compared versions.
        Vendor = "vendor",
    }
}

words! {
    /// What was read again: the `what` label.
    ReloadTarget {
        /// The configuration.
        Configuration = "configuration",
        /// The files of `server.tls`.
        Certificate = "certificate",
    }
}

/// How a request ended: the `outcome` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// 2xx and 304.
    Ok,
    /// The problem that was told.
    Problem(ProblemKind),
}

impl RequestOutcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Problem(name) => name.as_str(),
        }
    }

    pub(super) fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Problem(name) => 1 + name as usize,
        }
    }
}
