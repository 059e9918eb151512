//! Attaching to what runs already: first everybody who is there, once and parents first, then all that happens from
//! there on.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

#[cfg(target_os = "linux")]
use proc_watch::PersistentId;
use proc_watch::{AttachError, EventKind, Events, Missing, Watcher};
use tests::compare::{End, Ends, Life, compare_with};
use tests::seen::{ATTEMPTS, Seen};
use tests::sources::{Forced, sources};
use tests::truth;
use tokio::runtime::{Builder, Runtime};

/// A process of the tree of shells: `node.sh LEVELS CODE [top]`. It logs as `make_tree` does, but for execs, has two
/// children, and waits for the end of its input. Then it has one more.
const NODE: &str = r#"
case $3 in top) echo "top $$" ;; *) echo "birth $$ $PPID" ;; esac >>truth
exec 3<&0
if [ "$1" -gt 0 ]; then
    sh node.sh $(($1 - 1)) $(($2 * 2)) <&3 &
    sh node.sh $(($1 - 1)) $(($2 * 2 + 1)) <&3 &
fi
read -r nothing <&3
sh late.sh
wait
[ "$2" -eq 5 ] && echo "end $$ signal 15" >>truth && kill -TERM $$
echo "end $$ code $2" >>truth
exit "$2"
"#;
const LATE: &str = "echo \"birth $$ $PPID\" >>truth; echo \"end $$ code 99\" >>truth; exit 99\n";
const SHELLS: usize = 7;
/// Processes of a growing tree at most: it is made larger where it was over before it could be attached to.
const MOST: u32 = 6_000;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Does it again if the kernel lost records, which streams have to say, as it may on a busy machine; or if there was no
/// tree left to attach to.
fn undisturbed(source: Forced, mut test: impl FnMut(Forced) -> Result<(), Disturbed>) {
    for _ in 0..ATTEMPTS {
        match test(source) {
            Ok(()) => return,
            Err(disturbed) => println!("{source:?}: {disturbed:?}, once more"),
        }
    }
    panic!("{source:?}: disturbed each time");
}

/// The same over each source that works here.
fn undisturbed_over_each(mut test: impl FnMut(Forced) -> Result<(), Disturbed>) {
    for source in sources() {
        undisturbed(source, &mut test);
    }
}

#[derive(Debug)]
enum Disturbed {
    Lost { _count: u64 },
    TooLate,
}

/// Asks until it is so, for half a minute.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..15_000 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("not in time: {what}");
}

/// Shells that wait for the end of their input, which is also when this is dropped.
struct Shells {
    dir: tempfile::TempDir,
    top: Child,
}

impl Shells {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("attach-").tempdir().expect("a directory");
        fs::write(dir.path().join("node.sh"), NODE).expect("a file");
        fs::write(dir.path().join("late.sh"), LATE).expect("a file");
        let mut command = Command::new("sh");
        command.args(["node.sh", "2", "1", "top"]).current_dir(dir.path()).stdin(Stdio::piped());
        let top = command.spawn().expect("a shell");
        let shells = Self { dir, top };
        until("all shells are there", || shells.text().lines().count() == SHELLS);
        shells
    }

    fn text(&self) -> String {
        fs::read_to_string(self.dir.path().join("truth")).unwrap_or_default()
    }

    /// What was true before and after. Those who are born now run one program each.
    fn finish(mut self) -> Vec<Life> {
        drop(self.top.stdin.take());
        let status = self.top.wait().expect("it can be waited for");
        assert_eq!(status.code(), Some(1));
        let mut lives = truth::parse(&self.text()).expect("the truth");
        assert_eq!(lives.len(), 2 * SHELLS);
        for life in &mut lives[SHELLS..] {
            life.execs = vec![None];
        }
        lives
    }
}

/// Reads a stream from its start to its end.
async fn seen_of(mut events: Events) -> Result<Seen, Disturbed> {
    let seen = Seen::attached(events.id()).losses_allowed().read(&mut events).await;
    assert!(seen.broken().is_empty(), "{} lost: {:#?}", seen.lost(), seen.broken());
    if seen.lost() == 0 { Ok(seen) } else { Err(Disturbed::Lost { _count: seen.lost() }) }
}

/// The part of the truth that is about `pid` and its descendants.
fn below(pid: u32, truth: &[Life]) -> Vec<Life> {
    let mut family = HashSet::from([pid]);
    let of_it = |life: &&Life| {
        let belongs = life.pid == pid || life.parent.is_some_and(|parent| family.contains(&parent));
        belongs && (family.insert(life.pid) || life.pid == pid)
    };
    truth.iter().filter(of_it).cloned().collect()
}

fn same(truth: &[Life], seen: &Seen, ends: Ends) {
    let differences = compare_with(truth, &seen.lives(), ends);
    assert!(differences.is_empty(), "{differences}");
}

/// Who was found, and whether it is known rightly what they run.
fn check_found(seen: &Seen, expected: usize) {
    let found: Vec<_> =
        seen.processes().iter().filter_map(|process| Some((process.id, process.found.as_ref()?))).collect();
    assert_eq!(found.len(), expected);
    for (id, metadata) in found {
        let argv = metadata.argv.as_ref().unwrap_or_else(|missing| panic!("{id}: {missing}"));
        assert_eq!(argv[..2], ["sh", "node.sh"], "{id}");
        assert_eq!(metadata.uid, Ok(own_uid()), "{id}");
        assert!(metadata.exe.is_ok() && metadata.cwd.is_ok() && metadata.comm.is_ok(), "{id}: {metadata:?}");
    }
}

fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").expect("/proc").uid()
}

/// `early`: the watcher was there before the tree, and saw its births.
fn attach_to_shells(source: Forced, early: bool) -> Result<(), Disturbed> {
    let before = early.then(|| source.watcher());
    let shells = Shells::start();
    let watcher = before.unwrap_or_else(|| source.watcher());
    runtime().block_on(async {
        let events = watcher.attach(shells.top.id()).expect("it lives");
        assert_eq!(events.id().pid(), shells.top.id());
        let reading = tokio::spawn(seen_of(events));
        let truth = tokio::task::spawn_blocking(|| shells.finish()).await.expect("the shells end well");
        let seen = reading.await.expect("a good stream")?;
        same(&truth, &seen, Ends::of(&watcher));
        check_found(&seen, SHELLS);
        Ok(())
    })?;
    let stats = watcher.stats();
    assert_eq!((stats.trees, stats.tracked), (0, 0));
    Ok(())
}

#[test]
fn shells_older_than_the_watcher() {
    undisturbed_over_each(|source| attach_to_shells(source, false));
}

#[test]
fn shells_younger_than_the_watcher() {
    undisturbed_over_each(|source| attach_to_shells(source, true));
}

/// The same tree twice, a part of it, and a single process: each stream is whole, whoever else listens.
#[test]
fn nested_trees() {
    undisturbed_over_each(attach_to_nested_trees);
}

fn attach_to_nested_trees(source: Forced) -> Result<(), Disturbed> {
    let shells = Shells::start();
    let watcher = source.watcher();
    let truth = truth::parse(&shells.text()).expect("the truth");
    let top = shells.top.id();
    let child = truth.iter().find(|life| life.parent == Some(top)).expect("it has children").pid;
    let leaf = truth.iter().find(|life| life.parent == Some(child)).expect("it has children").pid;
    runtime().block_on(async {
        let pids = [top, child, top, leaf];
        let streams = pids.map(|pid| watcher.attach(pid).expect("it lives"));
        assert_eq!(streams[0].id(), streams[2].id(), "one process has one identity");
        let reading = streams.map(|events| tokio::spawn(seen_of(events)));
        let truth = tokio::task::spawn_blocking(|| shells.finish()).await.expect("the shells end well");
        for ((pid, reading), found) in pids.into_iter().zip(reading).zip([SHELLS, 3, SHELLS, 1]) {
            let seen = reading.await.expect("a good stream")?;
            same(&below(pid, &truth), &seen, Ends::of(&watcher));
            check_found(&seen, found);
        }
        Ok(())
    })
}

/// A dropped stream leaves the other one whole.
#[test]
fn one_of_two_is_dropped() {
    undisturbed_over_each(attach_twice_and_drop);
}

fn attach_twice_and_drop(source: Forced) -> Result<(), Disturbed> {
    let shells = Shells::start();
    let watcher = source.watcher();
    runtime().block_on(async {
        let dropped = watcher.attach(shells.top.id()).expect("it lives");
        let kept = watcher.attach(shells.top.id()).expect("it lives");
        drop(dropped);
        let reading = tokio::spawn(seen_of(kept));
        let truth = tokio::task::spawn_blocking(|| shells.finish()).await.expect("the shells end well");
        let seen = reading.await.expect("a good stream")?;
        same(&truth, &seen, Ends::of(&watcher));
        check_found(&seen, SHELLS);
        Ok(())
    })
}

/// A tree that is being made while it is attached to.
struct Growing {
    child: Child,
    truth: PathBuf,
}

impl Growing {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let truth = dir.join("truth");
        let mut command = Command::new(env!("CARGO_BIN_EXE_make_tree"));
        command.arg("--truth").arg(&truth).args(args);
        Self { child: command.spawn().expect("make_tree can be run"), truth }
    }

    /// Attaches to the top, which has not been reaped: either it lives, or it is a zombie by the time that this is denied.
    fn attach(&self, watcher: &Watcher) -> Result<Events, Disturbed> {
        let pid = self.child.id();
        match watcher.attach(pid) {
            Ok(events) => Ok(events),
            Err(AttachError::NoSuchProcess { .. }) => {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it has not been reaped");
                assert!(stat.contains(") Z "), "it lives: {stat}");
                Err(Disturbed::TooLate)
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// How many have logged their births by now.
    fn births(&self) -> usize {
        let text = fs::read_to_string(&self.truth).unwrap_or_default();
        text.lines().filter(|line| line.starts_with("top ") || line.starts_with("birth ")).count()
    }
}

/// Holds what was seen after an attach against the truth: nobody is seen who never was, or otherwise than as it was; and
/// from the life with this number on, everybody is seen. The last lives of each pid are those that can have been seen.
fn judge(truth: &[Life], everybody_from: usize, seen: &Seen, ends: Ends) -> Result<(), String> {
    let mut unmatched: HashMap<u32, Vec<usize>> = HashMap::new();
    for (number, process) in seen.processes().iter().enumerate() {
        unmatched.entry(process.id.pid()).or_default().push(number);
    }
    let (mut expected, mut actual) = (Vec::new(), Vec::new());
    for (number, life) in truth.iter().enumerate().rev() {
        let mut life = life.clone();
        match unmatched.get_mut(&life.pid).and_then(Vec::pop) {
            Some(match_) => {
                let process = &seen.processes()[match_];
                if process.found.is_some() {
                    // What it ran before it was found is not told.
                    life.execs.drain(..life.execs.len().saturating_sub(process.life.execs.len()));
                }
                actual.push(process.life.clone());
            }
            None if number < everybody_from => continue,
            None => {}
        }
        expected.push(life);
    }
    let nobody = unmatched.into_values().flatten();
    actual.extend(nobody.map(|number| seen.processes()[number].life.clone()));
    let differences = compare_with(&expected, &actual, ends);
    let found = seen.processes().iter().filter(|process| process.found.is_some()).count();
    let (births, seen) = (truth.len(), seen.processes().len());
    eprintln!("{births} births, {found} found, {seen} seen in all");
    if differences.is_empty() { Ok(()) } else { Err(differences.to_string()) }
}

/// Attaches twice while a tree grows. Who of an orphan's descendants is seen depends on when it lost its parent; without
/// orphans, everybody is who was born after the attach.
fn attach_while_it_grows(source: Forced, shape: &str, mut count: u32, early: bool, mut delay: Duration) {
    let orphans = shape == "mix";
    undisturbed(source, |source| {
        let dir = tempfile::Builder::new().prefix("attach-").tempdir().expect("a directory");
        let before = early.then(|| source.watcher());
        let count_now = count.to_string();
        let args = ["--shape", shape, "--count", &count_now];
        let mut tree = Growing::start(dir.path(), &args);
        std::thread::sleep(delay);
        let watcher = before.unwrap_or_else(|| source.watcher());
        let streams = runtime().block_on(attach_twice(&watcher, &mut tree, delay / 4));
        if let Err(Disturbed::TooLate) = streams {
            (delay, count) = (Duration::ZERO, (count * 2).min(MOST));
        }
        let status = tree.child.wait().expect("it can be waited for");
        assert!(status.success(), "{status}");
        let truth = truth::parse(&fs::read_to_string(&tree.truth).expect("the truth")).expect("the truth");
        assert!(truth.iter().all(|life| life.end != End::Alive));
        for (births, seen) in streams? {
            let everybody_from = if orphans { usize::MAX } else { births };
            if let Err(wrong) = judge(&truth, everybody_from, &seen, Ends::of(&watcher)) {
                let kept = dir.keep();
                panic!("{source:?} {args:?}, {early}, {delay:?}: {wrong}The truth is in {}", kept.display());
            }
        }
        Ok(())
    });
}

/// Two accounts of a tree, each with the number of births that it may lack.
async fn attach_twice(
    watcher: &Watcher,
    tree: &mut Growing,
    apart: Duration,
) -> Result<[(usize, Seen); 2], Disturbed> {
    let first = tree.attach(watcher)?;
    let births_by_first = tree.births();
    let first = tokio::spawn(seen_of(first));
    tokio::time::sleep(apart).await;
    let second = tree.attach(watcher)?;
    let births_by_second = tree.births();
    let second = tokio::spawn(seen_of(second));
    let (first, second) = (first.await.expect("a good stream")?, second.await.expect("a good stream")?);
    Ok([(births_by_first, first), (births_by_second, second)])
}

#[test]
fn in_a_storm() {
    for source in sources() {
        for delay in [0, 5, 40] {
            for early in [false, true] {
                attach_while_it_grows(source, "storm", 1500, early, Duration::from_millis(delay));
            }
        }
    }
}

#[test]
fn while_threads_fork_and_exec() {
    for source in sources() {
        for shape in ["threads", "exec-by-thread", "exec-chain", "vfork"] {
            for early in [false, true] {
                attach_while_it_grows(source, shape, 300, early, Duration::from_millis(15));
            }
        }
    }
}

#[test]
fn in_a_mix_with_orphans() {
    for source in sources() {
        for early in [false, true] {
            for delay in [0, 30] {
                attach_while_it_grows(source, "mix", 600, early, Duration::from_millis(delay));
            }
        }
    }
}

#[test]
fn nobody_is_there() {
    for source in sources() {
        let watcher = source.watcher();
        let mut child = Command::new("true").spawn().expect("true");
        child.wait().expect("it can be waited for");
        // Linux gives no pid above 4,194,304.
        for pid in [child.id(), 4_194_305, u32::MAX, 0] {
            match watcher.attach(pid) {
                Err(AttachError::NoSuchProcess { pid: told }) => assert_eq!(told, pid),
                other => panic!("{source:?}: {pid}: {other:?}"),
            }
        }
        assert_eq!(watcher.stats().trees, 0);
    }
}

/// It has ended, and only waits to be reaped.
#[test]
fn a_zombie() {
    for source in sources() {
        let early = source.watcher();
        let mut child = Command::new("true").spawn().expect("true");
        let stat = format!("/proc/{}/stat", child.id());
        until("a zombie", || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z ")));
        for watcher in [early, source.watcher()] {
            match watcher.attach(child.id()) {
                Err(AttachError::NoSuchProcess { pid }) => assert_eq!(pid, child.id()),
                other => panic!("{source:?}: {other:?}"),
            }
        }
        child.wait().expect("it can be waited for");
    }
}

/// This process, its parent, and so on up to the first, with what /proc says of each.
fn ancestry() -> Vec<(u32, String)> {
    let mut ancestry = Vec::new();
    let mut pid = std::process::id();
    while pid > 0 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("an ancestor lives");
        let after_name = stat.rsplit_once(')').expect("a name in parentheses").1;
        let parent = after_name.split_whitespace().nth(1).and_then(|parent| parent.parse().ok());
        ancestry.push((pid, stat));
        pid = parent.expect("a parent");
    }
    ancestry
}

/// Everybody below pid 1, most of whom are root's. A source that is told of those only whom it asks for is not let near them
/// by everybody.
#[test]
fn strangers() {
    for source in sources() {
        let watcher = source.watcher();
        if watcher.capabilities().whole_machine {
            strangers_of(&watcher);
        } else if own_uid() != 0 {
            let denied = watcher.attach(1);
            assert!(matches!(denied, Err(AttachError::Denied { pid: 1, .. })), "{denied:?}");
        }
    }
}

fn strangers_of(watcher: &Watcher) {
    let mut events = watcher.attach(1).expect("there always is a first process");
    let mut seen = Seen::attached(events.id());
    let mut first = None;
    while let Some(event) = events.try_next() {
        let EventKind::Found { metadata } = &event.kind else { break };
        first.get_or_insert_with(|| metadata.clone());
        seen.take(&event);
        let stranger = metadata.uid.as_ref().is_ok_and(|uid| *uid != own_uid());
        if stranger && own_uid() != 0 {
            assert!(metadata.exe.is_err() && metadata.cwd.is_err(), "{}: {metadata:?}", event.id);
        }
    }
    assert!(seen.broken().is_empty(), "{:#?}", seen.broken());
    let found = |pid: u32| seen.processes().iter().any(|process| process.id.pid() == pid);
    let ancestry: Vec<_> = ancestry().into_iter().map(|(pid, name)| (pid, found(pid), name)).collect();
    assert!(ancestry.iter().all(|(_, found, _)| *found), "we and all above us are found: {ancestry:?}");
    let first = first.expect("the first process is found first");
    assert_eq!(first.uid, Ok(0));
    let comm = fs::read_to_string("/proc/1/comm").expect("a name");
    assert_eq!(first.comm, Ok(comm.trim_end_matches('\n').into()));
    // What anybody may read is the same to us; what is denied to us is said to be denied.
    let cmdline = fs::read_to_string("/proc/1/cmdline").expect("arguments");
    let argv: Vec<_> = cmdline.split_terminator('\0').map(std::ffi::OsString::from).collect();
    assert_eq!(first.argv, Ok(argv));
    let (exe, cwd) = (fs::read_link("/proc/1/exe"), fs::read_link("/proc/1/cwd"));
    assert_eq!(first.exe, exe.map_err(|_| Missing::Denied));
    assert_eq!(first.cwd, cwd.map_err(|_| Missing::Denied));
}

/// K2: a pid alone is whoever has it now. Named by more, nobody else is attached to, and several are one tree.
#[test]
#[cfg(target_os = "linux")]
fn k2_only_who_is_meant() {
    let waiting = || Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat");
    for source in sources() {
        let watcher = source.watcher();
        let (mut one, mut other) = (waiting(), waiting());
        let known = [one.id(), other.id()].map(|pid| PersistentId::of(pid).unwrap().expect("it lives"));
        runtime().block_on(async {
            let mut events = watcher.attach_known(&known).unwrap();
            assert_eq!(events.id().pid(), one.id());
            let mut living: Vec<u32> =
                events.handle().living().iter().map(|member| member.id.pid()).collect();
            living.sort_unstable();
            let mut expected = vec![one.id(), other.id()];
            expected.sort_unstable();
            assert_eq!(living, expected, "{source:?}");
            assert_eq!(watcher.persistent_id(events.id()).unwrap(), known[0]);

            // As if it had started a tick later, or in another boot.
            let text = known[0].to_string();
            let parts: Vec<&str> = text.split('/').collect();
            let start: u64 = parts[2].parse().unwrap();
            let later = format!("{}/{}/{}", parts[0], parts[1], start + 1);
            let elsewhere = format!("{}/{}/{start}", "0".repeat(32), parts[1]);
            for text in [later, elsewhere] {
                let stranger: PersistentId = text.parse().unwrap();
                let refused = watcher.attach_known(&[stranger]).unwrap_err();
                assert!(matches!(refused, AttachError::NoSuchProcess { .. }), "{source:?}: {refused}");
                let rest = watcher.attach_known(&[stranger, known[1]]).unwrap();
                assert_eq!(rest.id().pid(), other.id());
            }
            assert!(watcher.attach_known(&[]).is_err());

            one.kill().unwrap();
            one.wait().unwrap();
            let rest = watcher.attach_known(&known).unwrap();
            assert_eq!(rest.id().pid(), other.id());
            drop(other.stdin.take());
            other.wait().unwrap();
            let mut ended = HashSet::new();
            while let Some(event) = events.next().await {
                if let EventKind::Exit { .. } = event.kind {
                    ended.insert(event.id.pid());
                }
            }
            assert_eq!(ended, HashSet::from([one.id(), other.id()]), "{source:?}");
        });
    }
}
