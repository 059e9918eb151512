//! Argument vectors in the shapes in which OpenBSD and macOS give them. What is read is another process's memory, which it may write to: nothing
//! of it is believed, and what does not fit gives none (K9).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// OpenBSD (KERN_PROC_ARGV): pointers up to a null one, and then what they point to. The kernel has made them for the place that it wrote
/// the area to, `base`.
#[cfg(any(test, target_os = "openbsd"))]
pub(super) fn behind_pointers(area: &[u8], base: usize) -> Option<Vec<OsString>> {
    let pointers =
        || area.chunks_exact(size_of::<usize>()).map(|word| usize::from_ne_bytes(word.try_into().unwrap()));
    let count = pointers().position(|pointer| pointer == 0)?;
    let strings = (count + 1) * size_of::<usize>();
    let mut argv = Vec::with_capacity(count);
    let mut next = strings;
    for pointer in pointers().take(count) {
        // They follow each other without a gap: so none is told twice, and the result is no larger than the area.
        if pointer.checked_sub(base)? != next {
            return None;
        }
        let text = text(area.get(next..)?)?;
        argv.push(OsStr::from_bytes(text).to_owned());
        next += text.len() + 1;
    }
    Some(argv)
}

/// macOS (KERN_PROCARGS2): how many arguments, the program's path, NULs up to where a pointer may stand, the arguments, the environment.
#[cfg(any(test, target_os = "macos"))]
pub(super) fn after_path(area: &[u8]) -> Option<Vec<OsString>> {
    let (count, area) = area.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_ne_bytes(*count)).ok()?;
    let path = text(area)?.len() + 1;
    let padding = area[path..].iter().take_while(|byte| **byte == 0).count();
    let mut next = path + padding;
    // With more NULs than that the first argument is empty, or the area has been written to. Where it begins is then not known, and where it were
    // taken for padding the environment would be taken for arguments.
    if count > 0 && next != path.next_multiple_of(8) && next != path.next_multiple_of(4) {
        return None;
    }
    // Each takes a byte at least.
    if count > area.len() {
        return None;
    }
    let mut argv = Vec::with_capacity(count);
    for _ in 0..count {
        let text = text(area.get(next..)?)?;
        argv.push(OsStr::from_bytes(text).to_owned());
        next += text.len() + 1;
    }
    Some(argv)
}

/// Up to a NUL, which has to be there.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().position(|byte| *byte == 0).map(|end| &bytes[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: usize = 0x7f00_0000_1000;

    /// As OpenBSD's sysctl_proc_args lays it out.
    fn openbsd(argv: &[&[u8]]) -> Vec<u8> {
        let mut area = Vec::new();
        let mut at = BASE + (argv.len() + 1) * size_of::<usize>();
        for arg in argv {
            area.extend(at.to_ne_bytes());
            at += arg.len() + 1;
        }
        area.extend(0_usize.to_ne_bytes());
        argv.iter().for_each(|arg| area.extend(arg.iter().chain(&[0])));
        area
    }

    /// As XNU's exec and sysctl_procargsx do, for a program of 64 bits.
    fn macos(path: &[u8], argv: &[&[u8]], environment: &[&[u8]]) -> Vec<u8> {
        let mut area = i32::try_from(argv.len()).unwrap().to_ne_bytes().to_vec();
        area.extend(path);
        area.resize(4 + (path.len() + 1).next_multiple_of(8), 0);
        argv.iter().chain(environment).for_each(|text| area.extend(text.iter().chain(&[0])));
        area
    }

    fn owned(argv: &[&[u8]]) -> Option<Vec<OsString>> {
        Some(argv.iter().map(|arg| OsStr::from_bytes(arg).to_owned()).collect())
    }

    #[test]
    fn what_the_kernels_write() {
        let vectors: [&[&[u8]]; 6] =
            [&[], &[b"sh"], &[b"sh", b"-c", b"", b"a b\xff"], &[b"sh", b""], &[b"", b"x"], &[b"", b""]];
        for argv in vectors {
            assert_eq!(behind_pointers(&openbsd(argv), BASE), owned(argv));
        }
        for path in [&b"/a"[..], b"/bin/sh", b"/bin/zsh", b"/bin/bash", b""] {
            for argv in &vectors[..4] {
                assert_eq!(after_path(&macos(path, argv, &[b"HOME=/", b"A="])), owned(argv), "{path:?}");
            }
        }
    }

    /// K9: an environment's text is never told as an argument.
    #[test]
    fn an_empty_first_argument_is_not_taken_for_padding() {
        for path in [&b"/a"[..], b"/bin/sh", b"/bin/zsh", b"/bin/bash"] {
            let vectors: [&[&[u8]]; 3] = [&[b""], &[b"", b"x"], &[b"", b"", b"y"]];
            for argv in vectors {
                assert_eq!(after_path(&macos(path, argv, &[b"SECRET=1"])), None, "{path:?}");
            }
        }
    }

    #[test]
    fn hostile_pointers() {
        let whole = openbsd(&[b"sh", b"-c"]);
        let word = size_of::<usize>();
        for pointer in
            [1, BASE - 1, BASE, BASE + 3 * word - 1, BASE + 3 * word + 1, BASE + whole.len(), usize::MAX]
        {
            let mut area = whole.clone();
            area[..word].copy_from_slice(&pointer.to_ne_bytes());
            assert_eq!(behind_pointers(&area, BASE), None, "{pointer:#x}");
        }
        // Read at another place, without an end of pointers, without an end of the last text, and cut anywhere.
        assert_eq!(behind_pointers(&whole, BASE + word), None);
        assert_eq!(behind_pointers(&[1; 64], BASE), None);
        for end in 0..whole.len() {
            assert_eq!(behind_pointers(&whole[..end], BASE), None, "{end}");
        }
    }

    #[test]
    fn hostile_counts() {
        let whole = macos(b"/bin/sh", &[b"sh", b"-c"], &[]);
        for count in [-1, i32::MIN, i32::MAX, 3] {
            let mut area = whole.clone();
            area[..4].copy_from_slice(&count.to_ne_bytes());
            assert_eq!(after_path(&area), None, "{count}");
        }
        for end in 0..whole.len() {
            assert_eq!(after_path(&whole[..end]), None, "{end}");
        }
    }

    proptest! {
        /// No bytes make it panic, and nothing is told that is not there.
        #[test]
        fn any_bytes(area in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..200), base: usize) {
            for argv in [behind_pointers(&area, base), after_path(&area)].into_iter().flatten() {
                prop_assert!(argv.iter().map(|arg| arg.len() + 1).sum::<usize>() <= area.len());
            }
        }

        #[test]
        fn any_vector(argv in prop::collection::vec(prop::collection::vec(1_u8.., 0..20), 0..20), path in prop::collection::vec(1_u8.., 0..40)) {
            let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(behind_pointers(&openbsd(&argv), BASE), owned(&argv));
            // Or none, where the first is empty.
            let expected = owned(&argv).filter(|argv| argv.first().is_none_or(|first| !first.is_empty()));
            prop_assert_eq!(after_path(&macos(&path, &argv, &[b"A=B"])), expected);
        }
    }
}
