//! Elements of HTML and SVG. All text and every attribute passes through here and is escaped, and whatever is opened is
//! closed: so the page is well-formed XML whatever names a plan has.

use std::fmt::{self, Display, Formatter, Write};

/// One element, with all that is in it.
pub(super) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    children: Vec<Child>,
}

enum Child {
    Element(Element),
    Text(String),
    Verbatim(String),
}

/// Elements that HTML allows no closing tag.
const VOID: [&str; 5] = ["br", "col", "hr", "input", "meta"];

impl Element {
    pub(super) fn new(name: &'static str) -> Element {
        Element { name, attributes: Vec::new(), children: Vec::new() }
    }

    /// The frequent case: an element of one class.
    pub(super) fn of(name: &'static str, class: impl Display) -> Element {
        Element::new(name).with("class", class)
    }

    /// Adds an attribute.
    pub(super) fn with(mut self, name: &'static str, value: impl Display) -> Element {
        self.attributes.push((name, value.to_string()));
        self
    }

    /// Adds an attribute that is a length or a place in a picture: a tenth is enough.
    pub(super) fn at(self, name: &'static str, value: f64) -> Element {
        self.with(name, format_args!("{value:.1}"))
    }

    pub(super) fn text(mut self, text: impl Display) -> Element {
        self.children.push(Child::Text(text.to_string()));
        self
    }

    /// Adds text that is not escaped: style sheets, of our own making only.
    pub(super) fn verbatim(mut self, text: impl Display) -> Element {
        self.children.push(Child::Verbatim(text.to_string()));
        self
    }

    pub(super) fn child(mut self, child: Element) -> Element {
        self.children.push(Child::Element(child));
        self
    }

    pub(super) fn children(mut self, children: impl IntoIterator<Item = Element>) -> Element {
        self.children.extend(children.into_iter().map(Child::Element));
        self
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.name)?;
        for (name, value) in &self.attributes {
            write!(f, " {name}=\"")?;
            escape(value, f)?;
            f.write_char('"')?;
        }
        if VOID.contains(&self.name) {
            return f.write_str("/>");
        }
        f.write_char('>')?;
        for child in &self.children {
            match child {
                Child::Element(element) => element.fmt(f)?,
                Child::Text(text) => escape(text, f)?,
                Child::Verbatim(text) => f.write_str(text)?,
            }
        }
        write!(f, "</{}>", self.name)?;
        // Line breaks where nobody sees them, for whoever reads the source.
        if matches!(self.name, "tr" | "p" | "svg" | "g" | "figure" | "section" | "li" | "h2" | "h3") {
            f.write_char('\n')?;
        }
        Ok(())
    }
}

fn escape(text: &str, f: &mut Formatter<'_>) -> fmt::Result {
    for character in text.chars() {
        match character {
            '&' => f.write_str("&amp;")?,
            '<' => f.write_str("&lt;")?,
            '>' => f.write_str("&gt;")?,
            '"' => f.write_str("&quot;")?,
            // XML has no way to write these.
            control if control.is_control() && !matches!(control, '\n' | '\t') => f.write_char('\u{fffd}')?,
            plain => f.write_char(plain)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Element;

    #[test]
    fn text_cannot_open_an_element_nor_end_an_attribute() {
        let element = Element::of("p", "\"><b>").text("a < b & c\u{1}");
        assert_eq!(element.to_string(), "<p class=\"&quot;&gt;&lt;b&gt;\">a &lt; b &amp; c\u{fffd}</p>\n");
    }

    #[test]
    fn an_empty_cell_is_closed_and_a_void_element_is_not() {
        assert_eq!(Element::new("td").to_string(), "<td></td>");
        assert_eq!(Element::new("br").to_string(), "<br/>");
    }
}
