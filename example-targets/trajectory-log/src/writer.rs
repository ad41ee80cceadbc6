//! The one thread that writes.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{Death, StorageError};
use crate::queue::{Next, Queue};
use crate::report::Report;
use crate::storage::{Accepted, Storage};

/// The pause after the first failure, which doubles with each that follows.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

pub(crate) type Reporter = Arc<dyn Fn(&Report) + Send + Sync>;

/// Starts the thread. It ends when the queue is closed, or when it dies; the queue knows which.
pub(crate) fn start(
    queue: Arc<Queue>,
    storage: impl Storage + 'static,
    reporter: Reporter,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("trajectory-log".into())
        .spawn(move || {
            // Outside of what may panic, so that what was taken is never lost.
            let mut batch = Vec::new();
            let written = catch_unwind(AssertUnwindSafe(|| {
                write_until_closed(&queue, storage, &reporter, &mut batch)
            }));
            let death = match written {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(Death::Storage(error)),
                Err(panic) => Some(Death::Panic(text_of(panic.as_ref()))),
            };
            let source = death.clone();
            let kept = queue.end(&mut batch, death);
            if let Some(source) = source {
                reporter(&Report::WriterDied { kept, source });
            }
        })
}

fn write_until_closed(
    queue: &Queue,
    mut storage: impl Storage,
    reporter: &Reporter,
    batch: &mut Vec<Accepted>,
) -> Result<(), Arc<StorageError>> {
    while queue.next(batch) == Next::Write {
        write_batch(queue, &mut storage, reporter, batch)?;
        batch.clear();
    }
    Ok(())
}

/// Until it is written, or there is no hope.
fn write_batch(
    queue: &Queue,
    storage: &mut impl Storage,
    reporter: &Reporter,
    batch: &[Accepted],
) -> Result<(), Arc<StorageError>> {
    let mut pause = PAUSE_MIN;
    let mut attempts = 0;
    loop {
        let to_disk = queue.must_get_to_disk();
        let error = match storage.write(batch, to_disk) {
            Ok(()) => {
                queue.written(to_disk);
                break;
            }
            Err(error) => Arc::new(error),
        };
        attempts += 1;
        if !error.is_transient() {
            return Err(error);
        }
        let kept = queue.failed(&error);
        reporter(&Report::WriteFailed {
            kept,
            attempt: attempts,
            retry_in: pause,
            source: Arc::clone(&error),
        });
        if !queue.wait_to_try_again(pause) {
            return Err(error);
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    if attempts > 0 {
        reporter(&Report::Recovered { attempts });
    }
    Ok(())
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "of an unknown kind".to_owned()
    }
}
