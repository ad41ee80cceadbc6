//! The hooks of a connection: put in, told apart from the program's own, and taken out.

use std::ffi::{CStr, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::Action;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, ffi};

use super::books::{Books, Hook};

/// Why a connection can't be counted.
pub(super) enum Refusal {
    /// The program has a hook of its own in this place, which would be lost.
    Taken(Hook),
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// The books of a connection, with all hooks in; those that it has, if it was counted before.
pub(super) fn install(connection: &mut Connection) -> Result<Arc<Books>, Refusal> {
    let total_changes = modulo_2_32(connection.total_changes());
    let books = match known(connection)? {
        Some(books) => {
            books.settle(total_changes);
            books
        }
        None => Arc::new(Books::open(total_changes)),
    };
    let missing = || {
        let hooks = Hook::ALL.into_iter();
        hooks.filter(|hook| !books.is_installed(*hook))
    };
    for hook in missing() {
        if is_taken(connection, hook)? {
            return Err(Refusal::Taken(hook));
        }
    }
    for hook in missing() {
        put_in(connection, hook, &books)?;
    }
    remember(connection, Some(Arc::clone(&books)))?;
    Ok(books)
}

/// Takes the hooks out that are in; the books are the connection's.
pub(super) fn take_out(connection: &mut Connection, books: &Books) -> Result<(), rusqlite::Error> {
    for hook in Hook::ALL {
        if books.is_installed(hook) {
            match hook {
                Hook::Commit => connection.commit_hook(None::<fn() -> bool>)?,
                Hook::Rollback => connection.rollback_hook(None::<fn()>)?,
                Hook::Update => connection.update_hook(None::<fn(Action, &str, &str, i64)>)?,
                Hook::Trace => {
                    connection.trace_v2(TraceEventCodes::empty(), None::<fn(TraceEvent<'_>)>)?
                }
            }
        }
    }
    remember(connection, None)
}

fn put_in(connection: &mut Connection, hook: Hook, books: &Arc<Books>) -> rusqlite::Result<()> {
    let place = Place::new(hook, books);
    match hook {
        Hook::Commit => connection.commit_hook(Some(move || {
            place.books.commit();
            false // goes on
        })),
        Hook::Rollback => put_in_rollback_hook(connection, place),
        Hook::Update => connection.update_hook(Some(move |_: Action, _: &str, _: &str, _: i64| {
            place.books.row_changed()
        })),
        Hook::Trace => {
            let handle = Handle::of(connection);
            connection.trace_v2(
                TraceEventCodes::SQLITE_TRACE_STMT
                    | TraceEventCodes::SQLITE_TRACE_PROFILE
                    | TraceEventCodes::SQLITE_TRACE_ROW
                    | TraceEventCodes::SQLITE_TRACE_CLOSE,
                Some(move |event: TraceEvent<'_>| trace(&event, &handle, &place.books)),
            )
        }
    }
}

/// A connection that is closed within a transaction rolls it back and calls the hook, after SQLite
/// has freed all that is kept with the connection (`sqlite3Close`, main.c). That is where rusqlite
/// keeps a callback, so that one that is set by `Connection::rollback_hook` is called when it is no
/// more (rusqlite 0.41.1: a segmentation fault). So this hook is set past rusqlite, with books that
/// are never freed. What holds its place is kept as rusqlite would keep a callback, so that the
/// program's own is noticed before, and takes this one's place after.
fn put_in_rollback_hook(connection: &Connection, place: Place) -> rusqlite::Result<()> {
    let books = Arc::as_ptr(&place.books);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push(Arc::clone(&place.books));
    drop(kept);
    // SAFETY: the connection is not closed through the pointer; its rollback hook is set, which is
    // not rusqlite's or has just been seen not to be there.
    let handle = unsafe { connection.handle() };
    // SAFETY: the connection is open and this thread's; `on_rollback` is given what it wants.
    unsafe { ffi::sqlite3_rollback_hook(handle, Some(on_rollback), books.cast_mut().cast()) };
    // SAFETY: under this name is nothing, or what was put there here.
    unsafe { connection.set_clientdata(rusqlites_name(Hook::Rollback), Some(place)) }?;
    Ok(())
}

/// The books that rollback hooks have: for the life of the process, nothing is taken out.
static KEPT: Mutex<Vec<Arc<Books>>> = Mutex::new(Vec::new());

/// # Safety
/// `books` points to what is in [`KEPT`].
unsafe extern "C" fn on_rollback(books: *mut c_void) {
    // SAFETY: as this function's caller promised.
    let books = unsafe { &*books.cast::<Books>() };
    books.rollback();
}

fn trace(event: &TraceEvent<'_>, handle: &Handle, books: &Books) {
    match event {
        TraceEvent::Stmt(statement, text) => {
            // What runs inside of a statement (a trigger, a statement of a virtual table's module)
            // is traced with a comment for a text, which is not the statement's own.
            let sql = statement.sql();
            if sql == *text {
                books.statement_begins(address(&sql), handle.total_changes());
            }
        }
        TraceEvent::Profile(statement, _) => {
            books.statement_ends(address(&statement.sql()), handle.total_changes());
        }
        // Without a text it is SQLite's own, to read the schema.
        TraceEvent::Row(statement) if !statement.sql().is_empty() => books.row_returned(),
        TraceEvent::Close(_) => books.connection_closes(handle.total_changes()),
        _ => {}
    }
}

/// Which statement this is the text of: each has a copy of its own, as long as it lives.
fn address(sql: &str) -> usize {
    sql.as_ptr().addr()
}

/// What a hook holds as long as it is in: SQLite drops it when another takes its place, when it is
/// taken out, and when the connection closes.
struct Place {
    hook: Hook,
    books: Arc<Books>,
}

impl Place {
    fn new(hook: Hook, books: &Arc<Books>) -> Self {
        books.hook_is_in(hook);
        Self {
            hook,
            books: Arc::clone(books),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.books.hook_is_out(self.hook);
    }
}

/// The connection, as its own trace callback sees it.
struct Handle(*mut ffi::sqlite3);

// SAFETY: the pointer is used in a callback of its connection only, by the thread that is using the
// connection.
unsafe impl Send for Handle {}

impl Handle {
    fn of(connection: &Connection) -> Self {
        // SAFETY: the connection is not closed through the pointer, nor anything else done with it
        // than what `total_changes` does.
        Self(unsafe { connection.handle() })
    }

    fn total_changes(&self) -> u32 {
        // SAFETY: called from a callback of the connection, so that it is open and this thread's.
        let total = unsafe { ffi::sqlite3_total_changes(self.0) };
        u32::from_ne_bytes(total.to_ne_bytes())
    }
}

/// What `sqlite3_total_changes` says of a total.
fn modulo_2_32(total_changes: u64) -> u32 {
    let [a, b, c, d, ..] = total_changes.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The books of a connection that was counted before, by this copy of the crate.
pub(super) fn known(connection: &Connection) -> rusqlite::Result<Option<Arc<Books>>> {
    // SAFETY: what has this name was put there by `remember`, in the same type: the name has the
    // address of a static of this copy of the crate in it.
    let books = unsafe { connection.get_clientdata::<Arc<Books>, _>(&*own_name()) }?;
    Ok(books.cloned())
}

/// Keeps the books with the connection, until it closes.
fn remember(connection: &Connection, books: Option<Arc<Books>>) -> rusqlite::Result<()> {
    // SAFETY: the name is this crate's own, not that of a callback that rusqlite keeps.
    unsafe { connection.set_clientdata(&*own_name(), books) }?;
    Ok(())
}

fn own_name() -> String {
    static MARK: u8 = 0;
    format!("perfbudget SqliteCounter {:p}", &raw const MARK)
}

/// Whether rusqlite keeps a callback in the hook's place.
fn is_taken(connection: &Connection, hook: Hook) -> rusqlite::Result<bool> {
    // SAFETY: a reference to `()` reads nothing, whatever the callback's type.
    let callback = unsafe { connection.get_clientdata::<(), _>(rusqlites_name(hook)) }?;
    Ok(callback.is_some())
}

/// The name under which rusqlite keeps a hook's callback: `hooks/mod.rs` and `trace.rs` of rusqlite
/// 0.41.
const fn rusqlites_name(hook: Hook) -> &'static CStr {
    match hook {
        Hook::Commit => c"sqlite3_commit_hook",
        Hook::Rollback => c"sqlite3_rollback_hook",
        Hook::Update => c"sqlite3_update_hook",
        Hook::Trace => c"sqlite3_trace_v2",
    }
}
