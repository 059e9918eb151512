//! The native EVFILT_PROC as a source, apart from its system calls, so that every system can test it: what the kernel's two queues
//! said is made into changes here, on a kernel that is not believed (docs/design/0011-native-kqueue.md).

mod census;
mod follow;
mod kernels;
mod lives;
#[cfg(test)]
mod machine;
mod order;
#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod reactor_tests;
mod source;
mod system;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod timing_tests;

#[cfg(not(target_os = "linux"))]
pub(crate) use follow::Follower;
#[cfg(not(target_os = "linux"))]
pub(crate) use kernels::{HERE, Kernel};
#[cfg(not(target_os = "linux"))]
pub(crate) use lives::NOTE_EXITSTATUS;
#[cfg(not(target_os = "linux"))]
pub(crate) use source::{Kqueue, NAME, failed};
#[cfg(not(target_os = "linux"))]
pub(crate) use system::{Entry, Note, Queue, System};
