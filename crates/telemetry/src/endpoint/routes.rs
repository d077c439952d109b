//! Which path says what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::ACCEPT;
use hyper::{Method, Request, StatusCode};

use super::Subject;
use super::answer::{Answer, TEXT};
use crate::metrics::Format;
use crate::profiles::{self, Profiles, Wanted};

pub(super) struct Routes {
    subject: Arc<dyn Subject>,
    profiles: Profiles,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Index,
    Metrics(Format),
    Health,
    Ready,
    Polls,
    Profile(Wanted),
    Profiles,
    /// Nothing that there is.
    Wrong(StatusCode, String),
}

impl Asked {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let text = format!("{} is not answered; allowed: GET, HEAD", request.method());
            return Self::Wrong(StatusCode::METHOD_NOT_ALLOWED, text);
        }
        let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let profile = |wanted: Result<Wanted, String>| {
            wanted.map_or_else(|text| Self::Wrong(StatusCode::BAD_REQUEST, text), Self::Profile)
        };
        match request.uri().path() {
            "/" => Self::Index,
            "/metrics" => Self::Metrics(Format::accepted(accept.unwrap_or_default())),
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/debug/polls" => Self::Polls,
            "/debug/pprof" | "/debug/pprof/" => Self::Profiles,
            "/debug/pprof/profile" => profile(query.processor()),
            "/debug/pprof/heap" => profile(query.memory(false)),
            "/debug/pprof/allocs" => profile(query.memory(true)),
            "/debug/pprof/threads" => profile(query.threads()),
            _ => Self::Wrong(StatusCode::NOT_FOUND, "no such page; / names them".into()),
        }
    }

    /// How long the answer is expected to take, besides what every answer may.
    pub(super) fn time(&self) -> Duration {
        match self {
            Self::Profile(wanted) => wanted.time() + profiles::EVALUATION,
            _ => Duration::ZERO,
        }
    }
}

impl Routes {
    pub(super) fn new(subject: Arc<dyn Subject>) -> Self {
        Self { subject, profiles: Profiles::default() }
    }

    pub(super) async fn answer(&self, asked: Asked) -> Answer {
        match asked {
            Asked::Index => {
                let page = format!("{PAGE_HEAD}{}{PAGE_FOOT}", self.subject.index());
                Answer::ok("text/html; charset=utf-8", page)
            }
            Asked::Metrics(format) => {
                Answer::ok(format.content_type(), self.subject.metrics(format))
            }
            Asked::Health => match self.subject.healthy() {
                (true, text) => Answer::text(StatusCode::OK, &text),
                (false, text) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, &text),
            },
            Asked::Ready => {
                let reasons = self.subject.unready();
                if reasons.is_empty() {
                    Answer::text(StatusCode::OK, "ready")
                } else {
                    Answer::text(StatusCode::SERVICE_UNAVAILABLE, &reasons.join("\n"))
                }
            }
            Asked::Polls => Answer::ok("application/json", self.subject.polls()),
            Asked::Profile(wanted) => self.profiles.take(wanted).await,
            Asked::Profiles => Answer::ok(TEXT, profiles::INDEX),
            Asked::Wrong(status, text) => Answer::text(status, &text),
        }
    }
}

/// What stands behind the question mark.
struct Query<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Query<'a> {
    fn parse(query: &'a str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect())
    }

    fn processor(&self) -> Result<Wanted, String> {
        self.only(&["seconds", "hz"])?;
        Ok(Wanted::Processor {
            seconds: self.number("seconds", 30, 1..=profiles::LONGEST)?,
            hz: self.number("hz", 99, 1..=1000)?,
        })
    }

    fn memory(&self, all: bool) -> Result<Wanted, String> {
        self.only(&["seconds"])?;
        let seconds = self.number("seconds", 30, 1..=profiles::LONGEST)?;
        Ok(Wanted::Memory { seconds, all })
    }

    fn threads(&self) -> Result<Wanted, String> {
        self.only(&["debug"])?;
        Ok(Wanted::Threads { text: self.number("debug", 0, 0..=2)? > 0 })
    }

    fn number(
        &self,
        name: &str,
        default: u32,
        allowed: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, String> {
        let Some(text) = self.0.get(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| allowed.contains(number));
        number.ok_or_else(|| {
            format!("invalid {name}; allowed: {} to {}", allowed.start(), allowed.end())
        })
    }

    fn only(&self, names: &[&str]) -> Result<(), String> {
        if self.0.keys().all(|key| names.contains(key)) {
            return Ok(());
        }
        Err(format!("unknown parameter; allowed: {}", names.join(", ")))
    }
}

const PAGE_HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Sockeye</title><style>\
    body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:64em;padding:0 1em}\
    table{border-collapse:collapse;margin:.5em 0 1.5em}td,th{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:left}\
    td.n{text-align:right;font-variant-numeric:tabular-nums}h2{font-size:1.1em;margin:1.5em 0 .3em}\
    </style></head><body>\n";
const PAGE_FOOT: &str = "</body></html>\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str) -> Asked {
        Asked::of(&Request::builder().method(method).uri(path).body(()).unwrap())
    }

    #[test]
    fn paths_and_parameters_are_parsed_or_refused_with_what_is_allowed() {
        assert_eq!(asked("GET", "/"), Asked::Index);
        assert_eq!(asked("HEAD", "/metrics"), Asked::Metrics(Format::Prometheus));
        let profile = Asked::Profile(Wanted::Processor { seconds: 5, hz: 250 });
        assert_eq!(asked("GET", "/debug/pprof/profile?seconds=5&hz=250"), profile);
        let default = Asked::Profile(Wanted::Processor { seconds: 30, hz: 99 });
        assert_eq!(asked("GET", "/debug/pprof/profile"), default);
        for (method, path, status, text) in [
            ("POST", "/metrics", 405, "POST is not answered; allowed: GET, HEAD"),
            ("GET", "/nothing", 404, "no such page; / names them"),
            ("GET", "/debug/pprof/profile?seconds=0", 400, "invalid seconds; allowed: 1 to 300"),
            ("GET", "/debug/pprof/profile?hz=1001", 400, "invalid hz; allowed: 1 to 1000"),
            ("GET", "/debug/pprof/heap?hz=1", 400, "unknown parameter; allowed: seconds"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(asked(method, path), Asked::Wrong(status, text.into()), "{path}");
        }
    }
}
