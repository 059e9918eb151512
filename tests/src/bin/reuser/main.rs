//! Makes children that have the same few pids one after the other, each with an end of its own (Linux only).

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("reuser: what it does takes Linux");
    std::process::exit(2);
}
