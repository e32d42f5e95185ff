//! What a lens reads, as the classic picture: a row for each point of the residual stream, the last on top, a column for each
//! position, in each cell the most likely next token.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::error::{Error, Result, human_bytes};
use crate::labelled::Labelled;
use crate::lenses::LensReading;
use crate::views::figure::{Color, GAP};
use crate::views::html::{escape, visible};
use crate::views::loader::Script;
use crate::views::table::{Cell, Table};
use crate::views::widget::pack::rounded;
use crate::views::widget::still::POSITIVE;
use crate::views::widget::{Asked, Drawn, Kind, Widget, not_for};

/// What the cells of [`lens_grid`] are coloured by; the reader can choose another one where scripts run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LensColor {
    /// The probability of the most likely token: darker is more certain.
    #[default]
    Probability,
    /// The rank of the target, on a logarithmic scale: darkest where it is first.
    Rank,
    /// The entropy: darker is less certain.
    Entropy,
    /// The KL divergence from the model's own prediction: darker is further away.
    Kl,
}

impl LensColor {
    const ALL: [Self; 4] = [Self::Probability, Self::Rank, Self::Entropy, Self::Kl];

    fn name(self) -> &'static str {
        match self {
            Self::Probability => "probability",
            Self::Rank => "rank of the target",
            Self::Entropy => "entropy",
            Self::Kl => "KL divergence",
        }
    }
}

/// The picture of what a lens reads in a run: points of the residual stream by positions, the most likely next token in each cell, coloured
/// by its probability or by another number. Pointing at a cell, or moving to it with the arrow keys, lists the most likely
/// tokens there with the other numbers of the reading; several prompts can be chosen from. A reading shows itself like this.
///
/// # Errors
/// Reported when the widget is shown: a reading of vectors without a run; a colour that was not read.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let prompt = "When John and Mary went to the shops, John gave the bag to";
/// let reading = logit_lens(&model, prompt, LensOptions { target: " Mary".into(), ..Default::default() })?;
/// let drawn = lens_grid(&reading, LensColor::Rank).title("When does the model know?");
/// drawn.show()?;
/// assert!(drawn.render()?.html().contains("Mary"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub fn lens_grid(reading: &LensReading, color: LensColor) -> Widget {
    Widget::new(Grid::new(reading, color))
}

/// A reading of a run, with its numbers cell by cell: rows outside, then prompts, then positions.
#[derive(Debug)]
struct Grid {
    lens: String,
    color: LensColor,
    rows: Vec<String>,
    positions: Vec<String>,
    inputs: Vec<Vec<String>>,
    k: usize,
    /// `k` for each cell.
    texts: Vec<String>,
    probabilities: Vec<f32>,
    /// The numbers that cells can be coloured by, besides probabilities.
    entropy: Vec<f32>,
    kl: Option<Vec<f32>>,
    rank: Option<Vec<f32>>,
    log_prob: Option<Vec<f32>>,
}

/// What of a reading is written.
struct Part {
    prompts: usize,
    positions: usize,
    k: usize,
    note: Option<String>,
}

/// About how many bytes a cell takes: its still form, its numbers, and each of its tokens.
const STILL: usize = 60;
const NUMBERS: usize = 30;
const TOKEN: usize = 12;

/// How many letters of a token a cell has.
const LETTERS: usize = 12;

/// How many prompts are written as text.
const WRITTEN: usize = 8;

impl Grid {
    fn new(reading: &LensReading, color: LensColor) -> Result<Self> {
        let axes = reading.probabilities.axes();
        let (false, [rows, _, positions, ranks]) = (reading.inputs.is_empty(), &axes[..]) else {
            return Err(Error::argument(
                "this reading has no prompts and positions to draw: read a run (`read`), or show the reading of vectors as a \
                 table.",
            ));
        };
        let flat = |result: &Labelled| result.values().iter().copied().collect::<Vec<f32>>();
        let grid = Self {
            lens: reading.lens.clone(),
            color,
            rows: rows.labels.clone(),
            positions: positions.labels.clone(),
            inputs: reading.inputs.clone(),
            k: ranks.labels.len(),
            texts: reading.texts.clone(),
            probabilities: flat(&reading.probabilities),
            entropy: flat(&reading.entropy),
            kl: reading.kl.as_ref().map(flat),
            rank: reading.target.as_ref().map(|target| flat(&target.rank)),
            log_prob: reading.target.as_ref().map(|target| flat(&target.log_prob)),
        };
        match grid.has(color) {
            true => Ok(grid),
            false => Err(Error::argument(format!(
                "the cells of this reading cannot be coloured by the {}, which was not read: give a target (LensOptions::target), or \
                 another colour.",
                color.name()
            ))),
        }
    }

    fn has(&self, color: LensColor) -> bool {
        match color {
            LensColor::Probability | LensColor::Entropy => true,
            LensColor::Kl => self.kl.is_some(),
            LensColor::Rank => self.rank.is_some(),
        }
    }

    /// Where a cell is among all of them.
    fn place(&self, row: usize, prompt: usize, position: usize) -> usize {
        (row * self.inputs.len() + prompt) * self.positions.len() + position
    }

    /// The numbers of each cell, and the one that is darkest.
    fn numbers(&self, color: LensColor) -> (Vec<f32>, f64) {
        let numbers = match color {
            LensColor::Probability => self.probabilities.iter().step_by(self.k.max(1)).copied().collect(),
            LensColor::Entropy => self.entropy.clone(),
            LensColor::Kl => self.kl.clone().unwrap_or_default(),
            LensColor::Rank => self.rank.clone().unwrap_or_default(),
        };
        let most = numbers.iter().copied().filter(|x| x.is_finite()).fold(0_f32, f32::max);
        (numbers, if color == LensColor::Probability { 1. } else { f64::from(most) })
    }

    /// As many prompts as fit, then fewer tokens in each cell, then fewer positions.
    fn within(&self, max_bytes: usize, k: usize) -> Part {
        let bytes = |part: &Part| {
            let cells = self.rows.len().saturating_mul(part.positions);
            cells.saturating_mul(STILL + part.prompts.saturating_mul(NUMBERS + TOKEN * part.k))
        };
        let mut part = Part { prompts: self.inputs.len(), positions: self.positions.len(), k, note: None };
        while bytes(&part) > max_bytes && part.prompts > 1 {
            part.prompts = part.prompts.div_ceil(2);
        }
        while bytes(&part) > max_bytes && part.k > 1 {
            part.k -= 1;
        }
        while bytes(&part) > max_bytes && part.positions > 1 {
            part.positions = part.positions.div_ceil(2);
        }
        let mut said = Vec::new();
        for (shown, all, what) in [
            (part.prompts, self.inputs.len(), "prompts"),
            (part.k, k, "tokens of each cell"),
            (part.positions, self.positions.len(), "positions"),
        ] {
            if shown < all {
                said.push(format!("the first {shown} of {all} {what}"));
            }
        }
        part.note = (!said.is_empty()).then(|| {
            format!(
                "Shown are {}: the whole would take more than {}. `max_bytes` allows more.",
                said.join(" and "),
                human_bytes(max_bytes as u64)
            )
        });
        part
    }

    /// The first prompt as a table of coloured cells, the last row on top.
    fn still(&self, part: &Part) -> String {
        let (numbers, most) = self.numbers(self.color);
        let mut html = String::from(
            "<div style=\"overflow-x:auto\"><table style=\"border-collapse:collapse;font-size:12px;white-space:pre\"><tbody>",
        );
        for (row, label) in self.rows.iter().enumerate().rev() {
            html += &format!("<tr><th>{}", escape(&visible(label)));
            for position in 0..part.positions {
                let place = self.place(row, 0, position);
                let ground = match strength(self.color, f64::from(numbers[place]), most) {
                    Some(part) => alpha(POSITIVE, part),
                    None => alpha(GAP, 1.),
                };
                let text = if self.probabilities[place * self.k].is_nan() { "" } else { &self.texts[place * self.k] };
                html += &format!("<td style=\"background:{ground}\">{}", escape(&short(text)));
            }
            html += "</tr>";
        }
        let inputs = self.inputs[0].iter().take(part.positions);
        let inputs: String = inputs.map(|text| format!("<th>{}", escape(&short(text)))).collect();
        html + "<tr><th>" + &inputs + "</tr></tbody></table></div>"
    }

    /// A table for each prompt: a row for each point of the residual stream, a column for each position.
    fn text(&self, part: &Part) -> Result<String> {
        let mut texts = Vec::new();
        for prompt in 0..part.prompts.min(WRITTEN) {
            let heads = self.positions.iter().zip(&self.inputs[prompt]).take(part.positions);
            let heads = heads.map(|(at, text)| format!("{at}: {text:?}"));
            let mut table = Table::new(["after".to_string()].into_iter().chain(heads));
            if self.inputs.len() > 1 {
                table = table.title(format!("Prompt {prompt}"));
            }
            for (row, label) in self.rows.iter().enumerate() {
                let cell = |position| {
                    let first = self.place(row, prompt, position) * self.k;
                    let p = self.probabilities[first];
                    Cell::from(if p.is_nan() { String::new() } else { format!("{:?} {p:.2}", self.texts[first]) })
                };
                let cells = [Cell::from(label)].into_iter().chain((0..part.positions).map(cell));
                table = table.row(cells.collect::<Vec<_>>());
            }
            if part.prompts > WRITTEN && prompt + 1 == WRITTEN {
                table = table.note(format!("{} more prompts are not written", part.prompts - WRITTEN));
            }
            texts.push(table.text_of()?);
        }
        Ok(texts.join("\n\n"))
    }

    /// The numbers of the cells that are written, for the script.
    fn data(&self, part: &Part) -> Value {
        let places = (0..self.rows.len()).flat_map(|row| {
            (0..part.prompts)
                .flat_map(move |prompt| (0..part.positions).map(move |position| self.place(row, prompt, position)))
        });
        let places: Vec<usize> = places.collect();
        let (mut vocabulary, mut known, mut best) = (Vec::new(), HashMap::new(), Vec::new());
        for place in places.iter().flat_map(|place| place * self.k..place * self.k + part.k) {
            let at = *known.entry(&self.texts[place]).or_insert_with(|| {
                vocabulary.push(visible(&self.texts[place]));
                vocabulary.len() - 1
            });
            // In ten-thousandths; below 0 for padding.
            let p = self.probabilities[place];
            best.extend([at as i64, if p.is_nan() { -1 } else { (f64::from(p) * 1e4).round() as i64 }]);
        }
        let colors: Vec<LensColor> = LensColor::ALL.into_iter().filter(|color| self.has(*color)).collect();
        let of = |numbers: &[f32]| places.iter().map(|&place| rounded(numbers[place])).collect::<Vec<_>>();
        let numbers = colors.iter().filter(|color| **color != LensColor::Probability).map(|&color| {
            let (numbers, most) = self.numbers(color);
            json!({ "name": color.name(), "values": of(&numbers), "most": rounded(most as f32), "log": color == LensColor::Rank })
        });
        let inputs = self.inputs.iter().take(part.prompts);
        let inputs: Vec<Vec<String>> =
            inputs.map(|input| input.iter().take(part.positions).map(|text| visible(text)).collect()).collect();
        json!({
            "rows": self.rows.iter().map(|label| visible(label)).collect::<Vec<_>>(),
            "positions": &self.positions[..part.positions],
            "inputs": inputs,
            "k": part.k,
            "vocabulary": vocabulary,
            "best": best,
            "numbers": numbers.collect::<Vec<_>>(),
            "log_prob": self.log_prob.as_ref().map(|numbers| of(numbers)),
            "color": colors.iter().position(|color| *color == self.color),
        })
    }
}

/// How strongly a cell is coloured, 0 to 1; none where there is no number.
fn strength(color: LensColor, number: f64, most: f64) -> Option<f64> {
    let part = match color {
        LensColor::Rank if most > 0. => 1. - number.ln_1p() / most.ln_1p(),
        LensColor::Rank => 1. - number,
        _ if most > 0. => number / most,
        _ => number,
    };
    part.is_finite().then_some(part.clamp(0., 1.))
}

/// A colour of this strength, under letters that stay legible on light and dark pages.
fn alpha(Color(red, green, blue): Color, part: f64) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}{:02x}", (part * 0.7 * 255.).round() as u8)
}

/// The beginning of a token.
fn short(text: &str) -> String {
    let text = visible(text);
    match text.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Kind for Grid {
    fn drawn(&self, asked: &Asked) -> Result<Drawn> {
        not_for(
            "lens_grid",
            &[
                ("names", asked.names.is_some()),
                ("range", asked.range.is_some()),
                ("mask_upper_tri", asked.mask_upper_tri.is_some()),
                ("scores", !asked.scores.is_empty()),
            ],
        )?;
        let part = self.within(asked.max_bytes(), asked.top_k()?.unwrap_or(self.k).min(self.k));
        let title = format!("What would come next by the {}, coloured by {}", self.lens, self.color.name());
        Ok(Drawn {
            title: asked.title.clone().unwrap_or(title),
            description: format!(
                "the most likely next token at {} points of the residual stream and {} positions, coloured by {}",
                self.rows.len(),
                part.positions,
                self.color.name()
            ),
            script: Script::Lens,
            kind: "lens",
            data: self.data(&part),
            still: self.still(&part),
            text: self.text(&part)?,
            note: part.note,
        })
    }
}
