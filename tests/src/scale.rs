//! A logarithmic axis: where values are on it, in a picture's pixels.

pub struct Scale {
    /// log2
    from: f64,
    to: f64,
    pixels: [f64; 2],
}

impl Scale {
    /// The two values are at those two pixels.
    pub fn new(values: [f64; 2], pixels: [f64; 2]) -> Self {
        let [from, to] = values.map(f64::log2);
        Self { from, to, pixels }
    }

    /// From the last tick below all values to the first above them.
    pub fn around(values: impl Iterator<Item = f64>, pixels: [f64; 2]) -> Self {
        let (least, greatest) = values
            .fold((f64::INFINITY, 0.0_f64), |(least, greatest), value| {
                (least.min(value), greatest.max(value))
            });
        let wide = Self::new([least / 2.5, greatest * 2.5], pixels);
        let below = wide.ticks().filter(|tick| *tick <= least).last();
        let above = wide.ticks().find(|tick| *tick > greatest);
        Self::new([below.unwrap_or(least), above.unwrap_or(greatest)], pixels)
    }

    /// 0 to 1 for what is on the axis.
    pub fn share(&self, value: f64) -> f64 {
        (value.log2() - self.from) / (self.to - self.from)
    }

    pub fn at(&self, value: f64) -> f64 {
        let [begin, end] = self.pixels;
        begin + self.share(value) * (end - begin)
    }

    /// How often the value doubles on the axis.
    pub fn octaves(&self) -> f64 {
        self.to - self.from
    }

    /// 1, 2 and 5 times the powers of ten, or these alone where there is no room for more.
    pub fn ticks(&self) -> impl Iterator<Item = f64> {
        let decade = |log2: f64| (log2 / 10f64.log2()).floor() as i32;
        let decades = decade(self.from)..=decade(self.to);
        let steps: &[f64] = if self.octaves() < 12.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let ticks = decades.flat_map(|decade| steps.iter().map(move |n| n * 10f64.powi(decade)));
        ticks.filter(|tick| (-1e-9..=1.0 + 1e-9).contains(&self.share(*tick)))
    }
}

/// Nanoseconds as a person says them.
pub fn time(ns: f64) -> String {
    match ns {
        ..1e6 => format!("{:.0} µs", ns / 1e3),
        ..1e7 if ns % 1e6 > 0.0 => format!("{:.1} ms", ns / 1e6),
        ..1e9 => format!("{:.0} ms", ns / 1e6),
        _ => format!("{:.1} s", ns / 1e9),
    }
}
