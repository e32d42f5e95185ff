//! How features are shown: their dashboards, texts, logits, neighbours, and where they are active.

use crate::error::Result;
use crate::features::{
    FeatureDashboard, FeatureExample, FeatureExamples, FeatureHistogram, FeatureLogits, FeatureReads, FeatureTexts,
    Neighbours,
};
use crate::views::page::{Rendered, View};
use crate::views::show::shown_with_own_display;
use crate::views::widget::feature;

/// Values with markup of their own, and their printed form as text.
macro_rules! drawn {
    ($($value:ident: $html:expr),+ $(,)?) => {$(
        impl View for $value {
            fn render(&self) -> Result<Rendered> {
                Ok(Rendered::new($html(self), self.to_string()))
            }
        }
        shown_with_own_display!($value);
    )+};
}

drawn! {
    FeatureDashboard: feature::dashboard,
    FeatureLogits: feature::logits,
    FeatureReads: feature::reads,
    FeatureHistogram: feature::activations,
    FeatureTexts: feature::texts,
    FeatureExamples: feature::overview,
    Neighbours: feature::neighbours,
}

impl View for FeatureExample {
    fn render(&self) -> Result<Rendered> {
        Ok(Rendered::new(feature::one_example(self), self.to_string()))
    }

    /// One below the other, coloured by the largest activation of all.
    fn render_list(list: &[Self]) -> Result<Rendered> {
        let text: Vec<String> = list.iter().map(Self::to_string).collect();
        Ok(Rendered::new(feature::several_examples(list), text.join("\n")))
    }
}

shown_with_own_display!(FeatureExample);
