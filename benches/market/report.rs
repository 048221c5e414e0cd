//! The output of measurements: lines during the run, the table of goals at the end, and a line of
//! JSON for each figure in `target/bench/market.jsonl`, from which `scripts/plot` draws.

use std::{
    fs::{File, OpenOptions, create_dir_all},
    io::Write,
    path::PathBuf,
};

use serde_json::{Value, json};

use super::load::Measured;

/// One line of the table of goals.
#[derive(Debug)]
struct Row {
    path: String,
    ours: String,
    limit: String,
    figure: f64,
    goal: Goal,
}

/// The required value of a figure, and the desired one.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtLeast(f64, f64),
    AtMost(f64, f64),
}

impl Goal {
    fn verdict(self, figure: f64) -> &'static str {
        let (reached, best) = match self {
            Self::AtLeast(reach, best) => (figure >= reach, figure >= best),
            Self::AtMost(reach, best) => (figure <= reach, figure <= best),
        };
        match (reached, best) {
            (_, true) => "both",
            (true, false) => "reached",
            (false, false) => "short",
        }
    }

    fn bounds(self) -> (f64, f64) {
        let (Self::AtLeast(reach, best) | Self::AtMost(reach, best)) = self;
        (reach, best)
    }
}

/// All results of one run.
#[derive(Debug)]
pub struct Report {
    rows: Vec<Row>,
    file: File,
}

impl Report {
    /// Opens the file of results, to which each run appends.
    pub fn open() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        create_dir_all(&folder).expect("the build's folder can be written");
        let file = OpenOptions::new().create(true).append(true).open(folder.join("market.jsonl"));
        Self { rows: Vec::new(), file: file.expect("the build's folder can be written") }
    }

    /// Records a measurement without a goal.
    pub fn line(&mut self, what: &str, measured: &Measured) {
        println!("{what}\n    {measured}");
        self.keep(what, &measured.to_json());
    }

    /// Records a point of a curve: `y` at `x`.
    pub fn point(&mut self, curve: &str, x: f64, y: f64) {
        println!("{curve}: {y:.2} at {x}");
        self.keep(curve, &json!({ "x": x, "y": y }));
    }

    /// Records a figure that has a goal.
    pub fn goal(
        &mut self,
        path: &str,
        ours: impl Into<String>,
        limit: impl Into<String>,
        figure: f64,
        goal: Goal,
    ) {
        let row =
            Row { path: path.to_owned(), ours: ours.into(), limit: limit.into(), figure, goal };
        let beside =
            if row.limit.is_empty() { String::new() } else { format!(" beside {}", row.limit) };
        println!("{path}: {}{beside}: {figure:.2} ({})", row.ours, goal.verdict(figure));
        let (reach, best) = goal.bounds();
        self.keep(path, &json!({ "ours": row.ours, "limit": row.limit, "figure": figure, "reach": reach, "best": best }));
        self.rows.push(row);
    }

    /// Records the ratio of two rates.
    pub fn ratio(&mut self, path: &str, ours: &Measured, limit: &Measured, goal: Goal) {
        self.line(&format!("{path}: ours"), ours);
        self.line(&format!("{path}: limit"), limit);
        let rate = |measured: &Measured| format!("{:.0}/s", measured.per_second);
        self.goal(path, rate(ours), rate(limit), ours.per_second / limit.per_second, goal);
    }

    /// Prints the table of goals in Markdown.
    pub fn table(&self) {
        if self.rows.is_empty() {
            return;
        }
        println!(
            "\n| path | ours | beside | figure | reach | go for | |\n| --- | --- | --- | --- | --- | --- | --- |"
        );
        for Row { path, ours, limit, figure, goal } in &self.rows {
            let (reach, best) = goal.bounds();
            println!(
                "| {path} | {ours} | {limit} | {figure:.2} | {reach} | {best} | {} |",
                goal.verdict(*figure)
            );
        }
    }

    fn keep(&mut self, what: &str, figures: &Value) {
        writeln!(self.file, "{}", json!({ "what": what, "figures": figures }))
            .expect("the build's folder can be written");
    }
}
