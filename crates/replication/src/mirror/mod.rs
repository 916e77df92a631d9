//! The mirror: requests, completions, links and time go in; actions and completions come out.
//!
//! Each file has one concern: what comes in from holders ([`answers`]), attaching, generations and labels, the map's writes,
//! writes, reads, flushes, copies, admission of legs, losses, timers. Whatever comes in changes state and then calls
//! [`Mirror::pump`], which lets every concern go as far as it can.

mod answers;
mod attaching;
mod copies;
pub mod coverage;
mod flushes;
mod generations;
mod joins;
mod losses;
mod map_writes;
mod reads;
mod requests;
mod status;
mod timers;
mod writes;

use std::collections::{BTreeMap, VecDeque};

use block::{BlockRange, Op, Timestamp};
use uuid::Uuid;

use crate::action::{Action, ActionKind};
use crate::config::{ConfigError, Description, Options, Policy};
use crate::error::MirrorError;
use crate::generation::Generation;
use crate::holder::{Holder, HolderState};
use crate::ids::{ActionId, HolderId, HolderSet, RequestId, WriterKey};
use crate::intent::IntentMap;
use crate::locks::Locks;
use crate::mutation::{Mutation, Rules};

use attaching::Stage as AttachStage;
use copies::Copy as CopyTask;
use coverage::{Counts, Event};
use flushes::Flush as FlushTask;
use requests::Request;

pub use status::{HolderStatus, Status};

/// What one attachment has of its own: both random, fresh for each.
#[derive(Clone, Copy, Debug)]
pub struct Attachment {
    /// The reservation key.
    pub key: WriterKey,
    /// Generations take their ids from here on.
    pub first_id: u128,
}

/// What a mirror can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It looks for its holders. Requests fail.
    Attaching,
    /// It takes requests.
    Serving,
    /// Another writer has taken over. Requests fail for ever.
    Fenced,
}

/// What an action on its way is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Claim,
    ReadLabel,
    WriteLabel,
    ReadMap,
    WriteMap { first: u32, count: u32 },
    Read(RequestId),
    Write(RequestId),
    Flush(u64),
    CopyRead,
    CopyWrite,
    Ping,
}

/// An action on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    holder: HolderId,
    begun: Timestamp,
    purpose: Purpose,
}

/// The mirror's state machine.
#[derive(Debug)]
pub struct Mirror {
    description: Description,
    options: Options,
    rules: Rules,
    attachment: Attachment,
    now: Timestamp,
    phase: Phase,
    stage: AttachStage,
    attaching_since: Timestamp,
    /// How often everything began anew without a leg in sync.
    incarnation: u64,
    holders: Vec<Holder>,
    /// The newest generation that was sent to a holder, and its in-sync set.
    current: Option<Generation>,
    promised: HolderSet,
    /// Legs that the current generation admits.
    joiners: HolderSet,
    /// The current generation is not durable yet where the policy demands.
    is_changing: bool,
    generations_made: u64,
    map: IntentMap,
    locks: Locks,
    requests: BTreeMap<RequestId, Request>,
    flushes: BTreeMap<u64, FlushTask>,
    copy: Option<CopyTask>,
    copy_not_before: Timestamp,
    idle_scan_at: Timestamp,
    stream_ends: VecDeque<u64>,
    flights: BTreeMap<ActionId, Flight>,
    actions: VecDeque<Action>,
    completions: VecDeque<(RequestId, Result<(), MirrorError>)>,
    /// Counts what ends, so that before and after can be told.
    tick: u64,
    next_action: u64,
    next_flush: u64,
    has_moved: bool,
    counts: Counts,
}

impl Mirror {
    /// A mirror that is to be attached. It waits for news of links.
    ///
    /// # Errors
    /// If the description is not possible.
    pub fn attach(
        now: Timestamp,
        description: Description,
        options: Options,
        attachment: Attachment,
    ) -> Result<Self, ConfigError> {
        description.check()?;
        let map = IntentMap::new(description.shape, options.intent_regions_max);
        let holders = description.members.iter().map(|_| Holder::new()).collect();
        Ok(Self {
            description,
            rules: Rules::default(),
            attachment,
            now,
            phase: Phase::Attaching,
            stage: AttachStage::Gathering,
            attaching_since: now,
            incarnation: 0,
            holders,
            current: None,
            promised: HolderSet::EMPTY,
            joiners: HolderSet::EMPTY,
            is_changing: false,
            generations_made: 0,
            map,
            locks: Locks::default(),
            requests: BTreeMap::new(),
            flushes: BTreeMap::new(),
            copy: None,
            copy_not_before: now,
            idle_scan_at: now.after(options.intent_idle),
            stream_ends: VecDeque::new(),
            flights: BTreeMap::new(),
            actions: VecDeque::new(),
            completions: VecDeque::new(),
            tick: 0,
            next_action: 0,
            next_flush: 0,
            has_moved: false,
            counts: Counts::default(),
            options,
        })
    }

    /// The same, with a rule of the contract broken.
    #[cfg(feature = "mutations")]
    #[must_use]
    pub const fn with_mutation(mut self, mutation: Option<Mutation>) -> Self {
        self.rules.broken = mutation;
        self
    }

    /// A request. It is completed once, by [`Self::poll_completion`]; its name is never used again.
    pub fn submit(&mut self, now: Timestamp, id: RequestId, op: Op, range: BlockRange) {
        self.now = now;
        match self.check_request(op, range) {
            Ok(()) => {
                self.requests.insert(id, Request::new(op, range, now));
                self.pump();
            }
            Err(why) => self.completions.push_back((id, Err(why))),
        }
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// A request that has ended.
    pub fn poll_completion(&mut self) -> Option<(RequestId, Result<(), MirrorError>)> {
        self.completions.pop_front()
    }

    /// Lets every concern go as far as it can.
    fn pump(&mut self) {
        while self.phase != Phase::Fenced {
            self.has_moved = false;
            self.step_attach();
            self.step_generation();
            self.step_labels();
            self.step_map();
            self.step_requests();
            self.step_flushes();
            self.step_copy();
            self.step_joins();
            if !self.has_moved {
                break;
            }
        }
    }

    fn emit(&mut self, holder: HolderId, kind: ActionKind, purpose: Option<Purpose>) {
        let id = ActionId(self.next_action);
        self.next_action += 1;
        self.has_moved = true;
        if let Some(purpose) = purpose {
            self.flights.insert(id, Flight { holder, begun: self.now, purpose });
        }
        self.actions.push_back(Action { id, holder, kind });
    }

    fn holder(&self, id: HolderId) -> &Holder {
        &self.holders[id.index()]
    }

    fn holder_mut(&mut self, id: HolderId) -> &mut Holder {
        &mut self.holders[id.index()]
    }

    /// The one place where a holder's state changes.
    fn enter(&mut self, id: HolderId, state: HolderState) {
        self.holder_mut(id).state = state;
        self.has_moved = true;
    }

    fn count(&mut self, holder: HolderId, event: Event) {
        let state = self.holder(holder).state;
        self.counts.hit(state, event);
    }

    fn holders_where(&self, is_wanted: impl Fn(&Holder) -> bool) -> HolderSet {
        let wanted = self.holders.iter().enumerate().filter(|(_, holder)| is_wanted(holder));
        wanted.filter_map(|(index, _)| HolderId::new(index)).collect()
    }

    fn in_sync(&self) -> HolderSet {
        self.holders_where(|holder| holder.state == HolderState::InSync)
    }

    fn writable(&self) -> HolderSet {
        self.holders_where(Holder::takes_writes)
    }

    /// Legs that writes do not reach.
    fn absent(&self) -> HolderSet {
        self.description
            .legs()
            .minus(self.holders_where(|holder| holder.takes_writes() || holder.takes_marks()))
    }

    /// Whether the newest generation is durable where the policy demands: nothing is begun or acknowledged otherwise.
    fn is_settled(&self) -> bool {
        self.phase == Phase::Serving && !self.is_changing && self.has_lease()
    }

    /// Whether nobody else can have taken over unnoticed: a majority answered to what was asked less than a lease ago.
    fn has_lease(&self) -> bool {
        if self.description.policy == Policy::AllMembers || self.rules.lack(Mutation::NoLease) {
            return true;
        }
        let lease = self.options.lease;
        let is_heard = |holder: &Holder| holder.heard_at.is_some_and(|at| at.after(lease) > self.now);
        self.holders_where(is_heard).len() >= self.description.majority()
    }

    fn next_generation_id(&mut self) -> Uuid {
        self.generations_made += 1;
        Uuid::from_u128(self.attachment.first_id.wrapping_add(u128::from(self.generations_made)))
    }

    /// Another writer has taken over: the end.
    fn fence(&mut self) {
        if self.rules.lack(Mutation::FencedGoesOn) {
            return;
        }
        self.phase = Phase::Fenced;
        self.flights.clear();
        self.actions.clear();
        self.fail_all(MirrorError::Fenced);
    }
}
