//! Processes that end as they are told (Linux only).

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("mortal: what it does takes Linux");
    std::process::exit(2);
}
