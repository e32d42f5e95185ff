//! Heat maps one after another: the frames of plotly.js, and what goes through them.

use serde_json::{Value, json};

use crate::views::figure::plot::plain;

/// The frames for plotly.js, each with what changes in the traces, and the slider and button that go through them.
pub(super) fn animate(frames: Vec<Vec<Value>>, names: &[String], along: &str, spec: &mut Value) {
    let at_once = |milliseconds: usize| {
        json!({ "mode": "immediate", "transition": { "duration": 0 },
            "frame": { "duration": milliseconds, "redraw": true } })
    };
    // Frames are named by index, because two labels may be equal.
    let each = frames.into_iter().enumerate();
    spec["frames"] = each.map(|(i, data)| json!({ "name": i.to_string(), "data": data })).collect();
    let step = |(i, name): (usize, &String)| json!({ "label": plain(name), "method": "animate", "args": [[i.to_string()], at_once(0)] });
    let prefix = if along.is_empty() { String::new() } else { format!("{}: ", plain(along)) };
    spec["layout"]["sliders"] = json!([{
        "steps": names.iter().enumerate().map(step).collect::<Vec<_>>(),
        "currentvalue": { "prefix": prefix }, "pad": { "t": 60 }, "x": 0.12, "len": 0.88,
    }]);
    spec["layout"]["updatemenus"] = json!([{
        "type": "buttons", "showactive": false, "x": 0.08, "y": 0, "xanchor": "right", "yanchor": "top",
        "pad": { "t": 70 }, "bgcolor": "rgba(128,128,128,0.2)",
        "buttons": [{ "label": "▶", "method": "animate", "args": [null, at_once(500)] }],
    }]);
}
