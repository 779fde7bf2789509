//! The program `sentinel-controlplane`.

fn main() {}
