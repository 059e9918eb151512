//! Where the kernels differ: data, each with its reason. All else is the same for all of them.

/// What is particular to one kernel's EVFILT_PROC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// For people.
    pub(crate) name: &'static str,
    /// NOTE_TRACK is there. Else children are looked for where a process has forked, and some are not found.
    pub(crate) tracks: bool,
    /// NOTE_EXITSTATUS has to be asked for where statuses are wanted, and may be denied (C5, C18).
    pub(crate) asks_status: bool,
    /// What of `data` is the wait status.
    pub(crate) status_mask: i64,
    /// NOTE_CHILD is on the note that tells the end too, so that it may come with the end and then names no parent (C25).
    pub(crate) one_note: bool,
    /// The walk of one fork may pass over notes that another of the same process is busy with: the child is then missed (C29).
    pub(crate) walk_may_skip: bool,
}

const ALL_ALIKE: Kernel = Kernel {
    name: "",
    tracks: true,
    asks_status: false,
    status_mask: 0xffff_ffff,
    one_note: false,
    walk_may_skip: true,
};

/// FreeBSD 12.3: seen to miss children of two threads that fork at once, and to say nothing.
pub(crate) const FREEBSD: Kernel = Kernel { name: "FreeBSD", ..ALL_ALIKE };

/// NetBSD: NOTE_CHILD on a note of its own since 2021. Whether its walk skips was not tried, so that it is not believed.
pub(crate) const NETBSD: Kernel = Kernel { name: "NetBSD", ..ALL_ALIKE };

/// OpenBSD: one note. A fork's walk holds one lock of all kqueues from its first note to its last, so that it skips none.
pub(crate) const OPENBSD: Kernel =
    Kernel { name: "OpenBSD", one_note: true, walk_may_skip: false, ..ALL_ALIKE };

/// DragonFly: one note. Its walk was not tried, so that it is not believed.
pub(crate) const DRAGONFLY: Kernel = Kernel { name: "DragonFly", one_note: true, ..ALL_ALIKE };

/// XNU: NOTE_TRACK is refused (ENOTSUP, C6). NOTE_EXITSTATUS gives the low 16 bits of the status.
pub(crate) const XNU: Kernel =
    Kernel { name: "macOS", tracks: false, asks_status: true, status_mask: 0xffff, ..ALL_ALIKE };

/// That of this system.
#[cfg(not(target_os = "linux"))]
pub(crate) const HERE: Kernel = match () {
    () if cfg!(target_os = "freebsd") => FREEBSD,
    () if cfg!(target_os = "netbsd") => NETBSD,
    () if cfg!(target_os = "openbsd") => OPENBSD,
    () if cfg!(target_os = "dragonfly") => DRAGONFLY,
    () => XNU,
};
