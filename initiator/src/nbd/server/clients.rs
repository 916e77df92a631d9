//! All clients of an export, and the line of those that wait for memory.

use std::collections::VecDeque;

use super::client::Client;
use super::slab::Slab;

/// A client. Its number may be given again; its generation is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientKey {
    number: u32,
    generation: u64,
}

/// The clients.
#[derive(Default)]
pub(super) struct Clients {
    entries: Slab<(u64, Client)>,
    generation: u64,
}

impl Clients {
    pub(super) fn insert(&mut self, client: Client) -> ClientKey {
        self.generation += 1;
        let number = self.entries.insert((self.generation, client));
        ClientKey { number, generation: self.generation }
    }

    pub(super) fn remove(&mut self, key: ClientKey) -> Option<Client> {
        self.get_mut(key)?;
        self.entries.remove(key.number).map(|(_, client)| client)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: ClientKey) -> Option<&mut Client> {
        let (generation, client) = self.entries.get_mut(key.number)?;
        (*generation == key.generation).then_some(client)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The keys of all, in the order of their numbers.
    pub(super) fn keys(&mut self, into: &mut Vec<ClientKey>) {
        into.clear();
        for number in self.entries.numbers() {
            into.push(ClientKey { number, generation: 0 });
        }
        for key in into {
            if let Some((generation, _)) = self.entries.get_mut(key.number) {
                key.generation = *generation;
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Client> {
        self.entries.iter().map(|(_, client)| client)
    }
}

/// Those that wait for memory, first come, first served; each at most once.
#[derive(Debug, Default)]
pub(super) struct MemoryLine(VecDeque<ClientKey>);

impl MemoryLine {
    /// Whether a client may take memory: it is at the front, or nobody waits.
    #[inline]
    pub(super) fn is_first(&self, key: ClientKey) -> bool {
        self.0.front().is_none_or(|first| *first == key)
    }

    /// Puts a client at the end, unless it waits already.
    pub(super) fn join(&mut self, key: ClientKey) {
        if !self.0.contains(&key) {
            self.0.push_back(key);
        }
    }

    /// Takes a client out.
    pub(super) fn leave(&mut self, key: ClientKey) {
        self.0.retain(|other| *other != key);
    }

    /// Whose turn it is.
    pub(super) fn first(&self) -> Option<ClientKey> {
        self.0.front().copied()
    }
}
