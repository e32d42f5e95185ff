//! Where one may look or act in a forward pass: hook points, edits, and the plan of one run.
//!
//! A plan is data. It is checked against the model before anything is computed, belongs to one run, and
//! leaves nothing behind. This room knows tensors and sizes, not the model.

mod apply;
mod edit;
mod free;
mod memory;
mod plan;
mod point;
mod queries;
mod query;
mod run;
mod site;
mod taps;

pub use edit::{Edit, MeanOver};
pub(crate) use memory::check_free;
pub use memory::{MemoryPlan, PointBytes};
pub use plan::HookPlan;
pub use point::{HookPoint, hooks_markdown};
pub use queries::HookQueries;
pub use query::HookQuery;
pub(crate) use run::{HookRun, Reach, Setting};
pub use site::{AxisName, Site, SiteRow};
pub use taps::{Gradients, Taps};
