//! Which connections receive the frames of an event: those that watch its ticket, and those of its
//! owner.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    rc::Rc,
};

use super::{connection::Connection, watch::Watch};
use crate::domain::{TicketId, UserId};

/// Connections by their number, so that within one group events are delivered in the order in which
/// the connections arrived.
pub type ConnectionGroup = BTreeMap<u64, Rc<Connection>>;

/// The connections of one shard, by what they receive. Only live connections are among the
/// watchers: one that replays missed events reads them by itself.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// Live connections that watch all tickets.
    watching_all: ConnectionGroup,
    /// Live connections that watch some tickets, by ticket.
    watching: HashMap<TicketId, ConnectionGroup>,
    /// Connections of signed-in users, live or not.
    by_user: HashMap<UserId, ConnectionGroup>,
}

impl Subscriptions {
    /// Adds a new connection to those of its user and, if it is live, to the watchers.
    pub fn add(&mut self, connection: &Rc<Connection>) {
        if let Some(user) = connection.user() {
            self.by_user.entry(user).or_default().insert(connection.number, connection.clone());
        }
        if connection.is_live() {
            self.add_watcher(connection);
        }
    }

    /// Adds a live connection to the watchers of the tickets that it watches.
    pub fn add_watcher(&mut self, connection: &Rc<Connection>) {
        match &connection.state().watch {
            Watch::All => {
                self.watching_all.insert(connection.number, connection.clone());
            }
            Watch::These(tickets) => {
                for ticket in tickets {
                    self.watching
                        .entry(*ticket)
                        .or_default()
                        .insert(connection.number, connection.clone());
                }
            }
        }
    }

    /// Changes the tickets that a connection watches.
    pub fn set_watch(&mut self, connection: &Rc<Connection>, watch: Watch) {
        self.remove_watcher(connection);
        connection.state_mut().watch = watch;
        if connection.is_live() {
            self.add_watcher(connection);
        }
    }

    /// Removes a connection that is over.
    pub fn remove(&mut self, connection: &Connection) {
        self.remove_watcher(connection);
        if let Some(user) = connection.user() {
            remove_from_group(&mut self.by_user, &user, connection);
        }
    }

    fn remove_watcher(&mut self, connection: &Connection) {
        self.watching_all.remove(&connection.number);
        if let Watch::These(tickets) = &connection.state().watch {
            for ticket in tickets {
                remove_from_group(&mut self.watching, ticket, connection);
            }
        }
    }

    /// Returns the live connections that receive the public frames of a ticket.
    pub fn watchers(&self, ticket: TicketId) -> impl Iterator<Item = &Rc<Connection>> {
        self.watching_all.values().chain(group(&self.watching, &ticket))
    }

    /// Returns the connections of a user, live or not.
    pub fn of_user(&self, user: UserId) -> impl Iterator<Item = &Rc<Connection>> {
        group(&self.by_user, &user)
    }

    /// Returns the connections of all signed-in users, live or not.
    pub fn of_all_users(&self) -> impl Iterator<Item = &Rc<Connection>> {
        self.by_user.values().flat_map(ConnectionGroup::values)
    }
}

fn group<'a, K: Hash + Eq>(
    groups: &'a HashMap<K, ConnectionGroup>,
    key: &K,
) -> impl Iterator<Item = &'a Rc<Connection>> + use<'a, K> {
    groups.get(key).map(ConnectionGroup::values).into_iter().flatten()
}

/// Removes a connection from a group, and removes the group if it is then empty.
fn remove_from_group<K: Hash + Eq>(
    groups: &mut HashMap<K, ConnectionGroup>,
    key: &K,
    connection: &Connection,
) {
    if let Some(group) = groups.get_mut(key) {
        group.remove(&connection.number);
        if group.is_empty() {
            groups.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::rt::net::TcpStream;
    use bytes::Bytes;
    use tokio::net::TcpListener;
    use uuid::Uuid;

    use super::*;
    use crate::{
        domain::{SessionDigest, Timestamp},
        store::Cursor,
        ws::{SocketLimits, Viewer, connection::NewConnection},
    };

    fn user(n: u128) -> UserId {
        UserId::new(Uuid::from_u128(n))
    }

    fn ticket(n: u128) -> TicketId {
        TicketId::new(Uuid::from_u128(n))
    }

    fn these(tickets: impl IntoIterator<Item = u128>) -> Watch {
        Watch::These(tickets.into_iter().map(ticket).collect())
    }

    /// Returns a live connection that watches all tickets.
    async fn connection(number: u64, user: Option<UserId>) -> Rc<Connection> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("the listener is bound");
        let socket = TcpStream::connect(addr).await.expect("a connection");
        let viewer = user.map(|user| Viewer {
            user,
            session: SessionDigest::new("phone".to_owned()),
            expires_at: Timestamp(i64::MAX),
        });
        let (head, after) = (Bytes::new(), Cursor::default());
        let new = NewConnection { number, viewer, socket, head, after, replay: None };
        Rc::new(Connection::new(new, &SocketLimits::default()))
    }

    fn numbers<'a>(connections: impl Iterator<Item = &'a Rc<Connection>>) -> Vec<u64> {
        connections.map(|connection| connection.number).collect()
    }

    #[actix::test]
    async fn watchers_of_a_ticket_are_those_of_all_tickets_and_those_that_name_it() {
        let mut subscriptions = Subscriptions::default();
        let (first, second) = (connection(1, None).await, connection(2, None).await);
        subscriptions.add(&first);
        subscriptions.add(&second);
        assert_eq!(numbers(subscriptions.watchers(ticket(7))), [1, 2]);
        subscriptions.set_watch(&first, these([7, 8]));
        assert_eq!(numbers(subscriptions.watchers(ticket(7))), [2, 1]);
        assert_eq!(numbers(subscriptions.watchers(ticket(9))), [2]);
        subscriptions.set_watch(&first, these([9]));
        assert_eq!(numbers(subscriptions.watchers(ticket(7))), [2]);
        assert_eq!(numbers(subscriptions.watchers(ticket(9))), [2, 1]);
    }

    #[actix::test]
    async fn connections_of_a_user_are_found_whatever_they_watch() {
        let mut subscriptions = Subscriptions::default();
        for (number, user) in [(1, Some(user(1))), (2, Some(user(2))), (3, None)] {
            subscriptions.add(&connection(number, user).await);
        }
        let phone = connection(4, Some(user(1))).await;
        subscriptions.add(&phone);
        subscriptions.set_watch(&phone, these([]));
        assert_eq!(numbers(subscriptions.of_user(user(1))), [1, 4]);
        assert_eq!(subscriptions.of_user(user(3)).count(), 0);
        let mut all = numbers(subscriptions.of_all_users());
        all.sort_unstable();
        assert_eq!(all, [1, 2, 4]);
    }

    #[actix::test]
    async fn removed_connection_leaves_no_group() {
        let mut subscriptions = Subscriptions::default();
        let connection = connection(1, Some(user(1))).await;
        subscriptions.add(&connection);
        subscriptions.set_watch(&connection, these([7, 8]));
        subscriptions.remove(&connection);
        let Subscriptions { watching_all, watching, by_user } = &subscriptions;
        assert!(watching_all.is_empty() && watching.is_empty() && by_user.is_empty());
        assert_eq!(Rc::strong_count(&connection), 1);
    }
}
