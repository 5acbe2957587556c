//! The values of labels other than the names of systems and problems.

use crate::problem::ProblemKind;

macro_rules! label_enum {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $each:literal])* $variant:ident = $value:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $each])* $variant,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The label's value.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $value,)* }
            }
        }
    };
}

label_enum! {
    /// The action of a request: the `action` label.
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
        /// Many requests in one.
        Batch = "batch",
        /// GET of operations.
        Operation = "operation",
        /// GET of the ledger.
        Ledger = "ledger",
        /// GET of the console's files.
        Console = "console",
        /// GET of collections and of their schemas.
        Schema = "schema",
        /// Everything else.
        Other = "other",
    }
}

impl RequestAction {
    /// Whether the request changes a record.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Delete)
    }
}

label_enum! {
    /// The type of an event in the feed of changes: the `type` label.
    ChangeType {
        /// A record was created.
        Created = "record.created",
        /// A record was changed.
        Updated = "record.updated",
        /// A record was deleted.
        Deleted = "record.deleted",
        /// The outcome of a write is not known.
        Gap = "system.gap",
    }
}

label_enum! {
    /// How a vendor call ended: the `outcome` label.
    CallOutcome {
        /// A success.
        Ok2xx = "2xx",
        /// A redirect.
        Redirect3xx = "3xx",
        /// An error of the request, whatever the status.
        Refused4xx = "4xx",
        /// An error of the vendor.
        Failed5xx = "5xx",
        /// The record has another version than the write was bound to, whatever the status.
        Conflict = "conflict",
        /// No response in time.
        Timeout = "timeout",
        /// No connection.
        Connect = "connect",
        /// The response was truncated or could not be read.
        ConnectionLost = "broken",
    }
}

label_enum! {
    /// Why a vendor call was sent again: the `reason` label.
    RetryReason {
        /// No connection, or the vendor was out of service.
        Unavailable = "unavailable",
        /// No response in time.
        Timeout = "timeout",
        /// The connection broke, or the gateway sends a native update again.
        ConnectionLost = "broken",
        /// The vendor failed.
        VendorError = "vendor_error",
        /// The vendor had too many calls.
        RateLimited = "rate_limited",
        /// The vendor rejected the token.
        TokenRefused = "token_refused",
        /// Anything else that was safe to repeat.
        Other = "other",
    }
}

label_enum! {
    /// How a sign-in ended: the `outcome` label.
    RefreshOutcome {
        /// The vendor issued a token.
        Ok = "ok",
        /// The vendor rejected the credentials.
        Refused = "refused",
        /// Anything else.
        Failed = "failed",
    }
}

label_enum! {
    /// Which side detected that a record had changed: the `detected_by` label.
    DetectedBy {
        /// The gateway, by comparing ETags.
        Gateway = "gateway",
        /// The vendor, by comparing versions.
        Vendor = "vendor",
    }
}

label_enum! {
    /// Which of a vendor's queues a call waits in: the `lane` label, in the order in which they are
    /// served.
    Lane {
        /// Sign-ins, and requests that determine the outcome of a write (`Priority::reconcile`).
        Reconcile = "settle",
        /// Calls of single requests.
        Single = "single",
        /// Calls of items of a batch.
        Bulk = "bulk",
    }
}

label_enum! {
    /// How a rebase ended: the `outcome` label.
    RebaseOutcome {
        /// The change was applied to the current state.
        Applied = "applied",
        /// The change and another writer's touch one place.
        Overlap = "overlap",
        /// The state of the caller's tag is not known.
        UnknownBase = "unknown-base",
        /// The write met conflicts until its deadline.
        Lost = "lost",
    }
}

label_enum! {
    /// The outcome of a plan: the `outcome` label.
    PlanOutcome {
        /// A preview made it.
        Made = "made",
        /// A write was made as planned.
        Applied = "applied",
        /// A write differs from its plan.
        Changed = "changed",
        /// A write came after its plan had expired.
        Expired = "expired",
    }
}

label_enum! {
    /// The limit of a caller that a request exceeds: the `policy` label, and a word of
    /// `violated_policies`.
    QuotaPolicy {
        /// Requests per second.
        Rate = "rate",
        /// Requests in flight.
        InFlight = "in-flight",
    }
}

label_enum! {
    /// What was reloaded: the `what` label.
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
    /// 207: some items of a batch failed.
    Partial,
    /// The problem that was returned.
    Problem(ProblemKind),
}

impl RequestOutcome {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Problem(kind) => kind.as_str(),
        }
    }

    pub(super) fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Partial => 1,
            Self::Problem(kind) => 2 + kind as usize,
        }
    }
}
