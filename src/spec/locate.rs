//! Places in a JSON text: from a byte offset to the JSON pointer (RFC 6901) of the value there, and back. Only for
//! error messages, so it is simple rather than fast, and makes the best of a text that is not JSON.

use serde_json::Error as JsonError;

/// One open object or array.
enum Frame {
    /// `expecting`: the next string is a key.
    Object { key: Option<String>, expecting: bool },
    /// `more`: a comma was seen, the next value has the next index.
    Array { index: Option<usize>, more: bool },
}

impl Frame {
    fn name(&self) -> Option<String> {
        match self {
            Self::Object { key, .. } => key.clone(),
            Self::Array { index, .. } => index.map(|i| i.to_string()),
        }
    }
}

/// Reads `text` up to `end`, calling `on_value` with the open frames at the beginning of each value.
fn walk(text: &[u8], end: usize, on_value: &mut dyn FnMut(&[Frame], usize)) -> Vec<Frame> {
    let mut open: Vec<Frame> = Vec::new();
    let mut at = 0;
    while at < end.min(text.len()) {
        let begin = at;
        let byte = text[at];
        at += 1;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b':' => continue,
            b',' => {
                match open.last_mut() {
                    Some(Frame::Object { expecting, .. }) => *expecting = true,
                    Some(Frame::Array { more, .. }) => *more = true,
                    None => {}
                }
                continue;
            }
            b'}' | b']' => {
                open.pop();
                continue;
            }
            b'"' => {
                while at < text.len() && text[at] != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(text.len());
            }
            b'{' | b'[' => {}
            _ => {
                while at < text.len() && !b" \t\n\r,:]}".contains(&text[at]) {
                    at += 1;
                }
            }
        }
        match open.last_mut() {
            Some(Frame::Object { key, expecting: expecting @ true }) => {
                if at <= end {
                    *key = Some(unquote(&text[begin..at]));
                    *expecting = false;
                }
                continue;
            }
            Some(Frame::Array { index: index @ None, .. }) => *index = Some(0),
            Some(Frame::Array { index: Some(index), more: more @ true }) => {
                *index += 1;
                *more = false;
            }
            _ => {}
        }
        on_value(&open, begin);
        match byte {
            b'{' => open.push(Frame::Object { key: None, expecting: true }),
            b'[' => open.push(Frame::Array { index: None, more: false }),
            _ => {}
        }
    }
    open
}

fn unquote(string: &[u8]) -> String {
    serde_json::from_slice(string)
        .unwrap_or_else(|_| String::from_utf8_lossy(string).trim_matches('"').to_owned())
}

/// One component of a JSON pointer.
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The pointer of the value that begins or ends last before `offset`.
pub fn pointer_at(text: &[u8], offset: usize) -> String {
    let open = walk(text, offset, &mut |_, _| {});
    open.iter().map_while(Frame::name).map(|n| format!("/{}", escape(&n))).collect()
}

/// Where the value of `pointer` begins, or of its nearest parent that there is.
pub fn offset_of(text: &[u8], pointer: &str) -> usize {
    let wanted: Vec<String> =
        pointer.split('/').skip(1).map(|c| c.replace("~1", "/").replace("~0", "~")).collect();
    let (mut best, mut depth) = (0, 0);
    walk(text, text.len(), &mut |open, at| {
        let on_the_way = open.len() <= wanted.len() && open.len() >= depth;
        if on_the_way && open.iter().zip(&wanted).all(|(f, w)| f.name().as_ref() == Some(w)) {
            (best, depth) = (at, open.len());
        }
    });
    best
}

/// Line and column of an offset, both from 1; columns count bytes.
pub fn line_column(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    (line, column)
}

/// The offset and the pointer that a parser's error means.
pub fn of_error(text: &[u8], e: &JsonError) -> (usize, String) {
    let begin = match e.line() {
        0 | 1 => 0,
        line => {
            text.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(line - 2).map_or(0, |(at, _)| at + 1)
        }
    };
    // The parser counts the bytes that it took: where it stumbles over one, that one is meant.
    let taken = begin + e.column();
    let offset = if e.is_syntax() { taken.saturating_sub(1) } else { taken }.min(text.len());
    // A field is missed at the closing brace: what is meant is the object, not its last member.
    let missing = e.is_data() && e.to_string().starts_with("missing field");
    let end = match text[offset..].iter().position(|b| !b.is_ascii_whitespace()) {
        Some(skip) if missing && text[offset + skip] == b'}' => offset + skip + 1,
        _ => offset,
    };
    (offset, pointer_at(text, end))
}

/// What the parser said, without the place.
pub fn words(e: &JsonError) -> String {
    let text = e.to_string();
    match text.rsplit_once(" at line ") {
        Some((said, _)) => said.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
  "a": [1, {"b/c": "x\"y", "d~": [[], 7]}, null],
  "e": {}
}"#;

    #[test]
    fn pointers_of_offsets() {
        for (what, pointer) in
            [("1,", "/a/0"), ("\"x", "/a/1/b~1c"), ("7]", "/a/1/d~0/1"), ("null", "/a/2"), ("{}", "/e")]
        {
            let at = TEXT.find(what).unwrap();
            assert_eq!(pointer_at(TEXT.as_bytes(), at + 1), pointer, "{what}");
            assert_eq!(offset_of(TEXT.as_bytes(), pointer), at, "{pointer}");
        }
        assert_eq!(pointer_at(TEXT.as_bytes(), TEXT.len()), "");
        assert_eq!(pointer_at(TEXT.as_bytes(), 0), "");
    }

    #[test]
    fn what_is_not_there_is_found_at_its_parent() {
        let at = TEXT.find("{\"b").unwrap();
        assert_eq!(offset_of(TEXT.as_bytes(), "/a/1/zz/9"), at);
        assert_eq!(offset_of(TEXT.as_bytes(), "/zz"), 0);
    }

    #[test]
    fn of_a_key_written_twice_the_last_counts() {
        let text = br#"{"a": 1, "a": 2}"#;
        assert_eq!(offset_of(text, "/a"), 14);
    }

    #[test]
    fn lines_and_columns() {
        assert_eq!(line_column(b"ab\ncd", 0), (1, 1));
        assert_eq!(line_column(b"ab\ncd", 4), (2, 2));
        assert_eq!(line_column(b"ab", 99), (1, 3));
    }

    #[test]
    fn never_beyond_the_end_whatever_the_text() {
        let texts: [&[u8]; 9] =
            [b"", b"\"", b"\"\\", b"{\"a", b"{\"a\"", b"[[[", b"]]]", b"{\"a\":\"\\", b"\xff\xfe{\"\xff\":1"];
        for text in texts {
            for end in 0..text.len() + 2 {
                let p = pointer_at(text, end);
                offset_of(text, &p);
                line_column(text, end);
            }
        }
    }
}
