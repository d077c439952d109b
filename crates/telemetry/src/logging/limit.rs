//! At most so many lines of one place in the source a minute; what is left out is counted, and said.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber, warn};
use tracing_subscriber::layer::{Context, Layer};

/// What the places in the source have said within their minutes.
#[derive(Debug, Default)]
pub(super) struct Limit(Mutex<HashMap<Identifier, Site>>);

/// The layer that asks it.
pub(super) struct Shared(pub(super) Arc<Limit>);

#[derive(Debug)]
struct Site {
    place: String,
    since: Instant,
    said: u32,
    left_out: u64,
}

impl<S: Subscriber> Layer<S> for Shared {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.allows(event.metadata(), Instant::now())
    }
}

impl Limit {
    /// Counts a line. Those for people who debug are not limited: they were asked for.
    fn allows(&self, metadata: &'static Metadata<'static>, now: Instant) -> bool {
        if *metadata.level() > tracing::Level::INFO {
            return true;
        }
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let site = sites.entry(metadata.callsite()).or_insert_with(|| Site {
            place: place(metadata),
            since: now,
            said: 0,
            left_out: 0,
        });
        if now.saturating_duration_since(site.since) >= INTERVAL {
            site.since = now;
            site.said = 0;
        }
        let allowed = site.said < MOST;
        if allowed {
            site.said += 1;
        } else {
            site.left_out += 1;
        }
        allowed
    }

    /// A line for each place of which lines were left out.
    pub(super) fn tell(&self) {
        for (place, left_out) in self.take() {
            warn!(left_out, place, "log lines were left out: too many in a minute");
        }
    }

    fn take(&self) -> Vec<(String, u64)> {
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = sites.values_mut().filter(|site| site.left_out > 0);
        taken.map(|site| (site.place.clone(), std::mem::take(&mut site.left_out))).collect()
    }
}

fn place(metadata: &Metadata<'_>) -> String {
    match (metadata.module_path(), metadata.line()) {
        (Some(module), Some(line)) => format!("{module}:{line}"),
        _ => metadata.target().to_owned(),
    }
}

const MOST: u32 = 60;
const INTERVAL: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut line = String::new();
            event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                write!(line, "{field}={value:?} ").unwrap();
            });
            self.0.lock().unwrap().push(line);
        }
    }

    #[test]
    fn a_place_says_so_much_a_minute_others_are_not_touched_and_what_is_left_out_is_said() {
        let (limit, lines) = (Arc::new(Limit::default()), Lines::default());
        let subscriber =
            tracing_subscriber::registry().with(Shared(Arc::clone(&limit))).with(lines.clone());
        with_default(subscriber, || {
            (0..100).for_each(|turn| warn!(turn, "often"));
            tracing::info!("once");
            (0..100).for_each(|turn| tracing::debug!(turn, "asked for"));
            limit.tell();
            limit.tell();
        });
        let lines = lines.0.lock().unwrap();
        assert_eq!(lines.len(), 60 + 1 + 100 + 1);
        assert_eq!(lines[59], "message=often turn=59 ");
        assert_eq!(lines[60], "message=once ");
        let told = &lines[161];
        assert!(told.starts_with("message=log lines were left out"), "{told}");
        assert!(told.contains("left_out=40") && told.contains("logging::limit::tests:"), "{told}");
    }

    #[test]
    fn a_minute_later_it_speaks_again() {
        let limit = Limit::default();
        let metadata = {
            let found = Arc::new(Mutex::new(None));
            let subscriber = tracing_subscriber::registry().with(Finds(Arc::clone(&found)));
            with_default(subscriber, || warn!("here"));
            found.lock().unwrap().unwrap()
        };
        let now = Instant::now();
        let allowed = |now| (0..100).filter(|_| limit.allows(metadata, now)).count();
        assert_eq!((allowed(now), allowed(now + INTERVAL / 2)), (60, 0));
        assert_eq!(allowed(now + INTERVAL), 60);
        assert_eq!(limit.take()[0].1, 40 + 100 + 40);
    }

    struct Finds(Arc<Mutex<Option<&'static Metadata<'static>>>>);

    impl<S: Subscriber> Layer<S> for Finds {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            *self.0.lock().unwrap() = Some(event.metadata());
        }
    }
}
