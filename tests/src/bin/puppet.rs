//! A process that does as it is told (`tests::conformance`), and one that floods: `puppet --flood COUNT HOW CPU` makes and reaps as
//! many children on one processor, from the end of its input on, and ends.
#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "sched_setaffinity has no safe interface"))]

use tests::conformance::{play, set_program};

fn main() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    set_program(std::env::current_exe().expect("the path of this program"));
    play(&arguments);
    #[cfg(target_os = "linux")]
    if arguments.first().is_some_and(|flag| flag == "--flood") {
        let words: Vec<&str> = arguments[1..].iter().filter_map(|word| word.to_str()).collect();
        return flood(&words);
    }
    panic!("usage: puppet --puppet DIR");
}

#[cfg(target_os = "linux")]
fn flood(words: &[&str]) {
    use std::io;
    use tests::conformance::make_and_reap;

    let [count, how, cpu] = words else { panic!("usage: puppet --flood COUNT HOW CPU") };
    stay_on(cpu.parse().expect("a processor's number"));
    io::copy(&mut io::stdin(), &mut io::sink()).expect("an input");
    (0..count.parse::<u32>().expect("a number")).for_each(|_| {
        make_and_reap(how, 0);
    });
}

/// Keeps this process, and what it makes, on one processor.
#[cfg(target_os = "linux")]
fn stay_on(cpu: usize) {
    // SAFETY: plain numbers, for which zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: checks that the number is within the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the size is that of the set, which is only read.
    let done = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
