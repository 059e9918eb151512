//! What the numbers were measured on, and what else went on there.

use std::fs;

use crate::sockets;

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or("?").to_owned()
}

/// One paragraph for above a table.
pub fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("?", |(_, model)| model);
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let load = load_average();
    let release = first_line("/proc/sys/kernel/osrelease");
    let mut text = format!(
        "Linux {release}, {model}, {cpus} processors for this program, load average {load} at the start."
    );
    match sockets::listeners() {
        0 => {}
        others => {
            text += &format!(" **{others} sockets of others listened to the process connector as well.**")
        }
    }
    text
}

fn load_average() -> String {
    let load = first_line("/proc/loadavg");
    load.split(' ').next().unwrap_or("?").to_owned()
}

/// A line for below the tables.
pub fn at_the_end() -> String {
    format!("Load average {} at the end.", load_average())
}

/// Births of processes and threads on the whole machine since it started.
pub fn births() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().find_map(|line| line.strip_prefix("processes ")?.parse().ok()).unwrap_or(0)
}
