//! What this engine has seen arrive at gates that are not complete, so that it need not be read
//! back.
//!
//! Only ever an optimisation: the database knows better, and says so when an engine passes a gate
//! for which something else has arrived.

use rustc_hash::FxHashMap;

use crate::graph::Gate;
use crate::store::{Arrival, InstanceId};
use crate::value::Json;

/// What the values may take, roughly, in bytes.
const BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Default)]
pub(crate) struct InboxCache {
    gates: FxHashMap<(InstanceId, Gate), Remembered>,
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Remembered {
    /// How many have not arrived yet, as far as this engine knows.
    pub(crate) missing: u32,
    pub(crate) values: Vec<(u32, Json)>,
}

impl Remembered {
    fn bytes(&self) -> usize {
        let values = self.values.iter();
        let texts: usize = values.map(|(_, value)| value.as_str().len() + 48).sum();
        64 + texts
    }
}

impl InboxCache {
    pub(crate) fn get(&self, key: (InstanceId, Gate)) -> Option<&Remembered> {
        self.gates.get(&key)
    }

    /// An arrival was applied, with these values.
    pub(crate) fn add(&mut self, arrival: &Arrival, values: Vec<(u32, Json)>) {
        let key = (arrival.instance, arrival.gate);
        let mut remembered = self.take(key).unwrap_or(Remembered {
            missing: arrival.expected,
            values: Vec::new(),
        });
        remembered.missing = remembered.missing.saturating_sub(arrival.arrived);
        remembered.values.extend(values);
        let bytes = remembered.bytes();
        // What does not fit is read back.
        if self.bytes + bytes <= BYTES_MAX && remembered.missing > 0 {
            self.bytes += bytes;
            self.gates.insert(key, remembered);
        }
    }

    pub(crate) fn forget(&mut self, key: (InstanceId, Gate)) {
        _ = self.take(key);
    }

    fn take(&mut self, key: (InstanceId, Gate)) -> Option<Remembered> {
        let taken = self.gates.remove(&key)?;
        self.bytes -= taken.bytes();
        Some(taken)
    }
}
