//! What every vendor's records do alike, said once and tried with each of them: against the whole gateway over HTTP, looking
//! at what the vendor received and holds. What only one vendor does stands in the file of its topic, under its name.

mod broken_answers;
mod creating;
mod credentials;
mod deleting;
mod hangups;
mod idempotency;
mod ledger;
mod limits;
mod listing;
mod losses;
mod numbers;
mod operations;
mod patching;
mod preconditions;
mod queued;
mod reading;
mod rivals;
mod vendor_nonsense;
