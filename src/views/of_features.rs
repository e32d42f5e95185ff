//! How features are shown: their dashboards, texts, logits, neighbours, and where they are active.

use crate::error::Result;
use crate::features::{
    ActiveFeatures, FeatureDashboard, FeatureExample, FeatureExamples, FeatureHistogram, FeatureLogits, FeatureReads,
    FeatureTexts, Neighbours,
};
use crate::views::page::{Rendered, View};
use crate::views::show::shown_with_own_display;
use crate::views::widget::{feature, feature_active};

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

impl View for ActiveFeatures {
    /// A ranked table; where scripts run, pointing at a feature shows where in the prompts it is active.
    fn render(&self) -> Result<Rendered> {
        let drawn = feature_active::active(self).render()?;
        Ok(Rendered { text: self.to_string(), ..drawn })
    }
}

shown_with_own_display!(FeatureExample, ActiveFeatures);
