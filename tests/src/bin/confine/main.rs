//! Runs a program with less than it is used to (Linux only).

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("confine: what it does takes Linux");
    std::process::exit(2);
}
