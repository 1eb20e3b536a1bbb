//! Mistakes in the settings of a layer.
//!
//! The setters of a layer take one value each and cannot fail. So contradictions between values are reported at the
//! first request, when all values are known.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{ConfigError, Error};
use crate::record::lifetime::Timeouts;

/// Verdict on the settings of a layer, updated by each setter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// The idle timeout is not the default.
    pub(crate) sets_idle: bool,
    /// The absolute timeout is not the default.
    pub(crate) sets_absolute: bool,
    mistake: Option<ConfigError>,
    warning: Option<Cow<'static, str>>,
    has_warned: Once,
    /// A page over plain HTTP has been seen, and warned of.
    pub(crate) has_seen_http: Once,
}

/// Flag that is raised once. A clone keeps the state and is raised separately.
#[derive(Debug, Default)]
pub(crate) struct Once(AtomicBool);

impl Once {
    #[inline]
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Raises the flag. Returns whether this call did.
    pub(crate) fn raise(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

impl Clone for Once {
    fn clone(&self) -> Self {
        Self(AtomicBool::new(self.is_raised()))
    }
}

impl Setup {
    /// Judges the settings.
    pub(crate) fn judge(&mut self, timeouts: &Timeouts, store_timeout: Duration, max_record_size: usize) {
        let mistake = zero(timeouts, store_timeout, max_record_size).or_else(|| self.contradiction(timeouts));
        self.warning = if mistake.is_none() { self.doubt(timeouts) } else { None };
        self.mistake = mistake.map(ConfigError::new);
        self.has_warned = Once::default();
    }

    /// Whether the settings are without mistake and warning.
    #[inline]
    pub(crate) fn is_fine(&self) -> bool {
        self.mistake.is_none() && self.warning.is_none()
    }

    /// Returns the error that each response must be.
    pub(crate) fn mistake(&self) -> Option<Error> {
        self.mistake.clone().map(Error::misconfigured)
    }

    /// Returns the warning at the first call.
    pub(crate) fn take_warning(&self) -> Option<Cow<'static, str>> {
        self.warning.clone().filter(|_| self.has_warned.raise())
    }

    /// Returns a contradiction between two settings of the application.
    fn contradiction(&self, timeouts: &Timeouts) -> Option<String> {
        let absolute = timeouts.absolute.filter(|_| self.sets_absolute)?;
        match (timeouts.idle.filter(|_| self.sets_idle), timeouts.renewal) {
            (Some(idle), _) if idle > absolute => Some(format!(
                "the idle timeout of {idle:?} never applies, since the absolute timeout of {absolute:?} ends every session \
                 before: shorten `with_idle_timeout` or lengthen `with_absolute_timeout`"
            )),
            (_, Some(renewal)) if renewal >= absolute => Some(format!(
                "no id is renewed after {renewal:?}, since the absolute timeout of {absolute:?} ends every session before: \
                 shorten `with_renewal` or lengthen `with_absolute_timeout`"
            )),
            _ => None,
        }
    }

    /// Returns a setting that has no effect, or not the one that its value says.
    fn doubt(&self, timeouts: &Timeouts) -> Option<Cow<'static, str>> {
        let Timeouts { idle, absolute, renewal, touch_interval, grace } = *timeouts;
        if let (Some(idle), Some(absolute)) = (idle.filter(|_| self.sets_idle), absolute)
            && idle > absolute
        {
            return Some(Cow::Owned(format!(
                "the idle timeout of {idle:?} never applies, since sessions end {absolute:?} after the login by default: \
                 set `with_absolute_timeout` too"
            )));
        }
        if let (Some(interval), Some(idle)) = (touch_interval, idle)
            && interval >= idle
        {
            return Some(Cow::Owned(format!(
                "the touch interval of {interval:?} is as long as the idle timeout of {idle:?}, so half of that is used: \
                 shorten `with_touch_interval`"
            )));
        }
        match renewal? {
            Duration::ZERO => Some(Cow::Borrowed(
                "with a renewal after zero seconds each request writes and gets a new id: lengthen `with_renewal`",
            )),
            renewal if renewal < grace => Some(Cow::Owned(format!(
                "ids are renewed after {renewal:?} and stay valid for a grace of {grace:?}, so several are valid at once: \
                 shorten `with_grace` or lengthen `with_renewal`"
            ))),
            renewal => absolute.filter(|absolute| renewal >= *absolute).map(|absolute| {
                Cow::Owned(format!(
                    "no id is renewed after {renewal:?}, since sessions end {absolute:?} after the login by default: shorten \
                     `with_renewal` or set `with_absolute_timeout` too"
                ))
            }),
        }
    }
}

/// Returns a setting of zero with which nothing works.
fn zero(timeouts: &Timeouts, store_timeout: Duration, max_record_size: usize) -> Option<String> {
    let zero = Some(Duration::ZERO);
    let mistake = if timeouts.idle == zero {
        "an idle timeout of zero ends every session at once: lengthen `with_idle_timeout`, or give it `None` for no limit"
    } else if timeouts.absolute == zero {
        "an absolute timeout of zero ends every session at once: lengthen `with_absolute_timeout`, or give it `None` for no \
         limit"
    } else if store_timeout.is_zero() {
        "a store timeout of zero lets every call of the store fail: lengthen `with_store_timeout`"
    } else if max_record_size == 0 {
        "a record of at most 0 bytes holds no value: enlarge `with_max_record_size`"
    } else {
        return None;
    };
    Some(mistake.to_owned())
}
