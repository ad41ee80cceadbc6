//! A line of progress on standard error: one that is written over on a terminal, and one after the
//! other in a file.

use std::io::{self, IsTerminal, Write};

/// On a terminal: back to its beginning, and clear it.
#[must_use]
pub fn start_of_line() -> &'static str {
    if io::stderr().is_terminal() {
        "\r\x1b[2K"
    } else {
        ""
    }
}

/// The next line replaces this one on a terminal, and follows it in a file.
pub fn end_unless_on_a_terminal() {
    if !io::stderr().is_terminal() {
        eprintln!();
    }
    // A line of progress that can't be written is nobody's loss.
    _ = io::stderr().flush();
}
