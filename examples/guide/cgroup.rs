//! A tree in a cgroup of its own, which is killed when this program dies, however it does: `cgroup sh -c 'setsid sleep 1000'`, and then
//! kill -9 this one.

use proc_watch::{Cgroup, Command, StopPlan, Watcher};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let program = args.next().ok_or("usage: cgroup COMMAND [ARGUMENT..]")?;
    let watcher = Watcher::new()?;
    // It takes root, or a part of the hierarchy that was delegated to this user.
    let cgroup = Cgroup::create()?;
    let guardian = cgroup.die_with_this_program()?;
    let mut command = Command::new(program);
    command.args(args);
    cgroup.enter(command.as_std_mut());
    let (mut child, _events) = watcher.spawn(command)?;
    println!("{} in {}", child.id(), cgroup.path().display());
    let status = child.wait().await?;
    println!("{status}; {} are left", cgroup.pids()?.len());
    let report = child.stop(StopPlan::default().cgroup(&cgroup)).await?;
    println!("{}", report.empty);
    drop(guardian);
    Ok(())
}
