//! How much a cell is optimised: at level 3 if it computes in loops within loops, otherwise not at all.
//!
//! The library, and all that is not generic of the crates below it, is compiled at level 3, whatever the cell's own level. The
//! cell's own code is mostly calls of it, and to optimise it takes longer than to run it: of the second that the compiler needs
//! for a typical cell, three quarters. One loop of ten million additions runs for less than that unoptimised; loops within
//! loops can run for any time, unless each step calls something that may fail or prints: a step with a `?`, other than behind
//! a function of the user's, or with `println!` is taken for a call of the library. A closure counts as a loop, since it mostly
//! runs for each element of something, and so does a function of the user's that has loops. Not seen: recursion, closures that
//! are called by name, single loops over generic containers of very many elements. For these there is `:opt 3`; any level but
//! evcxr's own default, 2, is obeyed.
//!
//! In a notebook of the course nothing is optimised by itself: its inputs are so small that hand-written loops over them end at once,
//! and a student compiles one function again and again.

use std::collections::HashMap;

/// Where evcxr puts the user's functions and types, and where the cell's statements.
const ITEMS_END: &str = "struct EvcxrUserCodeError";
const CELL_BEGIN: &str = "catch_unwind(";
const CELL_END: &str = "EVCXR_PANIC_NOTIFICATION";

/// Macros that take so long that a step with one of them is not a computation.
const PRINTING: [&str; 7] = ["print", "println", "eprint", "eprintln", "format", "write", "writeln"];

/// The level that evcxr writes into a manifest where the user has not set it.
const DEFAULT: &str = "opt-level = 2";

/// What a notebook of the course imports; evcxr has it in each cell.
const COURSE: &str = "use candle_lens::course";

/// The depth of loops from which they are worth to be optimised.
const NESTED: usize = 2;

/// The level for a cell that evcxr has written as `source`, with this manifest.
pub fn level(source: &str, manifest: &str) -> String {
    let wanted = manifest.lines().find_map(|line| line.strip_prefix("opt-level = "));
    match wanted {
        Some(set) if !manifest.contains(DEFAULT) => set.trim_matches('"').to_string(),
        _ if source.contains(COURSE) || nesting(source) < NESTED => "0".to_string(),
        _ => "3".to_string(),
    }
}

/// How deep the loops of a cell are nested, those of the user's own functions included where it calls them.
fn nesting(source: &str) -> usize {
    let items = words(source.split(ITEMS_END).next().unwrap_or_default());
    let cell = source.split_once(CELL_BEGIN).map_or(source, |(_, rest)| rest);
    depth(&words(cell.split(CELL_END).next().unwrap_or_default()), &functions(&items))
}

/// The user's functions, and how deep the loops of each are, those of the functions it calls included, up to [`NESTED`].
fn functions(items: &[String]) -> HashMap<&str, usize> {
    let begins: Vec<usize> = (0..items.len().saturating_sub(1)).filter(|place| items[*place] == "fn").collect();
    let ends = begins.iter().skip(1).copied().chain([items.len()]);
    let bodies: Vec<(&str, &[String])> =
        begins.iter().zip(ends).map(|(begin, end)| (items[begin + 1].as_str(), &items[begin + 2..end])).collect();
    let mut known: HashMap<&str, usize> = bodies.iter().map(|(name, _)| (*name, 0)).collect();
    loop {
        let mut deeper: HashMap<&str, usize> = HashMap::new();
        for (name, body) in &bodies {
            // Of methods that share a name, the deepest counts.
            let deepest = deeper.entry(name).or_default();
            *deepest = depth(body, &known).min(NESTED).max(*deepest);
        }
        if deeper == known {
            return known;
        }
        known = deeper;
    }
}

/// What is between two brackets.
#[derive(Default)]
struct Block {
    /// It is the body of a loop; another loop is in it; it calls what takes longer than a step of its own.
    body: bool,
    around: bool,
    calls_out: bool,
    /// How deep the loops of the user's functions are that it calls.
    inner: usize,
}

/// The greatest number of loop bodies around one another, the innermost one computing.
fn depth(words: &[String], functions: &HashMap<&str, usize>) -> usize {
    let (mut blocks, mut deepest) = (vec![Block::default()], 0);
    // How many blocks are around the head of a loop whose body is still to come; whether the head of an `impl .. for ..` was.
    let (mut head, mut implementation) = (None, false);
    for (place, word) in words.iter().enumerate() {
        match word.as_str() {
            "impl" => implementation = true,
            "for" | "while" | "loop" if !implementation => head = Some(blocks.len()),
            "{" => {
                let body = head == Some(blocks.len()) && !is_pattern(&words[place..]);
                blocks.push(Block { body, ..Block::default() });
                head = head.filter(|_| !body);
                implementation = false;
            }
            "(" | "[" => blocks.push(Block::default()),
            "}" | ")" | "]" => deepest = deepest.max(close(&mut blocks)),
            "|" if is_closure(words, place) => blocks.last_mut().expect("never empty").body = true,
            "?" if !is_of_own(words, place, functions) => innermost(&mut blocks).calls_out = true,
            "!" if place > 0 && PRINTING.contains(&words[place - 1].as_str()) => {
                innermost(&mut blocks).calls_out = true
            }
            word => {
                if let Some(&inner) = functions.get(word).filter(|_| is_function(words, place)) {
                    deepest = deepest.max(inner);
                    let block = innermost(&mut blocks);
                    block.inner = block.inner.max(inner);
                }
            }
        }
    }
    while blocks.len() > 1 {
        deepest = deepest.max(close(&mut blocks));
    }
    deepest
}

/// Leaves a block, but not the outermost; how deep it is, if it is the body of an innermost loop that computes.
fn close(blocks: &mut Vec<Block>) -> usize {
    let depth = blocks.iter().filter(|block| block.body).count();
    let left = if blocks.len() > 1 { blocks.pop() } else { None };
    let Some(left) = left.filter(|block| block.body) else { return 0 };
    innermost(blocks).around = true;
    if left.around || left.calls_out { 0 } else { depth + left.inner }
}

/// The body of the innermost loop, or else the outermost block.
fn innermost(blocks: &mut [Block]) -> &mut Block {
    let place = blocks.iter().rposition(|block| block.body).unwrap_or(0);
    &mut blocks[place]
}

/// Whether the question mark at `place` is of a call of one of the user's functions.
fn is_of_own(words: &[String], place: usize, functions: &HashMap<&str, usize>) -> bool {
    let mut open = 0;
    let begin = words[..place].iter().rposition(|word| {
        open += i32::from(word == ")") - i32::from(word == "(");
        open == 0
    });
    let name = begin.filter(|begin| words[*begin] == "(").and_then(|begin| begin.checked_sub(1));
    name.is_some_and(|name| functions.contains_key(words[name].as_str()))
}

/// Whether the brace that these words begin with is of a pattern in a loop's head: `in` or `=` comes after its end.
fn is_pattern(words: &[String]) -> bool {
    let mut open = 0;
    let end = words.iter().position(|word| {
        open += i32::from(word == "{") - i32::from(word == "}");
        open == 0
    });
    let after = end.and_then(|end| words.get(end + 1)).map_or("", String::as_str);
    after == "in" || after == "="
}

/// Whether the name at `place` is called, or handed on to be called.
fn is_function(words: &[String], place: usize) -> bool {
    let at = |place: Option<usize>| place.and_then(|place| words.get(place)).map_or("", String::as_str);
    let (before, after) = (at(place.checked_sub(1)), at(place.checked_add(1)));
    let of_types = after == ":" && at(place.checked_add(3)) == "<";
    after == "(" || of_types || (["(", ",", ":"].contains(&before) && [")", ","].contains(&after))
}

/// Whether the bar at `place` begins the parameters of a closure.
fn is_closure(words: &[String], place: usize) -> bool {
    let before = place.checked_sub(1).map_or("", |before| words[before].as_str());
    let has_parameters = words.get(place + 1).is_some_and(|next| next != "|");
    has_parameters && ["(", ",", "=", "{", "move"].contains(&before)
}

/// Names, brackets and other signs, without comments and texts.
fn words(source: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            text_end(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            words.push(rest[..end].to_string());
            end
        } else {
            if !first.is_whitespace() {
                words.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    words
}

/// Where a text that begins with a quotation mark ends.
fn text_end(source: &str) -> usize {
    let mut escaped = false;
    for (place, letter) in source.char_indices().skip(1) {
        match letter {
            '"' if !escaped => return place + 1,
            _ => escaped = letter == '\\' && !escaped,
        }
    }
    source.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(items: &str, code: &str) -> String {
        format!(
            "{items}\nstruct EvcxrUserCodeError {{}}\nmod evcxr_internal_runtime {{ a.entry(|| b(|x| c(|y| d))) }}\n\
             match std::panic::catch_unwind(\n std::panic::AssertUnwindSafe(||{{\nlet _ = (|| -> R {{\n{code}\n}})();\n\
             }})) {{ Err(_) => {{ println!(\"EVCXR_PANIC_NOTIFICATION\"); }} }} for a in b {{ for c in d {{}} }}"
        )
    }

    #[test]
    fn loops_within_loops_are_optimised() {
        let depth_of = |items: &str, code: &str| nesting(&cell(items, code));
        assert_eq!(depth_of("", "let (logits, cache) = model.run_with_cache(&tokens)?;"), 0);
        assert_eq!(depth_of("", "for layer in 0..2 { t += \"for {{ while {layer}\"; } for head in 0..2 {}"), 1);
        assert_eq!(depth_of("", "for i in 0..9 { for j in 0..9 { s += a[i][j] } }"), 2);
        assert_eq!(depth_of("", "xs.iter().map(|x| x + 1).filter(|x| x > 2).sum::<i32>() | mask"), 1);
        assert_eq!(depth_of("", "xs.iter().map(|x| ys.iter().map(move |y| x * y).sum::<f32>())"), 2);
        assert_eq!(depth_of("", "for i in 0..9 { for j in 0..9 { if !(x[i] > y[j]) { s += 1 } assert!(s > 0) } }"), 2);
        assert_eq!(depth_of("", "for Point { x, y } in &ps { for q in &ps { s += x * q.y } }"), 2);
        assert_eq!(depth_of("", "while let Some(Edge { to, w }) = heap.pop() { for q in to { s += w } }"), 2);
        assert_eq!(depth_of("fn s() { for x in y { for z in x { } } } fn s() {}", "a.s()"), 2);
        assert_eq!(depth_of("", "let a = || 1; /* for { for { */ // for { while {\n loop { while true { } }"), 2);
        let items =
            "fn total(x: &[f32]) -> f32 { let mut s = 0.; for y in x { s += y } s }\nimpl Sum for X { fn one() {} }";
        assert_eq!(depth_of(items, "for x in xs { sum += total(x) }"), 2);
        assert_eq!(depth_of(items, "for x in xs { sum += total(&x[(0 + 1)..])? }"), 2);
        assert_eq!(depth_of(items, "for x in xs { println!(\"{}\", total(x)?) }"), 1);
        assert_eq!(depth_of(items, "for x in xs { sum += total(x)? + cache.get(x)? }"), 1);
        assert_eq!(depth_of(items, "for x in xs { y += total::<3>(x) }"), 2);
        assert_eq!(depth_of(items, "for x in xs { println!(\"total\") }"), 0);
        assert_eq!(depth_of(items, "total(&x)"), 1);
        assert_eq!(depth_of(items, "xs.iter().map(|x| one(x)).sum()"), 1);
        assert_eq!(depth_of(items, "for x in xs { y += x.map(total) }"), 2);
        assert_eq!(depth_of("fn at(x: X) { x.filter(|&at| x[at] > 1) }", "at(x)"), 1);
        assert_eq!(depth_of("fn f() { f(); g() } fn g() { for x in y { f() } }", "f()"), 2);
        assert_eq!(depth_of("fn f() { for x in y { for z in x { s += z } } }", "f()?"), 2);
    }

    #[test]
    fn steps_that_call_the_library_are_not() {
        let depth_of = |code: &str| nesting(&cell("", code));
        assert_eq!(depth_of("for layer in 0..2 { for head in 0..4 { sum += scores.at(&[layer, head])?; } }"), 0);
        assert_eq!(depth_of("for layer in 0..2 { let row = cache.get(layer)?; for x in row { sum += x } }"), 2);
        assert_eq!(depth_of("heads.map(|head| format!(\"H{head}\")); a.iter().filter(|x| x > 1)"), 1);
    }

    #[test]
    fn what_the_user_sets_is_obeyed() {
        let nested = cell("", "for i in 0..9 { for j in 0..9 { } }");
        assert_eq!(level(&nested, "[profile.dev]\nopt-level = 2\n"), "3");
        assert_eq!(level(&nested, "[profile.dev]\nopt-level = 0\n"), "0");
        assert_eq!(level(&cell("", "1"), "opt-level = 2\n"), "0");
        assert_eq!(level(&cell("", "1"), "opt-level = 3\n"), "3");
        let course = cell("use candle_lens::course::*;", "for i in 0..9 { for j in 0..9 { } }");
        assert_eq!(level(&course, "opt-level = 2\n"), "0");
        assert_eq!(level(&course, "opt-level = 3\n"), "3");
    }
}
