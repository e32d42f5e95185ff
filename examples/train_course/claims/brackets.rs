//! What `brackets` claims: that it knows a balanced string from others, and by which head.

use candle_lens::course::bracket_strings;
use candle_lens::prelude::*;

use super::Claim;

pub fn measure(model: &HookedTransformer) -> Result<Vec<Claim>> {
    let texts = bracket_strings(2000, &mut Random::new(1_000_000));
    let (logits, cache) = model.run_with_cache(&texts)?;
    let says = logits.i((.., 0))?.argmax(1)?.to_vec1::<u32>()?;
    let right = |counts: &dyn Fn(&Kind) -> bool| {
        let those = texts.iter().zip(&says).map(|(text, says)| (Kind::of(text), *says == 1));
        mean(those.filter(|(kind, _)| counts(kind)).map(|(kind, says)| f64::from(u8::from(kind.is_balanced() == says))))
    };
    let mut claims = vec![
        ("2,000 fresh strings, right".into(), right(&|_| true)),
        ("those not balanced that have as many of each, right".into(), right(&|kind| !kind.total && kind.negative)),
    ];
    for (layer, head) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
        let rows = cache.get(("pattern", layer))?.i((.., head, 0))?.to_vec2::<f32>()?;
        let given = texts.iter().zip(&rows).filter_map(|(text, row)| {
            let kind = Kind::of(text);
            (text.len() >= 12 && !kind.total && kind.negative)
                .then(|| kind.below.iter().map(|at| f64::from(row[at + 1])).sum::<f64>())
        });
        claims.push((format!("L{layer}H{head}, attention from [START] to positions below 0"), mean(given)));
    }
    Ok(claims)
}

/// How a string fails, seen from its end.
struct Kind {
    total: bool,
    negative: bool,
    /// The brackets at which the elevation is below 0.
    below: Vec<usize>,
}

impl Kind {
    fn of(text: &str) -> Self {
        let mut elevation = 0;
        let mut below = Vec::new();
        for (at, bracket) in text.char_indices().rev() {
            elevation += if bracket == ')' { 1 } else { -1 };
            if elevation < 0 {
                below.push(at);
            }
        }
        Self { total: elevation != 0, negative: !below.is_empty(), below }
    }

    fn is_balanced(&self) -> bool {
        !self.total && !self.negative
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}
