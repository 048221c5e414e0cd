//! The kinds of faults, and how each is applied to real processes.

use std::time::Duration;

use bson::doc;
use rand::{RngExt, rngs::StdRng, seq::SliceRandom};

use super::{
    fleet::Fleet,
    members::Members,
    network::{Cut, Node},
};
use crate::app::Server;

/// Kind of fault; the target is drawn when the fault begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// One server: kill -9, then a new start.
    KillServer,
    /// Two of three servers at once.
    KillTwoServers,
    /// One server: SIGSTOP for longer than a lock, then SIGCONT.
    PauseServer,
    /// One server is cut off from all members of MongoDB.
    CutServer,
    /// One server is cut off from the primary only.
    CutServerFromPrimary,
    /// SIGTERM to one server after another.
    RollingRestart,
    /// A second process under the name of a running server.
    SecondProcess,
    /// The primary: kill -9, then a new start.
    KillPrimary,
    KillSecondary,
    /// The primary: SIGSTOP, then SIGCONT; it does not notice that another was elected.
    PausePrimary,
    StepDown,
    /// The primary is cut off from the other members, but not from the servers.
    CutPrimaryFromMembers,
    /// The primary is cut off from all members and servers.
    IsolatePrimary,
    /// All commands are slow.
    SlowCommands,
    /// Commands fail at random, or their connections are closed.
    FailingCommands,
}

/// Fault in effect, with the state that [`ActiveFault::end`] reverts.
#[derive(Debug)]
pub struct ActiveFault {
    pub fault: Fault,
    servers: Vec<usize>,
    members: Vec<usize>,
    cut: Vec<Node>,
    second: Option<Server>,
}

impl Fault {
    pub const ALL: [Self; 15] = [
        Self::KillServer,
        Self::KillTwoServers,
        Self::PauseServer,
        Self::CutServer,
        Self::CutServerFromPrimary,
        Self::RollingRestart,
        Self::SecondProcess,
        Self::KillPrimary,
        Self::KillSecondary,
        Self::PausePrimary,
        Self::StepDown,
        Self::CutPrimaryFromMembers,
        Self::IsolatePrimary,
        Self::SlowCommands,
        Self::FailingCommands,
    ];

    /// Returns the fault of a round: every kind occurs before any kind occurs again.
    pub fn of_round(seed: u64, round: u64) -> Self {
        let count = Self::ALL.len() as u64;
        let mut order = Self::ALL;
        order.shuffle(&mut <StdRng as rand::SeedableRng>::seed_from_u64(
            seed.wrapping_add(round / count),
        ));
        order[usize::try_from(round % count).expect("fifteen")]
    }

    /// Returns whether MongoDB itself is affected, so that for a while no replica may be able to
    /// write.
    pub fn hits_store(self) -> bool {
        !matches!(
            self,
            Self::KillServer
                | Self::KillTwoServers
                | Self::PauseServer
                | Self::CutServer
                | Self::CutServerFromPrimary
                | Self::RollingRestart
                | Self::SecondProcess
        )
    }

    /// Draws the duration of the fault.
    pub fn duration(self, random: &mut StdRng) -> Duration {
        let millis = match self {
            // Longer than a lock.
            Self::PauseServer | Self::PausePrimary | Self::CutServer | Self::IsolatePrimary => {
                random.random_range(2_500..5_000)
            }
            Self::RollingRestart | Self::StepDown => random.random_range(100..500),
            _ => random.random_range(500..4_000),
        };
        Duration::from_millis(millis)
    }

    /// Applies the fault.
    pub async fn begin(
        self,
        fleet: &mut Fleet,
        members: &mut Members,
        random: &mut StdRng,
    ) -> ActiveFault {
        let server = random.random_range(0..Fleet::COUNT);
        let how = Cut::ALL[random.random_range(0..Cut::ALL.len())];
        let primary = if self.needs_primary() { members.primary().await } else { 0 };
        let mut active = ActiveFault {
            fault: self,
            servers: Vec::new(),
            members: Vec::new(),
            cut: Vec::new(),
            second: None,
        };
        match self {
            Self::KillServer | Self::KillTwoServers => {
                let many = if self == Self::KillServer { 1 } else { 2 };
                active.servers =
                    (server..server + many).map(|number| number % Fleet::COUNT).collect();
                active.servers.iter().for_each(|server| fleet.kill(*server));
            }
            Self::PauseServer => {
                fleet.pause(server);
                active.servers = vec![server];
            }
            Self::CutServer => active.cut(fleet.node(server).clone(), &members.nodes(), how),
            Self::CutServerFromPrimary => {
                active.cut(fleet.node(server).clone(), &[members.get(primary).node.clone()], how)
            }
            Self::RollingRestart => {
                for number in 0..Fleet::COUNT {
                    fleet.restart((server + number) % Fleet::COUNT).await;
                }
            }
            Self::SecondProcess => active.second = Some(fleet.start_second(server).await),
            Self::KillPrimary => {
                members.get_mut(primary).kill();
                active.members = vec![primary];
            }
            Self::KillSecondary => {
                let secondary = (primary + 1) % Members::COUNT;
                members.get_mut(secondary).kill();
                active.members = vec![secondary];
            }
            Self::PausePrimary => {
                members.get(primary).pause();
                active.members = vec![primary];
            }
            Self::StepDown => members.get(primary).step_down().await,
            Self::CutPrimaryFromMembers => {
                active.cut(members.get(primary).node.clone(), &members.peers_of(primary), how)
            }
            Self::IsolatePrimary => {
                let mut others = members.peers_of(primary);
                others.extend((0..Fleet::COUNT).map(|number| fleet.node(number).clone()));
                active.cut(members.get(primary).node.clone(), &others, how);
            }
            Self::SlowCommands => {
                let commands =
                    ["find", "aggregate", "update", "insert", "findAndModify", "commitTransaction"];
                let millis: i32 = random.random_range(100..2_500);
                let slow = doc! { "failCommands": commands.to_vec(), "blockConnection": true, "blockTimeMS": millis };
                members.get(primary).set_fault(doc! { "activationProbability": 0.5 }, slow).await;
                active.members = vec![primary];
            }
            Self::FailingCommands => {
                let commands = [
                    "find",
                    "aggregate",
                    "getMore",
                    "update",
                    "insert",
                    "findAndModify",
                    "commitTransaction",
                    "hello",
                ];
                let mut failing = doc! { "failCommands": commands.to_vec() };
                match random.random_bool(0.5) {
                    true => failing.insert("closeConnection", true),
                    // Interrupted due to a change of the replica set's state.
                    false => failing.insert("errorCode", 11602),
                };
                members
                    .get(primary)
                    .set_fault(doc! { "activationProbability": 0.3 }, failing)
                    .await;
                active.members = vec![primary];
            }
        }
        active
    }

    fn needs_primary(self) -> bool {
        self.hits_store() || self == Self::CutServerFromPrimary
    }
}

impl ActiveFault {
    fn cut(&mut self, node: Node, others: &[Node], how: Cut) {
        node.cut(others, how);
        self.cut.push(node);
    }

    /// Returns whether this server is killed or stopped, so that no answer is expected.
    pub fn is_down(&self, server: usize) -> bool {
        self.servers.contains(&server)
    }

    /// Returns the server that runs without MongoDB, if there is one.
    pub fn cut_off(&self, fleet: &Fleet) -> Option<usize> {
        let is_it = |number: &usize| {
            self.fault == Fault::CutServer && self.cut.contains(fleet.node(*number))
        };
        (0..Fleet::COUNT).find(is_it)
    }

    /// Reverts the fault; killed processes are started again.
    pub async fn end(mut self, fleet: &mut Fleet, members: &mut Members) {
        self.cut.iter().for_each(Node::heal);
        // Dropping the server kills its process.
        self.second = None;
        for member in &self.members {
            match self.fault {
                Fault::KillPrimary | Fault::KillSecondary => members.get_mut(*member).start(),
                Fault::PausePrimary => members.get(*member).resume(),
                _ => members.get(*member).clear_fault().await,
            }
        }
        for server in &self.servers {
            match self.fault {
                Fault::PauseServer => fleet.resume(*server),
                _ => fleet.start_until_ready(*server).await,
            }
        }
    }
}
