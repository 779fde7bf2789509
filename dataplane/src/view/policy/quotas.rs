//! `[rate_limit]`: which measure is whose. The buckets are `stages::limits`'s.

use sentinel_proto::v1;

use super::Quota;
use crate::{call::Kind, view::pattern::Selector};

#[derive(Debug)]
pub(super) struct Quotas {
    default: Quota,
    /// In the file's order.
    named: Vec<Named>,
}

#[derive(Debug)]
struct Named {
    selector: Selector,
    /// As the file writes it.
    pattern: Box<str>,
    quota: Quota,
}

impl Quotas {
    pub(super) fn new(default: Option<v1::Quota>, tools: Vec<v1::ToolQuota>) -> Self {
        let named = tools.into_iter().map(|tool| Named {
            selector: Selector::new(&tool.tool),
            quota: Quota::read(tool.quota),
            pattern: tool.tool.into(),
        });
        Self { default: Quota::read(default), named: named.collect() }
    }

    /// That of the first pattern that fits.
    pub(super) fn of(&self, kind: Kind, exposed: &str) -> Quota {
        self.named(kind, exposed).map_or(self.default, |named| named.quota)
    }

    /// None: the default holds.
    pub(super) fn pattern_of(&self, kind: Kind, exposed: &str) -> Option<&str> {
        self.named(kind, exposed).map(|named| &*named.pattern)
    }

    fn named(&self, kind: Kind, exposed: &str) -> Option<&Named> {
        self.named.iter().find(|named| named.selector.selects(kind, exposed))
    }
}

impl Quota {
    pub(super) fn read(quota: Option<v1::Quota>) -> Self {
        let quota = quota.unwrap_or(v1::Quota { requests: 100, per_secs: 60, burst: 20 });
        Self { requests: quota.requests.max(1), per_secs: quota.per_secs.max(1), burst: quota.burst.max(1) }
    }
}
