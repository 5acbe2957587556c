//! Many requests in one (contract 4.10).
//!
//! `request` parses a batch and checks it as a whole; `schedule` chooses the next item; `item`
//! handles one item by the handler of the request alone; `run` runs them all, `item_run` each of
//! them, and `outcome` holds the results. `claimed_items` finds what a batch that is sent again had
//! made. `stored` keeps an asynchronous batch in the journal (its row is `head`) and resumes it,
//! `running` runs it, `interrupted_item` finds the items that were already started, and `repeat`
//! continues a batch that is over and is sent again.

mod claimed_items;
mod dependency;
pub(in crate::http) mod head;
mod interrupted_item;
pub(in crate::http) mod item;
mod item_records;
pub(in crate::http) mod item_run;
pub(in crate::http) mod outcome;
pub(in crate::http) mod repeat;
pub(in crate::http) mod request;
pub(in crate::http) mod response;
pub(in crate::http) mod routes;
pub(in crate::http) mod run;
mod running;
mod schedule;
pub(in crate::http) mod stored;
pub(in crate::http) mod stored_form;
