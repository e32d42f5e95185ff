//! Marks: one for each student and exercise, as CSV, as JSON, and counted for the class.

use super::{plain, table};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What became of one exercise of one student.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    pub student: String,
    pub notebook: String,
    pub exercise: String,
    pub function: String,
    /// `passed`, `wrong`, `error`, `panic`, `not_written`, `does_not_compile`, `timeout`, `died` or `missing`.
    pub verdict: String,
    /// Which of the exercise's wrong answers it is, counted from 0.
    pub mistake: Option<u64>,
    /// What the check said.
    pub said: String,
    pub seconds: f64,
}

impl Mark {
    pub fn passed(&self) -> bool {
        self.verdict == "passed"
    }
}

/// For a spreadsheet.
pub fn csv(marks: &[Mark]) -> String {
    let mut text = "student,notebook,exercise,function,verdict,wrong_answer,seconds,said\n".to_string();
    for mark in marks {
        let mistake = mark.mistake.map_or(String::new(), |number| (number + 1).to_string());
        let seconds = format!("{:.2}", mark.seconds);
        let Mark { student, notebook, exercise, function, verdict, said, .. } = mark;
        let cells = [student, notebook, exercise, function, verdict, &mistake, &seconds, said].map(|cell| quoted(cell));
        text += &(cells.join(",") + "\n");
    }
    text
}

/// A cell of a spreadsheet; what one would take for a formula is text.
fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@']);
    let text = if formula { format!("'{text}") } else { text.to_string() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// For programs.
pub fn json(marks: &[Mark], seed: u64) -> Value {
    let one = |mark: &Mark| {
        let Mark { student, notebook, exercise, function, verdict, mistake, said, seconds } = mark;
        json!({
            "student": student, "notebook": notebook, "exercise": exercise, "function": function, "verdict": verdict,
            "wrong_answer": mistake.map(|number| number + 1), "said": said, "seconds": seconds,
        })
    };
    json!({ "seed": seed, "marks": marks.iter().map(one).collect::<Vec<_>>() })
}

/// For the teacher: students, exercises, and the mistakes of the class.
pub fn summary(marks: &[Mark]) -> String {
    let mut students: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut exercises: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    let mut mistakes: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for mark in marks {
        for (passed, all) in
            [students.entry(&mark.student).or_default(), exercises.entry((&mark.exercise, &mark.function)).or_default()]
        {
            *passed += usize::from(mark.passed());
            *all += 1;
        }
        let why = likely(mark);
        if !why.is_empty() {
            mistakes.entry((&mark.exercise, why)).or_default().insert(&mark.student);
        }
    }
    let share = |(passed, all): &(usize, usize)| format!("{passed} of {all}");
    let mut rows = vec![["student", "passed"].map(String::from).to_vec()];
    rows.extend(students.iter().map(|(name, counts)| vec![plain(name), share(counts)]));
    let mut text = table(&rows);
    let mut rows = vec![["exercise", "function", "passed"].map(String::from).to_vec()];
    rows.extend(exercises.iter().map(|((id, name), counts)| vec![plain(id), plain(name), share(counts)]));
    text += &format!("\n{}", table(&rows));
    let mut most: Vec<_> = mistakes.iter().collect();
    most.sort_by_key(|(what, who)| (std::cmp::Reverse(who.len()), *what));
    if !most.is_empty() {
        let mut rows = vec![["exercise", "students", "mistake"].map(String::from).to_vec()];
        rows.extend(most.iter().map(|((id, why), who)| vec![plain(id), who.len().to_string(), plain(why)]));
        text += &format!("\nMistakes of the class\n{}", table(&rows));
    }
    text
}

/// What a mistake is, where it was recognised; otherwise the verdict, if that says something.
fn likely(mark: &Mark) -> &str {
    let named = mark.said.lines().find_map(|line| line.strip_prefix("Likely: "));
    match (named, mark.verdict.as_str()) {
        (Some(why), _) => why,
        (None, "passed" | "not_written" | "missing") => "",
        (None, verdict) => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(student: &str, verdict: &str, said: &str) -> Mark {
        Mark {
            student: student.into(),
            notebook: "c3".into(),
            exercise: "1.2.b".into(),
            function: "attention_pattern".into(),
            verdict: verdict.into(),
            mistake: (verdict == "wrong").then_some(0),
            said: said.into(),
            seconds: 0.5,
        }
    }

    #[test]
    fn marks_are_written_and_counted() {
        let wrong = "candle-lens ✗ 1.2.b: 3 of 4, \"differ\".\nLikely: no scale.";
        let marks = [
            mark("ada", "passed", "ok"),
            mark("=bob", "wrong", wrong),
            mark("cy", "wrong", wrong),
            mark("di", "timeout", ""),
        ];
        let csv = csv(&marks);
        assert!(csv.contains("\nada,c3,1.2.b,attention_pattern,passed,,0.50,ok\n"), "{csv}");
        assert!(
            csv.contains(
                "\n'=bob,c3,1.2.b,attention_pattern,wrong,1,0.50,\"candle-lens ✗ 1.2.b: 3 of 4, \"\"differ\"\".\n"
            ),
            "{csv}"
        );
        let json = json(&marks, 7);
        assert_eq!((&json["seed"], &json["marks"][1]["wrong_answer"]), (&7.into(), &1.into()));
        let summary = summary(&marks);
        assert!(
            summary.contains("ada      1 of 1\n") && summary.contains("1.2.b     attention_pattern  1 of 4\n"),
            "{summary}"
        );
        assert!(
            summary
                .ends_with("exercise  students  mistake\n1.2.b     2         no scale.\n1.2.b     1         timeout\n"),
            "{summary}"
        );
    }
}
