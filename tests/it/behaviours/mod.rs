//! What every vendor's records do alike, said once and tried with each of them: against the whole gateway over HTTP, looking
//! at what the vendor received and holds. What only one vendor does stands in the file of its topic, under its name.

mod async_writes;
mod backpressure;
mod client_disconnects;
mod concurrent_lost_responses;
mod creating;
mod data_loss;
mod deleting;
mod idempotency;
mod ledger;
mod listing;
mod lost_responses;
mod malformed_responses;
mod numbers;
mod operations;
mod patching;
mod preconditions;
mod reading;
mod vendor_auth;
