//! The notes on one process: keys, and nothing left when the last of them goes (K3).

/// Names a note from outside its queue. A key whose note is gone finds nothing (K1): serials are given once by a reactor,
/// so neither another note in the slot nor another queue in that place is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NoteKey {
    /// The queue's place among the reactor's.
    pub(crate) queue: u32,
    pub(crate) slot: u32,
    pub(crate) serial: u64,
}

/// The notes that a process's changes are to be told to. Most processes have none or one, which takes no allocation and no further
/// look at memory.
#[derive(Debug, Default)]
pub(crate) enum NoteList {
    #[default]
    None,
    One(NoteKey),
    /// Two or more, or what is left of them.
    Many(Vec<NoteKey>),
}

impl NoteList {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(crate) fn push(&mut self, key: NoteKey) {
        match self {
            Self::None => *self = Self::One(key),
            Self::One(first) => *self = Self::Many(vec![*first, key]),
            Self::Many(keys) => keys.push(key),
        }
    }

    /// Goes through all, and forgets those that `tell` says are gone.
    pub(crate) fn retain(&mut self, mut tell: impl FnMut(&NoteKey) -> bool) {
        match self {
            Self::None => {}
            Self::One(key) => {
                if !tell(key) {
                    *self = Self::None;
                }
            }
            Self::Many(keys) => {
                keys.retain(tell);
                if keys.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, serial: u64) {
        self.retain(|key| key.serial != serial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn like_a_vector(steps in proptest::collection::vec((0_u64..6, proptest::bool::ANY), 0..40)) {
            let (mut list, mut expected) = (NoteList::default(), Vec::new());
            for (serial, push) in steps {
                if push {
                    list.push(NoteKey { queue: 0, slot: 0, serial });
                    expected.push(serial);
                } else {
                    list.remove(serial);
                    expected.retain(|other| *other != serial);
                }
                let mut told = Vec::new();
                list.retain(|key| { told.push(key.serial); true });
                proptest::prop_assert_eq!(&told, &expected);
                proptest::prop_assert_eq!(list.is_empty(), expected.is_empty());
            }
        }
    }
}
