//! HTTP/1.1 at the level of bytes: what is sent is exactly what a test writes, and responses are
//! read by their framing.

mod connection;
mod connections;
mod endless_bodies;
mod framing;
mod fuzz;
mod limits;
mod malformed;
mod order;
mod pages;
mod response;
mod scanner;
mod server;
mod smuggling;
mod targets;

pub(crate) use connection::RawConnection;
pub(crate) use response::RawResponse;
pub(crate) use server::{
    ADA, FACILITY, PATCH_HEADERS, ada_path, request_head, request_with_body, start_server, start_server_with,
};
