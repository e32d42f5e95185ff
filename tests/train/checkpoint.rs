//! An interrupted training goes on as if it had not been interrupted; files that a stranger wrote are found out.

use candle_lens::Result;
use candle_lens::candle::Tensor;
use candle_lens::model::HookedTransformer;
use candle_lens::random::Random;
use candle_lens::tasks::{Split, Task};
use candle_lens::train::{
    ActivationStore, AdamW, AdamWOptions, Checkpoint, Schedule, StoreOptions, Texts, TrainingLog, clip_gradients,
};

use crate::support::damage::torture;
use crate::support::scratch;

const WHAT: &str = "a linear map of an MLP";
const STEPS: u64 = 12;
const D: usize = 128;

/// A linear map from what an MLP reads to what it writes, trained on noisy activations: everything that a training has.
struct Training {
    weights: Vec<f32>,
    adam: AdamW,
    store: ActivationStore,
    noise: Random,
    log: TrainingLog,
    step: u64,
}

fn store() -> Result<ActivationStore> {
    store_of(&HookedTransformer::from_pretrained("tiny")?)
}

fn store_of(model: &HookedTransformer) -> Result<ActivationStore> {
    // 13 inputs of two texts each, again and again: the queue of rows is not empty between fillings.
    let prompts = Task::Ioi.prompts(Split::Train, 26, 0)?.prompts;
    let pairs: Vec<Vec<String>> = prompts.chunks(2).map(|two| two.iter().map(|p| p.clean.clone()).collect()).collect();
    let texts: Texts = pairs.into_iter().map(|two| model.to_tokens(&two)).collect::<Result<Vec<_>>>()?.into();
    let options = StoreOptions { batch: 48, buffer: 128, prompts: 3, ..Default::default() };
    ActivationStore::new(model, ("blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"), texts.repeated()?, options)
}

impl Training {
    fn new() -> Result<Self> {
        Ok(Self {
            weights: vec![0.; D * D],
            adam: AdamW::new(AdamWOptions::default()),
            store: store()?,
            noise: Random::new(5),
            log: TrainingLog::new(WHAT),
            step: 0,
        })
    }

    fn steps(&mut self, until: u64) -> Result<()> {
        let schedule = Schedule::new(3e-3, STEPS).with_warm_up(3).with_decay(4, 0.1);
        for step in self.step..until {
            let [x, y] = &self.store.next_batch()?.expect("it has no end").tensors()[..] else { panic!("two points") };
            let x = (x + (self.noise.normal(x.shape())? * 0.01)?)?;
            let w = Tensor::from_slice(&self.weights, (D, D), x.device())?;
            let error = (x.matmul(&w)? - y)?;
            let mut slope = x.t()?.matmul(&error)?.flatten_all()?.to_vec1::<f32>()?;
            clip_gradients([&mut slope[..]], 1.)?;
            self.adam.step(schedule.at(step), [(&mut self.weights[..], &slope[..])])?;
            self.log.add(step, "loss", f64::from(error.sqr()?.mean_all()?.to_scalar::<f32>()?));
        }
        self.step = until;
        Ok(())
    }

    fn checkpoint(&self) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint::new(WHAT, self.step);
        checkpoint.put_values("weights", &self.weights)?;
        checkpoint.put_optimiser("adam", &self.adam)?;
        checkpoint.put_random("noise", &self.noise);
        checkpoint.put_log("log", &self.log)?;
        self.store.put_in(&mut checkpoint, "store")?;
        Ok(checkpoint)
    }

    fn resumed(checkpoint: &Checkpoint) -> Result<Self> {
        let mut store = store()?;
        store.resume(checkpoint, "store")?;
        Ok(Self {
            weights: checkpoint.values("weights")?,
            adam: checkpoint.optimiser("adam")?,
            store,
            noise: checkpoint.random("noise")?,
            log: checkpoint.log("log")?,
            step: checkpoint.step(),
        })
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn an_interrupt_changes_no_bit() -> Result<()> {
    let path = scratch("train_checkpoint").join("training.safetensors");
    let mut whole = Training::new()?;
    whole.steps(STEPS)?;
    for interrupt in [0, 1, 5, 11] {
        let mut training = Training::new()?;
        training.steps(interrupt)?;
        training.checkpoint()?.save(&path)?;
        let mut training = Training::resumed(&Checkpoint::load(&path, WHAT)?)?;
        training.steps(STEPS)?;
        assert_eq!(bits(&training.weights), bits(&whole.weights), "interrupted after {interrupt} steps");
        assert_eq!((&training.adam, &training.log), (&whole.adam, &whole.log), "{interrupt}");
        assert_eq!(training.store.rows_given(), whole.store.rows_given());
    }
    let losses = whole.log.series("loss");
    assert!(losses[11].1 < losses[0].1 * 0.9, "it learns: {losses:?}");
    Ok(())
}

#[test]
fn what_a_checkpoint_does_not_have_is_named() -> Result<()> {
    let path = scratch("train_checkpoint_names").join("training.safetensors");
    let training = Training::new()?;
    let checkpoint = training.checkpoint()?;
    checkpoint.save(&path)?;
    let message = Checkpoint::load(&path, "something else").expect_err("another training").to_string();
    assert!(message.contains(WHAT) && message.contains("something else"), "{message}");
    let message = checkpoint.values("weigths").expect_err("a typo").to_string();
    assert!(message.contains("\"weigths\"") && message.contains("weights"), "{message}");
    assert!(checkpoint.random("log").expect_err("a record").to_string().contains("something else"));
    let mut used = store()?;
    used.next_batch()?;
    let message = used.resume(&checkpoint, "store").expect_err("not new").to_string();
    assert!(message.contains("make a new one"), "{message}");
    let model = HookedTransformer::from_pretrained("tiny")?;
    let mut other = ActivationStore::new(&model, "z1", ["a text"], StoreOptions::default())?;
    let message = other.resume(&checkpoint, "store").expect_err("another point").to_string();
    assert!(message.contains("blocks.1.hook_mlp_out") && message.contains("blocks.1.attn.hook_z"), "{message}");
    let message = store_of(&HookedTransformer::from_pretrained_no_processing("tiny")?)?
        .resume(&checkpoint, "store")
        .expect_err("another processing")
        .to_string();
    assert!(message.contains("another model") && message.contains("processing: none"), "{message}");
    Ok(())
}

/// Whatever is done to a file, it is refused by name, or nothing that matters has changed.
#[test]
fn damaged_files_are_refused() -> Result<()> {
    let path = scratch("train_checkpoint_damage").join("training.safetensors");
    let mut checkpoint = Checkpoint::new(WHAT, 3);
    checkpoint.put_values("weights", &[1., 2., 3.])?;
    checkpoint.put_random("noise", &Random::new(1));
    checkpoint.save(&path)?;
    let whole = std::fs::read(&path).expect("the file is there");
    let valid = torture(11, 300, &path, &whole, || {
        let read = Checkpoint::load(&path, WHAT)?;
        assert_eq!((read.step(), read.values("weights")?), (3, vec![1., 2., 3.]));
        Ok(())
    });
    assert!(valid < 0.1, "{valid} of the damaged files count as whole");
    Ok(())
}
