//! What is to be done at the end of a request: one decision, without side effects.

use super::Record;
use super::changes::Changes;
use super::draft::Draft;
use super::lifetime::Timeouts;
use crate::clock::Timestamp;

/// The one thing to do with the session at the end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing.
    Keep,
    /// Write down that the session was used.
    Touch,
    /// Begin a session.
    Create,
    /// Write the changed record.
    Update,
    /// Write the record under a new ID. With `grace` the old ID leads to the new one for a while.
    Renew { grace: bool },
    /// End the session.
    Destroy,
    /// End the session and begin another.
    Replace,
}

impl Plan {
    /// Whether the client has to be told.
    pub(crate) fn needs_cookie(self) -> bool {
        matches!(self, Self::Create | Self::Renew { .. } | Self::Destroy | Self::Replace)
    }
}

/// Decides what to do with the record that was `loaded`, given the changes a request made and the draft they led to.
///
/// `reseal` says that the client's copy is sealed with a key that is no longer the primary one. An ID that has reached its
/// age waits for a response that can tell the new one, and so while `may_set_cookie` is false.
pub(crate) fn plan(
    loaded: Option<&Record>,
    changes: &Changes,
    draft: &Draft,
    reseal: bool,
    timeouts: &Timeouts,
    may_set_cookie: bool,
    now: Timestamp,
) -> Plan {
    let makes_session = || changes.needs_session || draft.has_content();
    let Some(record) = loaded else {
        return if makes_session() { Plan::Create } else { Plan::Keep };
    };
    if changes.ends_session {
        return if makes_session() { Plan::Replace } else { Plan::Destroy };
    }
    if changes.authenticates() {
        Plan::Renew { grace: false }
    } else if changes.renews || (may_set_cookie && timeouts.renewal_is_due(record, now)) {
        Plan::Renew { grace: true }
    } else if draft.is_changed() {
        Plan::Update
    } else if reseal || timeouts.touch_is_due(record, now) {
        Plan::Touch
    } else {
        Plan::Keep
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::record::changes::Change;
    use crate::record::{Handle, Values};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn set() -> Change {
        Change::Set { key: "k".into(), value: b"2".as_slice().into() }
    }

    fn set_the_same() -> Change {
        Change::Set { key: "k".into(), value: b"1".as_slice().into() }
    }

    fn remove() -> Change {
        Change::Remove { key: "k".into() }
    }

    fn remove_another() -> Change {
        Change::Remove { key: "other".into() }
    }

    fn login() -> Change {
        Change::Login { principal: "alice".into(), fresh: false }
    }

    fn label() -> Change {
        Change::Label(Some("phone".into()))
    }

    fn idle() -> Change {
        Change::IdleTimeout(Some(Duration::from_secs(5)))
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Do {
        Renew,
        End,
        Need,
    }

    fn planned(loaded: Option<Record>, wish: Option<Do>, list: &[Change], reseal: bool) -> Plan {
        let timeouts = Timeouts { renewal: Some(Duration::from_secs(500)), ..Timeouts::default() };
        let loaded = loaded.map(Arc::new);
        let mut changes = Changes::default();
        let base = match wish {
            Some(Do::End) => {
                changes.end_session();
                None
            }
            _ => loaded.clone(),
        };
        changes.needs_session = wish == Some(Do::Need);
        changes.renews = wish == Some(Do::Renew);
        list.iter().for_each(|change| changes.push(change.clone()));
        let draft = Draft::replay(base, None, changes.list()).expect("no change of the table fails");
        let plan = |may_set_cookie| plan(loaded.as_deref(), &changes, &draft, reseal, &timeouts, may_set_cookie, NOW);
        if plan(true) == (Plan::Renew { grace: true }) && !changes.renews {
            let without = if draft.is_changed() { Plan::Update } else { Plan::Touch };
            assert_eq!(plan(false), without, "there is nobody to tell a new id to");
        } else {
            assert_eq!(plan(false), plan(true));
        }
        plan(true)
    }

    fn record(seconds_ago: u64) -> Option<Record> {
        let then = Timestamp::from_millis(NOW.as_millis() - seconds_ago * 1000);
        let mut record = Record::new(Handle::from_bytes([0; 16]), then, NOW.after(Duration::from_secs(60)));
        record.values = Values::from_pairs([("k", b"1".as_slice())]);
        Some(record)
    }

    #[test]
    fn every_case_has_its_plan() {
        use Plan::*;
        let (gracious, at_once) = (Renew { grace: true }, Renew { grace: false });
        let (none, fresh, used, old) = (|| None, || record(0), || record(60), || record(500));
        assert_eq!(planned(none(), Some(Do::Need), &[], false), Create);
        assert_eq!(planned(fresh(), Some(Do::Need), &[], false), Keep);
        type Case<'c> = (&'c dyn Fn() -> Option<Record>, Option<Do>, &'c [Change], bool, Plan);
        let cases: &[Case<'_>] = &[
            (&none, None, &[], false, Keep),
            (&none, None, &[set()], false, Create),
            (&none, None, &[set(), remove()], false, Keep),
            (&none, None, &[Change::Clear], false, Keep),
            (&none, None, &[remove()], false, Keep),
            (&none, None, &[login()], false, Create),
            (&none, None, &[idle()], false, Create),
            (&none, None, &[Change::IdleTimeout(None)], false, Keep),
            (&none, None, &[label()], false, Create),
            (&none, None, &[Change::Label(None)], false, Keep),
            (&none, None, &[Change::Reauthenticated], false, Keep),
            (&none, Some(Do::Renew), &[], false, Keep),
            (&none, Some(Do::Renew), &[set()], false, Create),
            (&none, Some(Do::End), &[], false, Keep),
            (&none, Some(Do::End), &[set()], false, Create),
            (&fresh, None, &[], false, Keep),
            (&fresh, None, &[], true, Touch),
            (&fresh, None, &[set_the_same()], false, Keep),
            (&fresh, None, &[remove_another()], false, Keep),
            (&fresh, None, &[set()], false, Update),
            (&fresh, None, &[remove()], false, Update),
            (&fresh, None, &[Change::Clear], false, Update),
            (&fresh, None, &[idle()], false, Update),
            (&fresh, None, &[set()], true, Update),
            (&fresh, Some(Do::Renew), &[], false, gracious),
            (&fresh, Some(Do::Renew), &[set()], false, gracious),
            (&fresh, None, &[login()], false, at_once),
            (&fresh, None, &[Change::Reauthenticated], false, at_once),
            (&fresh, None, &[label()], false, Update),
            (&fresh, None, &[Change::Label(None)], false, Keep),
            (&fresh, Some(Do::Renew), &[login()], false, at_once),
            (&fresh, Some(Do::End), &[], false, Destroy),
            (&fresh, Some(Do::End), &[set()], false, Replace),
            (&fresh, Some(Do::End), &[login()], false, Replace),
            (&used, None, &[], false, Touch),
            (&used, None, &[set()], false, Update),
            (&used, Some(Do::End), &[], false, Destroy),
            (&old, None, &[], false, gracious),
            (&old, None, &[set()], false, gracious),
            (&old, None, &[login()], false, at_once),
            (&old, Some(Do::End), &[], false, Destroy),
        ];
        for (i, (loaded, wish, list, reseal, expected)) in cases.iter().enumerate() {
            assert_eq!(planned(loaded(), *wish, list, *reseal), *expected, "case {i}: {list:?}");
        }
    }
}
