//! Lines over a few places, such as numbers of connections, as a panel of a [`picture`](crate::picture).

use crate::scale::Scale;
use std::fmt::Write as _;

pub const HEIGHT: f64 = 240.0;
/// Where the values of a [`Scale`] go.
pub const PIXELS: [f64; 2] = [BOTTOM, TOP];
const LEFT: f64 = 52.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 200.0;
/// Lines of text are so far from each other.
const APART: f64 = 14.0;

pub const STYLE: &str = "
path.line{fill:none;stroke-width:1.8;stroke-linejoin:round}text[class]{stroke:none}.even{stroke:#818b98}
";

pub struct Line {
    pub class: String,
    pub name: String,
    /// Place and value.
    pub points: Vec<(usize, f64)>,
}

pub struct Panel<'a> {
    pub title: &'a str,
    /// What stands below each place.
    pub places: &'a [String],
    /// Where the last place is: the lines' names stand right of it.
    pub right: f64,
    pub scale: Scale,
    pub tick: fn(f64) -> String,
    /// The value that others are compared with.
    pub even: Option<f64>,
}

impl Panel<'_> {
    pub fn draw(&self, lines: &[Line]) -> String {
        let mut svg = format!("<text class='ink title' x='8' y='22'>{}</text>", self.title);
        for tick in self.scale.ticks() {
            let y = self.scale.at(tick);
            let class = if self.even == Some(tick) { "even" } else { "axis" };
            let _ = write!(
                svg,
                "<path class='{class}' d='M{LEFT} {y:.1}H{right}'/>\
                 <text class='faint' x='{x}' y='{text_y:.1}' text-anchor='end'>{label}</text>",
                right = self.right,
                x = LEFT - 6.0,
                text_y = y + 4.0,
                label = (self.tick)(tick),
            );
        }
        for (place, label) in self.places.iter().enumerate() {
            let _ = write!(
                svg,
                "<text class='faint' x='{:.1}' y='{}' text-anchor='middle'>{label}</text>",
                self.x(place),
                BOTTOM + 18.0,
            );
        }
        let mut names = Vec::new();
        for line in lines.iter().filter(|line| !line.points.is_empty()) {
            let mut path = String::new();
            for (number, (place, value)) in line.points.iter().enumerate() {
                let (x, y) = (self.x(*place), self.scale.at(*value));
                let _ = write!(path, "{}{x:.1} {y:.1}", if number == 0 { 'M' } else { 'L' });
                let _ =
                    write!(svg, "<circle class='{}' cx='{x:.1}' cy='{y:.1}' r='2'/>", line.class);
            }
            let _ = write!(svg, "<path class='line {}' d='{path}'/>", line.class);
            names.extend(line.points.last().map(|(_, value)| (self.scale.at(*value) + 4.0, line)));
        }
        names.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let mut free = 0.0;
        for (y, Line { class, name, .. }) in names {
            let (x, y) = (self.right + 6.0, y.max(free));
            free = y + APART;
            let _ = write!(svg, "<text class='{class}' x='{x}' y='{y:.1}'>{name}</text>");
        }
        svg
    }

    fn x(&self, place: usize) -> f64 {
        LEFT + (self.right - LEFT) * place as f64 / (self.places.len() - 1).max(1) as f64
    }
}
