//! DragonFly's count of forks: each processor's own (`vm.cpuN.vmmeter`), a structure of which only some words are looked at.

/// Of `struct vmmeter` (sys/vmmeter.h, DragonFly 6): 50 words and a name of 16 characters. Another size is another layout.
pub(super) const SIZE: usize = 208;
/// Where `v_forks`, `v_vforks` and `v_rforks` stand, in words; all three count processes that were made, and no threads.
const FORKS: std::ops::Range<usize> = 27..30;

/// The processes that one processor has made; `None` where this is no such structure.
pub(super) fn forks(meter: &[u8]) -> Option<u64> {
    if meter.len() != SIZE {
        return None;
    }
    let words = meter.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
    Some(words.skip(FORKS.start).take(FORKS.len()).map(u64::from).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_words_of_it() {
        let mut meter = [0_u8; SIZE];
        let mut set = |word: usize, value: u32| meter[4 * word..][..4].copy_from_slice(&value.to_ne_bytes());
        // Pages freed before them, execs and kernel threads after.
        for (word, value) in [(26, 1_000), (27, u32::MAX), (28, 2), (29, 3), (30, 10_000), (31, 100_000)] {
            set(word, value);
        }
        assert_eq!(forks(&meter), Some(u64::from(u32::MAX) + 5));
        for other in [&meter[..204], &[0; 212], &[]] {
            assert_eq!(forks(other), None);
        }
    }
}
