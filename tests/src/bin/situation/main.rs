//! Tries one source where it is run, and says what it comes to: a line of JSON (Linux only).

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("situation: what it does takes Linux");
    std::process::exit(2);
}
