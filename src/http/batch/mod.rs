//! Many requests in one (contract 4.10).

pub(in crate::http) mod route;
