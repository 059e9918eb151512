//! By what the processes of services are found again, by a program that knows nothing else of them: a variable of their environment, which
//! whoever they start inherits.
//!
//! Its name has a number that nobody else has, its value is the name of the service. Who clears his environment is not found by it; his
//! parent or, while the first process of the service lives, its tree lead to him all the same.

use std::collections::BTreeMap;
use std::io;

use proc_reactor::PersistentId;

/// Which services' processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker(u64);

impl Marker {
    /// One that nobody else has.
    pub(crate) fn fresh() -> Self {
        // Not zero, so that it is told from none at a glance.
        Self(fastrand::u64(1..))
    }

    /// As it is printed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16).map(Self)
    }

    /// The variable.
    pub(crate) fn variable(self) -> String {
        format!("PROC_WATCH_{self}")
    }

    /// Whose environment this is, as /proc/PID/environ has it.
    fn service(self, environment: &[u8]) -> Option<String> {
        let prefix = format!("{}=", self.variable());
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| variable.strip_prefix(prefix.as_bytes()))?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// Who lives of each service. Whose environment is hidden from this user is not among them.
    ///
    /// # Errors
    /// /proc is not there.
    #[cfg(target_os = "linux")]
    pub(crate) fn find(self) -> io::Result<BTreeMap<String, Vec<PersistentId>>> {
        let mut found: BTreeMap<String, Vec<PersistentId>> = BTreeMap::new();
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let read = || std::fs::read(format!("/proc/{pid}/environ")).ok();
            let Some(service) = read().and_then(|text| self.service(&text)) else { continue };
            // Who has the pid may be another by now: named first, and read again.
            let Some(id) = PersistentId::of(pid)? else { continue };
            if read().and_then(|text| self.service(&text)).as_ref() == Some(&service) && id.is_alive()? {
                found.entry(service).or_default().push(id);
            }
        }
        Ok(found)
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn find(self) -> io::Result<BTreeMap<String, Vec<PersistentId>>> {
        let _ = self.service(&[]);
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl std::fmt::Display for Marker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_whose_an_environment_is() {
        let marker = Marker(0xab);
        assert_eq!(Marker::parse(&marker.to_string()), Some(marker));
        assert_eq!(Marker::parse("ab"), None);
        let variable = marker.variable();
        assert_eq!(variable, "PROC_WATCH_00000000000000ab");
        let of = |text: &str| marker.service(text.replace('|', "\0").as_bytes());
        assert_eq!(of(&format!("A=1|{variable}=web|B=2|")).as_deref(), Some("web"));
        assert_eq!(of(&format!("A={variable}=web|")), None);
        assert_eq!(of(&format!("{variable}0=web|")), None);
        assert_eq!(of(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_inherits_it_is_found() {
        let marker = Marker::fresh();
        assert_eq!(marker.find().unwrap(), BTreeMap::new());
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "sleep 100 & read x; kill $!"]).env(marker.variable(), "a service");
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let count = || marker.find().unwrap().get("a service").map_or(0, Vec::len);
        while count() < 2 {
            std::thread::yield_now();
        }
        drop(child.stdin.take());
        child.wait().unwrap();
        while count() > 0 {
            std::thread::yield_now();
        }
    }
}
