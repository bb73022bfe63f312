//! The result as one page: four pictures, and the tables.

use crate::{
    mesh::Kind,
    series::{Load, Of, Series},
    tables::Table,
};
use tests::{
    lines::{self, Line, Panel},
    page,
    picture::picture,
    scale::{Scale, time},
};

/// Of [`Line::class`].
const STYLE: &str = "
.direct{fill:#59636e;stroke:#59636e}.dashed{stroke-dasharray:5 3}
@media(prefers-color-scheme:dark){.direct{fill:#9198a1;stroke:#9198a1}}
";

struct Picture {
    title: String,
    kinds: &'static [Kind],
    load: Load,
    of: Of<'static>,
    tick: fn(f64) -> String,
}

/// `setting` tells where and how it was measured; `rate` is [`Load::Fixed`]'s, by the second.
pub fn page(
    setting: &str,
    all: &[Series],
    connections: &[usize],
    rate: u32,
    tables: &[Table],
) -> String {
    const L4: &[Kind] = &[Kind::L4, Kind::Sidecar];
    const L7: &[Kind] = &[Kind::Waypoint];
    let throughput = |name, kinds| Picture {
        title: format!("{name}: requests a second"),
        kinds,
        load: Load::Most,
        of: &|it| it.rate(),
        tick: thousands,
    };
    let latency = |name, kinds| Picture {
        title: format!("{name}: mean latency at {rate} requests/s"),
        kinds,
        load: Load::Fixed,
        of: &|it| it.mean,
        tick: |micros| time(micros * 1e3),
    };
    let pictures =
        [throughput("L4", L4), throughput("L7", L7), latency("L4", L4), latency("L7", L7)];
    let mut body = format!("<p class='note'>{setting}");
    for picture in pictures {
        body += &picture.draw(all, connections).map(|svg| page::figure(&svg)).unwrap_or_default();
    }
    body += "<p class='note'>Over the number of connections; medians of the rounds. L4 is Ambient by the \
             node's relay (solid) and sidecars (dashed), which pass on TCP; L7 is Ambient by relay and \
             waypoint.";
    for Table { title, head, rows } in tables {
        body += &format!("<h2>{title}</h2>{}", page::table(head, rows));
    }
    body += "<p class='note'>Medians of the rounds by plain TCP. Ratios: median of those within each round, \
             and their range. CPU is that of each part's cgroup; what the kernel does for all, such as \
             interrupts, is in the whole machine's. Memory is that of each part's processes (Pss), without \
             the kernel's.";
    page::page("shunt: meshes on one node", "Meshes on one node, without and with shunt", &body)
}

impl Picture {
    /// If one of its meshes was measured.
    fn draw(&self, all: &[Series], connections: &[usize]) -> Option<String> {
        let kinds: Vec<_> = self.kinds.iter().filter(|kind| has(all, **kind)).collect();
        let shown = |kind: &Kind| kinds.contains(&kind);
        let shown = all.iter().filter(|series| series.kind.as_ref().is_none_or(shown));
        let lines: Vec<_> = shown.map(|series| self.line(series)).collect();
        let values = || lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
        let panel = Panel {
            title: &self.title,
            places: &connections.iter().map(ToString::to_string).collect::<Vec<_>>(),
            right: 276.0,
            scale: Scale::around(values(), lines::PIXELS),
            tick: self.tick,
            even: None,
        };
        let style = [lines::STYLE, STYLE].concat();
        let draw = || picture(&self.title, &style, lines::HEIGHT, &[panel.draw(&lines)]);
        (!kinds.is_empty()).then(draw)
    }

    fn line(&self, series: &Series) -> Line {
        let class = match (series.kind, series.shunt) {
            (None, _) => "direct",
            (Some(Kind::Sidecar), false) => "off dashed",
            (Some(Kind::Sidecar), true) => "on dashed",
            (Some(_), false) => "off",
            (Some(_), true) => "on",
        };
        let places = 0..series.measured.len();
        Line {
            class: class.into(),
            name: series.to_string(),
            points: places.map(|at| (at, series.median(at, self.load, self.of))).collect(),
        }
    }
}

fn has(all: &[Series], kind: Kind) -> bool {
    all.iter().any(|series| series.kind == Some(kind))
}

fn thousands(rate: f64) -> String {
    if rate < 1000.0 { rate.to_string() } else { format!("{}k", rate / 1000.0) }
}
