//! The `kfilter` command line.
fn main() {}
