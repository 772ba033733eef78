//! The works that are measured, each with the load that its row in docs/performance.md names. What is common to them: connections
//! are opened, the load runs once to warm up and once to be measured, and the server's processor time is that of the second.

use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::{
    BenchError, Plan, Tokens,
    report::{Report, micros, number},
    speech::Door,
    swarm::{AT_ONCE, Class, Pace, Swarm},
};
use crate::process::{Process, Usage};

/// Messages that each member misses in a storm.
const MISSED: u32 = 50;
/// Users whose reconnects come at once: as many as a listener's backlog takes.
const STORM_AT_ONCE: usize = 1_000;

/// A work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scenario {
    /// 1 room of 1,000 members, 40 messages a second.
    Room,
    /// 1 room of 1,000 members, 200 messages a second.
    BusyRoom,
    /// 1 room of 1,000 members, as fast as it goes.
    Flood,
    /// 100 rooms of 10 members, 1,000 messages a second.
    Rooms,
    /// 50 senders, each in its own room, each waits for its own message.
    Wait,
    /// 10 rooms, 20,000 messages a second, stored and acked.
    Store,
    /// 5,000 connections that do nothing.
    Idle,
    /// Opening 2,000 connections of known users.
    Open,
    /// 3,000 connections lost and resumed at once, 50 messages missed by each.
    Storm,
    /// A room of 10,000 members with a message a second, beside 10 rooms of 10 with 100.
    Huge,
    /// The same deliveries a second to rooms of 100, 1,000 and 10,000 members.
    GrowthMembers,
    /// The same messages a second in 1, 100 and 1,000 rooms, of one member and of ten, and in 10,000 of one.
    GrowthRooms,
    /// Bare writes of such frames to 1,000 connections, without any hub: what the kernel takes, and how fast this generator is.
    Floor,
}

/// A server to measure.
pub(super) struct Bench {
    pub(super) door: Door,
    pub(super) processes: Vec<Process>,
    pub(super) metrics_token: String,
    pub(super) plan: Plan,
}

impl Bench {
    /// Runs what the plan says.
    pub(super) fn run(&self, tokens: &dyn Fn() -> Result<Tokens, BenchError>) -> Result<Report, BenchError> {
        let usual = |rooms, members, pace| Class { rooms, members, senders: 1, pace };
        let swarm = |classes: Vec<Class>| Swarm::new(self.door.clone(), tokens()?, classes, self.plan.body);
        let scenario = self.plan.scenario;
        let name = scenario.and_then(|scenario| scenario.to_possible_value());
        let name = name.as_ref().map_or("load", clap::builder::PossibleValue::get_name);
        let one = |class: Class| {
            let class = self.plan.class(class)?;
            self.load(name, swarm(vec![class])?)
        };
        // Where a process may not have so many sockets, `--members` says how many.
        let most = self.plan.members.unwrap_or(10_000);
        match scenario {
            None | Some(Scenario::Floor) => one(usual(1, 100, Pace::Rate(40.0))),
            Some(Scenario::Room) => one(usual(1, 1_000, Pace::Rate(40.0))),
            Some(Scenario::BusyRoom) => one(usual(1, 1_000, Pace::Rate(200.0))),
            Some(Scenario::Flood) => one(Class { senders: 4, ..usual(1, 1_000, Pace::Window(50)) }),
            Some(Scenario::Rooms) => one(usual(100, 10, Pace::Rate(1_000.0))),
            Some(Scenario::Wait) => one(usual(50, 1, Pace::Window(1))),
            Some(Scenario::Store) => one(usual(10, 1, Pace::Rate(20_000.0))),
            Some(Scenario::Idle) => self.idle(name, swarm(vec![self.plan.class(usual(500, 10, Pace::Rate(1.0)))?])?),
            Some(Scenario::Open) => self.open(name, swarm(vec![self.plan.class(usual(200, 10, Pace::Rate(1.0)))?])?),
            Some(Scenario::Storm) => self.storm(name, swarm(vec![self.plan.class(usual(30, 100, Pace::Rate(1.0)))?])?),
            Some(Scenario::Huge) => {
                let huge = self.plan.class(usual(1, 10_000, Pace::Rate(1.0)))?;
                self.huge(name, swarm(vec![huge, usual(10, 10, Pace::Rate(100.0))])?)
            }
            Some(Scenario::GrowthMembers) => {
                let rate = |members: u32| 20_000.0 / f64::from(members);
                let steps = [100, 1_000, most].map(|members| (1, members, rate(members)));
                self.growth(name, &swarm, &[&[(1, 1, rate(100))][..], &steps].concat())
            }
            Some(Scenario::GrowthRooms) => {
                let both = [1, 100, most / 10].map(|rooms| [(rooms, 1, 1_000.0), (rooms, 10, 1_000.0)]);
                self.growth(name, &swarm, &[both.as_flattened(), &[(most, 1, 1_000.0)]].concat())
            }
        }
    }

    fn usage(&self) -> Usage {
        self.processes.iter().map(Process::usage).fold(Usage::default(), |sum, usage| Usage {
            cpu: sum.cpu.saturating_add(usage.cpu),
            resident_bytes: sum.resident_bytes.saturating_add(usage.resident_bytes),
        })
    }

    fn cpu(&self, since: Usage) -> Duration {
        self.usage().cpu.saturating_sub(since.cpu)
    }

    fn load(&self, name: &str, mut swarm: Swarm) -> Result<Report, BenchError> {
        let mut report = Report::new(name, format!("{}, {} characters", swarm.describe(), self.plan.body));
        self.opened(&mut report, &mut swarm, AT_ONCE)?;
        swarm.run(self.plan.warmup)?;
        let before = self.usage();
        let tally = swarm.run(self.plan.time)?;
        report.count(&tally, self.cpu(before));
        report.set("resident_mb", number(self.usage().resident_bytes) / 1_048_576.0);
        Ok(report)
    }

    /// Opens the connections and notes what each took.
    fn opened(&self, report: &mut Report, swarm: &mut Swarm, at_once: usize) -> Result<(), BenchError> {
        let (before, start) = (self.usage(), Instant::now());
        let opened = number(u64::try_from(swarm.open(at_once)?.max(1)).unwrap_or(u64::MAX));
        let after = self.usage();
        let cpu = after.cpu.saturating_sub(before.cpu);
        let grown = after.resident_bytes.saturating_sub(before.resident_bytes);
        report.set("opening_cpu_us", micros(cpu) / opened);
        report.set("opened_per_cpu_s", opened / cpu.as_secs_f64());
        report.set("opened_per_s", opened / start.elapsed().as_secs_f64());
        report.set("resident_kb_per_connection", number(grown) / 1_024.0 / opened);
        Ok(())
    }

    fn idle(&self, name: &str, mut swarm: Swarm) -> Result<Report, BenchError> {
        let mut report = Report::new(name, format!("{}, for {:?}", swarm.describe(), self.plan.time));
        self.opened(&mut report, &mut swarm, AT_ONCE)?;
        swarm.idle(self.plan.warmup)?;
        let before = self.usage();
        swarm.idle(self.plan.time)?;
        report.set("cpu_percent", 100.0 * self.cpu(before).as_secs_f64() / self.plan.time.as_secs_f64());
        report.set("resident_mb", number(self.usage().resident_bytes) / 1_048_576.0);
        Ok(report)
    }

    /// Opens all twice: the first time makes the users.
    fn open(&self, name: &str, mut swarm: Swarm) -> Result<Report, BenchError> {
        let mut report = Report::new(name, swarm.describe());
        swarm.open(AT_ONCE)?;
        swarm.drop_all(0);
        swarm.idle(self.plan.warmup)?;
        self.opened(&mut report, &mut swarm, AT_ONCE)?;
        Ok(report)
    }

    fn storm(&self, name: &str, mut swarm: Swarm) -> Result<Report, BenchError> {
        let mut report = Report::new(name, format!("{}, {MISSED} messages missed by each", swarm.describe()));
        swarm.open(AT_ONCE)?;
        // One of each room stays and writes.
        swarm.drop_all(1);
        swarm.idle(self.plan.warmup)?;
        swarm.send_each(MISSED)?;
        let pages = self.pages_read();
        let before = self.usage();
        self.opened(&mut report, &mut swarm, STORM_AT_ONCE)?;
        let tally = swarm.counted();
        report.set("cpu_us_per_delivery", micros(self.cpu(before)) / number(tally.received.max(1)));
        report.set("replayed", number(tally.received));
        report.set("doubled_or_out_of_order", number(tally.wrong));
        report.whole = tally.is_whole();
        if let (Some(before), Some(after)) = (pages, self.pages_read()) {
            report.set("pages_read_from_the_database", after - before);
        }
        Ok(report)
    }

    /// First the small rooms alone, then beside the huge one.
    fn huge(&self, name: &str, mut swarm: Swarm) -> Result<Report, BenchError> {
        let mut report = Report::new(name, swarm.describe());
        swarm.open(AT_ONCE)?;
        let pace = swarm.set_pace(0, Pace::Window(0));
        swarm.run(self.plan.warmup)?;
        let alone = swarm.run(self.plan.time)?;
        swarm.set_pace(0, pace);
        let before = self.usage();
        let tally = swarm.run(self.plan.time)?;
        report.count(&tally, self.cpu(before));
        if let Some(small) = alone.delivery.get(1) {
            report.latencies("delivery_of_class_1_alone", small);
        }
        report.whole &= alone.is_whole();
        Ok(report)
    }

    fn growth(
        &self,
        name: &str,
        swarm: &dyn Fn(Vec<Class>) -> Result<Swarm, BenchError>,
        steps: &[(u32, u32, f64)],
    ) -> Result<Report, BenchError> {
        let mut report = Report::new(name, format!("{} steps", steps.len()));
        // What a message costs by itself, with one member that has it: the last such step before.
        let mut of_message = 0.0;
        for &(rooms, members, rate) in steps {
            let mut swarm = swarm(vec![Class { rooms, members, senders: 1, pace: Pace::Rate(rate) }])?;
            let empty = self.usage();
            swarm.open(AT_ONCE)?;
            // A room's first message makes its row: that belongs to no message's cost.
            let each = Duration::from_secs_f64(f64::from(rooms) / rate);
            swarm.run(self.plan.warmup.max(each))?;
            let before = self.usage();
            let tally = swarm.run(self.plan.time)?;
            let cpu = micros(self.cpu(before));
            let (messages, deliveries) = (number(tally.acked.max(1)), number(tally.received.max(1)));
            let step = format!("{rooms}_rooms_of_{members}");
            if members == 1 {
                of_message = cpu / messages;
                report.set(&format!("{step}_cpu_us_per_message"), of_message);
            } else {
                let marginal = (cpu - of_message * messages) / (deliveries - messages).max(1.0);
                report.set(&format!("{step}_marginal_cpu_us_per_delivery"), marginal);
            }
            let grown = self.usage().resident_bytes.saturating_sub(empty.resident_bytes);
            report.set(
                &format!("{step}_resident_kb_per_connection"),
                number(grown) / 1_024.0 / f64::from(rooms.saturating_mul(members)),
            );
            report.whole &= tally.is_whole();
        }
        Ok(report)
    }

    /// Pages of events that the hub has read from its database, where `server.metrics_token` lets one ask.
    fn pages_read(&self) -> Option<f64> {
        let answer = ureq::get(format!("http://{}/metrics", self.door.host))
            .header("Authorization", format!("Bearer {}", self.metrics_token))
            .call();
        let text = answer.ok()?.body_mut().read_to_string().ok()?;
        text.lines().find_map(|line| line.strip_prefix("hubbub_pages_read_total "))?.trim().parse().ok()
    }
}
