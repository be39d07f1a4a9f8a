//! What a measurement came to, as text, as a table of a page, and as a chart.

use std::fmt::Write as _;

/// A figure that was aimed at.
#[derive(Clone, Debug)]
pub struct Aim {
    /// Of what.
    pub what: String,
    /// What was asked for.
    pub asked: f64,
    /// What was measured.
    pub reached: f64,
    /// Less is better.
    pub at_most: bool,
    /// Where the reason is told, for who does not reach it.
    pub reason: &'static str,
}

impl Aim {
    /// At least so much.
    pub fn at_least(what: impl Into<String>, asked: f64, reached: f64, reason: &'static str) -> Self {
        Self {
            what: what.into(),
            asked,
            reached,
            at_most: false,
            reason,
        }
    }

    /// At most so much.
    pub fn at_most(what: impl Into<String>, asked: f64, reached: f64, reason: &'static str) -> Self {
        Self {
            at_most: true,
            ..Self::at_least(what, asked, reached, reason)
        }
    }

    /// Whether it is reached.
    #[must_use]
    pub fn is_met(&self) -> bool {
        if self.at_most {
            self.reached <= self.asked
        } else {
            self.reached >= self.asked
        }
    }
}

/// One line of a table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose.
    pub name: String,
    /// The figures, as they are shown.
    pub cells: Vec<String>,
}

/// Bars beside each other.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The file, without its ending.
    pub file: &'static str,
    /// What the bars are.
    pub title: String,
    /// Name and length of each.
    pub bars: Vec<(String, f64)>,
    /// The length that all are compared with.
    pub line: Option<f64>,
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Section {
    /// Heading.
    pub title: &'static str,
    /// What was done, and how to repeat it.
    pub about: String,
    /// Headings of the cells.
    pub columns: Vec<String>,
    /// The table.
    pub rows: Vec<Row>,
    /// Its picture.
    pub charts: Vec<Chart>,
    /// What was aimed at.
    pub aims: Vec<Aim>,
}

impl Section {
    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("{}\n{}\n", self.title, self.about);
        let _ = write!(out, "{:<28}", "");
        for column in &self.columns {
            let _ = write!(out, "{column:>28}");
        }
        out.push('\n');
        for row in &self.rows {
            let _ = write!(out, "{:<28}", row.name);
            for cell in &row.cells {
                let _ = write!(out, "{cell:>28}");
            }
            out.push('\n');
        }
        out
    }

    /// For the page.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = format!("## {}\n\n{}\n\n| |", self.title, self.about);
        for column in &self.columns {
            let _ = write!(out, " {column} |");
        }
        out.push_str("\n| --- |");
        for _ in &self.columns {
            out.push_str(" ---: |");
        }
        out.push('\n');
        for row in &self.rows {
            let _ = write!(out, "| {} |", row.name);
            for cell in &row.cells {
                let _ = write!(out, " {cell} |");
            }
            out.push('\n');
        }
        for chart in &self.charts {
            let _ = write!(out, "\n![{}]({}.svg)\n", chart.title, chart.file);
        }
        out
    }
}

/// The table of what was aimed at.
#[must_use]
pub fn aims(sections: &[Section]) -> String {
    let mut out = String::from("| figure | asked | measured | |\n| --- | ---: | ---: | --- |\n");
    for aim in sections.iter().flat_map(|section| &section.aims) {
        let sign = if aim.at_most { "≤" } else { "≥" };
        let verdict = if aim.is_met() {
            "met".to_owned()
        } else {
            format!("**not met**: {}", aim.reason)
        };
        let _ = writeln!(
            out,
            "| {} | {sign} {} | {} | {verdict} |",
            aim.what,
            figure(aim.asked),
            figure(aim.reached)
        );
    }
    out
}

/// A number with as many places as it deserves.
#[must_use]
pub fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

const WIDTH: f64 = 720.0;
const NAMES: f64 = 210.0;
const VALUES: f64 = 70.0;
const BAR: f64 = 22.0;
const GAP: f64 = 8.0;
const HEAD: f64 = 34.0;

impl Chart {
    /// The picture: plain SVG without a script, a font or a colour that a dark page would swallow.
    #[must_use]
    pub fn svg(&self) -> String {
        let longest = self
            .bars
            .iter()
            .map(|(_, value)| *value)
            .chain(self.line)
            .fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - NAMES - VALUES) / longest;
        let height = HEAD + self.bars.len() as f64 * (BAR + GAP) + GAP;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
             <text x=\"8\" y=\"20\" font-weight=\"bold\" fill=\"#222222\">{}</text>\n",
            escaped(&self.title)
        );
        for (n, (name, value)) in self.bars.iter().enumerate() {
            let y = HEAD + n as f64 * (BAR + GAP);
            let color = if name.starts_with("dbmirror") {
                "#1f6fb2"
            } else {
                "#9aa5b1"
            };
            let _ = writeln!(
                out,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#222222\">{}</text>\n\
                 <rect x=\"{NAMES:.0}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"{BAR:.0}\" fill=\"{color}\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.0}\" fill=\"#222222\">{}</text>",
                NAMES - 8.0,
                y + 16.0,
                escaped(name),
                (value * scale).max(1.0),
                NAMES + value * scale + 6.0,
                y + 16.0,
                figure(*value)
            );
        }
        if let Some(line) = self.line {
            let x = NAMES + line * scale;
            let _ = writeln!(
                out,
                "<line x1=\"{x:.1}\" y1=\"{HEAD:.0}\" x2=\"{x:.1}\" y2=\"{:.0}\" stroke=\"#c0392b\" stroke-dasharray=\"4 3\"/>",
                height - GAP
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        Chart {
            file: "x",
            title: "a < b & c".to_owned(),
            bars: vec![("dbmirror".to_owned(), 2.0), ("other".to_owned(), 4.0)],
            line: Some(4.0),
        }
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let svg = chart().svg();
        assert!(svg.contains("a &lt; b &amp; c"));
        assert!(
            svg.contains("width=\"220.0\" height=\"22\" fill=\"#1f6fb2\""),
            "{svg}"
        );
        assert!(
            svg.contains("width=\"440.0\" height=\"22\" fill=\"#9aa5b1\""),
            "{svg}"
        );
        assert!(svg.contains("x1=\"650.0\""), "{svg}");
    }

    #[test]
    fn what_is_not_reached_is_said() {
        let section = Section {
            title: "T",
            about: "A".to_owned(),
            columns: vec!["MB/s".to_owned()],
            rows: vec![Row {
                name: "ours".to_owned(),
                cells: vec!["7".to_owned()],
            }],
            charts: vec![chart()],
            aims: vec![
                Aim::at_least("speed", 0.95, 0.68, "see there"),
                Aim::at_most("time", 2.0, 1.5, "-"),
            ],
        };
        let text = aims(std::slice::from_ref(&section));
        assert!(
            text.contains("| speed | ≥ 0.95 | 0.68 | **not met**: see there |"),
            "{text}"
        );
        assert!(text.contains("| time | ≤ 2 | 1.50 | met |"), "{text}");
        assert!(section.markdown().contains("| ours | 7 |"));
        assert!(section.markdown().contains("![a < b & c](x.svg)"));
        assert!(section.text().contains("ours"));
    }
}
