//! Output of strace 6.1, as it came; only noise was left out and some pids were made small.

use super::*;

fn argv(args: &[&str]) -> Option<Vec<OsString>> {
    Some(args.iter().map(OsString::from).collect())
}

fn life(pid: u32, parent: u32, execs: &[Option<Vec<OsString>>], end: End) -> Life {
    let parent = (parent != 0).then_some(parent);
    Life { pid, parent, execs: execs.to_vec(), end }
}

const PLAIN: &str = r#"
1 execve("/bin/sh", ["sh", "-c", "true & exec false"], 0x7ffcb6ca5938 /* 35 vars */) = 0
1 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f2ebd042e50) = 2
1 vfork( <unfinished ...>
3 execve("/bin/true", ["/bin/true"], 0x7ffe5d2c2948 /* 35 vars */ <unfinished ...>
1 <... vfork resumed>)              = 3
3 <... execve resumed>)             = 0
1 wait4(3,  <unfinished ...>
2 execve("/opt/tools/bin/bash", ["bash"], 0x7ffd14553ab8 /* 37 vars */) = -1 ENOENT (No such file or directory)
2 kill(2, SIGKILL)                  = ?
2 +++ killed by SIGKILL +++
3 exit_group(0)                     = ?
3 +++ exited with 0 +++
1 <... wait4 resumed>[{WIFEXITED(s) && WEXITSTATUS(s) == 0}], 0, NULL) = 3
1 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=3, si_uid=0, si_status=0, si_utime=0, si_stime=0} ---
1 wait4(-1, 0x7fff4959e0d0, WNOHANG, NULL) = -1 ECHILD (No child processes)
1 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7fdd1b6ce990) = ? ERESTARTNOINTR (To be restarted)
1 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD, stack=0x7f2ebc417000, stack_size=0x9000}, 88 <unfinished ...>
3205  execve("/usr/bin/python3", ["/usr/lib/python3/dist-packages/t"..., "/srv/t.py", "sp"], 0x7f2ebc4fb230 /* 38 vars */ <unfinished ...>
1 <... clone3 resumed>)             = 3205
3205  <... execve resumed>)             = 0
3205  tgkill(3205, 3205, SIGABRT)       = 0
3205  --- SIGABRT {si_signo=SIGABRT, si_code=SI_TKILL, si_pid=3205, si_uid=0} ---
3205  +++ killed by SIGABRT (core dumped) +++
1 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f2ebd042e50) = 7
7 --- SIGRT_5 {si_signo=SIGRT_5, si_code=SI_USER, si_pid=7, si_uid=0} ---
7 +++ killed by SIGRT_5 +++
1 exit_group(255)                   = ?
1 +++ exited with 255 +++
"#;

#[test]
fn forks_execs_and_ends() {
    let expected = [
        life(1, 0, &[argv(&["sh", "-c", "true & exec false"])], End::Code(255)),
        life(2, 1, &[], End::Signal(9)),
        life(3, 1, &[argv(&["/bin/true"])], End::Code(0)),
        // Its first argument was shortened.
        life(3205, 1, &[None], End::Signal(6)),
        life(7, 1, &[], End::Signal(37)),
    ];
    assert_eq!(parse(PLAIN.trim_start(), 1), expected);
}

/// Threads fork, the leader is gone, and another thread ends all of them with a code.
const THREADS: &str = r#"
9892 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7fa14c7dca50) = 9905
9905 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|CLONE_CHILD_CLEARTID, child_tid=0x7fa14c7db990, parent_tid=0x7fa14c7db990, exit_signal=0, stack=0x7fa14c5db000, stack_size=0x1fff40, tls=0x7fa14c7db6c0} => {parent_tid=[9907]}, 88) = 9907
9905 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|CLONE_CHILD_CLEARTID, child_tid=0x7fa14c5da990, parent_tid=0x7fa14c5da990, exit_signal=0, stack=0x7fa14c3da000, stack_size=0x1fff40, tls=0x7fa14c5da6c0} <unfinished ...>
9907 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD <unfinished ...>
9908 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7fa14c5da990) = 9911
9905 <... clone3 resumed> => {parent_tid=[9908]}, 88) = 9908
9905 exit(1)                           = ?
9910 exit_group(22)                    = ?
9910 +++ exited with 22 +++
9907 <... clone resumed>, child_tidptr=0x7fa14c7db990) = 9910
9908 wait4(9911,  <unfinished ...>
9911 exit_group(228)                   = ?
9911 +++ exited with 228 +++
9908 <... wait4 resumed>NULL, 0, NULL) = 9911
9907 exit_group(7)                     = ?
9908 +++ exited with 7 +++
9907 +++ exited with 7 +++
9905 +++ exited with 7 +++
9892 wait4(-1, NULL, 0, NULL)          = 9905
9892 exit_group(0)                     = ?
9892 +++ exited with 0 +++
"#;

#[test]
fn threads_are_folded_into_their_process() {
    let expected = [
        life(9892, 0, &[], End::Code(0)),
        life(9905, 9892, &[], End::Code(7)),
        // A thread's child, whose last line comes before the fork has returned.
        life(9910, 9905, &[], End::Code(22)),
        // The child of a thread which hasn't been announced yet.
        life(9911, 9905, &[], End::Code(228)),
    ];
    let mut lives = parse(THREADS.trim_start(), 9892);
    lives[2..].sort_by_key(|life| life.pid);
    assert_eq!(lives, expected);
}

/// The first half of the exec is written whole, or it is cut by strace's own switch.
const SUPERSEDED: [&str; 2] = [
    r#"
9978 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f835369aa50) = 9984
9984 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|CLONE_CHILD_CLEARTID, child_tid=0x7f8353699990, parent_tid=0x7f8353699990, exit_signal=0, stack=0x7f8353499000, stack_size=0x1fff40, tls=0x7f83536996c0} => {parent_tid=[9987]}, 88) = 9987
9984 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|CLONE_CHILD_CLEARTID, child_tid=0x7f8353498990, parent_tid=0x7f8353498990, exit_signal=0, stack=0x7f8353298000, stack_size=0x1fff40, tls=0x7f83534986c0} => {parent_tid=[9989]}, 88) = 9989
9984 exit(9)                           = ?
9989 execve("/tmp/make_tree", ["make_tree", "@", "\377\3767not utf-8"], 0x7f83534978a8 /* 0 vars */ <unfinished ...>
9987 +++ exited with 0 +++
9984 +++ superseded by execve in pid 9989 +++
9984 <... execve resumed>)             = 0
9984 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7fecddc40a50) = 9989
9984 wait4(-1,  <unfinished ...>
9989 exit_group(100)                   = ?
9989 +++ exited with 100 +++
9984 <... wait4 resumed>NULL, 0, NULL) = 9989
9984 exit_group(204)                   = ?
9984 +++ exited with 204 +++
9978 exit_group(0)                     = ?
9978 +++ exited with 0 +++
"#,
    r#"
9978 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f2ebd042e50) = 9984
9984 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM|CLONE_SETTLS|CLONE_PARENT_SETTID|CLONE_CHILD_CLEARTID, child_tid=0x7f2ebc2df990, parent_tid=0x7f2ebc2df990, exit_signal=0, stack=0x7f2ebbadf000, stack_size=0x7fff80, tls=0x7f2ebc2df6c0} <unfinished ...>
9989 execve("/tmp/make_tree", ["make_tree", "@", "\377\3767not utf-8"], 0x7ffdba889420 /* 38 vars */ <pid changed to 9984 ...>
9984 +++ superseded by execve in pid 9989 +++
9984 <... execve resumed>)             = 0
9984 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7fecddc40a50) = 9989
9989 exit_group(100)                   = ?
9989 +++ exited with 100 +++
9984 exit_group(204)                   = ?
9984 +++ exited with 204 +++
9978 exit_group(0)                     = ?
9978 +++ exited with 0 +++
"#,
];

#[test]
fn a_thread_that_execs_becomes_its_process() {
    let arguments = [&b"make_tree"[..], b"@", b"\xff\xfe7not utf-8"];
    let arguments = arguments.iter().map(|arg| OsString::from_vec(arg.to_vec())).collect();
    let expected = [
        life(9978, 0, &[], End::Code(0)),
        life(9984, 9978, &[Some(arguments)], End::Code(204)),
        // It got the pid that had been the thread's.
        life(9989, 9984, &[], End::Code(100)),
    ];
    for text in SUPERSEDED {
        assert_eq!(parse(text.trim_start(), 9978), expected);
    }
}

#[test]
fn a_pid_has_several_lives() {
    let text = "1 fork() = 2\n\
                2 fork( <unfinished ...>\n\
                3 +++ exited with 3 +++\n\
                2 <... fork resumed>) = 3\n\
                1 fork( <unfinished ...>\n\
                2 +++ exited with 4 +++\n\
                3 +++ exited with 5 +++\n\
                1 <... fork resumed>) = 3\n\
                1 fork() = 2\n\
                1 fork() = 3\n\
                3 fork() = 4\n\
                2 +++ killed by SIGTERM +++\n";
    let expected = [
        life(1, 0, &[], End::Alive),
        life(2, 1, &[], End::Code(4)),
        life(3, 2, &[], End::Code(3)),
        life(3, 1, &[], End::Code(5)),
        life(2, 1, &[], End::Signal(15)),
        life(3, 1, &[], End::Alive),
        life(4, 3, &[], End::Alive),
    ];
    assert_eq!(parse(text, 1), expected);
}

#[test]
fn only_descendants_of_the_top_count() {
    let text = "1 fork() = 2\n1 fork() = 3\n2 fork() = 4\n3 fork() = 5\n5 fork() = 6\n9 exit(0) = ?\n";
    assert_eq!(
        parse(text, 3),
        [life(3, 0, &[], End::Alive), life(5, 3, &[], End::Alive), life(6, 5, &[], End::Alive)]
    );
    // Whose child 9 is, strace has not said, but its own top it is.
    assert_eq!(parse(text, 1).last(), Some(&life(9, 0, &[], End::Alive)));
    assert_eq!(parse(text, 77), []);
}

#[test]
fn lines_may_lack_a_pid() {
    let text = "execve(\"/bin/false\", [\"false\"], 0x7ffc /* 35 vars */) = 0\n\
                exit_group(1)                           = ?\n\
                +++ exited with 1 +++\n";
    assert_eq!(parse(text, 42), [life(42, 0, &[argv(&["false"])], End::Code(1))]);
}

#[test]
fn quoting_is_undone() {
    let argv_of =
        |arguments: &str| parse_argv(&format!("\"/bin/a, [\\\"\", {arguments}, 0x7ff /* 1 var */) = 0"));
    assert_eq!(argv_of(r#"["\") = 5 <unfinished ...>", ""]"#), argv(&["\") = 5 <unfinished ...>", ""]));
    assert_eq!(
        argv_of(r#"["\n\t\r\v\f\\\"", "\0011\33[0m", "\x41"]"#),
        argv(&["\n\t\r\u{b}\u{c}\\\"", "\u{1}1\u{1b}[0m", "A"])
    );
    assert_eq!(argv_of(r#"["\303\274n"]"#), argv(&["\u{fc}n"]));
    assert_eq!(argv_of(r#"["..."]"#), argv(&["..."]));
    assert_eq!(argv_of("[]"), argv(&[]));
    for unknown in
        [r#"["long"...]"#, r#"["a", ...]"#, "0x7ffd", "NULL", r#"["a"#, r#"["\"#, r#"["\777"]"#, r#"["\x"]"#]
    {
        assert_eq!(argv_of(unknown), None, "{unknown}");
    }
    assert_eq!(parse_argv("AT_FDCWD, \"/bin/true\", [\"true\"], 0x7ff /* 1 var */, 0) = 0"), argv(&["true"]));
}

#[test]
fn a_cut_never_panics() {
    for text in [PLAIN, THREADS, SUPERSEDED[0], SUPERSEDED[1]] {
        let text = text.trim_start();
        let top = text.split(' ').next().and_then(|pid| pid.parse().ok()).unwrap();
        for cut in 0..text.len() {
            parse(&text[..cut], top);
            parse(&text[cut..], top);
            // A piece is gone from the middle.
            parse(&format!("{}{}", &text[..cut], &text[(cut + 40).min(text.len())..]), top);
        }
    }
    let odd = "\n \n1\n1 \n1 +++\n1 +++ +++\n1 +++ exited with x +++\n1 +++ superseded by execve in pid x +++\n\
               1 <... \n1 <... clone resumed>\n1 <... clone resumed>) = 1\n1 clone() = 99999999999\n\
               1 +++ superseded by execve in pid 1 +++\n1 execve(\"\u{e9}\n2 clone(CLONE_THREAD) = 3\n3 clone(CLONE_THREAD) = 2\n";
    parse(odd, 1);
    parse(odd, 2);
}
