//! Measures session layers beside each other: `compare <contender> <place> <scenario> <requests>` serves that many
//! requests for callgrind and counts allocations, `compare check` shows that every contender does what its scenarios
//! say, `compare bytes` and `compare threads` give the second table. `./run` calls it and prints the tables.
//!
//! What is measured is a future's polling and the dropping of the answer's head, in functions named `measured_*`;
//! making requests, keeping cookies as a client does and reading bodies are outside them.

mod allocations;
mod client;
mod contenders;
mod measure;
mod scenario;

use std::process::ExitCode;

use contenders::Contender;
use scenario::{Place, Scenario};

const USAGE: &str = "usage: compare list | check | <contender> <place> <scenario> <requests> | bytes <contender> <sessions> | threads <contender> <requests>";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["list"] => list(),
        ["check"] => check(),
        ["bytes", contender, sessions] => bytes(contender, sessions),
        ["threads", contender, requests] => threads(contender, requests),
        [contender, place, scenario, requests] => requests_of(contender, place, scenario, requests),
        _ => None,
    };
    if done.is_none() {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    }
    ExitCode::SUCCESS
}

/// Prints every contender, place and scenario there is, one a line.
fn list() -> Option<()> {
    for contender in Contender::ALL {
        for place in Place::ALL.into_iter().filter(|place| contender.has(*place)) {
            for scenario in Scenario::ALL.into_iter().filter(|scenario| contender.runs(*scenario)) {
                println!("{} {} {}", contender.name(), place.name(), scenario.name());
            }
        }
    }
    Some(())
}

fn check() -> Option<()> {
    for contender in Contender::ALL {
        for place in Place::ALL.into_iter().filter(|place| contender.has(*place)) {
            contender.check(place);
            println!("{} {}: ok", contender.name(), place.name());
        }
    }
    Some(())
}

fn requests_of(contender: &str, place: &str, scenario: &str, requests: &str) -> Option<()> {
    let (contender, place, scenario) = (Contender::of(contender)?, Place::of(place)?, Scenario::of(scenario)?);
    let requests: u64 = requests.parse().ok().filter(|_| contender.has(place))?;
    let allocations = contender.measure(place, scenario, requests);
    println!("allocations {:.2}", allocations as f64 / requests as f64);
    Some(())
}

fn bytes(contender: &str, sessions: &str) -> Option<()> {
    let (contender, sessions) = (Contender::of(contender)?, sessions.parse().ok()?);
    let (live, resident) = contender.bytes(sessions)?;
    println!("live {:.0} resident {:.0}", live as f64 / sessions as f64, resident as f64 / sessions as f64);
    Some(())
}

fn threads(contender: &str, requests: &str) -> Option<()> {
    let (contender, requests) = (Contender::of(contender)?, requests.parse().ok()?);
    let speedup = contender.speedup(requests)?;
    println!("{speedup:.2}");
    Some(())
}
