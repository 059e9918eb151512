//! Makes process trees to order.
fn main() {}
