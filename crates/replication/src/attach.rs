//! Whether the labels that are known are enough to attach, and to which legs; or why not, in words.

use thiserror::Error;

use crate::config::{Description, Policy};
use crate::generation::{Generation, GenerationName, Lineage};
use crate::ids::{HolderId, HolderSet};
use crate::wire::label::{Label, LabelError};

/// Why a mirror cannot be attached, or a holder cannot take part.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No label has been read.
    #[error("no holder of a label has been reached")]
    Nobody,
    /// The newest set that was seen has members that are not there.
    #[error(
        "generation {newest} says that {missing} of {members} must be there to be sure that nothing newer exists"
    )]
    Members {
        /// The newest generation seen.
        newest: GenerationName,
        /// Its in-sync set.
        members: HolderSet,
        /// Who of it is not there.
        missing: HolderSet,
    },
    /// Too few holders are there.
    #[error("{present} of {holders} label holders are there, and {majority} are a majority")]
    Majority {
        /// How many are there.
        present: usize,
        /// How many there are.
        holders: usize,
        /// How many are needed.
        majority: usize,
    },
    /// No leg of the newest set is there.
    #[error("none of the legs {members} is there, which alone have generation {newest}")]
    NoLeg {
        /// The newest generation seen.
        newest: GenerationName,
        /// Its in-sync set.
        members: HolderSet,
    },
    /// Two histories.
    #[error(
        "split brain: neither of generation {one} on holder {one_holder} and generation {other} on holder {other_holder} descends from the other"
    )]
    SplitBrain {
        /// A generation.
        one: GenerationName,
        /// Who has it.
        one_holder: HolderId,
        /// Another one.
        other: GenerationName,
        /// Who has that.
        other_holder: HolderId,
    },
    /// The label cannot be used.
    #[error("{0}")]
    Label(#[from] LabelError),
    /// The label belongs to something else.
    #[error("the label's {field} is not this mirror's")]
    Other {
        /// What is different.
        field: &'static str,
    },
}

/// What to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The newest generation that counts.
    pub(crate) newest: Generation,
    /// The legs that are in sync and there.
    pub(crate) members: HolderSet,
    /// Whether a member of the newest set is missing.
    pub(crate) is_partial: bool,
}

/// Whether a label belongs to a holder of this mirror.
pub(crate) fn check_identity(
    description: &Description,
    holder: HolderId,
    label: &Label,
) -> Result<(), Refusal> {
    let other = |field| Err(Refusal::Other { field });
    if label.mirror != description.mirror {
        other("mirror UUID")
    } else if description.members.get(holder.index()).is_none_or(|member| member.uuid != label.holder) {
        other("leg UUID")
    } else if label.members != description.members {
        other("table of members")
    } else if label.policy != description.policy {
        other("policy")
    } else if label.shape != description.shape {
        other("size")
    } else {
        Ok(())
    }
}

/// Decides by the labels of the holders that are there.
pub(crate) fn decide(description: &Description, labels: &[(HolderId, &Label)]) -> Result<Plan, Refusal> {
    let labels = match description.policy {
        Policy::AllMembers => labels.to_vec(),
        Policy::Majority => without_hopeless(description, labels),
    };
    let (_, label) = newest_of(&labels)?;
    let present: HolderSet = labels.iter().map(|(holder, _)| *holder).collect();
    let members = label.in_sync.and(present);
    let missing = label.in_sync.minus(present);
    let name = label.generation.name;
    match description.policy {
        Policy::AllMembers if !missing.is_empty() => {
            Err(Refusal::Members { newest: name, members: label.in_sync, missing })
        }
        Policy::Majority if present.len() < description.majority() => Err(Refusal::Majority {
            present: present.len(),
            holders: description.members.len(),
            majority: description.majority(),
        }),
        _ if members.is_empty() => Err(Refusal::NoLeg { newest: name, members: label.in_sync }),
        _ => Ok(Plan { newest: label.generation.clone(), members, is_partial: !missing.is_empty() }),
    }
}

/// Under a majority: a generation that diverged from another one and cannot be on a majority of holders was never durable
/// where it must be, so nothing that was acknowledged depends on it. Its holder counts as present with an older label.
fn without_hopeless<'a>(
    description: &Description,
    labels: &[(HolderId, &'a Label)],
) -> Vec<(HolderId, &'a Label)> {
    let unseen = description.members.len() - labels.len();
    let supporters = |label: &Label| {
        let supports = |other: &Label| {
            matches!(other.generation.lineage(&label.generation), Lineage::Same | Lineage::Newer)
        };
        labels.iter().filter(|(_, other)| supports(other)).count() + unseen
    };
    let diverges = |label: &Label| {
        labels.iter().any(|(_, other)| label.generation.lineage(&other.generation) == Lineage::Diverged)
    };
    let is_hopeless = |label: &Label| diverges(label) && supporters(label) < description.majority();
    let good: Vec<_> = labels.iter().filter(|(_, label)| !is_hopeless(label)).copied().collect();
    let Some((_, fallback)) = good.first().or(labels.first()).copied() else { return Vec::new() };
    let newest = newest_of(&good).map_or(fallback, |(_, label)| label);
    labels.iter().map(|(holder, label)| (*holder, if is_hopeless(label) { newest } else { *label })).collect()
}

/// The label that descends from all others.
fn newest_of<'a>(labels: &[(HolderId, &'a Label)]) -> Result<(HolderId, &'a Label), Refusal> {
    let (mut holder, mut newest) = *labels.first().ok_or(Refusal::Nobody)?;
    for (other_holder, other) in labels {
        match other.generation.lineage(&newest.generation) {
            Lineage::Newer => (holder, newest) = (*other_holder, other),
            Lineage::Same | Lineage::Older => {}
            Lineage::Diverged => {
                return Err(Refusal::SplitBrain {
                    one: newest.generation.name,
                    one_holder: holder,
                    other: other.generation.name,
                    other_holder: *other_holder,
                });
            }
        }
    }
    Ok((holder, newest))
}

#[cfg(test)]
mod tests;
