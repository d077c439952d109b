//! What is made of the numbers: one contender's by those of another, as lines of the report.

use std::collections::BTreeMap;

use crate::bench_cases::Bench;
use crate::bench_polls::{Cost, undisturbed};
use crate::bench_sample::Sample;
use crate::bench_table::{Outcome, Row, Target, short};

/// What contenders cost, by their names.
pub(crate) type Costs = BTreeMap<&'static str, Cost>;

impl Bench<'_> {
    pub(crate) fn ratio_if(
        &mut self,
        there: bool,
        case: &str,
        what: &str,
        costs: &Costs,
        names: [&'static str; 2],
        target: Option<Target>,
    ) {
        if there {
            return self.ratio(case, what, costs, names, target);
        }
        self.not_available(case, what);
    }

    pub(crate) fn not_available(&mut self, case: &str, what: &str) {
        let (case, what) = (case.to_owned(), what.to_owned());
        let row = Row { case, what, outcome: Outcome::NotAvailable, detail: String::new() };
        self.push(row);
    }

    /// Processor time of the first by that of the second.
    pub(crate) fn ratio(
        &mut self,
        case: &str,
        what: &str,
        costs: &Costs,
        names: [&'static str; 2],
        target: Option<Target>,
    ) {
        let ms = |cost: Cost| Sample(cost.cpu_us.0.iter().map(|us| us / 1000.0).collect());
        self.compare(case, what, costs, names, target, ms);
    }

    /// Milliseconds of some kind of the first by those of the second, poll by poll.
    pub(crate) fn compare(
        &mut self,
        case: &str,
        what: &str,
        costs: &Costs,
        [upper, lower]: [&'static str; 2],
        target: Option<Target>,
        ms: fn(Cost) -> Sample,
    ) {
        let none = Cost::default();
        let cost = |name| costs.get(name).unwrap_or(&none);
        let (upper, lower) = (cost(upper), cost(lower));
        let rounds = upper.stolen_ticks.0.len();
        let [upper, lower] = undisturbed([upper, lower]).map(ms);
        let (over, under) = (short(upper.median()), short(lower.median()));
        let counted = upper.0.len();
        let detail = format!("{over} ms / {under} ms, {counted} of {rounds} rounds");
        self.add(case, what, &upper.over(&lower), "", target, detail);
    }

    pub(crate) fn add(
        &mut self,
        case: &str,
        what: &str,
        sample: &Sample,
        unit: &'static str,
        target: Option<Target>,
        detail: String,
    ) {
        let decimals = if sample.highest() >= 1000.0 { 0 } else { 2 };
        let spread = if sample.0.len() > 1 { sample.spread(decimals) } else { "-".to_owned() };
        let outcome = Outcome::Value { value: sample.median(), spread, unit, target };
        self.push(Row { case: case.to_owned(), what: what.to_owned(), outcome, detail });
    }

    fn push(&mut self, row: Row) {
        let has_number = row.case.parse::<u32>().is_ok();
        let rows = if has_number { &mut self.report.targets } else { &mut self.report.further };
        rows.push(row);
    }
}
