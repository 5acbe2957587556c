//! Many requests in one (contract 4.10).
//!
//! - `request` parses a batch and checks it as a whole, with `routes`, the paths that an item can
//!   name.
//! - `item_names` makes what the ledger and the idempotency keys call an item.
//! - `context` is what all items of a batch share.
//! - `run` is a batch in memory: it runs the items.
//! - `schedule` chooses the next item, with `item_records`, the record that each item names.
//! - `dependency` is what an item leaves to those that depend on it.
//! - `references` makes the request of an item, with the values of items before it.
//! - `item_run` is one item from its beginning to its response; `item_step` is what it reports.
//! - `item` handles one item by the handler of the request alone.
//! - `pending_cause` finds what keeps an item from a response of its own.
//! - `next_step` decides what an item of a stored batch does after an attempt.
//! - `item_end` follows a write that has an operation to its end.
//! - `outcome` is the result of an item, and the summary of the batch.
//! - `response` writes a batch's document, or a line for each item.
//! - `stored` keeps an asynchronous batch in the journal and resumes it.
//! - `head` is its header row, and `stored_form` its text item by item.
//! - `lease` says which process runs it.
//! - `running` is a stored batch that runs here: a batch in memory whose results are saved.
//! - `earlier_attempts` finds the items that began before.
//! - `repeat` continues a batch that is over and is sent again.

pub(in crate::http) mod context;
mod dependency;
mod earlier_attempts;
pub(in crate::http) mod head;
pub(in crate::http) mod item;
mod item_end;
mod item_names;
mod item_records;
mod item_run;
mod item_step;
mod lease;
mod next_step;
pub(in crate::http) mod outcome;
mod pending_cause;
mod references;
pub(in crate::http) mod repeat;
pub(in crate::http) mod request;
pub(in crate::http) mod response;
pub(in crate::http) mod routes;
pub(in crate::http) mod run;
mod running;
mod schedule;
pub(in crate::http) mod stored;
pub(in crate::http) mod stored_form;
