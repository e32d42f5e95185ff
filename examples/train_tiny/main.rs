//! scratch
mod tokenizer;
use candle_lens::tasks;
use std::io::Write;
fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let tokenizer = tokenizer::build()?;
    println!("{} words, {} tokens", tasks::vocabulary().len(), tokenizer.get_vocab_size(true));
    for word in tasks::vocabulary() {
        let e = tokenizer.encode(word.as_str(), false)?;
        if e.len() != 1 { println!("{word:?} {:?}", e.get_tokens()); }
    }
    for t in ["The war lasted from the year 1741 to the year 17", "When John and Mary went to the shops,  John gave the bag to", "Then, Héllo 世界 xyz 2041 1900 in'tl", "After Martin and Amy went to the park, Amy gave a drink to","When Dan and Sid went to the shops, Sid gave an apple to","diamonds, and other","Tirana, the capital of", "The keys on the cabinet", "The nurse said that","When Tom and James went to the park, Tom gave the ball to"] {
        println!("{:?}", tokenizer.encode(t, false)?.get_tokens());
    }
    tokenizer.save("/tmp/proto/tokenizer.json", false)?;
    let mut r = Random::new(1);
    let ids = |s: &str| -> Vec<u32> { tokenizer.encode(s, false).unwrap().get_ids().to_vec() };
    let mut f = std::io::BufWriter::new(std::fs::File::create("/tmp/proto/train.txt")?);
    let n: usize = std::env::args().nth(1).unwrap().parse()?;
    for _ in 0..n {
        let s = tasks::corpus::sentence(&mut r);
        let p = ids(&s.prompt);
        let mut all = p.clone();
        all.extend(ids(&s.answer)); all.extend(ids(&s.rest));
        writeln!(f, "{} {}", p.len(), all.iter().map(|i| i.to_string()).collect::<Vec<_>>().join(" "))?;
    }
    let mut f = std::io::BufWriter::new(std::fs::File::create("/tmp/proto/eval.jsonl")?);
    use tasks::*;
    let mut put = |task: &str, split: Split, q: Vec<Question>| {
        for q in q {
            let one = |s: &String| { let v = ids(s); assert_eq!(v.len(), 1, "{s}"); v[0] };
            writeln!(f, "{}", serde_json::json!({"task": task, "split": split.to_string(), "prompt": ids(&q.prompt), "text": q.prompt, "right": q.right.iter().map(one).collect::<Vec<_>>(), "wrong": q.wrong.iter().map(one).collect::<Vec<_>>()})).unwrap();
        }
    };
    for s in ioi::SPLITS { put("ioi", s, ioi::prompts(s, 300, 7)?.iter().map(|p| p.question()).collect()); }
    for s in greater_than::SPLITS { put("gt", s, greater_than::prompts(s, 300, 7)?.iter().map(|p| p.question()).collect()); }
    for s in gender_bias::SPLITS { put("gender", s, gender_bias::prompts(s, 30, 7)?.iter().map(|p| p.question()).collect()); }
    for s in capital_country::SPLITS { put("capital", s, capital_country::prompts(s, 60, 7)?.iter().map(|p| p.question()).collect()); }
    for s in sva::SPLITS { put("sva", s, sva::prompts(s, 200, 7)?.iter().map(|p| p.question()).collect()); }
    for s in hypernymy::SPLITS { put("hyper", s, hypernymy::prompts(s, 80, 7)?.iter().map(|p| p.question()).collect()); }
    Ok(())
}
