//! Waits to the microsecond. The runtime's own timers count whole milliseconds, which at a high rate is many operations.

use std::time::Instant;

#[cfg(target_os = "linux")]
pub(super) use linux::Timer;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::Instant;

    /// A timer of the system's, on which the runtime waits as on a socket.
    pub(in super::super) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        /// One that is not set. Within a runtime.
        // Deprecated for descriptors that are closed while they are watched; the timer owns this one. What is to be used
        // instead is `unsafe`.
        #[allow(deprecated)]
        pub(in super::super) fn new() -> io::Result<Timer> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Ok(Timer(AsyncFd::with_interest(fd, Interest::READABLE)?))
        }

        /// Returns at this moment, or at once where it is past.
        pub(in super::super) async fn sleep_until(&self, moment: Instant) -> io::Result<()> {
            let wait = moment.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Ok(());
            }
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once_after(wait))?;
            let mut expirations = [0; 8];
            let read = |fd: &OwnedFd| Ok(rustix::io::read(fd, &mut expirations)?);
            self.0.async_io(Interest::READABLE, read).await.map(drop)
        }
    }

    fn once_after(wait: Duration) -> Itimerspec {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
        Itimerspec { it_interval: never, it_value: Timespec { tv_sec: seconds, tv_nsec: wait.subsec_nanos().into() } }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    /// One that is not set.
    pub(super) fn new() -> std::io::Result<Timer> {
        Ok(Timer)
    }

    /// Returns at this moment, to the millisecond.
    pub(super) async fn sleep_until(&self, moment: Instant) -> std::io::Result<()> {
        tokio::time::sleep_until(moment.into()).await;
        Ok(())
    }
}
