//! The name of the table.

use std::fmt;

use crate::error::ConfigError;

/// Names of indexes are made from it, and an engine allows them 63 bytes.
const MAX_BYTES: usize = 40;

/// The name of a table, and that of the schema it is in. Both consist of letters, digits and underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    schema: Option<Box<str>>,
    name: Box<str>,
}

impl Table {
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        if schema.into_iter().chain([name]).all(is_identifier) {
            return Ok(Self { schema: schema.map(Into::into), name: name.into() });
        }
        Err(ConfigError::new(format!(
            "table {text:?} is not a name, or two with a full stop between, of at most {MAX_BYTES} ASCII letters, digits \
             and underscores that begins with no digit"
        )))
    }

    /// Returns the name in quotes, so that it may be a word of the language, with its schema before it.
    pub(crate) fn quoted(&self, quote: char) -> String {
        self.with_suffix(quote, "")
    }

    /// Returns the name of another table or index beside this one.
    pub(crate) fn with_suffix(&self, quote: char, suffix: &str) -> String {
        format!("{}{}", self.prefix(quote), self.bare(quote, suffix))
    }

    /// Returns the name without its schema.
    pub(crate) fn bare(&self, quote: char, suffix: &str) -> String {
        format!("{quote}{}{suffix}{quote}", self.name)
    }

    /// Returns the name alone, as it was written.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the schema, if it was named.
    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    fn prefix(&self, quote: char) -> String {
        self.schema.as_ref().map(|schema| format!("{quote}{schema}{quote}.")).unwrap_or_default()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.schema() {
            Some(schema) => write!(f, "\"{schema}.{}\"", self.name()),
            None => write!(f, "\"{}\"", self.name()),
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { schema: None, name: "session_state".into() }
    }
}

fn is_identifier(text: &str) -> bool {
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    begins && text.len() <= MAX_BYTES && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_with_its_schema() {
        let table = |text| Table::parse(text).map(|table| table.quoted('"'));
        assert_eq!(table("sessions").as_deref(), Ok(r#""sessions""#));
        assert_eq!(table("Web.user_sessions2").as_deref(), Ok(r#""Web"."user_sessions2""#));
        assert_eq!(table("_").as_deref(), Ok(r#""_""#));
        assert_eq!(Table::default().with_suffix('`', "_schema"), "`session_state_schema`");
    }

    #[test]
    fn an_invalid_name_is_rejected() {
        let long = "a".repeat(MAX_BYTES + 1);
        for text in
            ["", ".", "a.", ".a", "a.b.c", "1a", "a b", "a;b", "a\"", "a`", "a'", "a-b", "é", "a\0", "a:key", &long]
        {
            let error = Table::parse(text).expect_err(text);
            assert!(error.to_string().contains("is not a name"), "{error}");
        }
        assert!(Table::parse(&long[1..]).is_ok());
    }
}
