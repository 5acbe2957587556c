//! Many requests in one (contract 4.10).
//!
//! `request` parses a batch and checks it as a whole; `schedule` says which item is next; `item`
//! handles one item by the handler of the request alone; `run` runs them all, and `outcome` is what
//! becomes of each. `stored` keeps an asynchronous batch in the journal (its row is `head`) and
//! resumes it, `running` runs it, and `begun` knows what of it has begun before.

mod begun;
pub(in crate::http) mod head;
pub(in crate::http) mod item;
pub(in crate::http) mod outcome;
pub(in crate::http) mod raw;
mod records;
pub(in crate::http) mod request;
pub(in crate::http) mod response;
pub(in crate::http) mod routes;
pub(in crate::http) mod run;
mod running;
mod schedule;
pub(in crate::http) mod stored;
