//! The text and circuit widgets: tokens, numbers, largest values and edges that match, hostile tokens, errors.

use candle_lens::prelude::*;
use candle_lens::views::{Rendered, View};
use ndarray::Array3;

const HOSTILE: [&str; 6] =
    ["</script><img src=x onerror=alert(1)>", "\"' &lt;", "\n", "\0", "\u{2028}\u{200f}", "EVCXR_END_CONTENT"];

/// The rounding of log probabilities that are printed with three decimals, and of what their mean adds to it.
const PRINTED: f64 = 2e-3;

fn rendered(view: &impl View) -> Rendered {
    view.render().expect("this can be shown")
}

fn refusal(view: &impl View) -> String {
    view.render().expect_err("this cannot be shown").to_string()
}

fn six() -> Vec<f32> {
    (0..6).map(|i| i as f32 - 2.5).collect()
}

/// `[position, layer, neuron]` for the hostile tokens.
fn neurons() -> Array3<f32> {
    Array3::from_shape_fn((6, 2, 3), |(p, l, n)| (p * (l + 1)) as f32 - n as f32)
}

fn hostile_circuit() -> CircuitGraph {
    let mut circuit = CircuitGraph::new(HOSTILE);
    let nodes: Vec<usize> = (0..6).map(|i| circuit.node(HOSTILE[i], i, i, 0.5 - i as f32)).collect();
    circuit.edge(nodes[0], nodes[5], EdgeKind::Q, -1.0);
    circuit
}

#[test]
fn tokens_and_titles_stay_text() {
    let several: Vec<Vec<f32>> = six().into_iter().map(|value| vec![value, 1.0]).collect();
    let widgets = [
        colored_tokens(HOSTILE, six()).title("</script>"),
        colored_tokens_multi(HOSTILE, several).names(["<!--", "</script>"]),
        text_neuron_activations([(HOSTILE, neurons()), (HOSTILE, neurons())]),
        topk_tokens([(HOSTILE, neurons())]).title("<b>"),
        topk_samples([(HOSTILE, neurons()), (HOSTILE, neurons())]),
        circuit_graph(&hostile_circuit()).title("<script>"),
    ];
    for widget in widgets {
        let shown = rendered(&widget);
        for tag in shown.html().split('<').skip(1) {
            let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
            let own = ["div", "span", "b", "img", "table", "thead", "tbody", "tr", "th", "td", "script"];
            assert!(own.contains(&name.as_str()), "<{}", &tag[..tag.len().min(60)]);
        }
        assert_eq!((shown.html().matches("<script>").count(), shown.html().matches("</script>").count()), (1, 1));
        for text in [shown.html(), shown.text()] {
            assert!(!text.contains(['\0', '\u{2028}', '\u{200f}']));
            assert!(!text.lines().any(|line| line == "EVCXR_END_CONTENT"));
        }
    }
}

#[test]
fn colours_are_there_without_a_script() {
    let html = rendered(&colored_tokens(["low", " none", " high"], [-2.0, 0.0, 4.0])).html().to_owned();
    for part in ["rgba(213,94,0,0.35)\">low", "rgba(31,131,198,0.00)\"> none", "rgba(31,131,198,0.70)\"> high"] {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert!(html.contains("title=\" high: 4\""));
    let narrow = rendered(&colored_tokens(["low", " high"], [-2.0, 4.0]).range(-2.0, 8.0)).html().to_owned();
    assert!(narrow.contains("rgba(213,94,0,0.70)\">low") && narrow.contains("rgba(31,131,198,0.35)\"> high"));
}

#[test]
fn tops_are_in_order() {
    let tokens = ["a", "b", "c", "d"];
    let text = rendered(&topk_tokens([(tokens, vec![vec![0.5], vec![-1.0], vec![2.0], vec![0.0]])]).top_k(2));
    let rows: Vec<Vec<&str>> = text.text().lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["1", "c", "2.000", "b", "-1"], "{}", text.text());
    assert_eq!(rows[1][1], "a");
    assert_eq!(rows.len(), 2);
    let samples = [(["a"], vec![vec![0.5]]), (["b"], vec![vec![2.0]])];
    let shown = rendered(&topk_samples(samples));
    assert!(shown.text().find("b").expect("b") < shown.text().rfind("a").expect("a"), "{}", shown.text());
    assert!(shown.html().find(">b</span>") < shown.html().find(">a</span>"));
}

#[test]
fn predictions_are_the_models_own() -> candle_lens::Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompt = "When John and Mary went to the shops, John gave the bag to Mary";
    let logits = model.forward(prompt)?;
    let shown = rendered(&token_log_probs(&model, prompt, &logits).top_k(3));
    let last = shown.text().lines().last().expect("a row").to_owned();
    let words: Vec<&str> = last.split_whitespace().collect();
    assert_eq!((words[0], words[1], words[4]), ("Mary", "0", "Mary"), "{last}");
    // The loss of the model is the mean of what the table says.
    let listed = shown.text().lines().skip(3).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let log_probs: Vec<f32> = listed.map(|row| row[row.len() - 2].parse().expect("a log probability")).collect();
    let mean = log_probs.iter().sum::<f32>() / log_probs.len() as f32;
    let tokens = model.to_tokens(prompt)?;
    let ids = tokens.row(0);
    assert_eq!(log_probs.len() + 1, ids.len());
    let rows = logits.get(0)?.to_vec2::<f32>()?;
    let log_prob = |i: usize| {
        let sum: f64 = rows[i].iter().map(|&value| f64::from(value).exp()).sum();
        f64::from(rows[i][ids[i + 1] as usize]) - sum.ln()
    };
    let direct = (0..ids.len() - 1).map(log_prob).sum::<f64>() / (ids.len() - 1) as f64;
    assert!((f64::from(mean) - direct).abs() < PRINTED, "{mean} and {direct}");
    // Log probabilities give the same as logits.
    let shifted = logits.broadcast_sub(&Tensor::new(3.0_f32, &Device::Cpu)?)?;
    assert_eq!(rendered(&token_log_probs(&model, prompt, &shifted).top_k(3)).text(), shown.text());
    let page = test_prompt(&model, "When John and Mary went to the shops, John gave the bag to", " Mary")?;
    let text = page.render()?.text().to_owned();
    assert!(text.lines().nth(3).is_some_and(|line| line.contains("Mary") && line.contains(" 0 ")), "{text}");
    assert!(refusal(&token_log_probs(&model, prompt, &logits.narrow(1, 0, 3)?)).contains("d_vocab"));
    let performance = rendered(&visualize_model_performance(&model, prompt, &logits));
    assert!(performance.text().contains("log_probs") && !performance.text().contains("endoftext"));
    Ok(())
}

#[test]
fn a_text_of_one_token_and_one_of_spaces() -> candle_lens::Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let one = Tokens::from_rows(vec![vec![1]])?;
    let error = refusal(&token_log_probs(&model, one.clone(), &model.forward(one)?));
    assert!(error.contains("the prompt is a single token") && error.contains("two tokens or more"), "{error}");
    let logits = model.forward("The keys on")?;
    let error = refusal(&token_log_probs(&model, "The keys on the cabinet", &logits));
    assert!(error.contains("the tensor of logits has shape [4, "), "{error}");
    let shown = test_prompt(&model, "The keys on", "  \n")?.render()?;
    let answers: Vec<&str> = shown.text().lines().skip(3).take_while(|line| !line.is_empty()).collect();
    assert!(!answers.is_empty() && answers.iter().all(|line| !line.starts_with(' ')), "{answers:?}");
    Ok(())
}

#[test]
fn an_impossible_token_has_the_probability_zero() -> candle_lens::Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompt = "The keys on the cabinet";
    let ids = model.to_tokens(prompt)?.row(0).to_vec();
    let logits = model.forward(prompt)?.get(0)?;
    let mut rows = logits.to_vec2::<f32>()?;
    rows[1][ids[2] as usize] = f32::NEG_INFINITY;
    let masked = Tensor::new(rows, &Device::Cpu)?;
    let shown = rendered(&token_log_probs(&model, prompt, &masked));
    assert!(shown.html().contains("\"log_prob\":null") && shown.text().contains("-inf"), "{}", shown.text());
    let performance = rendered(&visualize_model_performance(&model, prompt, &masked));
    assert!(performance.html().contains("\"gaps\":[["), "{}", performance.text());
    Ok(())
}

#[test]
fn a_text_over_its_cap_is_reduced_and_says_so() {
    let many = || (0..50).map(|_| (vec!["token"; 40], Array3::<f32>::ones((40, 2, 64))));
    assert!(!rendered(&text_neuron_activations(many())).html().contains("Shown are"));
    let small = rendered(&text_neuron_activations(many()).max_bytes(40_000));
    for form in [small.html(), small.text()] {
        assert!(form.contains("Shown are the first 4 of 50 samples"), "{}", &form[..300]);
    }
    let mut circuit = hostile_circuit();
    (0..500).for_each(|i| circuit.edge(0, 1 + i % 5, EdgeKind::V, i as f32));
    assert!(rendered(&circuit_graph(&circuit).max_bytes(6_000)).text().contains("100 strongest of 501 edges"));
}

#[test]
fn the_same_text_is_the_same_widget() {
    let widget = || text_neuron_activations([(HOSTILE, neurons())]);
    assert_eq!(rendered(&widget()), rendered(&widget()));
    assert_eq!(rendered(&hostile_circuit()), rendered(&hostile_circuit()));
}

#[test]
fn what_does_not_fit_is_an_error_in_a_sentence() {
    let mut nowhere = CircuitGraph::new(["a"]);
    nowhere.node("L0H0", 0, 1, 0.0);
    let mut loose = CircuitGraph::new(["a"]);
    loose.node("L0H0", 0, 0, 0.0);
    loose.edge(0, 1, EdgeKind::V, 1.0);
    let none: [([&str; 1], [f32; 1]); 0] = [];
    let cases = [
        (colored_tokens(["a"], [1.0, 2.0]), "1 tokens were given for numbers of 2 positions"),
        (colored_tokens(["a"], vec![vec![1.0]]), "takes numbers of the shape [position]"),
        (colored_tokens(["a"], [1.0]).top_k(3), "`top_k` is not an option of `colored_tokens`"),
        (colored_tokens_multi(["a"], vec![vec![1.0, 2.0]]).names(["a"]), "2 numbers at each token need one name each"),
        (topk_tokens([(["a"], [1.0])]).top_k(0), "give 1 or more"),
        (text_neuron_activations(none), "was given no samples"),
        (
            topk_samples([(["a"], vec![vec![1.0]]), (["a"], vec![vec![1.0, 2.0]])]),
            "the samples have numbers of unequal shapes",
        ),
        (circuit_graph(&CircuitGraph::new(["a"])), "has no nodes"),
        (circuit_graph(&nowhere), "is at position 1"),
        (circuit_graph(&loose), "from node 0 to node 1"),
    ];
    for (widget, words) in cases {
        let sentence = refusal(&widget);
        assert!(sentence.contains(words), "{sentence}");
    }
}

/// Texts of letters that mean something to HTML, JavaScript, evcxr or a reader's eye, put together at random.
fn nasty(state: &mut u64) -> String {
    const PARTS: [&str; 20] = [
        "<",
        ">",
        "&",
        "\"",
        "'",
        "`",
        "\\",
        "/",
        "</script",
        "<!--",
        "-->",
        "\n",
        "\r",
        "\0",
        "\u{2028}",
        "\u{202e}",
        "%{x}",
        "${1}",
        "猫",
        "EVCXR_END_CONTENT",
    ];
    let mut next = |below: usize| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize % below
    };
    (0..next(6)).map(|_| PARTS[next(PARTS.len())]).collect()
}

#[test]
fn random_texts_never_leave_their_place() {
    let mut state = 7;
    for round in 0..200 {
        let words: Vec<String> = (0..4).map(|_| nasty(&mut state)).collect();
        let title = nasty(&mut state);
        let square: Vec<Vec<f32>> = (0..4).map(|i| (0..4).map(|j| (i * j) as f32 - 3.0).collect()).collect();
        let mut circuit = CircuitGraph::new(&words);
        let (from, to) = (circuit.node(nasty(&mut state), 0, 0, 1.0), circuit.node(nasty(&mut state), 1, 3, 1.0));
        circuit.edge(from, to, EdgeKind::Q, 1.0);
        let widgets = [
            attention_heads(&words, vec![square.clone(); 1].concat()).title(&title).names([nasty(&mut state)]),
            colored_tokens(&words, [1.0, -1.0, 0.0, 2.0]).title(&title),
            topk_tokens([(&words, square.clone())]).title(&title),
            circuit_graph(&circuit).title(&title),
        ];
        for widget in widgets {
            let shown = rendered(&widget);
            let html = shown.html();
            // Without the places where text may be, only our own markup is left.
            assert_eq!(html.matches("<script>").count(), 1, "round {round}");
            assert_eq!((html.matches("</script").count(), html.matches("<!--").count()), (1, 0), "round {round}");
            let json = html.split("\",{").nth(1).and_then(|rest| rest.rsplit_once(")</script>")).expect("a call").0;
            serde_json::from_str::<serde_json::Value>(&format!("{{{json}")).expect("the script is given JSON");
            assert!(!html.contains(['\0', '\r', '\u{2028}', '\u{202e}']), "round {round}");
            assert!(!html.lines().any(|line| line == "EVCXR_END_CONTENT"), "round {round}");
        }
    }
}
