//! Whether this process lives, and whether it can do its work. No clock of its own, no I/O.

use crate::meter::{Meter, Service};
use event::Millis;
use serde::{Deserialize, Serialize};

/// A process that has not looked at the leases for so long is stuck: longer than its longest
/// call takes with its second try, and a pause.
const ROUND_MAX: Millis = 150_000;

/// A service that has not answered for so long keeps the process from its work.
const FAILING_MAX: Millis = 30_000;

/// What is answered at `/healthz` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub is_well: bool,
    /// What is wrong.
    pub reasons: Vec<String>,
    /// Shards that are read here.
    pub shards: usize,
}

impl Health {
    fn of(meter: &Meter, reasons: Vec<String>) -> Health {
        Health { is_well: reasons.is_empty(), reasons, shards: meter.lags().len() }
    }
}

/// Whether the process lives. What its services do is no part of that: starting it again would
/// not help them.
pub fn alive(meter: &Meter, now: Millis) -> Health {
    let still = now.saturating_sub(meter.round_at());
    let reason = format!("nobody has looked at the leases for {} s", still / 1000);
    Health::of(meter, (still > ROUND_MAX).then_some(reason).into_iter().collect())
}

/// Whether the process can do its work: it has shards, or there are none to take, and its services
/// answer.
pub fn ready(meter: &Meter, now: Millis) -> Health {
    let mut reasons = alive(meter, now).reasons;
    let (shards, free) = (meter.lags().len(), meter.leases_free());
    match free {
        None => reasons.push("the lease table has not been read yet".to_owned()),
        Some(free) if shards == 0 && free > 0 => {
            reasons.push(format!("no shard is read here, and {free} are free"));
        }
        Some(_) => {}
    }
    for service in Service::ALL {
        let failing = meter.failing_since(service).map_or(0, |since| now.saturating_sub(since));
        if failing > FAILING_MAX {
            reasons.push(format!("{} has not answered well for {} s", service.title(), failing / 1000));
        }
    }
    if meter.is_index_refusing() {
        reasons.push("the index refuses us".to_owned());
    }
    Health::of(meter, reasons)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::{Ended, now};

    #[test]
    fn a_process_lives_while_it_looks_at_the_leases() {
        let meter = Meter::default();
        meter.round();
        assert!(alive(&meter, now() + 100_000).is_well);
        let stuck = alive(&meter, meter.round_at() + 151_000);
        assert_eq!(stuck.reasons, ["nobody has looked at the leases for 151 s"]);
    }

    #[test]
    fn a_process_is_ready_when_it_has_shards_or_there_are_none_to_take() {
        let meter = Meter::default();
        meter.round();
        let reasons = || ready(&meter, now()).reasons;
        assert_eq!(reasons(), ["the lease table has not been read yet"]);
        meter.free_leases(2);
        assert_eq!(reasons(), ["no shard is read here, and 2 are free"]);
        meter.begun("shard-0", None, None);
        assert_eq!(reasons(), [""; 0]);
        meter.left("shard-0");
        meter.free_leases(0);
        assert_eq!(reasons(), [""; 0], "others read all of them");
    }

    #[test]
    fn a_service_that_owes_an_answer_for_long_makes_the_process_unready() {
        let meter = Meter::default();
        meter.round();
        meter.free_leases(0);
        let (first, second) = (meter.call(Service::Index), meter.call(Service::Index));
        let begun = meter.failing_since(Service::Index);
        drop(meter.call(Service::Index));
        assert_eq!(meter.failing_since(Service::Index), begun, "a call that is given up is no answer");
        assert!(ready(&meter, now()).is_well, "an answer takes its time");
        let later = now() + 31_000;
        assert_eq!(ready(&meter, later).reasons, ["the index has not answered well for 31 s"]);
        first.ended(Ended::Well);
        assert!(!ready(&meter, later).is_well, "another one is owed");
        drop(second);
        assert!(ready(&meter, later).is_well, "nobody waits any more");
    }

    #[test]
    fn a_service_that_does_not_answer_makes_the_process_unready_and_not_dead() {
        let meter = Meter::default();
        meter.round();
        meter.free_leases(0);
        meter.called(Service::Archive, Ended::Badly);
        assert!(ready(&meter, now()).is_well, "a call may fail");
        let later = now() + 31_000;
        assert_eq!(ready(&meter, later).reasons, ["the archive has not answered well for 31 s"]);
        assert!(alive(&meter, later).is_well);
        meter.called(Service::Archive, Ended::Well);
        meter.bulks(1, 0, true);
        assert_eq!(ready(&meter, later).reasons, ["the index refuses us"]);
    }
}
