//! The exercises about what the paths carry, and about kinds of heads.

use super::{inputs, kind_answers as answers};
use crate::cache::ActivationCache;
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::metrics::Answers;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use candle_core::Tensor;

exercise! {
    /// A prompt with another repeated name, or with the names in the other order.
    Donor, "1.3.p", donor(ids: &[u32], names: (usize, usize), s2: usize, token: u32, keeps_position: bool) -> Vec<u32>;
    task: "Write one donor of the table. The ids of a prompt are given, with the places of its first two names and of S2. In the donor, `token` is the name that comes twice: at S2, and at one of the first two places. That is S1's place if `keeps_position`, and IO's place if not. The other place gets the name that is left: IO, or the old subject where `token` is IO.

- `ids[s2]` is the subject; S1 is the one of the two first names that equals it
- returns the donor's ids, as many as `ids`";
    axes: &[&["pos"]];
    inputs: inputs::donors => (Vec<u32>, (usize, usize), usize, u32, bool);
    hints: &[
        "First find out which of names.0 and names.1 is S1, by comparing with ids[s2].",
        "Write three ids into a copy: token at S2, token at S1's or IO's place, and the other name at the place that is left.",
        "let (s1, io) = if ids[names.0] == ids[s2] { names } else { (names.1, names.0) }; then let (token_at, other_at) = if keeps_position { (s1, io) } else { (io, s1) };",
    ];
    wrong: [
        "only S2 changes. The name's first mention must change as well, or the prompt does not repeat it." => answers::s2_alone,
        "S2 keeps the old subject. It is the second mention of `token`." => answers::s2_kept,
        "the two columns are exchanged: keeps_position means that the repeated name is first named where S1 was." => answers::columns_exchanged,
        "the place that is left keeps IO in every case. Where `token` is IO, both first names are then the same: put the old subject there." => answers::io_twice,
        "keeps_position is read as \"the repeated name comes first\". It means the place of S1, which may be the second." => answers::first_place,
    ];
    accepted: [];
}

exercise! {
    /// Whether S2's residual stream tells which name was repeated, or where it was named first.
    PositionOrToken, "1.3.p2", position_or_token(model: &HookedTransformer, clean: &Tokens, answers: &Answers, names: (usize, usize), s2: usize, thirds: &[u32], layer: usize) -> Tensor;
    task: "For each of the six donors of the table: run the donors of all prompts, take `resid_pre` of `layer` at S2, put it into the clean run at S2, and measure the mean logit difference of the clean prompts. Use your `donor`.

- `answers.correct()`, `answers.incorrect()`: IO and the subject of each prompt; `thirds`: a third name for each
- `names`, `s2`: the places, the same in all prompts
- returns `[token, position]`: rows same token, IO's token, third name; columns same position, other position";
    axes: &[&["token", "position"]];
    inputs: inputs::signals => (HookedTransformer, Tokens, Answers, (usize, usize), usize, Vec<u32>, usize);
    hints: &[
        "The first number must be the clean run's own logit difference: that donor is the clean prompt.",
        "Two loops, over the three lists of tokens and over [true, false]. Inside: donors of all rows, Tokens::from_rows, a run that captures the stream, a run of the clean prompts with an edit at S2, answers.logit_diff(&logits, clean)?.mean().",
        r#"Edit::replace(cache.get(("resid_pre", layer))?.i((.., s2))?).pos(s2) at ("resid_pre", layer); the loop's results go into Tensor::from_vec(results, (3, 2), &Device::Cpu)."#,
    ];
    wrong: [
        "the stream is put in at all positions, so that the rest of the run is the donor's. Put it in at S2 alone." => answers::every_position,
        "the stream is taken and put in at the last position. S2 is where the movers look." => answers::at_the_end,
        "the columns are in the other order: same position comes first." => answers::other_position_first,
        "IO's token and the third name are exchanged: rows two and three." => answers::rows_exchanged,
        "the difference is turned round where the donor's answer is the other name. Measure the clean prompt's answer throughout: its sign is the result." => answers::signs_turned,
        "the clean stream is put into the donors' runs. The donors give, the clean prompts run." => answers::into_the_donors,
    ];
    accepted: [];
}

exercise! {
    /// Whether each head raises or lowers the name that it reads.
    CopyingScores, "1.3.q", copying_scores(model: &HookedTransformer, names: &[u32], k: usize) -> Tensor;
    task: "Run each name alone, as a prompt of one token. What a head reads of it is, roughly, the embedding plus the first MLP's output (roughly, because earlier heads write to the stream too, and position has its own embedding). Send that through the head's `W_V` and `W_O`, and from there through the final norm and the unembedding. A head's **copying score** is the share of names that are among the `k` largest logits of their own row; its **negative** score the share among the `k` smallest.

- `model.W_V()?`: `[layer, head, d_model, d_head]`, `model.W_O()?`: `[layer, head, d_head, d_model]`; no biases
- the model applies its own final norm and unembedding if you put what a head writes in place of the last `resid_post`
- returns `[kind, layer, head]`: copying, then negative";
    axes: &[&["kind", "layer", "head"]];
    inputs: inputs::names => (HookedTransformer, Vec<u32>, usize);
    hints: &[
        "The embedding alone is not what later heads read of a token: the first MLP has written a lot by then.",
        "Capture embed and (\"mlp_out\", 0) of one-token prompts, add them, multiply with the head's W_V and W_O, put the product in at (\"resid_post\", -1), and look with top_k(k) whether the name's id is among the places; with the negated logits for the second kind.",
        r#"let written = einsum("n p d, d h, h m -> n p m", &[&read, &v, &o])?; let plan = HookPlan::new().edit(("resid_post", -1), Edit::replace(written)); then logits.squeeze(1)?.top_k(k)?.1 and logits.neg()?...top_k(k)?.1."#,
    ];
    wrong: [
        "the first MLP's output is left out: this is the bare embedding." => answers::without_the_mlp,
        "the embedding is left out: this is the first MLP's output alone." => answers::mlp_alone,
        "this is the whole stream after block 0, with the position embedding and attention's output in it. Take the embedding and the MLP output." => answers::whole_stream,
        "one logit too many counts: k + 1 instead of k." => answers::one_more,
        "the two kinds are exchanged: copying comes first." => answers::kinds_exchanged,
        "the negative kind looks for the logits nearest to zero. The smallest are the most negative." => answers::nearest_to_zero,
        "the logits lack the final norm and the unembedding's bias: this is the bare product with W_U." => answers::bare_unembedding,
    ];
    accepted: [];
}

exercise! {
    /// Previous-token, duplicate-token and induction scores.
    EarlyHeads, "1.3.r", early_heads(cache: &ActivationCache, seq_len: usize) -> Tensor;
    task: "The prompts of this cache are a BOS and `seq_len` random tokens, twice. Score each head by three stripes of its pattern, averaged over prompts: the position before (all queries that have one), the earlier occurrence of the same token (the second half's queries), and the token after that occurrence (the second half's queries).

- returns `[kind, layer, head]`: previous token, duplicate token, induction";
    axes: &[&["kind", "layer", "head"]];
    inputs: inputs::repeats => (ActivationCache, usize);
    hints: &[
        "The second half begins at position seq_len + 1, behind the BOS and the first half. How far back is the earlier occurrence?",
        "diagonal(-1), diagonal(-seq_len) and diagonal(1 - seq_len); the last two begin with queries of the first half, which you leave out.",
        "pattern.diagonal(-back)? begins at query seq_len: narrow(2, 1, seq_len)?; pattern.diagonal(1 - back)? begins at query seq_len - 1: narrow(2, 2, seq_len)?; mean((0, 2)), stack the layers, then the kinds.",
    ];
    wrong: [
        "induction looks one too far: at the token before the earlier occurrence." => answers::induction_too_far,
        "the duplicate-token score counts attention to the token itself too. Only the earlier occurrence counts." => answers::itself_counts,
        "duplicate token and induction are exchanged." => answers::last_two_exchanged,
        "the sums are divided by all queries. Average over the queries that have such a position." => answers::all_queries,
        "this is the first prompt alone. Average over prompts as well." => answers::first_prompt,
    ];
    accepted: [
        "Your averages go over whole stripes, which have one or two queries of the first half in them: slightly smaller numbers." => answers::whole_stripes,
    ];
}
