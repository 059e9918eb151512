//! The bare reader of perf counts a tree, and nothing else. (In a process of its own: it has children, whose usage another test
//! would take for its own.)

use std::io;
use std::process::Command;

use benches::bare::Counts;
use benches::bare_perf::Rings;

#[test]
fn counts_a_tree_and_nothing_else() {
    let start = || {
        let rings = Rings::of_this_thread()?;
        let script = "for i in 1 2 3; do /bin/true; done; (:); exit 0";
        let child = Command::new("sh").args(["-c", script]).spawn();
        Ok::<_, io::Error>((rings, child.expect("a shell")))
    };
    let (mut rings, mut child) = match std::thread::spawn(start).join().unwrap() {
        Ok(started) => started,
        Err(error) => {
            println!("SKIPPED: no perf events here: {error}");
            return;
        }
    };
    let mut counts = Counts::default();
    while rings.receive(&mut counts, &[std::process::id(), child.id()]).unwrap() {}
    child.wait().unwrap();
    assert_eq!((counts.forks, counts.execs, counts.exits, counts.threads), (4, 3, 4, 0));
    assert_eq!(rings.lost().unwrap(), 0);
}
