//! Ways to make a child that are not fork(3).
//!
//! [`vfork`]: the child shares this process's memory, and this thread stands still until it has exec'd or exited. The C function
//! returns twice on one stack, which Rust cannot express; here the child runs on a stack of its own. [`raw`]: fork, but past libc, which
//! lets only one thread fork at a time.
//!
//! On systems for which no such way is known (macOS, OpenBSD, and FreeBSD but on x86-64) each is a plain fork.
#![expect(unsafe_code, reason = "they have no safe interface")]

use std::ffi::c_int;

/// As much as a child needs to write two lines and to exec, with room to spare.
#[cfg(any(
    target_os = "linux",
    target_os = "netbsd",
    all(any(target_os = "freebsd", target_os = "dragonfly"), target_arch = "x86_64")
))]
const STACK: usize = 64 * 1024;
/// The code of a child that came back.
const CAME_BACK: c_int = 96;

/// Runs `child`, which should end the process or exec; the child's pid, or -1 and the errno.
#[cfg(any(target_os = "linux", target_os = "netbsd"))]
pub(crate) fn vfork(mut child: &mut dyn FnMut()) -> c_int {
    use std::ffi::c_void;

    #[cfg(target_os = "linux")]
    use libc::{CLONE_VFORK, CLONE_VM, clone};
    #[cfg(target_os = "netbsd")]
    use netbsd::{CLONE_VFORK, CLONE_VM, clone};

    extern "C" fn start(child: *mut c_void) -> c_int {
        // SAFETY: `child` points to the reference that `vfork` holds until this process is done.
        let child = unsafe { &mut *child.cast::<&mut dyn FnMut()>() };
        child();
        CAME_BACK
    }
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let end = stack.as_mut_ptr_range().end.cast();
    let child: *mut &mut dyn FnMut() = &mut child;
    // SAFETY: the stack is aligned and large enough, and no one else's until the child has left this address space, before which
    // this call does not return.
    unsafe { clone(start, end, CLONE_VM | CLONE_VFORK | libc::SIGCHLD, child.cast()) }
}

/// clone(2) of NetBSD, which the libc crate lacks.
#[cfg(target_os = "netbsd")]
mod netbsd {
    use std::ffi::{c_int, c_void};

    pub(super) const CLONE_VM: c_int = 0x100;
    pub(super) const CLONE_VFORK: c_int = 0x4000;

    unsafe extern "C" {
        #[link_name = "__clone"]
        pub(super) fn clone(
            start: extern "C" fn(*mut c_void) -> c_int,
            stack: *mut c_void,
            flags: c_int,
            argument: *mut c_void,
        ) -> c_int;
    }
}

/// Runs `child`, which should end the process or exec; the child's pid, or -1 and the errno.
///
/// rfork_thread(3) would do, but what it takes to let the parent wait differs between releases.
#[cfg(all(any(target_os = "freebsd", target_os = "dragonfly"), target_arch = "x86_64"))]
pub(crate) fn vfork(mut child: &mut dyn FnMut()) -> c_int {
    /// sys/syscall.h
    const SYS_VFORK: u64 = 66;

    extern "C" fn start(child: *mut &mut dyn FnMut()) -> ! {
        // SAFETY: `child` points to the reference that `vfork` holds until this process is done.
        let child = unsafe { &mut *child };
        child();
        // SAFETY: it takes any number.
        unsafe { libc::_exit(CAME_BACK) }
    }
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let end = stack.as_mut_ptr_range().end;
    let child: *mut &mut dyn FnMut() = &mut child;
    let (result, failed): (u64, u8);
    // SAFETY: in the child the call gives 0; it goes to its own stack, which is aligned and large enough, before it touches any, and
    // never comes back. The parent's registers and stack are as they were, for it stands still meanwhile; the call takes no more from
    // them than a C function may, and tells a failure by the carry flag.
    unsafe {
        std::arch::asm!(
            "syscall",
            "setc r15b",
            "test r15b, r15b",
            "jnz 2f",
            "test rax, rax",
            "jnz 2f",
            "mov rsp, r12",
            "mov rdi, r13",
            "xor ebp, ebp",
            "call r14",
            "ud2",
            "2:",
            inlateout("rax") SYS_VFORK => result,
            in("r12") end,
            in("r13") child,
            in("r14") start as extern "C" fn(*mut &mut dyn FnMut()) -> !,
            out("r15b") failed,
            clobber_abi("C"),
        );
    }
    if failed == 0 {
        return result as c_int;
    }
    set_errno(result as c_int);
    -1
}

#[cfg(all(any(target_os = "freebsd", target_os = "dragonfly"), target_arch = "x86_64"))]
fn set_errno(errno: c_int) {
    #[cfg(target_os = "freebsd")]
    // SAFETY: it is where this thread's errno is.
    let place = unsafe { libc::__error() };
    #[cfg(target_os = "dragonfly")]
    // SAFETY: it is where this thread's errno is.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { *place = errno };
}

/// Runs `child`, which should end the process or exec; the child's pid, or -1 and the errno.
#[cfg(not(any(
    target_os = "linux",
    target_os = "netbsd",
    all(any(target_os = "freebsd", target_os = "dragonfly"), target_arch = "x86_64")
)))]
pub(crate) fn vfork(child: &mut dyn FnMut()) -> c_int {
    // SAFETY: the child only does what it could do after vfork.
    match unsafe { libc::fork() } {
        0 => {
            child();
            // SAFETY: it takes any number.
            unsafe { libc::_exit(CAME_BACK) }
        }
        pid => pid,
    }
}

/// Runs `child`, which should end the process or exec; the child's pid, or -1 and the errno. It may neither allocate nor take a lock.
pub(crate) fn raw(child: &mut dyn FnMut()) -> c_int {
    #[cfg(target_os = "linux")]
    // SAFETY: as fork to the kernel, and the child does only what a child of a process with threads may.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as c_int;
    #[cfg(target_os = "freebsd")]
    let pid = {
        /// sys/syscall.h
        const SYS_FORK: c_int = 2;
        // SAFETY: as above.
        unsafe { libc::syscall(SYS_FORK) }
    };
    // Others let nobody past libc, or their call returns otherwise than its wrapper.
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    // SAFETY: as above.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child();
        // SAFETY: it takes any number.
        unsafe { libc::_exit(CAME_BACK) }
    }
    pid
}
