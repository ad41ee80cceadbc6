//! What runs an action: async functions, by name.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{ActionId, InstanceId};
use crate::value::Json;

/// What a handler is told about the action that it runs.
#[derive(Clone, Debug)]
pub struct Context {
    pub(crate) action: ActionId,
    pub(crate) instance: InstanceId,
    pub(crate) node: Arc<str>,
    pub(crate) element: Option<u32>,
    pub(crate) delivery: u32,
}

impl Context {
    /// The action: the same at every delivery, and no other's. What has an effect outside the queue
    /// records it under this, and looks there first.
    #[must_use]
    pub fn action(&self) -> ActionId {
        self.action
    }

    /// Whose action it is.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The node of the workflow.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Which element of the node's fan-out, from 0.
    #[must_use]
    pub fn element(&self) -> Option<u32> {
        self.element
    }

    /// How often it was delivered, from 1.
    #[must_use]
    pub fn delivery(&self) -> u32 {
        self.delivery
    }
}

/// Why a handler did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub(crate) message: String,
    pub(crate) is_final: bool,
}

impl Failure {
    /// Trying again may help: the node's retry policy says when.
    pub fn retry(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            is_final: false,
        }
    }

    /// It never will: the instance fails.
    pub fn fatal(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            is_final: true,
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    /// As [`Failure::retry`], with its causes.
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self::retry(message)
    }
}

pub(crate) type Running = Pin<Box<dyn Future<Output = Result<Json, Failure>> + Send>>;

type Erased = dyn Fn(Context, Json) -> Running + Send + Sync;

/// Handlers by the names of actions.
#[derive(Clone, Default)]
pub struct Handlers(FxHashMap<Arc<str>, Arc<Erased>>);

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Handlers {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more. An input that is not of its type fails the instance. A later one of the same
    /// name replaces it.
    #[must_use]
    pub fn on<I, O, F, R>(mut self, action: &str, handler: F) -> Self
    where
        I: DeserializeOwned,
        O: Serialize,
        F: Fn(Context, I) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let handler: Arc<Erased> = Arc::new(move |context, input: Json| {
            let running = match input.to::<I>() {
                Ok(input) => handler(context, input),
                Err(error) => {
                    let why = format!("its input is not what the handler takes: {error}");
                    return Box::pin(std::future::ready(Err(Failure::fatal(why))));
                }
            };
            Box::pin(async move {
                let value = running.await?;
                Json::of(&value).map_err(|error| {
                    Failure::fatal(format!("its value can't be written as JSON: {error}"))
                })
            })
        });
        self.0.insert(action.into(), handler);
        self
    }

    pub(crate) fn get(&self, action: &str) -> Option<&Arc<Erased>> {
        self.0.get(action)
    }

    /// The names, in alphabetical order.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }
}
