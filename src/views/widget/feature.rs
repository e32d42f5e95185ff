//! All that there is to see of one feature, on one page that needs no script.

use crate::features::{
    FeatureDashboard, FeatureExample, FeatureExamples, FeatureHistogram, FeatureLogits, FeatureReads, FeatureTexts,
    Neighbour, Neighbours, TokenValue,
};
use crate::views::html::{escape, visible};
use crate::views::number::grouped;
use crate::views::widget::feature_parts::{
    Bar, bars, beside, example, examples, folded, histogram, largest, section, short, short_number, tokens,
};

/// The most that a dashboard adds to a notebook, in bytes: texts beyond it are left out, and a line says how many.
const MAX_BYTES: usize = 150_000;

/// What is kept of it for all that is not a text.
const BESIDE_TEXTS: usize = 40_000;

/// How many texts, and how many prompts, are shown unfolded.
const OPEN: usize = 8;

/// The most bars of a list.
const LISTED: usize = 12;

/// The most characters of a name in the head of a dashboard.
const LONGEST_NAME: usize = 120;

/// The markup of a dashboard.
pub(in crate::views) fn dashboard(feature: &FeatureDashboard) -> String {
    let mut bytes = MAX_BYTES - BESIDE_TEXTS;
    let most = strongest(&feature.texts, &feature.prompts);
    let texts = prompts(feature, most, &mut bytes) + &top(&feature.texts, most, &mut bytes);
    let numbers = [
        activations(&feature.texts.histogram),
        logits(&feature.logits),
        feature.reads.as_ref().map(reads).unwrap_or_default(),
        beside(&[(1.0, 120, heads(&feature.heads)), (1.0, 120, neighbours(&feature.neighbours))]),
    ]
    .concat();
    format!(
        "<div style=\"max-width:1100px;line-height:1.45;margin:4px 0\">{}{}</div>",
        head(feature),
        beside(&[(1.7, 320, texts), (1.0, 270, numbers)])
    )
}

/// The activation that has the darkest colour.
fn strongest(texts: &FeatureTexts, prompts: &[FeatureExample]) -> f32 {
    let shown = texts.top.iter().chain(&texts.random).chain(prompts);
    let most = largest(shown.flat_map(|example| example.activations.iter().copied()).chain([texts.histogram.max]));
    most.max(f32::MIN_POSITIVE)
}

/// Its name, what it reads and writes, and how often it is active.
fn head(feature: &FeatureDashboard) -> String {
    let line = |style: &str, text: &str| format!("<div style=\"overflow-wrap:anywhere;{style}\">{text}</div>");
    let name = |text: &str| escape(&short(text, LONGEST_NAME));
    let points = match feature.reads_at == feature.writes_at {
        true => format!("reads and writes <code>{}</code>", name(&feature.reads_at)),
        false => {
            format!("reads <code>{}</code>, writes <code>{}</code>", name(&feature.reads_at), name(&feature.writes_at))
        }
    };
    let bos = if feature.without_bos { ", BOS left out" } else { "" };
    let often = often(&feature.texts.histogram, &format!(" of {} texts{bos}", grouped(feature.n_texts)));
    let copied = feature.neuronpedia.as_deref().map_or(String::new(), |address| {
        let address = name(address);
        line("opacity:.8", &format!("neuronpedia: <code style=\"user-select:all\">{address}</code>"))
    });
    let title = format!("Feature {} of {}", feature.feature, name(&feature.dictionary));
    let kind = format!("one of {} features ({}); {points}", grouped(feature.d_sae), name(&feature.architecture));
    let lines = [
        line("font-size:1.25em;font-weight:600", &title),
        line("opacity:.8", &kind),
        line("font-variant-numeric:tabular-nums", &often),
        copied,
    ];
    format!("<div style=\"margin:0 0 12px\">{}</div>", lines.concat())
}

/// How often it is active, and how much.
fn often(histogram: &FeatureHistogram, of_texts: &str) -> String {
    let read = format!("{} positions{of_texts}", grouped(histogram.positions as usize));
    if histogram.active == 0 {
        return format!("<b>never active</b> at {read}");
    }
    let negative = match histogram.negative {
        0 => String::new(),
        negative => format!(", {} of them negative", grouped(negative as usize)),
    };
    format!(
        "<b>active at {} %</b> ({} of {read}{negative}), mean {}, largest <b>{}</b>",
        short_number(100.0 * histogram.density()),
        grouped(histogram.active as usize),
        short_number(histogram.mean()),
        short_number(f64::from(histogram.max))
    )
}

/// How often it is active, by how much.
pub(in crate::views) fn activations(of: &FeatureHistogram) -> String {
    section("Activations", "number of positions by size, logarithmic", &histogram(of))
}

/// What texts show of a feature.
pub(in crate::views) fn texts(texts: &FeatureTexts) -> String {
    let mut bytes = MAX_BYTES - BESIDE_TEXTS;
    let top = top(texts, strongest(texts, &[]), &mut bytes);
    format!(
        "<div style=\"max-width:1100px;line-height:1.45\"><div style=\"font-weight:600\">Feature {}</div>\
         <div style=\"margin:0 0 12px\">{}</div>{}</div>",
        texts.feature,
        often(&texts.histogram, ""),
        beside(&[(1.7, 320, top), (1.0, 270, activations(&texts.histogram))])
    )
}

/// One text, coloured by its own activations.
pub(in crate::views) fn one_example(of: &FeatureExample) -> String {
    example(of, largest(of.activations.iter().copied()), &short_number(f64::from(of.activation)))
}

/// Texts one below the other, coloured by the largest activation of all.
pub(in crate::views) fn several_examples(list: &[FeatureExample]) -> String {
    let most = largest(list.iter().flat_map(|example| example.activations.iter().copied()));
    listed(list, most, &mut (MAX_BYTES - BESIDE_TEXTS), "texts")
}

/// How many features are listed.
const FEATURES: usize = 40;

/// Features one below the other, each with how often it is active and its top text.
pub(in crate::views) fn overview(all: &FeatureExamples) -> String {
    let cell = |style: &str, text: &str| {
        format!("<td style=\"padding:2px 12px 2px 0;vertical-align:top;{style}\">{text}</td>")
    };
    let bos = if all.without_bos { ", BOS left out" } else { "" };
    let mut html = format!(
        "<div style=\"font-weight:600;margin:4px 0\">{} features of {} in {} texts, {} positions{bos}</div>\
         <table style=\"border-collapse:collapse;margin:0;font-variant-numeric:tabular-nums\"><thead><tr>",
        grouped(all.features.len()),
        escape(&short(&all.dictionary, LONGEST_NAME)),
        grouped(all.texts),
        grouped(all.positions as usize)
    );
    for (name, align) in [("feature", "right"), ("active, %", "right"), ("top text", "left")] {
        html += &format!(
            "<th style=\"padding:2px 12px 2px 0;text-align:{align};border-bottom:1px solid rgba(128,128,128,.6)\">{name}</th>"
        );
    }
    html += "</tr></thead><tbody>";
    let numbers = "text-align:right;line-height:1.7";
    for texts in all.features.iter().take(FEATURES) {
        let density = short_number(100.0 * texts.histogram.density());
        html += &format!(
            "<tr>{}{}{}</tr>",
            cell(numbers, &texts.feature.to_string()),
            cell(numbers, &density),
            cell("text-align:left", &texts.top.first().map_or_else(|| "never active".into(), one_example))
        );
    }
    html += "</tbody></table>";
    match all.features.len().saturating_sub(FEATURES) {
        0 => html,
        more => html + &format!("<div style=\"opacity:.75\">… {} more features</div>", grouped(more)),
    }
}

/// Where it is active in the prompts that were asked about.
fn prompts(feature: &FeatureDashboard, most: f32, bytes: &mut usize) -> String {
    if feature.prompts.is_empty() {
        return String::new();
    }
    let heading = if feature.prompts.len() == 1 { "In this prompt" } else { "In these prompts" };
    let silent = feature.prompts.iter().all(|prompt| prompt.activations.iter().all(|&value| value == 0.0));
    let about = if silent { "not active" } else { "" };
    section(heading, about, &listed(&feature.prompts, most, bytes, "prompts"))
}

/// The texts in which it is most active, and those at random.
fn top(texts: &FeatureTexts, most: f32, bytes: &mut usize) -> String {
    if texts.top.is_empty() {
        return section("Top texts", "", "<div>No text activates it.</div>");
    }
    let top =
        section("Top texts", "the largest activation of each, underlined", &listed(&texts.top, most, bytes, "texts"));
    if texts.random.is_empty() {
        return top;
    }
    top + &section("Texts at random", "of all in which it is active", &listed(&texts.random, most, bytes, "texts"))
}

/// Texts, the first of them unfolded.
fn listed(list: &[FeatureExample], most: f32, bytes: &mut usize, what: &str) -> String {
    let (open, more) = list.split_at(list.len().min(OPEN));
    let (mut html, shown) = examples(open, most, bytes);
    let (hidden, also) = if shown == open.len() { examples(more, most, bytes) } else { (String::new(), 0) };
    if also > 0 {
        let what = if also == 1 { what.trim_end_matches('s') } else { what };
        html += &folded(&format!("{also} more {what}"), &hidden);
    }
    html + &left_out(list.len() - shown - also, what)
}

/// A line on what has no room.
fn left_out(count: usize, what: &str) -> String {
    match count {
        0 => String::new(),
        count => format!(
            "<div style=\"font-style:italic\">{count} {what} are left out: a dashboard has at most {}.</div>",
            crate::error::human_bytes(MAX_BYTES as u64)
        ),
    }
}

/// The tokens whose logits it raises and lowers.
pub(in crate::views) fn logits(logits: &FeatureLogits) -> String {
    let about = format!(
        "added for each unit of activation; std {}, skew {:.1}, kurtosis {:.1}",
        short_number(logits.std),
        logits.skew,
        logits.kurtosis
    );
    section("Logits", &about, &two_lists("raises", &logits.top, "lowers", &logits.bottom))
}

/// The tokens whose embeddings it reads.
pub(in crate::views) fn reads(reads: &FeatureReads) -> String {
    let about = "pre-activation from a token's embedding alone";
    section("Reads", about, &two_lists("most", &reads.top, "least", &reads.bottom))
}

fn two_lists(first: &str, top: &[TokenValue], second: &str, bottom: &[TokenValue]) -> String {
    let most = largest(top.iter().chain(bottom).map(|token| token.value));
    let list = |name: &str, list: &[TokenValue]| {
        let list = bars(&tokens(&list[..list.len().min(LISTED)]), most);
        format!("<div style=\"opacity:.75\">{name}</div>{list}")
    };
    beside(&[(1.0, 120, list(first, top)), (1.0, 120, list(second, bottom))])
}

/// The share of each head in what it writes.
fn heads(shares: &[f32]) -> String {
    if shares.is_empty() {
        return String::new();
    }
    let mut all: Vec<(usize, f32)> = shares.iter().copied().enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let list: Vec<Bar> = all
        .iter()
        .take(LISTED)
        .map(|&(head, value)| Bar { name: format!("H{head}"), value, said: format!("{:.0} %", 100.0 * value) })
        .collect();
    let about = match shares.len() > LISTED {
        true => format!("share of the decoder row; the {LISTED} largest of {}", shares.len()),
        false => "share of the decoder row".into(),
    };
    section("Heads", &about, &bars(&list, 1.0))
}

/// The features whose decoder rows resemble its own.
pub(in crate::views) fn neighbours(neighbours: &Neighbours) -> String {
    if neighbours.nearest.is_empty() {
        return String::new();
    }
    let name = |each: &Neighbour| match each.dictionary == neighbours.dictionary {
        true => format!("{}", each.feature),
        false => format!("{} of {}", each.feature, visible(&each.dictionary)),
    };
    let list: Vec<Bar> = neighbours
        .nearest
        .iter()
        .take(LISTED)
        .map(|each| Bar { name: name(each), value: each.cosine, said: format!("{:.2}", each.cosine) })
        .collect();
    section("Neighbours", "cosine of the decoder rows", &bars(&list, 1.0))
}
