//! When a service is started again, and when it is given up.

use std::time::Duration;

/// When a service that has ended by itself is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// If it failed: ended otherwise than with code 0, was not ready in time, or was unhealthy.
    Transient,
    /// Never.
    Temporary,
}

/// Who is started again with a service that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Nobody else.
    #[default]
    OneForOne,
    /// All others that are up: they are stopped first, and all are started in order.
    OneForAll,
    /// Those that come after it in the order of starting.
    RestForOne,
}

/// Whether the supervisor ends when services that are [`significant`](crate::supervisor::Service::significant) have ended for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AutoShutdown {
    /// It does not.
    #[default]
    Never,
    /// With the first of them.
    AnySignificant,
    /// With the last of them.
    AllSignificant,
}

/// So many restarts within so much time are borne, and the next is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Intensity {
    /// How many.
    pub restarts: u32,
    /// In which time.
    pub period: Duration,
}

/// How long a service that failed waits before it is started again: `first`, and `factor` times as long each time, up to `most`; less or more by up to
/// `jitter` of it, so that services which failed together do not come back together. Once it has been ready for `stable_for` it begins anew.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// What each next one is of the one before.
    pub factor: f64,
    /// The longest.
    pub most: Duration,
    /// From 0 (none) to 1.
    pub jitter: f64,
    /// After so much time of being ready, all failures before are forgotten.
    pub stable_for: Duration,
}

impl Default for Backoff {
    /// 100 ms, doubled up to 30 s, 10 % jitter; stable after 10 s.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            factor: 2.0,
            most: Duration::from_secs(30),
            jitter: 0.1,
            stable_for: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// No wait at all, and stable at once.
    pub fn none() -> Self {
        let zero = Duration::ZERO;
        Self { first: zero, factor: 1.0, most: zero, jitter: 0.0, stable_for: zero }
    }

    /// The wait after `failures` earlier ones in a row; `chance` is what the jitter is made of, from 0 to 1.
    pub(crate) fn delay(&self, failures: u32, chance: f64) -> Duration {
        let most = self.most.as_secs_f64();
        let exponent = i32::try_from(failures).unwrap_or(i32::MAX);
        let plain = (self.first.as_secs_f64() * self.factor.max(1.0).powi(exponent)).min(most);
        let varied = plain * (1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * chance - 1.0));
        Duration::try_from_secs_f64(varied.clamp(0.0, most)).unwrap_or(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_most_and_varies_within_the_jitter() {
        let backoff = Backoff { most: Duration::from_secs(1), ..Backoff::default() };
        let millis = |failures, chance| backoff.delay(failures, chance).as_millis();
        assert_eq!([0, 1, 2, 3].map(|failures| millis(failures, 0.5)), [100, 200, 400, 800]);
        assert_eq!([4, 40, u32::MAX].map(|failures| millis(failures, 0.5)), [1000, 1000, 1000]);
        assert_eq!((millis(0, 0.0), millis(0, 1.0)), (90, 110));
        assert_eq!(backoff.delay(9, 1.0), Duration::from_secs(1), "never more than the most");
    }

    #[test]
    fn odd_numbers_are_no_panic() {
        for factor in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            let backoff = Backoff { factor, jitter: f64::NAN, ..Backoff::default() };
            assert!(backoff.delay(7, 0.3) <= backoff.most);
        }
        assert_eq!(Backoff::none().delay(3, 1.0), Duration::ZERO);
    }
}
