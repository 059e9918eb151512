//! From a pid to a slot, for every record that comes: an array in pages, since pids are small numbers that lie close together. A
//! hash table of a million pids takes eight times the memory, and two looks at it that the processor's cache has not.

const PAGE: usize = 4096;
const NONE: u32 = u32::MAX;

/// The slot of each pid that has one.
#[derive(Debug, Default)]
pub(crate) struct Pids {
    pages: Vec<Option<Page>>,
    /// The page that went last, for the next one: a pid may come and go alone.
    spare: Option<Page>,
}

struct Page {
    slots: Box<[u32; PAGE]>,
    used: usize,
}

/// Its slots would fill screens.
impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("used", &self.used).finish_non_exhaustive()
    }
}

impl Pids {
    pub(crate) fn get(&self, pid: u32) -> Option<usize> {
        let page = self.pages.get(pid as usize / PAGE)?.as_ref()?;
        let slot = page.slots[pid as usize % PAGE];
        (slot != NONE).then_some(slot as usize)
    }

    pub(crate) fn insert(&mut self, pid: u32, slot: usize) {
        let slot = u32::try_from(slot).ok().filter(|slot| *slot != NONE).expect("fewer processes than 2^32");
        let number = pid as usize / PAGE;
        if self.pages.len() <= number {
            self.pages.resize_with(number + 1, || None);
        }
        let page = self.pages[number].get_or_insert_with(|| {
            let spare = self.spare.take();
            spare.unwrap_or_else(|| Page { slots: Box::new([NONE; PAGE]), used: 0 })
        });
        let before = std::mem::replace(&mut page.slots[pid as usize % PAGE], slot);
        page.used += usize::from(before == NONE);
    }

    /// A page goes with the last of its pids.
    pub(crate) fn remove(&mut self, pid: u32) {
        let Some(place) = self.pages.get_mut(pid as usize / PAGE) else { return };
        let Some(page) = place else { return };
        let before = std::mem::replace(&mut page.slots[pid as usize % PAGE], NONE);
        page.used -= usize::from(before != NONE);
        if page.used == 0 {
            self.spare = place.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    proptest::proptest! {
        #[test]
        fn like_a_map(steps in proptest::collection::vec((0_u32..10_000, 0_usize..9, proptest::bool::ANY), 0..200)) {
            let (mut pids, mut expected) = (Pids::default(), HashMap::new());
            for (pid, slot, insert) in steps {
                if insert {
                    pids.insert(pid, slot);
                    expected.insert(pid, slot);
                } else {
                    pids.remove(pid);
                    expected.remove(&pid);
                }
                proptest::prop_assert_eq!(pids.get(pid), expected.get(&pid).copied());
            }
            for pid in 0..10_000 {
                proptest::prop_assert_eq!(pids.get(pid), expected.get(&pid).copied());
            }
            let pages = expected.keys().map(|pid| *pid as usize / PAGE).collect::<std::collections::HashSet<_>>();
            proptest::prop_assert_eq!(pids.pages.iter().flatten().count(), pages.len());
        }
    }

    #[test]
    fn any_number_is_a_pid() {
        let mut pids = Pids::default();
        pids.insert(u32::MAX, 3);
        assert_eq!((pids.get(u32::MAX), pids.get(0)), (Some(3), None));
        pids.remove(u32::MAX);
        pids.remove(7);
        assert_eq!(pids.get(u32::MAX), None);
    }
}
