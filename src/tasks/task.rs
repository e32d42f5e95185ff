use std::fmt;

use super::split::distinct;
use super::{Split, TaskDataset, TaskPrompt, capital_country, gender_bias, greater_than, hypernymy, ioi, sva};
use crate::error::Result;
use crate::random::Random;

/// One of the six tasks: its prompts, and how its answers are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Task {
    /// Indirect object identification: "When John and Mary went to the shops, John gave the bag to" wants " Mary".
    /// Scored by the logit difference of the two names (Wang et al. 2022, <https://arxiv.org/abs/2211.00593>).
    ///
    /// A prompt names two people, the indirect object (`io`) and the subject (`s`), who is named again (position `s2`).
    /// In `corrupted` a `third` person takes the place of the second subject, so that neither name is the answer; in
    /// `corrupted_hard` it is the indirect object, so that the answer is the other name.
    Ioi,
    /// "The war lasted from the year 1741 to the year 17" wants a year after 41. Scored by the probability difference
    /// of two-digit years (Hanna et al. 2023, <https://arxiv.org/abs/2305.00586>). `corrupted` starts in the year 01,
    /// after which every later year is right.
    GreaterThan,
    /// After "The nurse said that" a biased model prefers " she" to " he". Scored by their logit difference (Vig et al.
    /// 2020, <https://arxiv.org/abs/2004.12265>). `corrupted` names a man or a woman, whom the stereotype does not
    /// expect. There is no right answer here, only the stereotype's: a high score *is* the bias.
    GenderBias,
    /// "Tirana, the capital of" wants " Albania". Scored by the logit difference of the first tokens of two countries
    /// (Hanna et al. 2024, <https://arxiv.org/abs/2403.17806>). `corrupted` names another capital.
    CapitalCountry,
    /// Subject-verb agreement: "The keys on the cabinet" wants a verb in the plural. Scored by the probability
    /// difference of verbs in the right and in the wrong number (Newman et al. 2021,
    /// <https://arxiv.org/abs/2104.09635>). `corrupted` has the subject in the other number; the second noun, nearer to
    /// the verb, is a distractor whose number is free.
    Sva,
    /// "diamonds, and other" wants " gems" or " gemstones". Scored by the probability difference of the names of two
    /// categories (Hanna et al. 2024, <https://arxiv.org/abs/2403.17806>). `corrupted` names a member of another
    /// category.
    Hypernymy,
}

impl Task {
    /// All six.
    pub const ALL: [Self; 6] =
        [Self::Ioi, Self::GreaterThan, Self::GenderBias, Self::CapitalCountry, Self::Sva, Self::Hypernymy];

    /// Whether it is scored by the difference of two logits, one for each answer; else by the difference in probability
    /// of two sets of tokens.
    pub fn is_logit_diff(self) -> bool {
        matches!(self, Self::Ioi | Self::GenderBias | Self::CapitalCountry)
    }

    /// The splits that this task has: those of which a model that learnt [`Split::Train`] can know the answers.
    pub fn splits(self) -> &'static [Split] {
        match self {
            Self::Ioi => &ioi::SPLITS,
            Self::GreaterThan => &greater_than::SPLITS,
            Self::GenderBias => &gender_bias::SPLITS,
            Self::CapitalCountry => &capital_country::SPLITS,
            Self::Sva => &sva::SPLITS,
            Self::Hypernymy => &hypernymy::SPLITS,
        }
    }

    /// The templates of a split, with the names of their words in braces; [`TaskPrompt::template`] counts in this list.
    pub fn templates(self, split: Split) -> &'static [&'static str] {
        match self {
            Self::Ioi => split.templates(&ioi::TEMPLATES, &ioi::HELD_OUT_TEMPLATES),
            Self::GreaterThan => split.templates(&greater_than::TEMPLATES, &greater_than::HELD_OUT_TEMPLATES),
            Self::GenderBias => split.templates(&gender_bias::TEMPLATES, &gender_bias::HELD_OUT_TEMPLATES),
            Self::CapitalCountry => split.templates(&capital_country::TEMPLATES, &capital_country::HELD_OUT_TEMPLATES),
            Self::Sva => split.templates(&sva::TEMPLATES, &sva::HELD_OUT_TEMPLATES),
            Self::Hypernymy => split.templates(&hypernymy::TEMPLATES, &hypernymy::HELD_OUT_TEMPLATES),
        }
    }

    /// One prompt of a split, drawn from a stream of random choices, as a training loop needs them.
    ///
    /// # Errors
    /// A split that the task does not have ([`Task::splits`]).
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// use candle_lens::tasks::Split;
    /// let prompt = Task::CapitalCountry.prompt(Split::Train, &mut Random::new(0))?;
    /// assert_eq!(prompt.right[0], format!(" {}", prompt.word("country").unwrap()));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn prompt(self, split: Split, random: &mut Random) -> Result<TaskPrompt> {
        split.check(self.title(), self.splits())?;
        Ok(TaskPrompt { row: format!("{self}, split {split}"), ..self.draw(split, random) })
    }

    /// `count` different prompts of a split, as a data set. The same seed gives the same prompts on every machine, and a
    /// longer list begins with the shorter one.
    ///
    /// # Errors
    /// A split that the task does not have, or that holds fewer prompts than that.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let prompts = Task::Ioi.prompts(tasks::Split::Templates, 20, 0)?.hard()?;
    /// assert_eq!(prompts.len(), 20);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn prompts(self, split: Split, count: usize, seed: u64) -> Result<TaskDataset> {
        split.check(self.title(), self.splits())?;
        let prompts = distinct(self.title(), count, seed, |random| self.draw(split, random))?;
        Ok(TaskDataset::of(self, format!("{self}, split {split}, seed {seed}"), prompts))
    }

    fn draw(self, split: Split, random: &mut Random) -> TaskPrompt {
        match self {
            Self::Ioi => ioi::draw(split, random),
            Self::GreaterThan => greater_than::draw(split, random),
            Self::GenderBias => gender_bias::draw(split, random),
            Self::CapitalCountry => capital_country::draw(split, random),
            Self::Sva => sva::draw(split, random),
            Self::Hypernymy => hypernymy::draw(split, random),
        }
    }

    /// What it is called in a sentence.
    fn title(self) -> &'static str {
        match self {
            Self::Ioi => "IOI",
            Self::GreaterThan => "greater-than",
            Self::GenderBias => "gender bias",
            Self::CapitalCountry => "capital-country",
            Self::Sva => "subject-verb agreement",
            Self::Hypernymy => "hypernymy",
        }
    }
}

impl fmt::Display for Task {
    /// Its name in files: `ioi`, `greater_than`, ..
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ioi => "ioi",
            Self::GreaterThan => "greater_than",
            Self::GenderBias => "gender_bias",
            Self::CapitalCountry => "capital_country",
            Self::Sva => "sva",
            Self::Hypernymy => "hypernymy",
        })
    }
}
