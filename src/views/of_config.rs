//! How a model's configuration is shown: every field as serde writes it, so that none is forgotten here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::HookedTransformerConfig;
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::table::{Cell, Table};

/// The fields of a JSON object in the order in which they are written.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Null => "none".into(),
        Value::String(name) => name.into(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string().into(), Cell::from),
        other => other.to_string().into(),
    }
}

impl View for HookedTransformerConfig {
    /// Every field with its value; sizes that are left open are shown as they come out.
    fn render(&self) -> Result<Rendered> {
        let resolved = [
            ("n_key_value_heads", self.n_key_value_heads() as f64),
            ("d_head", self.d_head() as f64),
            ("d_mlp", self.d_mlp() as f64),
            ("d_vocab_out", self.d_vocab_out() as f64),
            ("attn_scale", self.attn_scale.unwrap_or((self.d_head() as f64).sqrt())),
            ("rotary_dim", self.rotary_dim() as f64),
            ("initializer_range", self.initializer_range.unwrap_or(0.8 / (self.d_model as f64).sqrt())),
        ];
        let Fields(fields) = serde_json::to_string(self)
            .and_then(|json| serde_json::from_str(&json))
            .map_err(|error| Error::argument(format!("this configuration cannot be written as JSON: {error}.")))?;
        let row = |(name, value): (String, Value)| {
            let resolved = resolved.iter().find(|(field, _)| *field == name);
            (name, resolved.map_or_else(|| cell(value), |&(_, size)| size.into()))
        };
        let table = Table::new(["field", "value"]).title("HookedTransformerConfig");
        let table = fields.into_iter().map(row).fold(table, |table, (name, value)| table.row((name, value)));
        table.row(("n_params", self.n_params())).render()
    }
}

shown!(HookedTransformerConfig);
