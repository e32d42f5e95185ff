//! The features that are active in prompts, ranked: a table, and above it the prompts in the colours of the feature that is
//! pointed at.

use serde_json::json;

use crate::error::Result;
use crate::features::{ActiveFeature, ActiveFeatures, FeatureRanking};
use crate::views::figure::Color;
use crate::views::html::{escape, visible};
use crate::views::loader::Script;
use crate::views::number::{grouped, number};
use crate::views::widget::feature_parts::{largest, short, short_column};
use crate::views::widget::pack::rounded;
use crate::views::widget::still::{NEGATIVE, POSITIVE, on_ground};
use crate::views::widget::{Asked, Drawn, Kind, Widget};

/// The most rows that the reader can see, and how many are shown until then.
const MOST_ROWS: usize = 300;
const ROWS: usize = 20;

/// The most tokens of all prompts; prompts beyond it are left out, and a line says so.
const MOST_TOKENS: usize = 2_000;

/// The most characters of a token or a name.
const LONGEST: usize = 40;

/// The table of these features.
pub(in crate::views) fn active(all: &ActiveFeatures) -> Widget {
    Widget::new(Ok(Active(all.clone())))
}

#[derive(Debug)]
struct Active(ActiveFeatures);

impl Active {
    /// How many prompts there is room for.
    fn prompts(&self) -> usize {
        let mut tokens = 0;
        let fit = self.0.prompts.iter().take_while(|prompt| {
            tokens += prompt.len();
            tokens <= MOST_TOKENS
        });
        fit.count().max(1).min(self.0.prompts.len())
    }

    /// The rows that are kept.
    fn rows(&self) -> Vec<&ActiveFeature> {
        let prompts = self.prompts();
        self.0.features.iter().filter(|row| row.prompt < prompts).take(MOST_ROWS).collect()
    }

    /// Whether they are ranked by something else than their activations.
    fn has_shares(&self) -> bool {
        self.0.ranked_by != FeatureRanking::Activation
    }

    /// The sum of shares at each token of the prompts that are kept: of all features, not only of those in the table.
    fn sums(&self) -> Vec<Vec<f32>> {
        let mut sums: Vec<Vec<f32>> =
            self.0.prompts.iter().take(self.prompts()).map(|prompt| vec![0.0; prompt.len()]).collect();
        for row in &self.0.features {
            if let Some(sum) = sums.get_mut(row.prompt).and_then(|sums| sums.get_mut(row.position)) {
                *sum += row.share;
            }
        }
        sums
    }

    /// The prompts, coloured by the sums of shares.
    fn still_prompts(&self, sums: &[Vec<f32>]) -> String {
        let most = largest(sums.iter().flatten().copied());
        let line = |(prompt, sums): (&Vec<String>, &Vec<f32>)| {
            let token = |(token, &sum): (&String, &f32)| {
                let said = format!("{}: {} in all", visible(token), number(f64::from(sum)));
                on_ground(token, f64::from(sum.abs() / most), sum < 0.0, &said)
            };
            let tokens: String = prompt.iter().zip(sums).map(token).collect();
            format!("<div style=\"line-height:1.8;margin:4px 0;overflow-wrap:anywhere\">{tokens}</div>")
        };
        self.0.prompts.iter().zip(sums).map(line).collect()
    }

    /// The first rows.
    fn still_rows(&self, rows: &[&ActiveFeature]) -> String {
        let rows = &rows[..rows.len().min(ROWS)];
        let column = |of: fn(&ActiveFeature) -> f32| rows.iter().map(|row| of(row)).collect::<Vec<f32>>();
        let mut columns = vec![("activation", column(|row| row.activation))];
        if self.has_shares() {
            columns.push(("share", column(|row| row.share)));
        }
        let said: Vec<Vec<String>> = columns
            .iter()
            .map(|(_, values)| short_column(&values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>()))
            .collect();
        let many = self.0.prompts.len() > 1;
        let mut html = String::from("<table style=\"border-collapse:collapse;margin:0;max-width:100%\"><thead><tr>");
        let words = ["feature", "token"].map(|name| (name, "text-align:left;padding:2px 12px 2px 0"));
        let numbers = columns.iter().map(|(name, _)| (*name, "text-align:right;padding:2px 4px 2px 10px"));
        for (name, style) in words.into_iter().chain(numbers) {
            html += &format!("<th style=\"{style};border-bottom:1px solid rgba(128,128,128,.6)\">{name}</th>");
        }
        html += "</tr></thead><tbody>";
        for (i, row) in rows.iter().enumerate() {
            let place =
                if many { format!("prompt {}, {}", row.prompt, row.position) } else { row.position.to_string() };
            html += &format!(
                "<tr><td style=\"{CELL};text-align:left\">{} <b>{}</b></td><td style=\"{CELL};text-align:left\">{} \
                 <span style=\"opacity:.75\">({place})</span></td>",
                escape(&short(&row.dictionary, LONGEST)),
                row.feature,
                escape(&short(&row.token, LONGEST)),
            );
            for ((_, values), said) in columns.iter().zip(&said) {
                html += &on_bar(values[i], largest(values.iter().copied()), &said[i]);
            }
            html += "</tr>";
        }
        html + "</tbody></table>"
    }

    /// What is left out.
    fn note(&self, rows: usize) -> Option<String> {
        let prompts = self.prompts();
        let cut = (prompts < self.0.prompts.len()).then(|| {
            format!("Shown are the first {prompts} of {} prompts: `prompt` shows another.", self.0.prompts.len())
        });
        let few = (rows < self.0.len() && cut.is_none()).then(|| {
            format!("The table has the {rows} largest of {}: `at` and `of` choose among them.", grouped(self.0.len()))
        });
        cut.or(few)
    }
}

/// The style of a cell.
const CELL: &str = "padding:1px 12px 1px 0;white-space:pre-wrap;overflow-wrap:anywhere";

/// A cell with a number on a bar as long as its part of `most`.
fn on_bar(value: f32, most: f32, said: &str) -> String {
    let Color(red, green, blue) = if value < 0.0 { NEGATIVE } else { POSITIVE };
    let part = value.abs() / most;
    let part = if part.is_finite() { 100.0 * part.clamp(0.0, 1.0) } else { 0.0 };
    format!(
        "<td style=\"padding:1px 4px;min-width:64px;border-left:6px solid transparent;text-align:right;\
         font-variant-numeric:tabular-nums;background:linear-gradient(90deg,rgba({red},{green},{blue},.35) {part:.1}%,\
         transparent 0) padding-box\">{said}</td>"
    )
}

impl Kind for Active {
    fn drawn(&self, _: &Asked) -> Result<Drawn> {
        let all = &self.0;
        let (rows, sums) = (self.rows(), self.sums());
        let name = |name: &str| all.dictionaries.iter().position(|each| each == name);
        let data: Vec<_> = rows
            .iter()
            .map(|row| {
                let numbers = [rounded(row.activation), rounded(row.share)];
                json!([name(&row.dictionary), row.prompt, row.position, row.feature, numbers[0], numbers[1]])
            })
            .collect();
        let shown = |list: &[String]| list.iter().map(|text| short(text, LONGEST)).collect::<Vec<_>>();
        let prompts: Vec<_> = all.prompts.iter().take(self.prompts()).map(|prompt| shown(prompt)).collect();
        let sums_data: Vec<Vec<f64>> = sums.iter().map(|sums| sums.iter().map(|&sum| rounded(sum)).collect()).collect();
        let bos = if all.without_bos { "; BOS left out" } else { "" };
        Ok(Drawn {
            title: format!("{} active features, ranked by {}{bos}", grouped(all.len()), all.ranked_by),
            description: format!("{} features that are active in {} prompts", rows.len(), prompts.len()),
            script: Script::Features,
            kind: "features",
            data: json!({
                "prompts": prompts, "names": shown(&all.dictionaries), "rows": data, "sums": sums_data,
                "shares": self.has_shares(), "first": ROWS,
            }),
            still: self.still_prompts(&sums) + &self.still_rows(&rows),
            text: all.to_string(),
            note: self.note(rows.len()),
        })
    }
}
