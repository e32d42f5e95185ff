//! What is asked of random batches: every seed and every order of drawing is right if the frequencies are.

use crate::course::answer::Answer;
use crate::error::Result;

use super::inputs::Drawn;

/// How features of a pair go together.
#[derive(Clone, Copy, PartialEq)]
enum Pairs {
    Independent,
    Together,
    Apart,
}

pub(super) fn independent(input: &Drawn, answer: &Answer) -> Result<Option<String>> {
    complaint(input, input.1, answer, Pairs::Independent)
}

pub(super) fn together(input: &Drawn, answer: &Answer) -> Result<Option<String>> {
    complaint(input, 2 * input.1, answer, Pairs::Together)
}

pub(super) fn apart(input: &Drawn, answer: &Answer) -> Result<Option<String>> {
    complaint(input, 2 * input.1, answer, Pairs::Apart)
}

fn complaint((p, _, batch, _): &Drawn, features: usize, answer: &Answer, pairs: Pairs) -> Result<Option<String>> {
    let [x] = &answer.parts[..] else { return Ok(Some("one tensor is wanted.".into())) };
    let wanted = [*batch, p.len(), features];
    if x.dims() != wanted {
        return Ok(Some(format!(
            "its shape is {:?}, and [batch {}, instance {}, feature {}] is wanted.",
            x.dims(),
            wanted[0],
            wanted[1],
            wanted[2]
        )));
    }
    let x = x.to_vec3::<f32>()?;
    let columns: Vec<Vec<Vec<f32>>> = (0..p.len())
        .map(|instance| (0..features).map(|feature| x.iter().map(|row| row[instance][feature]).collect()).collect())
        .collect();
    if let Some(value) = x.iter().flatten().flatten().find(|value| !(0. ..=1.).contains(*value)) {
        return Ok(Some(format!("a value is {value}, and all lie from 0 to 1.")));
    }
    for (instance, &p) in p.iter().enumerate() {
        let columns = &columns[instance];
        for (feature, values) in columns.iter().enumerate() {
            if let Some(what) = of_feature(values, p).or_else(|| between_rows(values, p)) {
                return Ok(Some(format!("instance {instance}, feature {feature}: {what}")));
            }
        }
        for (a, b) in (0..features).flat_map(|b| (0..b).map(move |a| (a, b))) {
            let joint = match (pairs, a / 2 == b / 2) {
                (Pairs::Independent, _) | (_, false) => p * p,
                (Pairs::Together, true) => p,
                (Pairs::Apart, true) => 0.,
            };
            let is_pair = pairs == Pairs::Together && a / 2 == b / 2;
            let alone = if is_pair { one_without_the_other(&columns[a], &columns[b]) } else { None };
            if let Some(what) = alone.or_else(|| of_pair(&columns[a], &columns[b], joint)) {
                return Ok(Some(format!("instance {instance}, features {a} and {b}: {what}")));
            }
        }
    }
    Ok(between_instances(p, &columns))
}

/// Five standard errors of a share `p` of `n`.
fn bound(p: f32, n: usize) -> f32 {
    5. * (p * (1. - p) / n as f32).sqrt()
}

fn of_feature(values: &[f32], p: f32) -> Option<String> {
    let active: Vec<f32> = values.iter().copied().filter(|value| *value > 0.).collect();
    let share = active.len() as f32 / values.len() as f32;
    if (share - p).abs() > bound(p, values.len()) {
        return Some(format!("it is active in {share:.3} of the inputs, and should be in {p:.3}."));
    }
    let mean = active.iter().sum::<f32>() / active.len() as f32;
    // A uniform number has a variance of 1/12.
    let off = 5. / (12. * active.len() as f32).sqrt();
    if (mean - 0.5).abs() > off {
        return Some(format!("where it is active its mean is {mean:.3}, and should be 0.5: uniform."));
    }
    let squared = active.iter().map(|value| value * value).sum::<f32>() / active.len() as f32;
    // The square of a uniform number has a mean of 1/3 and a variance of 4/45.
    let off = 5. * (4. / 45. / active.len() as f32).sqrt();
    ((squared - 1. / 3.).abs() > off).then(|| {
        format!("where it is active its mean square is {squared:.3}, and should be 0.333: uniform from 0 to 1.")
    })
}

/// Inputs that copy one another: neighbours, or the second half of the batch the first.
fn between_rows(values: &[f32], p: f32) -> Option<String> {
    let half = values.len() / 2;
    let neighbours = (
        values.iter().step_by(2).take(half).copied().collect(),
        values.iter().skip(1).step_by(2).take(half).copied().collect(),
    );
    let halves: (Vec<f32>, Vec<f32>) = (values[..half].to_vec(), values[half..2 * half].to_vec());
    [(neighbours, "neighbouring inputs"), (halves, "an input and that half a batch later")].into_iter().find_map(
        |((a, b), which)| of_pair(&a, &b, p * p).map(|what| format!("of {which}, {what} Draw for each input.")),
    )
}

/// Instances that share a draw.
fn between_instances(p: &[f32], columns: &[Vec<Vec<f32>>]) -> Option<String> {
    let pairs = (0..p.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
    pairs.into_iter().find_map(|(first, second)| {
        let each =
            columns[first].iter().enumerate().flat_map(|a| columns[second].iter().enumerate().map(move |b| (a, b)));
        each.into_iter().find_map(|((a, of_a), (b, of_b))| {
            let what = of_pair(of_a, of_b, p[first] * p[second])?;
            Some(format!("instance {first}, feature {a} and instance {second}, feature {b}: {what}"))
        })
    })
}

fn one_without_the_other(a: &[f32], b: &[f32]) -> Option<String> {
    let alone = a.iter().zip(b).filter(|(a, b)| (**a > 0.) != (**b > 0.)).count();
    (alone > 0).then(|| format!("one is active without the other in {alone} inputs. They come together or not at all."))
}

fn of_pair(a: &[f32], b: &[f32], joint: f32) -> Option<String> {
    let both: Vec<(f32, f32)> = a.iter().copied().zip(b.iter().copied()).filter(|(a, b)| *a > 0. && *b > 0.).collect();
    let share = both.len() as f32 / a.len() as f32;
    if (share - joint).abs() > bound(joint, a.len()) {
        return Some(format!("both are active in {share:.3} of the inputs, and should be in {joint:.3}."));
    }
    let same = both.len() > 10 && both.iter().all(|(a, b)| a == b);
    same.then(|| "they have the same value wherever both are active. Draw one for each.".into())
}
