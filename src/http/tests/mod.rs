//! The API from outside, in front of the real gateway and store and a scripted vendor.

mod check_order;
mod items;
mod listings;
mod pages;
mod problems;
mod reads;
mod routes;
mod scripted_vendor;
mod test_api;
mod wire;
mod writes;
