//! An SVG of panels below each other, as wide as a phone, in its surroundings' light or dark.

use std::fmt::Write as _;

/// In units of a phone's pixels.
pub const WIDTH: f64 = 400.0;

/// `off` and `on` are what is without shunt, and with it; `naive` what is with a textbook's accelerator.
const STYLE: &str = "
.paper{fill:#fff}.ink{fill:#1f2328}.faint{fill:#59636e}.axis{stroke:#d1d9e0}
.off{fill:#b35900;stroke:#b35900}.on{fill:#0969da;stroke:#0969da}
.naive{fill:#8250df;stroke:#8250df}text{font:12px system-ui,sans-serif}text.off,text.on,text.naive{stroke:none;font-weight:600}
.title{font-size:15px;font-weight:600}
@media(prefers-color-scheme:dark){.paper{fill:#0d1117}.ink{fill:#f0f6fc}.faint{fill:#9198a1}
.axis{stroke:#3d444d}.off{fill:#f0a04b;stroke:#f0a04b}.on{fill:#58a6ff;stroke:#58a6ff}
.naive{fill:#bc8cff;stroke:#bc8cff}}
";

/// Each panel is so high and drawn from its own 0, 0 on. `label` is for those who do not see it, `style` for
/// classes that only these panels have.
pub fn picture(label: &str, style: &str, height: f64, panels: &[String]) -> String {
    let total = height * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {total}' role='img' \
         aria-label='{label}'><style>{STYLE}{style}</style>\
         <rect class='paper' width='{WIDTH}' height='{total}' rx='6'/>"
    );
    for (number, panel) in panels.iter().enumerate() {
        let y = height * number as f64;
        let _ = write!(svg, "<g transform='translate(0 {y})'>{panel}</g>");
    }
    svg + "</svg>\n"
}
