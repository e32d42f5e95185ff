//! How tensors, arrays, numbers, texts and lists show themselves, and plotly's own plots.

use candle_lens::Result;
use candle_lens::plotly::{Bar, Plot, Scatter3D};
use candle_lens::prelude::*;
use candle_lens::views::Rendered;

use crate::support::sentence::sentence;

fn shown(view: &(impl View + ?Sized)) -> Rendered {
    view.render().expect("this can be shown")
}

fn text(view: &(impl View + ?Sized)) -> String {
    shown(view).text().to_owned()
}

#[test]
fn a_matrix_says_its_shape_range_and_corner_and_is_drawn() -> Result<()> {
    let tensor = Tensor::new(&[[1.0_f32, -2.0, 0.0], [4.0, 0.5, 2.5]], &Device::Cpu)?;
    let rendered = shown(&tensor);
    let lines: Vec<&str> = rendered.text().lines().collect();
    assert_eq!(lines[..2], ["Tensor [2, 3] f32 on Cpu", "min -2, max 4, mean 1"]);
    assert!(lines.contains(&"[0]   1.000  -2.000   0.000"), "{}", rendered.text());
    assert!(rendered.html().contains("data-figure"), "the heat map");
    assert_eq!(text(&tensor.t()?).lines().next(), Some("Tensor [3, 2] f32 on Cpu"), "a view that is not contiguous");
    Ok(())
}

#[test]
fn every_shape_and_type_of_tensor_can_be_shown() -> Result<()> {
    let cpu = Device::Cpu;
    for shape in
        [&[][..], &[0], &[1], &[7], &[1, 1], &[0, 3], &[3, 0], &[100, 60], &[2, 3, 4], &[2, 0, 4], &[2, 1, 9, 8]]
    {
        let zeros = Tensor::zeros(shape, DType::F32, &cpu)?;
        for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16, DType::U8, DType::U32, DType::I64] {
            let shown = text(&zeros.to_dtype(dtype)?);
            assert!(shown.contains(&format!("{shape:?}")) && shown.contains(dtype.as_str()), "{shown}");
        }
    }
    assert!(text(&Tensor::zeros((2, 0), DType::F32, &cpu)?).contains("no numbers"));
    let large = text(&Tensor::arange(0f32, 6000.0, &cpu)?.reshape((100, 60))?);
    assert!(large.contains("Means of blocks of 4 x 2") && large.contains("a corner of 6000 numbers"), "{large}");
    assert!(text(&Tensor::arange(0u32, 24, &cpu)?.reshape((2, 3, 4))?).contains("[0, 2]   8   9  10  11"));
    Ok(())
}

#[test]
fn what_is_not_finite_is_counted_and_drawn_as_a_gap() -> Result<()> {
    let odd = [[f32::NAN, 1.0, f32::INFINITY], [2.0, f32::NEG_INFINITY, 3.0]];
    let rendered = shown(&Tensor::new(&odd, &Device::Cpu)?);
    assert!(rendered.text().contains("min 1, max 3, mean 2, 1 NaN, 2 infinite"), "{}", rendered.text());
    assert!(rendered.html().contains("data-figure"));
    assert!(rendered.html().contains("gap: NaN or -inf or inf (3 of 6 values)"), "{}", rendered.text());
    let none = text(&Tensor::new(&[f32::NAN; 3], &Device::Cpu)?);
    assert!(none.contains("3 numbers, none of them finite, 3 NaN"), "{none}");
    let huge = shown(&ndarray::arr2(&[[1e300, -1e300], [0.0, 1e200]]));
    assert!(huge.text().contains("max 1.000e300") && !huge.html().contains("data-figure"), "{}", huge.text());
    Ok(())
}

#[test]
fn arrays_and_numbers_say_the_same() {
    let array = ndarray::arr2(&[[1.0_f64, 2.0], [3.0, 6.0]]);
    let lines = text(&array);
    assert!(lines.starts_with("Array [2, 2] f64\nmin 1, max 6, mean 3"), "{lines}");
    assert!(text(&array.t()).contains("[0]  1  3"), "a transposed view is read in its own order");
    assert!(text(&ndarray::arr1(&[1_u32, 2]).into_dyn()).starts_with("Array [2] u32"));
    assert_eq!(text(&2.5_f32), "2.5");
    assert_eq!(text(&vec![1_u32, 2]), "[1, 2]");
    assert!(text(&vec![0.5_f32; 100]).starts_with("100 numbers f32\nmin 0.5"));
}

#[test]
fn texts_lists_and_tuples_are_shown() -> Result<()> {
    assert_eq!(text("between <b> two figures"), "between <b> two figures");
    assert!(!shown("<b>").html().contains("<b>"));
    assert_eq!(text(&vec![" Mary".to_string(), " John".into()]), "[\" Mary\", \" John\"]");
    assert_eq!(text(&("loss", 2.5_f32)), "loss\n\n2.5");
    assert_eq!(text(&Some(3)), "3");
    assert_eq!(text(&None::<Tensor>), "None");
    assert_eq!(text(&Vec::<Tensor>::new()), "an empty list");
    assert_eq!(shown(&()), Rendered::default(), "`figure.show()?` leaves nothing to show");
    assert_eq!(text(&Result::<f32>::Ok(1.0)), "1");
    sentence(Result::<f32>::Err(candle_lens::Error::argument("it failed.")).render(), &["it failed."]);
    let prompts = Task::Ioi.prompts(tasks::Split::Train, 50, 0)?.prompts;
    let table = text(&prompts);
    assert!(table.starts_with("50 × TaskPrompt\nclean ") && table.contains("… 10 more rows (50 in all)"), "{table}");
    assert!(text(&prompts[0]).contains(&format!("io {}", prompts[0].word("io").expect("IOI has one"))));
    let tensors = vec![Tensor::zeros(2, DType::F32, &Device::Cpu)?; 25];
    assert!(text(&tensors).ends_with("… 5 more (25 in all)"));
    Ok(())
}

#[test]
fn a_plot_of_plotly_is_drawn_by_our_loader() -> Result<()> {
    let mut plot = Plot::new();
    sentence(plot.render(), &["no trace"]);
    plot.add_trace(Bar::new(vec!["</script>", "b"], vec![1.0, 2.0]));
    let rendered = shown(&plot);
    assert!(rendered.html().contains("data-figure") && !rendered.html().contains("https://"), "{}", rendered.html());
    assert_eq!(rendered.html().matches("</script>").count(), 1);
    assert_eq!(rendered.text(), "(a plotly figure: bar)");
    Show::show(&plot)?;
    let mut solid = Plot::new();
    solid.add_trace(Scatter3D::new(vec![1], vec![1], vec![1]));
    sentence(solid.render(), &["scatter3d", "histogram2dcontour"]);
    Ok(())
}
