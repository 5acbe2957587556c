//! records-gateway.

fn main() {}
