//! The decision of what a commit does, without side effects.

use super::Record;
use super::changes::Changes;
use super::draft::Draft;
use super::external::ExternalParts;
use super::lifetime::Timeouts;
use crate::clock::Timestamp;

/// The single action of a commit on the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing.
    Keep,
    /// Check that the session is still live, for a cookie that is bound to it.
    Confirm,
    /// Record that the session was used.
    Touch,
    /// Begin a session.
    Create,
    /// Write the changed record.
    Update,
    /// Write the record under a new ID. With `grace` the old ID stays valid for the grace period.
    Renew { grace: bool },
    /// End the session.
    Destroy,
    /// End the session and begin another one.
    Replace,
}

impl Plan {
    /// Returns whether the response must carry a cookie.
    pub(crate) fn needs_cookie(self) -> bool {
        matches!(self, Self::Create | Self::Renew { .. } | Self::Destroy | Self::Replace)
    }

    /// Returns whether the record is written or touched.
    pub(crate) fn writes_record(self) -> bool {
        matches!(self, Self::Touch | Self::Create | Self::Update | Self::Renew { .. } | Self::Replace)
    }
}

/// The input of a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'r> {
    /// The record that was loaded, if the session is live.
    pub(crate) loaded: Option<&'r Record>,
    /// The changes that the request made.
    pub(crate) changes: &'r Changes,
    /// The draft that they led to.
    pub(crate) draft: &'r Draft,
    /// The ID has just been renewed by another request, and the response carries the new one. If each of many such
    /// requests renewed it again, the chain of IDs would be too long to follow.
    pub(crate) is_renewed: bool,
    /// The client's copy is sealed with a fallback key.
    pub(crate) needs_seal: bool,
    /// The response head is still unsent.
    pub(crate) may_set_cookie: bool,
    /// The request only peeks at the session, which is no use of it.
    pub(crate) is_peeked: bool,
}

/// Returns the plan.
///
/// An ID that has reached its age waits for a response that can carry the new one.
pub(crate) fn plan(situation: Situation<'_>, timeouts: &Timeouts, now: Timestamp) -> Plan {
    let Situation { loaded, changes, draft, is_renewed, needs_seal, may_set_cookie, is_peeked } = situation;
    let Some(record) = loaded else {
        return if draft.has_content() { Plan::Create } else { Plan::Keep };
    };
    if changes.ends_session {
        return if draft.has_content() { Plan::Replace } else { Plan::Destroy };
    }
    let (may_renew, may_touch) = (may_set_cookie && !is_peeked, !is_peeked);
    if changes.authenticates() {
        Plan::Renew { grace: changes.continues_login }
    } else if (changes.renews && !is_renewed) || (may_renew && timeouts.renewal_is_due(record, now)) {
        Plan::Renew { grace: true }
    } else if draft.is_changed() {
        Plan::Update
    } else if may_touch && (needs_seal || timeouts.touch_is_due(record, now)) {
        Plan::Touch
    } else if draft.external().is_some_and(ExternalParts::change_bound_cookie) {
        Plan::Confirm
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
    use crate::record::external::Medium;
    use crate::record::json_text::JsonText;
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
        ChangeCookie,
    }

    fn planned(loaded: Option<Record>, wish: Option<Do>, list: &[Change], reseal: bool) -> Plan {
        let timeouts = Timeouts { renewal: Some(Duration::from_secs(500)), ..Timeouts::default() };
        let loaded = loaded.map(Arc::new);
        let mut changes = Changes::default();
        let base = match wish {
            Some(Do::End) => {
                drop(changes.end_session());
                None
            }
            _ => loaded.clone(),
        };
        changes.renews = wish == Some(Do::Renew);
        list.iter().for_each(|change| changes.push(change.clone()));
        let mut draft = Draft::of(base, None);
        draft.apply_all(changes.list()).expect("no change of the table fails");
        if wish == Some(Do::ChangeCookie) {
            let text = JsonText::Own(b"1".as_slice().into());
            draft.external_mut().put("part", Medium::BoundCookie, text);
        }
        let (loaded, changes, draft) = (loaded.as_deref(), &changes, &draft);
        let (is_renewed, needs_seal) = (false, reseal);
        let with = |may_set_cookie, is_peeked| {
            let situation = Situation { loaded, changes, draft, is_renewed, needs_seal, may_set_cookie, is_peeked };
            plan(situation, &timeouts, NOW)
        };
        let (plan, peeked) = (|may_set_cookie| with(may_set_cookie, false), with(true, true));
        match plan(true) {
            Plan::Touch => assert!(matches!(peeked, Plan::Keep | Plan::Confirm), "to peek is no use: {peeked:?}"),
            Plan::Renew { grace: true } if !changes.renews => {
                assert_eq!(peeked, if draft.is_changed() { Plan::Update } else { Plan::Keep });
            }
            plan => assert_eq!(peeked, plan),
        }
        if plan(true) == (Plan::Renew { grace: true }) && !changes.renews {
            let without = if draft.is_changed() { Plan::Update } else { Plan::Touch };
            assert_eq!(plan(false), without, "no response can carry a new id");
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
    fn every_case_leads_to_its_plan() {
        use Plan::*;
        let (gracious, at_once) = (Renew { grace: true }, Renew { grace: false });
        let (none, fresh, used, old) = (|| None, || record(0), || record(60), || record(500));
        assert_eq!(planned(none(), Some(Do::ChangeCookie), &[], false), Create);
        assert_eq!(planned(fresh(), Some(Do::ChangeCookie), &[], false), Confirm);
        assert_eq!(planned(used(), Some(Do::ChangeCookie), &[], false), Touch);
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
