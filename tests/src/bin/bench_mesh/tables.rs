//! Numbers as rows of text, for the terminal and for the page.

use crate::{
    load::Measured,
    mesh::Kind,
    series::{Load, Series},
};

pub struct Table {
    pub title: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Plain TCP's value, and how others compare.
struct Column {
    name: String,
    load: Load,
    of: Box<dyn Fn(&Measured) -> f64>,
    /// Applications without a mesh are compared, too.
    direct: bool,
}

impl Column {
    fn new(name: &str, load: Load, of: impl Fn(&Measured) -> f64 + 'static) -> Self {
        Self { name: name.into(), load, of: Box::new(of), direct: false }
    }
}

/// All of one mesh: `rate` is [`Load::Fixed`]'s, by the second.
pub fn of(kind: Kind, all: &[Series], connections: &[usize], rate: u32) -> Vec<Table> {
    let find = |kind, shunt| all.iter().find(|it| (it.kind, it.shunt) == (kind, shunt));
    let (Some(direct), Some(plain), Some(shunt)) =
        (find(None, false), find(Some(kind), false), find(Some(kind), true))
    else {
        return Vec::new();
    };
    let by_part = |load, of: fn(&Measured, usize) -> f64| {
        let parts = kind.parts().iter().enumerate();
        parts.map(|(part, name)| Column::new(name, load, move |it| of(it, part))).collect()
    };
    let cpu = |load| {
        let mut columns: Vec<_> = by_part(load, |it, part| it.per_request(it.bill.cpu[part]));
        columns.push(Column::new("whole machine", load, |it| it.per_request(it.bill.spent.all)));
        columns
    };
    let speed = vec![
        Column { direct: true, ..Column::new("requests/s", Load::Most, |it| it.rate()) },
        Column { direct: true, ..Column::new("mean, µs", Load::Fixed, |it| it.mean) },
        Column::new("p50", Load::Fixed, |it| it.p50),
        Column::new("p90", Load::Fixed, |it| it.p90),
        Column::new("p99", Load::Fixed, |it| it.p99),
    ];
    let tables = [
        (format!("requests a second, and latency at {rate} a second"), speed),
        ("CPU per request in µs, as many requests as can be".into(), cpu(Load::Most)),
        (format!("CPU per request in µs, {rate} requests a second"), cpu(Load::Fixed)),
        (
            "memory in MiB".into(),
            by_part(Load::Most, |it, part| it.bill.memory[part] as f64 / 1024.0),
        ),
    ];
    let table = |(title, columns): (String, Vec<Column>)| {
        let mut head = vec!["connections".to_owned()];
        for Column { name, direct, .. } in &columns {
            head.extend([name.clone(), "shunt/plain".into()]);
            head.extend(direct.then(|| "no mesh/plain".into()));
        }
        let row = |(place, connections): (usize, &usize)| {
            let mut row = vec![connections.to_string()];
            for Column { load, of, direct: with_direct, .. } in &columns {
                row.push(number(plain.median(place, *load, of)));
                row.push(shunt.ratio(plain, place, *load, of).to_string());
                row.extend(with_direct.then(|| direct.ratio(plain, place, *load, of).to_string()));
            }
            row
        };
        let rows = connections.iter().enumerate().map(row).collect();
        Table { title: format!("{kind}: {title}"), head, rows }
    };
    tables.map(table).into()
}

fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}
