//! What a service says of itself over the socket that `NOTIFY_SOCKET` names (sd_notify(3)).

use std::time::Duration;

/// The longest message that is read, as systemd has it. A longer one is dropped whole.
pub(crate) const LONGEST: usize = 4096;

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) ready: bool,
    pub(crate) reloading: bool,
    pub(crate) stopping: bool,
    pub(crate) watchdog: Option<Watchdog>,
    /// From now on it is to be heard of this often.
    pub(crate) watchdog_every: Option<Duration>,
    /// It needs so much more time to do what it is at.
    pub(crate) extend: Option<Duration>,
    pub(crate) status: Option<String>,
    pub(crate) main: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watchdog {
    /// All is well.
    Alive,
    /// It is to be taken for dead at once.
    Trigger,
}

impl Notice {
    /// Lines of `NAME=value`; names that are not known are passed over. `None`: it is no such message.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut notice = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once('=')?;
            let micros = || value.parse().ok().map(Duration::from_micros);
            match name {
                "READY" => notice.ready = value == "1",
                "RELOADING" => notice.reloading = value == "1",
                "STOPPING" => notice.stopping = value == "1",
                "WATCHDOG" if value == "1" => notice.watchdog = Some(Watchdog::Alive),
                "WATCHDOG" if value == "trigger" => notice.watchdog = Some(Watchdog::Trigger),
                "WATCHDOG_USEC" => notice.watchdog_every = Some(micros()?),
                "EXTEND_TIMEOUT_USEC" => notice.extend = Some(micros()?),
                "STATUS" => notice.status = Some(value.to_owned()),
                "MAINPID" => notice.main = Some(value.parse().ok()?),
                _ => {}
            }
        }
        Some(notice)
    }
}

#[cfg(target_os = "linux")]
pub(crate) use socket::Socket;

/// There is none where it is not known who sent a message.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(crate) enum Socket {}

#[cfg(not(target_os = "linux"))]
impl Socket {
    pub(crate) fn bind() -> std::io::Result<Self> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn bind_at(_place: (std::path::PathBuf, String)) -> std::io::Result<Self> {
        Self::bind()
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        match *self {}
    }
}

#[cfg(target_os = "linux")]
mod socket {
    use std::io::{self, IoSliceMut};
    use std::mem::MaybeUninit;
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
    use tokio::io::Interest;
    use tokio::net::UnixDatagram;

    use super::{LONGEST, Notice};

    /// A socket of one service's own. Anybody may send to it: the kernel tells who did.
    #[derive(Debug)]
    pub(crate) struct Socket {
        socket: UnixDatagram,
        dir: PathBuf,
        path: PathBuf,
        /// Nobody else has anything in the directory.
        is_alone: bool,
    }

    /// What came, and from whom.
    #[derive(Debug)]
    pub(crate) struct Heard {
        pub(crate) sender: u32,
        /// Or why it is no message.
        pub(crate) notice: Result<Notice, &'static str>,
    }

    impl Socket {
        pub(crate) fn bind() -> io::Result<Self> {
            static MADE: AtomicU32 = AtomicU32::new(0);
            let name = format!("proc-watch-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
            let dir = std::env::temp_dir().join(name);
            let mut builder = std::fs::DirBuilder::new();
            // A service may run as another user. What is in it nobody else can list or replace.
            builder.mode(0o711);
            if let Err(error) = builder.create(&dir) {
                // One of a program that had this pid before.
                if error.kind() != io::ErrorKind::AlreadyExists {
                    return Err(error);
                }
                let _ = std::fs::remove_file(dir.join("notify"));
                std::fs::remove_dir(&dir)?;
                builder.create(&dir)?;
            }
            let path = dir.join("notify");
            Self::made(&path)
                .map(|socket| Self { socket, dir: dir.clone(), path, is_alone: true })
                .inspect_err(|_| {
                    let _ = std::fs::remove_dir_all(&dir);
                })
        }

        /// One in a place that a later program knows too. Whoever was there before is gone.
        pub(crate) fn bind_at((dir, name): (PathBuf, String)) -> io::Result<Self> {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o711).create(&dir)?;
            let path = dir.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            Ok(Self { socket: Self::made(&path)?, dir, path, is_alone: false })
        }

        fn made(path: &Path) -> io::Result<UnixDatagram> {
            let socket = UnixDatagram::bind(path)?;
            rustix::net::sockopt::set_socket_passcred(&socket, true)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
            Ok(socket)
        }

        /// What `NOTIFY_SOCKET` is to be.
        pub(crate) fn path(&self) -> &Path {
            &self.path
        }

        /// The next message. Cancel-safe.
        pub(crate) async fn hear(&self) -> io::Result<Heard> {
            self.socket.async_io(Interest::READABLE, || self.receive()).await
        }

        /// One that is there already.
        pub(crate) fn try_hear(&self) -> Option<Heard> {
            self.receive().ok()
        }

        fn receive(&self) -> io::Result<Heard> {
            let mut bytes = [0; LONGEST];
            // Room for the credentials, and for descriptors that somebody attaches, which are closed with it.
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(16))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let message = rustix::net::recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                flags,
            )?;
            let mut sender = 0;
            for part in ancillary.drain() {
                if let RecvAncillaryMessage::ScmCredentials(credentials) = part {
                    sender = credentials.pid.as_raw_nonzero().get().unsigned_abs();
                }
            }
            let notice = if message.flags.contains(ReturnFlags::TRUNC) {
                Err("it is too long")
            } else {
                Notice::parse(&bytes[..message.bytes]).ok_or("it is not made of lines of NAME=value")
            };
            Ok(Heard { sender, notice })
        }
    }

    impl Drop for Socket {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
            if self.is_alone {
                let _ = std::fs::remove_dir(&self.dir);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[tokio::test]
        async fn it_is_known_who_sent_it_and_what_is_no_message() {
            let socket = Socket::bind().unwrap();
            let dir = socket.dir.clone();
            let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
            let hear = async |bytes: &[u8]| {
                sender.send_to(bytes, socket.path()).unwrap();
                socket.hear().await.unwrap()
            };
            let heard = hear(b"READY=1\nSTATUS=all is well\n").await;
            assert_eq!(heard.sender, std::process::id());
            let notice = heard.notice.unwrap();
            assert_eq!((notice.ready, notice.status.as_deref()), (true, Some("all is well")));
            assert_eq!(hear(&[b'A'; 4096]).await.notice, Err("it is not made of lines of NAME=value"));
            assert_eq!(hear(&[b'='; 4097]).await.notice, Err("it is too long"));
            assert_eq!(hear(b"\xff=1").await.notice, Err("it is not made of lines of NAME=value"));
            drop(socket);
            assert!(!dir.exists());
        }

        /// Descriptors that come with a message are closed, as many as there are.
        #[tokio::test]
        async fn descriptors_are_not_kept() {
            let socket = Socket::bind().unwrap();
            let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
            sender.connect(socket.path()).unwrap();
            let (one, other) = std::io::pipe().unwrap();
            for count in [1, 20] {
                let fds = vec![std::os::fd::AsFd::as_fd(&other); count];
                let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
                let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
                assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
                let text = [std::io::IoSlice::new(b"BARRIER=1")];
                rustix::net::sendmsg(&sender, &text, &mut control, rustix::net::SendFlags::empty()).unwrap();
                assert_eq!(socket.hear().await.unwrap().notice, Ok(Notice::default()));
            }
            drop(other);
            // Whoever waits for the end of the pipe is not kept waiting by us.
            let mut rest = Vec::new();
            let mut one = one;
            std::io::Read::read_to_end(&mut one, &mut rest).unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_known() {
        let text = b"READY=1\nRELOADING=0\nSTOPPING=1\nWATCHDOG=trigger\nWATCHDOG_USEC=5000000\n\
                     EXTEND_TIMEOUT_USEC=100\nMAINPID=4711\nSTATUS=a=b\nX_OTHER=1\n\n";
        let notice = Notice::parse(text).unwrap();
        let expected = Notice {
            ready: true,
            stopping: true,
            watchdog: Some(Watchdog::Trigger),
            watchdog_every: Some(Duration::from_secs(5)),
            extend: Some(Duration::from_micros(100)),
            status: Some("a=b".to_owned()),
            main: Some(4711),
            ..Notice::default()
        };
        assert_eq!(notice, expected);
    }

    #[test]
    fn what_is_no_message() {
        for bytes in [&b"READY"[..], b"MAINPID=x", b"MAINPID=-1", b"WATCHDOG_USEC=", b"STATUS=\xff"] {
            assert_eq!(Notice::parse(bytes), None, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(Notice::parse(b""), Some(Notice::default()));
    }
}
