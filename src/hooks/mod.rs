//! What can be read or changed in a forward pass: hook points, edits, splices, and the plan of one run.
//!
//! A plan is data. It is checked against the model before anything is computed, belongs to one run, and
//! leaves nothing behind. This room knows tensors and sizes, but neither the model nor metrics.

mod apply;
mod axis;
mod edit;
mod free;
mod inner;
mod memory;
mod plan;
mod point;
mod queries;
mod query;
mod resolve;
mod run;
mod selection;
mod site;
mod splice;
mod splice_run;
mod splices;
mod stage;
mod table;
mod taps;

pub use axis::AxisName;
pub use edit::{Edit, MeanOver};
pub use inner::{InnerPoint, InnerSite};
pub(crate) use memory::check_free;
pub use memory::{MemoryPlan, PointBytes};
pub use plan::HookPlan;
pub use point::{HookPoint, hooks_markdown};
pub use queries::HookQueries;
pub use query::HookQuery;
pub(crate) use run::{HookRun, Reach, Setting};
pub use selection::Selection;
pub(crate) use selection::selecting;
pub use site::{Site, SiteRow};
pub use splice::Splice;
pub use splice_run::{SpliceRun, TextPart};
pub(crate) use splices::Splices;
pub use stage::{Kind, Needs, Stage};
pub use taps::{Gradients, Taps};
