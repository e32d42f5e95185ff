//! Damaged data sets: a sentence that names the file, or prompts that can be batched and measured.

use std::fs;
use std::path::Path;

use candle_lens::model::HookedTransformer;
use candle_lens::tasks::{Task, TaskDataset, VerbList};

use crate::support::damage::{torture, torture_keys};
use crate::support::scratch;

#[test]
fn damaged_data_sets() {
    let model = HookedTransformer::from_pretrained("tiny").expect("it is embedded");
    let folder = scratch("fuzz_data_sets");
    for (seed, task) in Task::ALL.into_iter().enumerate() {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets").join(format!("{task}.csv"));
        let text = fs::read_to_string(ours).expect("it is committed");
        let few: String = text.lines().take(12).map(|line| format!("{line}\n")).collect();
        let file = folder.join(format!("{task}.csv"));
        torture(80 + seed as u64, 60, &file, few.as_bytes(), || {
            let prompts = TaskDataset::read(task, &file)?;
            prompts.batches(&model, 64).map(drop)
        });
    }
}

#[test]
fn damaged_prompts_in_json_and_lists_of_verbs() {
    let folder = scratch("fuzz_json");
    let file = folder.join("prompts.json");
    let whole = serde_json::json!({"prompts": [
        {"clean": "When John and Mary went to the shops, John gave the bag to", "answers": [" Mary"],
         "corrupt": "When John and Mary went to the shops, Mary gave the bag to", "wrong_answers": [" John"]},
    ]})
    .to_string();
    torture_keys(90, 200, &file, whole.as_bytes(), || TaskDataset::read(Task::Ioi, &file).map(drop));
    torture(91, 200, &file, whole.as_bytes(), || TaskDataset::read(Task::Ioi, &file).map(drop));
    let file = folder.join("verbs.csv");
    torture(92, 200, &file, b"sing,plur\nis,are\nwas,were\nhas,have\n", || VerbList::read(&file).map(drop));
}
