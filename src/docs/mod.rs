//! The documents of the project, as pages.

#[doc = include_str!("contract.md")]
pub mod contract {}

#[doc = include_str!("many-records.md")]
pub mod many_records {}

#[doc = include_str!("models.md")]
pub mod models {}

#[doc = include_str!("http-rules.md")]
pub mod http_rules {}

#[doc = include_str!("reference.md")]
pub mod reference {}

#[doc = include_str!("deploying.md")]
pub mod deploying {}

#[doc = include_str!("runbook.md")]
pub mod runbook {}

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("adding-a-vendor.md")]
pub mod adding_a_vendor {}

#[doc = include_str!("contributing.md")]
pub mod contributing {}

/// What was decided, why, and what it costs.
pub mod decisions {
    #[doc = include_str!("decisions/0001-tags-carry-the-version.md")]
    pub mod d01_tags_carry_the_version {}

    #[doc = include_str!("decisions/0002-fields-are-text.md")]
    pub mod d02_fields_are_text {}

    #[doc = include_str!("decisions/0003-one-way-to-reconcile.md")]
    pub mod d03_one_way_to_reconcile {}

    #[doc = include_str!("decisions/0004-creates-are-never-resent.md")]
    pub mod d04_creates_are_never_resent {}

    #[doc = include_str!("decisions/0005-spans-by-hand.md")]
    pub mod d05_spans_by_hand {}

    #[doc = include_str!("decisions/0006-plain-rows.md")]
    pub mod d06_plain_rows {}

    #[doc = include_str!("decisions/0007-two-database-clients.md")]
    pub mod d07_two_database_clients {}

    #[doc = include_str!("decisions/0008-ledger-hash-is-blake3.md")]
    pub mod d08_ledger_hash_is_blake3 {}

    #[doc = include_str!("decisions/0009-one-process-wide-gateway.md")]
    pub mod d09_one_process_wide_gateway {}

    #[doc = include_str!("decisions/0010-a-journal-with-one-writer.md")]
    pub mod d10_a_journal_with_one_writer {}

    #[doc = include_str!("decisions/0011-leases.md")]
    pub mod d11_leases {}

    #[doc = include_str!("decisions/0012-actix-awc-and-few-crates.md")]
    pub mod d12_actix_awc_and_few_crates {}

    #[doc = include_str!("decisions/0013-the-feed-is-the-ledger.md")]
    pub mod d13_the_feed_is_the_ledger {}
}
