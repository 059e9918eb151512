//! Whose sockets listen to the process connector, and what the kernel could not put into them: /proc/net/netlink. The
//! drop count there is exact, whoever the socket belongs to, so it tells of a watcher that says nothing itself.

use std::collections::HashSet;
use std::fs;

const NETLINK_CONNECTOR: &str = "11";

/// One line of the list.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    groups: u32,
    drops: u64,
    inode: u64,
}

fn parse(list: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.get(1) != Some(&NETLINK_CONNECTOR) {
            return None;
        }
        let groups = u32::from_str_radix(fields.get(3)?, 16).ok()?;
        Some(Entry { groups, drops: fields.get(8)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? })
    };
    list.lines().filter_map(entry).filter(|entry| entry.groups & 1 != 0).collect()
}

fn list() -> Vec<Entry> {
    parse(&fs::read_to_string("/proc/net/netlink").unwrap_or_default())
}

/// How many sockets of the machine listen.
pub fn listeners() -> usize {
    list().len()
}

/// Records that did not fit into a process's listening sockets so far; `None` if it has none.
pub fn dropped(pid: u32) -> Option<u64> {
    let owned = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    let inodes: HashSet<u64> =
        fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().filter_map(owned).collect();
    let mut own = list().into_iter().filter(|entry| inodes.contains(&entry.inode)).peekable();
    own.peek()?;
    Some(own.map(|entry| entry.drops).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_connectors_only() {
        let list = "sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode\n\
                    0000 11 0 00000000 0 0 0 2 0 1026\n\
                    0000 0 99 00000001 0 0 0 2 0 1027\n\
                    0000 11 99 00000001 0 0 0 2 17 1028\n";
        assert_eq!(parse(list), [Entry { groups: 1, drops: 17, inode: 1028 }]);
    }
}
