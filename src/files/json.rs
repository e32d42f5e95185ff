//! JSON in which no object has a key twice.
//!
//! Given two values for one key, some readers take the first, some the last, and some neither. serde silently takes the
//! last, so a file could show one thing to whoever looks at it and another to whoever loads it.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

/// Reads JSON like serde, but rejects objects with a duplicate key at any depth.
///
/// # Errors
/// Those of serde, and an error that names the duplicate key.
pub(crate) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    check_keys(bytes)?;
    serde_json::from_slice(bytes)
}

/// Only checks for duplicate keys.
///
/// # Errors
/// As [`read_json`].
fn check_keys(bytes: &[u8]) -> serde_json::Result<()> {
    serde_json::from_slice::<UniqueKeys>(bytes).map(drop)
}

/// Any value whose objects have no duplicate keys; the value itself is discarded.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if keys.contains(&key) {
                return Err(A::Error::custom(format!("it has the key {key:?} twice")));
            }
            keys.insert(key);
            map.next_value::<Self>()?;
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_key_that_comes_twice_is_refused_at_any_depth() {
        for text in [
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"[{"b": {"a": null, "c": [], "a": {}}}]"#,
            r#"{"x": [1, {"": 1, "": 2}]}"#,
        ] {
            let error = read_json::<Value>(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains("twice"), "{error}");
        }
    }

    #[test]
    fn everything_else_is_what_serde_reads() {
        for text in [
            r#"{"a": {"a": [1, -2, 1.5, 1e300, 18446744073709551615, true, null, "a"]}, "b": {"a": 1}, "A": []}"#,
            "[]",
            "\"text\"",
            "0",
        ] {
            assert_eq!(
                read_json::<Value>(text.as_bytes()).expect(text),
                serde_json::from_str::<Value>(text).expect(text)
            );
        }
        for wrong in ["", "{", "{\"a\" 1}", "[1, 1e999]", &"[".repeat(200_000), "{\"a\": \"\u{1}\"}", "nul"] {
            assert!(read_json::<Value>(wrong.as_bytes()).is_err());
        }
    }
}
