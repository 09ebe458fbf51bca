//! Waking at a time, precisely enough for a delay of a fraction of a millisecond.
//!
//! The runtime's own timers wake at whole milliseconds. On Linux a timer of the kernel's is waited for instead, in the way
//! in which a socket is; elsewhere, or where there is none to be had, it is the runtime's.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Wakes one task at a time, to the microsecond where the system can.
pub struct Alarm {
    #[cfg(target_os = "linux")]
    timer: Option<kernel::Timer>,
}

impl Alarm {
    /// One that is not set. Within a runtime.
    pub fn in_runtime() -> Alarm {
        Alarm {
            #[cfg(target_os = "linux")]
            timer: kernel::Timer::new()
                .inspect_err(|error| tracing::warn!(%error, "no precise timer, waits are good for 1 to 2 ms"))
                .ok(),
        }
    }

    /// Returns at `at`, or at once where that has passed. May be dropped before, and called anew.
    pub async fn ring(&self, at: Instant) {
        let left = at.saturating_duration_since(Instant::now());
        if left > Duration::ZERO && !self.wait(left).await {
            sleep_until(at).await;
        }
    }

    /// False where there is no timer that can be waited for.
    #[cfg(target_os = "linux")]
    async fn wait(&self, left: Duration) -> bool {
        match &self.timer {
            Some(timer) => timer.wait(left).await.is_ok(),
            None => false,
        }
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::unused_async)]
    async fn wait(&self, _left: Duration) -> bool {
        false
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// A file that can be read once its time has come.
    pub(super) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        pub(super) fn new() -> io::Result<Timer> {
            let file = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            // Deprecated because a type may change its mind about its descriptor, which this one cannot; what came
            // in its place is unsafe.
            #[allow(deprecated)]
            AsyncFd::with_interest(file, Interest::READABLE).map(Timer)
        }

        /// Waits for so long, which is not zero: that would be for ever.
        pub(super) async fn wait(&self, left: Duration) -> io::Result<()> {
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            let value = Timespec::try_from(left).map_err(io::Error::other)?;
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: none, it_value: value })?;
            // What an earlier wait that was dropped has left of readiness is used up by the first look.
            self.0.async_io(Interest::READABLE, |file| Ok(rustix::io::read(file, &mut [0; 8])?)).await.map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rings_not_before_its_time_also_after_a_wait_that_was_given_up() {
        let alarm = Alarm::in_runtime();
        for given_up_us in [0, 50, 5_000] {
            tokio::select! {
                biased;
                () = alarm.ring(Instant::now() + Duration::from_micros(given_up_us)) => {}
                () = tokio::task::yield_now() => {}
            }
            let at = Instant::now() + Duration::from_micros(300);
            alarm.ring(at).await;
            assert!(Instant::now() >= at);
        }
        alarm.ring(Instant::now()).await;
    }
}
