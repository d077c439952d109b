//! The cases: which sockets each needs, who takes turns there, and which of them is held against which.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::bench_compare::Costs;
use crate::bench_load::{Churn, Crowd, Village};
use crate::bench_polls::{Contender, Cost, measure, rhythm, undisturbed};
use crate::bench_programs::{Effort, Programs};
use crate::bench_table::{Growth, Report, Target};
use crate::processor::has_avx512;

/// One run of the benchmark.
pub(crate) struct Bench<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) effort: Effort,
    pub(crate) report: &'a mut Report,
}

impl Bench<'_> {
    /// Runs the cases that are wanted, those that need an idle host first.
    ///
    /// # Errors
    /// Sockets could not be made, or a program did not do what is measured.
    pub(crate) fn run(&mut self, wants: &dyn Fn(&str) -> bool, large: bool) -> Result<()> {
        let any = |cases: &[&str]| cases.iter().any(|case| wants(case));
        let help = Command::new(&self.programs.sockeye).args(["run", "--help"]).output()?;
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let has = |option: &str| help.contains(option);

        if wants("11") {
            self.start()?;
        }
        if wants("3") {
            self.rows()?;
        }
        if wants("8") {
            self.thousand_namespaces()?;
        }
        if wants("closed") {
            if has("--closed") {
                self.closed()?;
            } else {
                self.not_available("closed", "connections that ended");
            }
        }
        if wants("growth") {
            for sockets in [1_000, 10_000] {
                let crowd = self.crowd(sockets)?;
                let costs = self.take_turns(&crowd, &self.growing(&crowd, has("--plan")))?;
                self.growth(&crowd, &costs);
            }
        }
        let in_turn = ["1", "2", "10", "avx512", "closed", "growth", "pgo", "io-uring"];
        if any(&in_turn) || any(&["4", "5", "6", "7", "9", "12", "kafka"]) {
            let crowd = self.crowd(HUNDRED_THOUSAND)?;
            if any(&in_turn) {
                self.one_namespace(&crowd, wants, &has)?;
            }
            if wants("7") {
                self.in_parts(&crowd)?;
            }
            if wants("12") {
                self.against_ss(&crowd)?;
            }
            if wants("9") {
                self.memory(&crowd)?;
            }
            if any(&["4", "5", "6", "io-uring"]) {
                self.beside(&crowd, wants, &has)?;
            }
            // The last of those with this crowd: a broker has threads that never sleep for long.
            if wants("kafka") {
                self.kafka(&crowd, has("kafka:"))?;
            }
        }
        if large && wants("growth") {
            let crowd = self.crowd(10 * HUNDRED_THOUSAND)?;
            let costs = self.take_turns(&crowd, &self.growing(&crowd, has("--plan")))?;
            self.growth(&crowd, &costs);
        }
        Ok(())
    }

    /// Cases 1, 2, 10, the gain of the profile and the ring in one namespace, all in turn.
    fn one_namespace(
        &mut self,
        crowd: &Crowd,
        wants: &dyn Fn(&str) -> bool,
        has: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        let (path, programs) = (crowd.path(), self.programs);
        let poll =
            |program: &Path, rows, format| Contender::poll(program, Some(&path), rows, format);
        let proto = || poll(&programs.sockeye, crowd.sockets, PROTO);
        let mut turns =
            vec![("drain", Contender::drain(&programs.drain, &path)), ("proto", proto())];
        if wants("growth") {
            turns.extend(self.growing(crowd, has("--plan")).into_iter().skip(1));
        }
        if wants("2") || wants("pgo") {
            turns.push(("jsonl", poll(&programs.sockeye, crowd.sockets, JSONL)));
        }
        if wants("10") && has("--filter") {
            let matching = poll(&programs.sockeye, crowd.matching, PROTO);
            turns.push(("filter", matching.with(&["--filter", "dport = :443"])));
        }
        if wants("avx512") && has("--avx512") && has_avx512() {
            turns.push(("any processor", proto().with(&["--avx512=false"])));
        }
        if wants("io-uring") && has("--io-uring") {
            turns.push(("ring", proto().with(&["--io-uring"])));
        }
        let tracks = wants("closed") && has("--closed");
        if tracks {
            turns.push(("tracked", proto().with(&["--closed", "on"])));
            turns.push(("deltas", proto().with(&["--closed", "on", "--deltas"])));
        }
        if let Some(dist) = programs.dist.as_ref().filter(|_| wants("pgo")) {
            turns.push(("profiled proto", poll(dist, crowd.sockets, PROTO)));
            turns.push(("profiled jsonl", poll(dist, crowd.sockets, JSONL)));
        }
        let costs = self.take_turns(crowd, &turns)?;
        if wants("growth") {
            self.growth(crowd, &costs);
        }
        if wants("1") {
            let what = "protobufList to null, CPU / drain";
            self.ratio("1", what, &costs, ["proto", "drain"], Some(Target::AtMost(1.12)));
        }
        if wants("2") {
            let what = "jsonl to null, CPU / drain";
            self.ratio("2", what, &costs, ["jsonl", "drain"], Some(Target::AtMost(1.7)));
        }
        if wants("10") {
            let what = "filter for 1 in 100, CPU / case 1";
            let target = Some(Target::AtMost(0.25));
            self.ratio_if(has("--filter"), "10", what, &costs, ["filter", "proto"], target);
        }
        if wants("avx512") {
            let what = "case 1 without AVX-512, CPU / with";
            let of = ["any processor", "proto"];
            let there = has("--avx512") && has_avx512();
            self.ratio_if(there, "avx512", what, &costs, of, None);
        }
        if wants("io-uring") {
            let what = "case 1 through the ring, CPU / blocking";
            self.ratio_if(has("--io-uring"), "io-uring", what, &costs, ["ring", "proto"], None);
        }
        if tracks {
            let what = "case 1 and closed sockets, CPU / without";
            self.ratio("closed", what, &costs, ["tracked", "proto"], None);
            let what = "case 1 with deltas, CPU / without";
            self.ratio("closed", what, &costs, ["deltas", "proto"], None);
            self.remembered(crowd)?;
        }
        if wants("pgo") {
            let there = programs.dist.is_some();
            let what = "case 1 with the profile, CPU / without";
            self.ratio_if(there, "pgo", what, &costs, ["profiled proto", "proto"], None);
            if costs.contains_key("jsonl") {
                let what = "case 2 with the profile, CPU / without";
                self.ratio_if(there, "pgo", what, &costs, ["profiled jsonl", "jsonl"], None);
            }
        }
        Ok(())
    }

    /// Case 7, by itself: a second reader needs a processor that has not been idle for many turns of others.
    fn in_parts(&mut self, crowd: &Crowd) -> Result<()> {
        let path = crowd.path();
        let poll = |readers| {
            let poll = Contender::poll(&self.programs.sockeye, Some(&path), crowd.sockets, PROTO);
            poll.with(&["--netlinkers", readers])
        };
        let drain =
            |readers| Contender::drain(&self.programs.drain, &path).with(&["--readers", readers]);
        let turns = [
            ("one reader", poll("1")),
            ("two readers", poll("2")),
            ("one drain", drain("1")),
            ("two drains", drain("2")),
        ];
        let mut all = Costs::new();
        // The longer of two readers decides, which neighbours make later more often than a single one.
        for _ in 0..self.effort.rounds {
            for (name, cost) in self.take_turns(crowd, &turns)? {
                all.entry(name).or_default().append(cost);
            }
        }
        let wall = |cost: Cost| cost.took_ms;
        let (what, names) = ("two readers, wall / one reader", ["two readers", "one reader"]);
        self.compare("7", what, &all, names, Some(Target::AtMost(0.62)), wall);
        // What two readers cost the kernel, without us.
        let (what, names) = ("two drains, wall / one drain", ["two drains", "one drain"]);
        self.compare("7 bare", what, &all, names, None, wall);
        Ok(())
    }

    /// Cases 4, 5 and 6: the same sockets, with namespaces beside them.
    fn beside(
        &mut self,
        crowd: &Crowd,
        wants: &dyn Fn(&str) -> bool,
        has: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        for Beside { case, connections, churn, listens, target, what } in BESIDE {
            let with_ring = churn == Churn::None && wants("io-uring") && has("--io-uring");
            if !wants(case) && !with_ring || listens && !has("--closed") {
                continue;
            }
            self.say(what);
            let village = Village::open(self.programs, 200, connections, churn)?;
            let path = crowd.path();
            let rows = crowd.sockets + village.sockets;
            let all = || {
                let all = Contender::poll(&self.programs.sockeye, None, rows, PROTO);
                let all = match churn {
                    Churn::None => all,
                    Churn::Reset => all.moving(),
                    // What is left behind stays for a minute: the slower the polls have to be, the more of it.
                    Churn::Closed => all.give_or_take(rows / 5),
                };
                if listens { all.with(&["--closed", "on"]) } else { all }
            };
            let alone = Contender::poll(&self.programs.sockeye, Some(&path), crowd.sockets, PROTO);
            let mut turns = vec![("alone", alone), ("beside", all())];
            if with_ring {
                turns.push(("ring", all().with(&["--io-uring"])));
            }
            let costs = self.take_turns(crowd, &turns)?;
            if wants(case) {
                let what = format!("{what}, CPU / case 1");
                self.ratio(case, &what, &costs, ["beside", "alone"], target);
            }
            if with_ring {
                let what = format!("case {case} through the ring, CPU / blocking");
                self.ratio("io-uring", &what, &costs, ["ring", "beside"], None);
            }
        }
        Ok(())
    }

    fn growth(&mut self, crowd: &Crowd, costs: &Costs) {
        let none = Cost::default();
        let cost = |name| costs.get(name).unwrap_or(&none);
        let quiet = undisturbed([cost("drain"), cost("full proto"), cost("full jsonl")]);
        let [drain_us, proto_us, jsonl_us] = quiet.map(|cost| cost.cpu_us.median());
        self.report.growth.push(Growth { sockets: crowd.sockets, drain_us, proto_us, jsonl_us });
    }

    /// Those that read every socket by a dump, in both formats.
    fn growing(&self, crowd: &Crowd, has_plan: bool) -> Vec<(&'static str, Contender)> {
        let path = crowd.path();
        let poll = |format| {
            let sockeye = &self.programs.sockeye;
            let poll = Contender::poll(sockeye, Some(&path), crowd.sockets, format);
            // By one reader: more of them, which large namespaces get by default, each walk the table.
            if has_plan { poll.with(&["--plan", "full", "--netlinkers", "1"]) } else { poll }
        };
        let drain = Contender::drain(&self.programs.drain, &path);
        vec![("drain", drain), ("full proto", poll(PROTO)), ("full jsonl", poll(JSONL))]
    }

    fn crowd(&self, sockets: usize) -> Result<Crowd> {
        self.say(&format!("{sockets} sockets in a namespace"));
        Crowd::open(self.programs, sockets)
    }

    fn take_turns(&self, crowd: &Crowd, turns: &[(&'static str, Contender)]) -> Result<Costs> {
        let contenders: Vec<_> = turns.iter().map(|(_, contender)| contender.clone()).collect();
        let turn = rhythm(&contenders)?;
        let names = turns.iter().map(|(name, _)| *name);
        let list = names.clone().collect::<Vec<_>>().join(", ");
        self.say(&format!("by turns of {} ms: {list}", turn.as_millis()));
        let costs = measure(&contenders, crowd.sockets, turn, self.effort)?;
        Ok(names.zip(costs).collect())
    }

    #[expect(clippy::unused_self, reason = "reads as what it is")]
    pub(crate) fn say(&self, what: &str) {
        println!("-- {what}");
    }
}

pub(crate) const PROTO: &str = "protobufList";
pub(crate) const JSONL: &str = "jsonl";
const HUNDRED_THOUSAND: usize = 100_000;

/// Namespaces beside the 100,000 sockets.
struct Beside {
    case: &'static str,
    connections: usize,
    churn: Churn,
    /// It is told of closed sockets.
    listens: bool,
    target: Option<Target>,
    what: &'static str,
}

const BESIDE: [Beside; 5] = [
    Beside {
        case: "4",
        connections: 0,
        churn: Churn::None,
        listens: false,
        target: Some(Target::AtMost(1.10)),
        what: "200 idle namespaces beside it",
    },
    Beside {
        case: "5",
        connections: 10,
        churn: Churn::None,
        listens: false,
        target: Some(Target::AtMost(1.30)),
        what: "10 idle connections in each of them",
    },
    Beside {
        case: "6",
        connections: 10,
        churn: Churn::Reset,
        listens: false,
        target: None,
        what: "3 more opened and reset between polls",
    },
    Beside {
        case: "6",
        connections: 10,
        churn: Churn::Closed,
        listens: true,
        target: None,
        what: "3 more opened and closed in order",
    },
    Beside {
        case: "6",
        connections: 10,
        churn: Churn::Closed,
        listens: false,
        target: None,
        what: "the same with --closed off",
    },
];
