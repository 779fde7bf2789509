//! The runs of each plane beside each other: whether each end is the one that the next run, or the plane, knows.

use std::collections::BTreeMap;

use super::{Bad, Said, Walked, short};
use crate::store::chains::Chain;

/// Adds what only other runs, or the planes, can tell. A chain that is bad already keeps its first bad place.
pub(super) fn join(walked: &mut BTreeMap<Chain, Walked>, said: &BTreeMap<String, Said>, kept_from: i64) {
    let mut followers: BTreeMap<Chain, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
    for (chain, one) in walked.iter() {
        if let Some((epoch, hash)) = one.previous.as_ref().filter(|(epoch, _)| *epoch != 0) {
            let before = Chain { plane_id: chain.plane_id.clone(), epoch: *epoch };
            followers.entry(before).or_default().push((chain.epoch, hash.clone()));
        }
    }
    for (before, after) in &followers {
        if let [_, second, ..] = after.as_slice() {
            let message = format!("two runs follow run {}: the plane's directory was copied", before.epoch);
            let second = Chain { plane_id: before.plane_id.clone(), epoch: second.0 };
            spoil(walked, &second, Bad { problem: "fork", at: 1, message });
        }
        match walked.get(before).cloned() {
            Some(run) => {
                let wanted = after.iter().find(|(_, hash)| run.bad.is_none() && *hash != run.head);
                if let Some((_, hash)) = wanted {
                    let message = format!(
                        "the end is missing, or record {} was changed: the next run was begun after hash {}",
                        run.to,
                        short(hash)
                    );
                    spoil(walked, before, Bad { problem: "truncated", at: run.to.saturating_add(1), message });
                }
            }
            None => missing(walked, before, after, said, kept_from),
        }
    }
    let ends: Vec<(Chain, u64)> = walked.iter().map(|(chain, one)| (chain.clone(), one.to)).collect();
    for (chain, to) in ends {
        let said = said.get(&chain.plane_id).filter(|said| said.epoch == chain.epoch);
        let is_last = !followers.contains_key(&chain);
        match said {
            Some(said) if said.known() > to => {
                let message =
                    format!("the end is missing: the plane knows of {} stored records of this run", said.known());
                spoil(walked, &chain, Bad { problem: "truncated", at: to.saturating_add(1), message });
            }
            Some(said) => unlike(walked, &chain, said),
            None if is_last => note(walked, &chain, "its end is not proven: the plane has not spoken since this start"),
            _ => {}
        }
    }
    // A run of which no row is left.
    for (plane_id, said) in said.iter().filter(|(_, said)| said.known() > 0) {
        let chain = Chain { plane_id: plane_id.clone(), epoch: said.epoch };
        walked.entry(chain).or_insert_with(|| {
            let message = format!("the whole run is missing: the plane knows of {} stored records", said.known());
            Walked { bad: Some(Bad { problem: "truncated", at: 1, message }), ..Walked::default() }
        });
    }
}

/// The content of the last record, by the head that the plane itself has after it.
fn unlike(walked: &mut BTreeMap<Chain, Walked>, chain: &Chain, said: &Said) {
    let Some(one) = walked.get(chain) else { return };
    match (said.head, one.told) {
        (Some((seq, head)), Some(told)) if head != told => {
            let message = format!("record {seq} is not what the plane sent: there its hash is {}", short(&head));
            spoil(walked, chain, Bad { problem: "changed", at: seq, message });
        }
        (Some((seq, _)), Some(_)) if seq == one.to => {}
        // It tells how far it is with each report.
        _ => {
            let text = format!("the content of record {} is not proven: the plane has not told of it yet", one.to);
            note(walked, chain, &text);
        }
    }
}

/// The run that others follow is not there.
fn missing(
    walked: &mut BTreeMap<Chain, Walked>,
    before: &Chain,
    after: &[(u64, Vec<u8>)],
    said: &BTreeMap<String, Said>,
    kept_from: i64,
) {
    let known = said.get(&before.plane_id);
    let may_forget = known.is_none_or(|said| said.first_seen_ms.saturating_mul(1000) < kept_from);
    for (epoch, _) in after {
        let chain = Chain { plane_id: before.plane_id.clone(), epoch: *epoch };
        if may_forget && kept_from > 0 {
            note(walked, &chain, "retention took the run before");
        } else {
            let message = format!("run {} is missing, which this one follows", before.epoch);
            spoil(walked, &chain, Bad { problem: "hole", at: 1, message });
        }
    }
}

fn spoil(walked: &mut BTreeMap<Chain, Walked>, chain: &Chain, bad: Bad) {
    if let Some(one) = walked.get_mut(chain) {
        one.bad.get_or_insert(bad);
    }
}

fn note(walked: &mut BTreeMap<Chain, Walked>, chain: &Chain, text: &str) {
    if let Some(one) = walked.get_mut(chain) {
        if !one.note.is_empty() {
            one.note.push_str("; ");
        }
        one.note.push_str(text);
    }
}
