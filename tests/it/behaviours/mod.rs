//! The behaviours that all vendors share, each written once and tested with every vendor: requests
//! go to the whole gateway over HTTP, and the tests check what the vendor received and stores. A
//! test of one vendor is in the file of its topic.

mod async_writes;
mod backpressure;
mod batches;
mod client_disconnects;
mod concurrent_lost_responses;
mod conflicts;
mod creating;
mod data_loss;
mod deleting;
mod field_values;
mod idempotency;
mod ledger;
mod listing;
mod lost_responses;
mod malformed_responses;
mod numbers;
mod operations;
mod patching;
mod plans;
mod preconditions;
mod previewing;
mod reading;
mod rebasing;
mod success_without_effect;
mod unresolved_writes;
mod vendor_auth;
