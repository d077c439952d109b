//! The grammar: conditions, and how they are joined.

use std::ops::Range;

use sockeye_wire::bytecode::{Condition, End, Predicate};

use crate::cgroup;
use crate::error::FilterError;
use crate::filter::Name;
use crate::operand::{self, Family, Host, Ports};
use crate::scan::{Compare, Operand, Scanner, Token};

type Expression = Predicate<Name>;

/// Reads a whole expression; an empty one is true of every socket, as for `ss`.
pub(crate) fn parse(text: &str) -> Result<Expression, FilterError> {
    let mut parser = Parser { scanner: Scanner::new(text) };
    if parser.scanner.peek().0 == Token::End {
        return Ok(Predicate::ALWAYS);
    }
    let Nested { expression, .. } = parser.list(0)?;
    match parser.scanner.peek() {
        (Token::End, _) => Ok(expression),
        (_, place) => Err(parser.error(place, "this ) closes nothing")),
    }
}

/// An expression, and how many levels it has.
struct Nested {
    expression: Expression,
    levels: usize,
}

struct Parser<'a> {
    scanner: Scanner<'a>,
}

impl Parser<'_> {
    /// `TERM and TERM or TERM TERM …`, from left to right.
    fn list(&mut self, depth: usize) -> Result<Nested, FilterError> {
        let mut left = self.term(depth)?;
        loop {
            let (token, place) = self.scanner.peek();
            let is_or = match token {
                Token::End | Token::Close => return Ok(left),
                Token::And | Token::Or => {
                    self.scanner.next();
                    token == Token::Or
                }
                _ => false,
            };
            let right = self.term(depth)?;
            let flat = match &left.expression {
                Predicate::All(_) => !is_or,
                Predicate::Any(_) => is_or,
                _ => false,
            };
            let below = if flat { left.levels - 1 } else { left.levels };
            let levels = below.max(right.levels) + 1;
            self.check_levels(depth + levels, place)?;
            let expression = if is_or {
                left.expression.or(right.expression)
            } else {
                left.expression.and(right.expression)
            };
            left = Nested { expression, levels };
        }
    }

    /// A condition, its opposite, or a list in brackets.
    fn term(&mut self, depth: usize) -> Result<Nested, FilterError> {
        let (token, place) = self.scanner.next();
        match token {
            Token::Not => {
                self.check_levels(depth + 1, place)?;
                let Nested { expression, levels } = self.term(depth + 1)?;
                Ok(Nested { expression: expression.negated(), levels: levels + 1 })
            }
            Token::Open => {
                self.check_levels(depth + 1, place.clone())?;
                let inside = self.list(depth + 1)?;
                match self.scanner.next().0 {
                    Token::Close => Ok(inside),
                    _ => Err(self.error(place, "this ( is never closed")),
                }
            }
            // The deepest condition is `dst != inet:10.0.0.1:443`.
            Token::Word(word) => Ok(Nested { expression: self.condition(word, place)?, levels: 4 }),
            Token::End => Err(self.error(place, format!("a condition is missing; {ALLOWED}"))),
            Token::Close | Token::And | Token::Or | Token::Compare(_) => {
                Err(self.error(place, format!("no condition begins so; {ALLOWED}")))
            }
        }
    }

    fn condition(&mut self, word: &str, place: Range<usize>) -> Result<Expression, FilterError> {
        match word {
            "src" => self.host(word, End::Source),
            "dst" => self.host(word, End::Destination),
            "sport" => self.port(word, End::Source),
            "dport" => self.port(word, End::Destination),
            "dev" => self.equal(word, "a device", operand::device),
            "fwmark" => self.equal(word, "a mark", |text| operand::mark(text).map(Name::Is)),
            "cgroup" => self.equal(word, "a path", |path| {
                cgroup::id_of(path).map(|id| Name::Is(Condition::Cgroup(id)))
            }),
            "autobound" => Ok(Predicate::Is(Name::Autobound)),
            _ => {
                let hint = HINTS.iter().find(|(words, _)| words.contains(&word));
                let hint = hint.map_or(ALLOWED, |(_, hint)| hint);
                Err(self.error(place, format!("unknown word {word:?}; {hint}")))
            }
        }
    }

    fn host(&mut self, word: &str, end: End) -> Result<Expression, FilterError> {
        let compare = self.compare_equal(word)?;
        let operand = self.operand(word, "an address")?;
        let Host { family, prefix, ports } = self.read(&operand, operand::host)?;
        let host = prefix.map_or(Predicate::ALWAYS, |prefix| is(Condition::Host(end, prefix)));
        let both = host.and(between(end, ports));
        Ok(of_family(family, if compare == Compare::Ne { both.negated() } else { both }))
    }

    fn port(&mut self, word: &str, end: End) -> Result<Expression, FilterError> {
        let compare = self.compare();
        let operand = self.operand(word, "a port")?;
        let (family, ports) = self.read(&operand, operand::port)?;
        let one = ports.filter(|(low, high)| low == high).map(|(port, _)| port);
        let expression = match (compare, one) {
            (Compare::Eq, _) => between(end, ports),
            (Compare::Ne, _) => between(end, ports).negated(),
            (Compare::Ge, Some(port)) => between(end, Some((port, u16::MAX))),
            (Compare::Lt, Some(port)) => between(end, Some((port, u16::MAX))).negated(),
            (Compare::Le, Some(port)) => between(end, Some((0, port))),
            (Compare::Gt, Some(port)) => between(end, Some((0, port))).negated(),
            (_, None) => {
                let what = format!("{} takes = and != only", operand.text);
                return Err(self.error(operand.place, what));
            }
        };
        Ok(of_family(family, expression))
    }

    /// A word that is equal or not to one value.
    fn equal(
        &mut self,
        word: &str,
        what: &str,
        read: impl FnOnce(&str) -> Result<Name, String>,
    ) -> Result<Expression, FilterError> {
        let compare = self.compare_equal(word)?;
        let operand = self.operand(word, what)?;
        let expression = Predicate::Is(self.read(&operand, read)?);
        Ok(if compare == Compare::Ne { expression.negated() } else { expression })
    }

    /// How to compare; without a sign, for equality.
    fn compare(&mut self) -> Compare {
        let (Token::Compare(compare), _) = self.scanner.peek() else { return Compare::Eq };
        self.scanner.next();
        compare
    }

    fn compare_equal(&mut self, word: &str) -> Result<Compare, FilterError> {
        let place = self.scanner.peek().1;
        match self.compare() {
            compare @ (Compare::Eq | Compare::Ne) => Ok(compare),
            _ => Err(self.error(place, format!("{word} takes = and != only"))),
        }
    }

    fn operand(&mut self, word: &str, what: &str) -> Result<Operand<'static>, FilterError> {
        let place = self.scanner.peek().1;
        match self.scanner.operand() {
            Ok(Some(Operand { text, place })) => {
                Ok(Operand { text: text.into_owned().into(), place })
            }
            Ok(None) => Err(self.error(place, format!("{what} is missing behind {word}"))),
            Err(quote) => Err(self.error(quote.at..quote.at + 1, "this quote is never closed")),
        }
    }

    fn read<T>(
        &self,
        operand: &Operand<'_>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, FilterError> {
        read(&operand.text).map_err(|what| self.error(operand.place.clone(), what))
    }

    fn check_levels(&self, levels: usize, place: Range<usize>) -> Result<(), FilterError> {
        if levels <= MOST_LEVELS {
            return Ok(());
        }
        Err(self.error(place, format!("more than {MOST_LEVELS} levels; group with fewer ( or not")))
    }

    fn error(&self, place: Range<usize>, what: impl Into<String>) -> FilterError {
        FilterError::new(self.scanner.text, place, what)
    }
}

fn is(condition: Condition) -> Expression {
    Predicate::Is(Name::Is(condition))
}

fn between(end: End, ports: Ports) -> Expression {
    match ports {
        None | Some((0, u16::MAX)) => Predicate::ALWAYS,
        Some((low, high)) => is(Condition::Ports(end, low, high)),
    }
}

fn of_family(family: Option<Family>, expression: Expression) -> Expression {
    family.map_or(Predicate::ALWAYS, Family::predicate).and(expression)
}

/// What evaluates an expression goes as deep as it does.
const MOST_LEVELS: usize = 64;

const ALLOWED: &str = "allowed: src, dst, sport, dport, dev, fwmark, cgroup, autobound, not, (";

/// Words that people try, and what they want.
const HINTS: [(&[&str], &str); 6] = [
    (
        &[
            "state",
            "exclude",
            "established",
            "estab",
            "listening",
            "listen",
            "time-wait",
            "close-wait",
            "syn-sent",
            "syn-recv",
            "fin-wait-1",
            "fin-wait-2",
            "last-ack",
            "closing",
            "connected",
            "synchronized",
            "bucket",
            "big",
        ],
        "use --states for TCP states",
    ),
    (&["port"], "use sport or dport"),
    (&["host", "net", "ip", "addr", "address"], "use src or dst"),
    (&["mark"], "use fwmark"),
    (&["device", "interface", "iface", "oif", "iif"], "use dev"),
    (&["AND", "OR", "NOT"], "and, or, not are written small"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Filter;

    fn same(one: &str, other: &str) {
        let read = |text: &str| parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read(one), read(other), "{one} and {other}");
    }

    fn wrong(text: &str) -> String {
        text.parse::<Filter>().unwrap_err().to_string()
    }

    #[test]
    fn words_group_from_left_to_right_with_one_rank_as_ss_has_it() {
        let (a, b, c) = ("sport 1", "dport 2", "dev 3");
        same(&format!("{a} or {b} and {c}"), &format!("( {a} or {b} ) and {c}"));
        same(&format!("{a} and {b} or {c}"), &format!("( {a} and {b} ) or {c}"));
        same(&format!("{a} or {b} {c}"), &format!("( {a} or {b} ) and {c}"));
        same(&format!("{a} {b} {c}"), &format!("{a} and ( {b} and {c} )"));
        same(&format!("not {a} and {b}"), &format!("( not {a} ) and {b}"));
        same(&format!("! ({a} || {b}) && {c}"), &format!("( not ( {a} | {b} ) ) & {c}"));
        same(&format!("not not {a}"), a);
        assert_ne!(
            parse(&format!("{a} or {b} and {c}")).unwrap(),
            parse(&format!("{a} or ( {b} and {c} )")).unwrap()
        );
    }

    #[test]
    fn every_operator_has_its_names() {
        for (names, end) in [(["=", "==", "eq"], "sport"), (["=", "==", "eq"], "dport")] {
            for name in names {
                same(&format!("{end} {name} :80"), &format!("{end} :80"));
            }
        }
        for name in ["!=", "ne", "neq"] {
            same(&format!("dport {name} 80"), "not dport = 80");
            same(&format!("dst {name} 10.0.0.1"), "not dst 10.0.0.1");
            same(&format!("dev {name} eth0"), "not dev eth0");
            same(&format!("fwmark {name} 1"), "not fwmark 1");
        }
        same("dport > 80", "not dport <= 80");
        same("dport gt 80", "not dport le 80");
        same("dport < 80", "not dport >= 80");
        same("dport lt 80", "not dport geq 80");
        same("dport leq 80", "dport = 0-80");
        same("dport ge 80", "dport = 80-65535");
    }

    #[test]
    fn what_is_always_true_is_nothing_to_ask() {
        for text in ["", "  ", "src *", "dport = :*", "sport >= 0", "dst any or dport 80", "src :*"]
        {
            assert!(parse(text).unwrap().is_always(), "{text}");
        }
        for text in ["sport < 0", "dport gt 65535", "not src *", "dport != *"] {
            assert!(parse(text).unwrap().is_never(), "{text}");
        }
    }

    #[test]
    fn a_host_with_a_port_is_both_and_a_family_stays_outside_of_not() {
        same("dst 10.0.0.1:443", "dst 10.0.0.1 and dport 443");
        same(
            "src [::1]:https",
            "sport :https and src ::1"
                .replace("sport :https and src ::1", "src ::1 and sport :https")
                .as_str(),
        );
        same("dst != 10.0.0.1:443", "not ( dst 10.0.0.1 dport 443 )");
        same("dport != inet6::22", "src ::/0 and dport != 22");
        same("src inet:*", "not src ::/0");
    }

    #[test]
    fn an_unknown_word_is_shown_with_what_to_say_instead() {
        assert_eq!(
            wrong("dport = :443 and state established"),
            "column 18: unknown word \"state\"; use --states for TCP states\n  \
             dport = :443 and state established\n                   ^^^^^"
        );
        assert_eq!(
            wrong("foo = 1"),
            "column 1: unknown word \"foo\"; allowed: src, dst, sport, dport, dev, fwmark, cgroup, \
             autobound, not, (\n  foo = 1\n  ^^^"
        );
        let first = |text: &str| wrong(text).lines().next().unwrap().to_owned();
        assert_eq!(first("port 80"), "column 1: unknown word \"port\"; use sport or dport");
        assert_eq!(first("host 10.0.0.1"), "column 1: unknown word \"host\"; use src or dst");
        assert_eq!(
            first("sport 1 AND dport 2"),
            "column 9: unknown word \"AND\"; and, or, not are written small"
        );
    }

    #[test]
    fn what_is_missing_is_pointed_at() {
        let pairs = [
            ("dport = :443 and", "column 17: a condition is missing;"),
            ("dport =", "column 8: a port is missing behind dport"),
            ("dport", "column 6: a port is missing behind dport"),
            ("dport and sport 1", "column 7: a port is missing behind dport"),
            ("dst = )", "column 7: an address is missing behind dst"),
            ("dev", "column 4: a device is missing behind dev"),
            ("fwmark !=", "column 10: a mark is missing behind fwmark"),
            ("cgroup", "column 7: a path is missing behind cgroup"),
            ("( sport 1", "column 1: this ( is never closed"),
            ("sport 1 )", "column 9: this ) closes nothing"),
            ("()", "column 2: no condition begins so;"),
            ("and sport 1", "column 1: no condition begins so;"),
            ("= 1", "column 1: no condition begins so;"),
            ("not", "column 4: a condition is missing;"),
            ("dev = 'a", "column 7: this quote is never closed"),
            ("dst > 10.0.0.1", "column 5: dst takes = and != only"),
            ("dev >= 1", "column 5: dev takes = and != only"),
            ("dport > :1-2", "column 9: :1-2 takes = and != only"),
            ("dport < *", "column 9: * takes = and != only"),
            ("dst foo.example", "column 5: \"foo.example\" is no address, and host names are"),
            ("sport 1 foo", "column 9: unknown word \"foo\";"),
        ];
        for (text, begins) in pairs {
            let error = wrong(text);
            assert!(error.starts_with(begins), "{text}: {error}");
        }
    }

    #[test]
    fn a_cgroup_that_is_not_there_is_an_error() {
        let error = wrong("cgroup /no/such/cgroup");
        let place = "\n  cgroup /no/such/cgroup\n         ^^^^^^^^^^^^^^^";
        assert!(error.starts_with("column 8: no cgroup ") && error.ends_with(place), "{error}");
    }

    #[test]
    fn depth_is_bounded_and_length_is_not() {
        let many = vec!["sport 1"; 10_000];
        assert!(parse(&many.join(" or ")).is_ok());
        assert!(parse(&many.join(" ")).is_ok());
        let error = "column 129: more than 64 levels; group with fewer ( or not";
        assert!(wrong(&format!("{}sport 1", "( ".repeat(10_000))).starts_with(error));
        assert!(wrong(&format!("{}sport 1", "! ".repeat(10_000))).contains("more than 64 levels"));
        let alternating = "sport 1 or sport 2 and ".repeat(10_000);
        assert!(wrong(&format!("{alternating} sport 1")).contains("more than 64 levels"));
        let alternating = "sport 1 or sport 2 and ".repeat(25);
        assert!(parse(&format!("{alternating} sport 1")).is_ok());
    }
}
