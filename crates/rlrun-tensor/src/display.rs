//! `Display`: tensors as PyTorch prints them.
//!
//! Columns of equal width, scientific notation where the numbers span more than three orders of
//! magnitude, `...` in the middle of long dimensions of more than 1000 elements in all, lines of at
//! most 80 characters, and what is known of the gradient behind the numbers. The precision is that of
//! the format: `{:.2}`, 4 by default. What stands in `grad_fn=<…>` is the operation that was recorded
//! here, in PyTorch's spelling: `<MulBackward0>` for `mul`.

use std::fmt::{self, Write as _};

use crate::layout::Layout;
use crate::parameter::Parameter;
use crate::storage::{Buffer, DType};
use crate::tensor::Tensor;

const LINE_WIDTH: usize = 80;
/// From so many elements on, long dimensions are shown by their ends.
const THRESHOLD: usize = 1000;
/// How many indices of each end are shown.
const EDGE_ITEMS: usize = 3;
const PREFIX: &str = "tensor(";

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gradient = self.gradient_suffix();
        let mut suffixes = Vec::new();
        let mut text = PREFIX.to_owned();
        if self.numel() == 0 {
            text += "[]";
            if self.ndim() != 1 {
                let extents: Vec<String> = self.dims().iter().map(usize::to_string).collect();
                suffixes.push(format!("size=({})", extents.join(", ")));
            }
            match self.dtype() {
                DType::F32 => {}
                DType::I64 => suffixes.push("dtype=torch.int64".to_owned()),
                DType::Bool => suffixes.push("dtype=torch.bool".to_owned()),
            }
        } else {
            let memory = self.storage.read();
            let printer = Printer::new(&memory.buffer, self.layout, f.precision().unwrap_or(4));
            printer.write(&mut text, 0, self.layout.offset as isize, PREFIX.len())?;
        }
        suffixes.extend(gradient);
        f.write_str(&with_suffixes(text, &suffixes))
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parameter containing:\n")?;
        fmt::Display::fmt(&**self, f)
    }
}

impl Tensor {
    /// `grad_fn=<…>` or `requires_grad=True`, if gradients flow here.
    fn gradient_suffix(&self) -> Option<String> {
        match self.grad_fn("display") {
            Ok(Some(node)) => Some(format!("grad_fn=<{}>", node_name(node.recorded().0))),
            Ok(None) => self.requires_grad().then(|| "requires_grad=True".to_owned()),
            // A restricted view that was written since.
            Err(_) => Some("grad_fn=<Invalid>".to_owned()),
        }
    }
}

/// `MulBackward0` of the operation `mul`, `ReverseBackward` of the user's own function `Reverse`.
fn node_name(op: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>())
    };
    let name: String = op.split(['_', ' ']).filter_map(capital).collect();
    let number = if op.starts_with(char::is_uppercase) { "" } else { "0" };
    format!("{name}Backward{number}")
}

fn with_suffixes(mut text: String, suffixes: &[String]) -> String {
    // PyTorch keeps room for two more characters on the line of the numbers.
    let mut used = text.rsplit('\n').next().map_or(0, str::len) + 2;
    for suffix in suffixes {
        if used + suffix.len() + 2 > LINE_WIDTH {
            text += &format!(",\n{:indent$}{suffix}", "", indent = PREFIX.len());
            used = PREFIX.len() + suffix.len();
        } else {
            text += ", ";
            text += suffix;
            used += suffix.len() + 2;
        }
    }
    text + ")"
}

/// One element.
#[derive(Clone, Copy)]
enum Element {
    Float(f64),
    Int(i64),
    Flag(bool),
}

/// How numbers are written.
#[derive(Clone, Copy, PartialEq)]
enum Notation {
    /// `1.`: every number is whole.
    Whole,
    /// `1.0000`.
    Fixed,
    /// `1.0000e+00`.
    Scientific,
}

/// The elements that are shown, and how.
struct Printer<'a> {
    buffer: &'a Buffer,
    layout: Layout,
    summarize: bool,
    notation: Notation,
    precision: usize,
    width: usize,
}

impl Printer<'_> {
    fn new(buffer: &Buffer, layout: Layout, precision: usize) -> Printer<'_> {
        let summarize = layout.numel() > THRESHOLD;
        let notation = Notation::Whole;
        let mut printer = Printer { buffer, layout, summarize, notation, precision, width: 1 };
        let mut shown = Vec::new();
        printer.collect(0, layout.offset as isize, &mut shown);
        printer.notation = notation_of(&shown);
        // Zero and what is not finite have no say, as in PyTorch.
        let measured = |element: &&Element| match **element {
            Element::Float(x) => x.is_finite() && x != 0.0,
            _ => true,
        };
        let widths = shown.iter().filter(measured).map(|&element| printer.text(element).len());
        printer.width = widths.max().unwrap_or(1);
        printer
    }

    /// The indices of a dimension that are shown; `None` stands for those that are left out.
    fn indices(&self, dim: usize) -> Vec<Option<usize>> {
        let extent = self.layout.shape[dim];
        if !self.summarize || extent <= 2 * EDGE_ITEMS {
            return (0..extent).map(Some).collect();
        }
        let ends = |range: std::ops::Range<usize>| range.map(Some);
        let last = extent - EDGE_ITEMS..extent;
        ends(0..EDGE_ITEMS).chain([None]).chain(ends(last)).collect()
    }

    fn element(&self, at: isize) -> Element {
        let at = at as usize;
        match self.buffer {
            Buffer::F32(values) => Element::Float(values[at].into()),
            Buffer::I64(values) => Element::Int(values[at]),
            Buffer::Bool(values) => Element::Flag(values[at]),
        }
    }

    /// The elements below `dim` that are shown.
    fn collect(&self, dim: usize, at: isize, shown: &mut Vec<Element>) {
        let Some(&stride) = self.layout.strides.get(dim) else {
            return shown.push(self.element(at));
        };
        for index in self.indices(dim).into_iter().flatten() {
            self.collect(dim + 1, at + index as isize * stride, shown);
        }
    }

    /// Writes everything below `dim`; lines after the first begin at `indent`.
    fn write(&self, out: &mut String, dim: usize, at: isize, indent: usize) -> fmt::Result {
        let Some(&stride) = self.layout.strides.get(dim) else {
            let text = self.text(self.element(at));
            return write!(out, "{text:>width$}", width = self.width);
        };
        let deeper = self.layout.shape.len() - dim - 1;
        // Rows stand below each other, with an empty line for every dimension more.
        let per_line = match deeper {
            0 => ((LINE_WIDTH - indent.min(LINE_WIDTH)) / (self.width + 2)).max(1),
            _ => 1,
        };
        out.push('[');
        for (count, index) in self.indices(dim).into_iter().enumerate() {
            match count {
                0 => {}
                _ if count % per_line == 0 => {
                    let newlines = "\n".repeat(deeper.max(1));
                    write!(out, ",{newlines}{:indent$}", "", indent = indent + 1)?;
                }
                _ => out.push_str(", "),
            }
            match index {
                Some(index) => {
                    self.write(out, dim + 1, at + index as isize * stride, indent + 1)?
                }
                None => out.push_str(if deeper == 0 { " ..." } else { "..." }),
            }
        }
        out.push(']');
        Ok(())
    }

    fn text(&self, element: Element) -> String {
        let precision = self.precision;
        match element {
            Element::Int(value) => value.to_string(),
            Element::Flag(flag) => if flag { "True" } else { "False" }.to_owned(),
            Element::Float(x) if x.is_nan() => "nan".to_owned(),
            Element::Float(x) if x.is_infinite() => x.to_string(),
            Element::Float(x) => match self.notation {
                Notation::Whole => format!("{x:.0}."),
                Notation::Fixed => format!("{x:.precision$}"),
                Notation::Scientific => scientific(x, precision),
            },
        }
    }
}

fn notation_of(shown: &[Element]) -> Notation {
    let numbers = shown.iter().filter_map(|element| match *element {
        Element::Float(x) if x.is_finite() && x != 0.0 => Some(x),
        _ => None,
    });
    let (mut least, mut greatest, mut whole) = (f64::INFINITY, 0.0_f64, true);
    for x in numbers {
        (least, greatest) = (least.min(x.abs()), greatest.max(x.abs()));
        whole &= x == x.ceil();
    }
    match whole {
        _ if greatest / least > 1000.0 || greatest > 1e8 || least < 1e-4 => Notation::Scientific,
        true => Notation::Whole,
        false => Notation::Fixed,
    }
}

/// `1.0000e+00`: a sign and two digits at least in the exponent.
fn scientific(x: f64, precision: usize) -> String {
    let text = format!("{x:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}
