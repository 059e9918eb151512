//! What happens without the program: processes end, are reaped, and their pids used again.

use super::Scenario;
use super::state::{Life, NEW, OLD, Record, State, Who};

impl Scenario {
    pub(super) fn die(&self, s: &mut State, who: Who) -> bool {
        let at = who as usize;
        if s.life[at] == Life::Alive {
            s.life[at] = Life::Zombie;
            s.unqueued[at] = true;
            return true;
        }
        if who == NEW && s.unqueued[OLD as usize] && !self.scene.exits_cross {
            return false;
        }
        if std::mem::take(&mut s.unqueued[at]) {
            s.records.push(Record::Exit(who));
            return true;
        }
        false
    }

    pub(super) fn reap(s: &mut State, who: Who) -> bool {
        let zombie = s.life[who as usize] == Life::Zombie;
        if zombie {
            s.life[who as usize] = Life::Gone;
        }
        zombie
    }

    pub(super) fn fork(s: &mut State) -> bool {
        let free = s.life[OLD as usize] == Life::Gone && s.life[NEW as usize] == Life::Unborn;
        if free {
            s.life[NEW as usize] = Life::Alive;
            s.records.push(Record::Fork(NEW));
        }
        free
    }
}
