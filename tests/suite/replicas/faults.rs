//! What can break, and how it is done to real processes.

use std::time::Duration;

use bson::doc;
use rand::{RngExt, rngs::StdRng, seq::SliceRandom};

use super::{
    fleet::Fleet,
    members::Members,
    network::{Cut, Node},
};
use crate::app::Server;

/// A kind of fault; whom it hits is drawn when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A server: kill -9, and started again.
    KillServer,
    /// Two of three at once.
    KillTwoServers,
    /// A server: SIGSTOP for longer than a lock lasts, SIGCONT.
    PauseServer,
    /// A server is cut off from all of MongoDB.
    CutServer,
    /// A server is cut off from the primary alone.
    CutServerFromPrimary,
    /// SIGTERM to one server after the other.
    RollingRestart,
    /// Another process under a server's name, beside it.
    SecondProcess,
    /// The primary: kill -9, and started again.
    KillPrimary,
    KillSecondary,
    /// The primary: SIGSTOP; it wakes and does not know that another was elected.
    PausePrimary,
    StepDown,
    /// The primary is cut off from the other members, not from the servers.
    CutPrimaryFromMembers,
    /// The primary is cut off from everybody.
    IsolatePrimary,
    /// All commands take long.
    SlowCommands,
    /// Commands fail, or their connections are closed, every now and then.
    FailingCommands,
}

/// What has to be undone.
#[derive(Debug)]
pub struct Begun {
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

    /// The fault of each round: every kind before any comes a second time.
    pub fn of_round(seed: u64, round: u64) -> Self {
        let count = Self::ALL.len() as u64;
        let mut deck = Self::ALL;
        deck.shuffle(&mut <StdRng as rand::SeedableRng>::seed_from_u64(seed.wrapping_add(round / count)));
        deck[usize::try_from(round % count).expect("fifteen")]
    }

    /// Whether MongoDB itself is hit, so that no replica may be able to write for a while.
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

    /// How long it lasts.
    pub fn lasts(self, random: &mut StdRng) -> Duration {
        let millis = match self {
            // Longer than a lock.
            Self::PauseServer | Self::PausePrimary | Self::CutServer | Self::IsolatePrimary => random.random_range(2_500..5_000),
            Self::RollingRestart | Self::StepDown => random.random_range(100..500),
            _ => random.random_range(500..4_000),
        };
        Duration::from_millis(millis)
    }

    /// Does it.
    pub async fn begin(self, fleet: &mut Fleet, members: &mut Members, random: &mut StdRng) -> Begun {
        let server = random.random_range(0..Fleet::COUNT);
        let how = Cut::ALL[random.random_range(0..Cut::ALL.len())];
        let primary = if self.needs_primary() { members.primary().await } else { 0 };
        let mut begun = Begun { fault: self, servers: Vec::new(), members: Vec::new(), cut: Vec::new(), second: None };
        match self {
            Self::KillServer | Self::KillTwoServers => {
                let many = if self == Self::KillServer { 1 } else { 2 };
                begun.servers = (server..server + many).map(|number| number % Fleet::COUNT).collect();
                begun.servers.iter().for_each(|server| fleet.kill(*server));
            }
            Self::PauseServer => {
                fleet.pause(server);
                begun.servers = vec![server];
            }
            Self::CutServer => begun.cut(fleet.node(server).clone(), &members.nodes(), how),
            Self::CutServerFromPrimary => begun.cut(fleet.node(server).clone(), &[members.get(primary).node.clone()], how),
            Self::RollingRestart => {
                for number in 0..Fleet::COUNT {
                    fleet.restart((server + number) % Fleet::COUNT).await;
                }
            }
            Self::SecondProcess => begun.second = Some(fleet.second(server).await),
            Self::KillPrimary => {
                members.get_mut(primary).kill();
                begun.members = vec![primary];
            }
            Self::KillSecondary => {
                let secondary = (primary + 1) % Members::COUNT;
                members.get_mut(secondary).kill();
                begun.members = vec![secondary];
            }
            Self::PausePrimary => {
                members.get(primary).pause();
                begun.members = vec![primary];
            }
            Self::StepDown => members.get(primary).step_down().await,
            Self::CutPrimaryFromMembers => begun.cut(members.get(primary).node.clone(), &members.peers_of(primary), how),
            Self::IsolatePrimary => {
                let mut others = members.peers_of(primary);
                others.extend((0..Fleet::COUNT).map(|number| fleet.node(number).clone()));
                begun.cut(members.get(primary).node.clone(), &others, how);
            }
            Self::SlowCommands => {
                let commands = ["find", "aggregate", "update", "insert", "findAndModify", "commitTransaction"];
                let millis: i32 = random.random_range(100..2_500);
                let slow = doc! { "failCommands": commands.to_vec(), "blockConnection": true, "blockTimeMS": millis };
                members.get(primary).ail(doc! { "activationProbability": 0.5 }, slow).await;
                begun.members = vec![primary];
            }
            Self::FailingCommands => {
                let commands = ["find", "aggregate", "getMore", "update", "insert", "findAndModify", "commitTransaction", "hello"];
                let mut failing = doc! { "failCommands": commands.to_vec() };
                match random.random_bool(0.5) {
                    true => failing.insert("closeConnection", true),
                    // Interrupted due to a change of the replica set's state.
                    false => failing.insert("errorCode", 11602),
                };
                members.get(primary).ail(doc! { "activationProbability": 0.3 }, failing).await;
                begun.members = vec![primary];
            }
        }
        begun
    }

    fn needs_primary(self) -> bool {
        self.hits_store() || self == Self::CutServerFromPrimary
    }
}

impl Begun {
    fn cut(&mut self, node: Node, others: &[Node], how: Cut) {
        node.cut(others, how);
        self.cut.push(node);
    }

    /// The servers that cannot answer, and are not expected to.
    pub fn is_gone(&self, server: usize) -> bool {
        self.servers.contains(&server)
    }

    /// The server that runs and has no MongoDB, if there is one.
    pub fn cut_off(&self, fleet: &Fleet) -> Option<usize> {
        let is_it = |number: &usize| self.fault == Fault::CutServer && self.cut.contains(fleet.node(*number));
        (0..Fleet::COUNT).find(is_it)
    }

    /// Undoes it; what was killed is started again.
    pub async fn end(mut self, fleet: &mut Fleet, members: &mut Members) {
        self.cut.iter().for_each(Node::heal);
        // Dropping kills.
        self.second = None;
        for member in &self.members {
            match self.fault {
                Fault::KillPrimary | Fault::KillSecondary => members.get_mut(*member).start(),
                Fault::PausePrimary => members.get(*member).wake(),
                _ => members.get(*member).well().await,
            }
        }
        for server in &self.servers {
            match self.fault {
                Fault::PauseServer => fleet.wake(*server),
                _ => fleet.revive(*server).await,
            }
        }
    }
}
