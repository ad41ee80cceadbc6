//! Text that becomes a part of a page: names, reasons, what programs printed.

use std::fmt::{self, Display, Write};

/// Shows text as text, in an element or in an attribute between double quotes.
#[derive(Debug)]
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                // No part of HTML: the colours of a program's output, for one.
                c if c.is_control() && !matches!(c, '\n' | '\t') => {}
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        let text = Text("<b a=\"x\">'&amp;\x1b[1m\u{0}\n</b>").to_string();
        assert_eq!(
            text,
            "&lt;b a=&quot;x&quot;&gt;&#39;&amp;amp;[1m\n&lt;/b&gt;"
        );
    }
}
