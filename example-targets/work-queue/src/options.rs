//! How an engine works.

use std::time::Duration;

/// How an engine works. The defaults suit both stores on a machine of any size.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Tasks that run handlers. A handler that waits makes room for another.
    pub workers: usize,
    /// Actions that the engine has at once, waiting or running.
    pub actions_max: usize,
    /// Instances are started while it has fewer than this.
    pub actions_enough: usize,
    /// Changes in a transaction.
    pub batch_max: usize,
    /// With a batch on its way, how many changes are worth a second one.
    pub batch_enough: usize,
    /// How long the engine may be gone before others take over what it has.
    pub lease: Duration,
    /// How long a handler may take, unless its node says.
    pub timeout: Duration,
    /// How often to look for work of other processes when there is none.
    pub poll: Duration,
    /// What an input or a value may take, in bytes.
    pub value_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 4,
            actions_max: 8_192,
            actions_enough: 1_400,
            batch_max: 1_000,
            batch_enough: 300,
            lease: Duration::from_secs(30),
            timeout: Duration::from_secs(300),
            poll: Duration::from_millis(200),
            value_bytes_max: 1 << 20,
        }
    }
}
