//! Many requests in one (contract 4.10).
//!
//! `request` parses a batch and checks it as a whole; `schedule` chooses the next item; `item`
//! handles one item by the handler of the request alone. `run` runs them all: `references` makes
//! the request of an item, `item_run` begins it (`next_step` decides what follows an attempt),
//! `item_end` follows a write that has an operation, `time_slice` lets other requests run between,
//! and `outcome` holds the results.
//!
//! `stored` keeps an asynchronous batch in the journal (its row is `head`) and resumes it, and
//! `running` runs it under its `lease`. `earlier_attempts` finds the items that began before, and
//! `repeat` continues a batch that is over and is sent again.

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
mod time_slice;
