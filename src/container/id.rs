//! A container's name.

use crate::error::{Error, Kind, Result, compat};

/// One file name of letters, digits, `_ + - .`, not `.` or `..`: as runc has it. It becomes a directory's name, a
/// cgroup's and a keyring's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    pub fn parse(text: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if text.is_empty() {
            return Err(Error::new(Kind::Usage, "container id cannot be empty"));
        }
        if matches!(text, "." | "..") || !text.chars().all(fits) {
            return Err(Error::new(Kind::Usage, format!("{}: {text:?}", compat::INVALID_ID))
                .hint("an ID has letters, digits, and _ + - . only"));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Id;

    #[test]
    fn what_is_no_plain_file_name_is_no_id() {
        for good in ["a", "A-b_c.d+e", "..a", "-x", &"x".repeat(255)] {
            assert!(Id::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\nb", "ä", "a\0"] {
            assert!(Id::parse(bad).is_err(), "{bad}");
        }
    }
}
