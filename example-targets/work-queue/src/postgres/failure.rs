//! What the server or the connection says, and what that means for a batch.

use std::error::Error as _;

use deadpool_postgres::tokio_postgres::Error;
use deadpool_postgres::tokio_postgres::error::SqlState;
use deadpool_postgres::{PoolError, TimeoutType};

use super::schema::SchemaError;
use crate::store::StoreError;

/// What a batch that is out of date raises.
const OUT_OF_DATE: &str = "WQ001";

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    Postgres(Error),
    Pool(PoolError),
    Schema(SchemaError),
    SessionLost,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::Postgres(error),
            other => Self::Pool(other),
        }
    }
}

impl From<SchemaError> for Failure {
    fn from(error: SchemaError) -> Self {
        Self::Schema(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Postgres(error) => {
                let message = said(&error);
                if may_pass(&error) {
                    Self::Unavailable { message }
                } else {
                    Self::Refused { message }
                }
            }
            Failure::Pool(error @ PoolError::Timeout(_)) => {
                let PoolError::Timeout(what) = &error else {
                    unreachable!("matched above")
                };
                let message = match what {
                    TimeoutType::Wait => "all of the pool's connections are busy",
                    TimeoutType::Create => "the server did not answer in time",
                    TimeoutType::Recycle => "a connection did not answer in time",
                };
                Self::Unavailable {
                    message: message.to_owned(),
                }
            }
            Failure::Pool(error) => Self::Refused {
                message: error.to_string(),
            },
            Failure::Schema(error) => Self::Refused {
                message: error.to_string(),
            },
            Failure::SessionLost => Self::SessionLost,
        }
    }
}

impl Failure {
    /// Whether something that a batch names is not so any more, or was there before.
    pub(super) fn is_out_of_date(&self) -> bool {
        self.code_is(OUT_OF_DATE) || self.code_is(SqlState::UNIQUE_VIOLATION.code())
    }

    /// What to say when a batch was refused, and nothing of it is out of date when it is looked at:
    /// what was in the way is gone, unless it is something else altogether.
    pub(super) fn when_nothing_is_stale(self) -> StoreError {
        if self.code_is(OUT_OF_DATE) {
            let message = "another transaction was in the way, and is over".to_owned();
            return StoreError::Unavailable { message };
        }
        self.into()
    }

    fn code_is(&self, code: &str) -> bool {
        let Self::Postgres(error) = self else {
            return false;
        };
        error.code().is_some_and(|found| found.code() == code)
    }
}

/// Whether it may work the next time.
fn may_pass(error: &Error) -> bool {
    let Some(code) = error.code() else {
        // Without an answer of the server: the connection, unless this program is wrong.
        return error.is_closed() || is_io(error);
    };
    let class = code.code().get(..2).unwrap_or_default();
    match class {
        // Connection; resources, such as connections or the disk; operator intervention, such as
        // a shutdown; the system, such as its disk.
        "08" | "53" | "57" | "58" => *code != SqlState::DATABASE_DROPPED,
        // Serialization, deadlocks: another transaction was in the way.
        "40" => true,
        _ => matches!(
            *code,
            SqlState::LOCK_NOT_AVAILABLE
                | SqlState::READ_ONLY_SQL_TRANSACTION
                | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        ),
    }
}

fn is_io(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    // The timeout while connecting has no cause.
    error.to_string().contains("timeout")
}

fn said(error: &Error) -> String {
    let Some(server) = error.as_db_error() else {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        return message;
    };
    let mut message = format!("{} (SQLSTATE {})", server.message(), server.code().code());
    for more in [server.detail(), server.hint()].into_iter().flatten() {
        message.push('\n');
        message.push_str(more);
    }
    message
}
