//! A process that does what traps those who watch processes (Linux only).

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("trapper: what it does takes Linux");
    std::process::exit(2);
}
