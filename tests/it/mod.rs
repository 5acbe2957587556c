//! What is tested where.

mod architecture;
