//! The ready list of a queue: links between slots, so that a note is put in and taken out in one step wherever it stands.

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// A note's place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    previous: u32,
    next: u32,
    pub(crate) listed: bool,
}

impl Default for Links {
    fn default() -> Self {
        Self { previous: NONE, next: NONE, listed: false }
    }
}

/// The ends of the list, in the order of activation.
#[derive(Debug)]
pub(crate) struct Ready {
    head: u32,
    tail: u32,
    len: usize,
}

impl Ready {
    pub(crate) fn new() -> Self {
        Self { head: NONE, tail: NONE, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn first(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// Puts `slot` at the end; `links` gives the links of a slot.
    pub(crate) fn push<T>(&mut self, notes: &mut T, slot: u32, links: impl Fn(&mut T, u32) -> &mut Links) {
        *links(notes, slot) = Links { previous: self.tail, next: NONE, listed: true };
        match self.tail {
            NONE => self.head = slot,
            tail => links(notes, tail).next = slot,
        }
        self.tail = slot;
        self.len += 1;
    }

    pub(crate) fn remove<T>(&mut self, notes: &mut T, slot: u32, links: impl Fn(&mut T, u32) -> &mut Links) {
        let Links { previous, next, .. } = std::mem::take(links(notes, slot));
        match previous {
            NONE => self.head = next,
            previous => links(notes, previous).next = next,
        }
        match next {
            NONE => self.tail = previous,
            next => links(notes, next).previous = previous,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    proptest::proptest! {
        #[test]
        fn like_a_deque(steps: Vec<u8>) {
            let mut all = [Links::default(); 8];
            let (mut ready, mut expected) = (Ready::new(), VecDeque::new());
            for slot in steps.into_iter().map(|step| u32::from(step % 8)) {
                if all[slot as usize].listed {
                    ready.remove(&mut all, slot, |all, slot| &mut all[slot as usize]);
                    expected.retain(|other| *other != slot);
                } else {
                    ready.push(&mut all, slot, |all, slot| &mut all[slot as usize]);
                    expected.push_back(slot);
                }
                proptest::prop_assert_eq!(ready.first(), expected.front().copied());
                proptest::prop_assert_eq!(ready.len(), expected.len());
            }
            while let Some(slot) = ready.first() {
                ready.remove(&mut all, slot, |all, slot| &mut all[slot as usize]);
                proptest::prop_assert_eq!(Some(slot), expected.pop_front());
            }
            proptest::prop_assert!(expected.is_empty());
        }
    }
}
