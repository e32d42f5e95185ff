//! A BOS is left alone unless asked otherwise, in whole runs and in those that go on from others.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::{apart, random};
use crate::support::assert_close;
use crate::support::tolerance::{CLEAR, REORDERED};

/// Logits of the embedded model after several random dictionaries.
const LOGITS: f32 = 1e-4;

/// Rounding of half precision, in parts of the largest logit.
const HALF: f32 = 0.02;

const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";

fn tiny() -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained("tiny")
}

fn autoencoder(point: &str) -> Dictionary {
    let shrunk = |parts: DictionaryParts| DictionaryParts {
        w_enc: (parts.w_enc * 0.2).unwrap(),
        w_dec: (parts.w_dec * 0.2).unwrap(),
        ..parts
    };
    random((31, 128, 128), Expects::at(point.parse().unwrap()), shrunk)
}

fn transcoder(layer: usize) -> Dictionary {
    let of = |name: &str| format!("blocks.{layer}.{name}").parse().unwrap();
    random((32, 128, 128), Expects::between(of("mlp.hook_in"), of("hook_mlp_out")), |parts| parts)
}

#[test]
fn a_bos_is_left_alone_wherever_it_is() -> Result<()> {
    let model = tiny()?;
    let bos = model.tokenizer()?.bos_id().expect("it has one");
    // The first token behind padding; a BOS that is not the first is a token as any.
    let long = model.to_tokens(PROMPT)?.row(0);
    let short: Vec<u32> = [bos, long[1], long[2], bos, long[4]].into();
    let rows = vec![long.clone(), short];
    let padding = |side| Tokens::padded(rows.clone(), bos, side);
    for tokens in [padding(PaddingSide::Left)?, padding(PaddingSide::Right)?, Tokens::from_rows(vec![long.clone()])?] {
        for dictionary in [autoencoder("resid_post1"), autoencoder("z2"), transcoder(2)] {
            let (reads, writes) = (dictionary.expects().hook_in.unwrap(), dictionary.expects().writes().unwrap());
            let (_, plain) = model.run_with_hooks(&tokens, HookPlan::new().capture((reads, writes)))?;
            let recons =
                dictionary.reconstruct(&plain.get(reads)?.flatten_from(2)?)?.reshape(plain.get(writes)?.shape())?;
            let first = |row: usize| (0..tokens.pos()).find(|&pos| tokens.is_real(row, pos)).unwrap();
            let inside = |name: &str| format!("{writes}.hook_sae_{name}");
            for (bos, left_alone) in [(AtBos::LeftAlone, true), (AtBos::Spliced, false)] {
                let plan = model.splice(&dictionary, SpliceOptions { error: ErrorTerm::None, bos })?;
                let plan = plan.capture(inside("output")).capture(inside("acts_post"));
                assert_eq!(plan.to_string().contains("BOS left alone"), left_alone, "{plan}");
                let (_, cache) = model.run_with_hooks(&tokens, &plan)?;
                let (output, acts) = (cache.get(inside("output"))?, cache.get(inside("acts_post"))?);
                for row in 0..tokens.batch() {
                    for pos in (0..tokens.pos()).filter(|&pos| tokens.is_real(row, pos)) {
                        let is_left = left_alone && pos == first(row);
                        let at = |x: &Tensor| x.get(row)?.get(pos);
                        let expected = if is_left { plain.get(writes)? } else { recons.clone() };
                        let what = format!("{writes} {bos:?} {row} {pos}");
                        assert_close(&at(&output)?, &at(&expected)?, REORDERED, &what);
                        let active = at(&acts)?.abs()?.sum_all()?.to_scalar::<f32>()?;
                        assert_eq!(active > 0., !is_left, "{what}: features that are active");
                    }
                }
            }
        }
    }
    Ok(())
}

/// An edit of a feature at a BOS adds its row, so that no edit is without effect.
#[test]
fn edits_act_at_a_bos_that_is_left_alone() -> Result<()> {
    let model = tiny()?;
    for dictionary in [autoencoder("resid_post1"), autoencoder("z2"), transcoder(2)] {
        let writes = dictionary.expects().writes().unwrap();
        let steered = HookPlan::new().edit(writes, dictionary.steer(&model, 5, 3.)?.pos(0));
        let expected = model.run_with_hooks(PROMPT, steered)?.0;
        assert!(apart(&expected, &model.forward(PROMPT)?)? > CLEAR, "it does something");
        for error in [ErrorTerm::Recomputed, ErrorTerm::frozen(PROMPT)] {
            let add = Edit::add(Tensor::new(3f32, &Device::Cpu)?).feature(5).pos(0);
            let plan = model.splice(&dictionary, error)?.edit(format!("{writes}.hook_sae_acts_post"), add);
            assert_close(&model.run_with_hooks(PROMPT, &plan)?.0, &expected, LOGITS, &format!("{plan}"));
        }
    }
    Ok(())
}

#[test]
fn runs_that_go_on_know_where_the_text_began() -> Result<()> {
    let model = tiny()?;
    let dictionaries = [autoencoder("resid_post0"), autoencoder("z2"), transcoder(3)];
    let text = model.to_tokens(PROMPT)?.row(0);
    for error in [ErrorTerm::None, ErrorTerm::frozen(PROMPT)] {
        let plan = model.splice(&dictionaries, error)?.edit(("sae_acts_post", 2), Edit::scale(2.));
        let whole = model.run_with_hooks(vec![text.clone()], &plan)?.0;
        let until = 5;
        let first = RunOptions { keep_kv_cache: true, ..Default::default() };
        let past = model.run(vec![text[..until].to_vec()], &plan, &first);
        let past = match past {
            Ok(run) => run.kv_cache()?,
            // A part of the text is another text than the one whose errors were kept.
            Err(error) => {
                assert!(error.to_string().contains("other ones are run"), "{error}");
                continue;
            }
        };
        let on = RunOptions { past_kv_cache: Some(past), ..Default::default() };
        let rest = model.run(vec![text[until..].to_vec()], &plan, on)?.logits()?;
        assert_close(&rest, &whole.narrow(1, until, text.len() - until)?, LOGITS, "the rest");
    }
    // Text is generated as from whole texts.
    let plan = model.splice(&dictionaries, ErrorTerm::None)?;
    let mut row = text.clone();
    for _ in 0..3 {
        let last = model.run_with_hooks(vec![row.clone()], &plan)?.0.squeeze(0)?.get(row.len() - 1)?;
        row.push(last.argmax(0)?.to_scalar::<u32>()?);
    }
    let options = GenerateOptions { max_new_tokens: 3, plan, stop_at_eos: false, ..Default::default() };
    let mut stream = model.generate_stream(vec![text.clone()], &options)?;
    let made: Vec<u32> = stream.by_ref().map(|step| Ok(step?.tokens[0].unwrap())).collect::<Result<_>>()?;
    assert_eq!(made, row[text.len()..]);
    Ok(())
}

#[test]
fn a_half_precision_model_is_spliced_in_f32() -> Result<()> {
    let plain = tiny()?;
    let model =
        HookedTransformer::from_pretrained_with("tiny", LoadOptions { dtype: DType::BF16, ..Default::default() })?;
    let dictionaries = [autoencoder("resid_post1"), autoencoder("z2"), transcoder(3)];
    let clean = model.forward(PROMPT)?.to_dtype(DType::F32)?;
    let largest = clean.abs()?.max_all()?.to_scalar::<f32>()?;
    let of = |error: ErrorTerm| -> Result<Tensor> {
        let plan = model.splice(&dictionaries, error)?.capture(("sae_acts_post", 1));
        let (logits, cache) = model.run_with_hooks(PROMPT, &plan)?;
        assert_eq!(cache.get(("sae_acts_post", 1))?.dtype(), DType::F32);
        Ok(logits.to_dtype(DType::F32)?)
    };
    for error in [ErrorTerm::Recomputed, ErrorTerm::frozen(PROMPT)] {
        assert!(apart(&of(error)?, &clean)? < HALF * largest, "with error terms");
    }
    let expected = plain.run_with_hooks(PROMPT, plain.splice(&dictionaries, ErrorTerm::None)?)?.0;
    assert!(apart(&of(ErrorTerm::None)?, &expected)? < HALF * largest, "as in f32");
    assert!(apart(&expected, &clean)? > HALF * largest, "dictionaries change more than rounding");
    Ok(())
}
