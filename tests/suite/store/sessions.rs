//! Sessions: opened over a verified user, ended one by one or all together.

use std::sync::Arc;

use gittix::{
    domain::{Session, SessionDigest},
    store::{CommitError, Store, Write},
};

use super::samples::*;

async fn found(store: &Arc<dyn Store>, name: &str) -> Option<Session> {
    store.session(&digest(name)).await.expect("read")
}

pub async fn a_session_opens_over_the_version_that_was_verified(store: Arc<dyn Store>) {
    assert_eq!(store.commit(quiet(vec![open("early", 1, 0)])).await, Err(CommitError::Stale), "there is no such user");
    written(&store, vec![Write::User(user(1, "ann@example.com", 0))]).await;
    written(&store, vec![open("a", 1, 0)]).await;
    assert_eq!(found(&store, "a").await, Some(session("a", 1)));
    written(&store, vec![Write::User(user(1, "ann@example.com", 1))]).await;
    assert_eq!(store.commit(quiet(vec![open("b", 1, 0)])).await, Err(CommitError::Stale), "the password changed");
    assert_eq!(found(&store, "b").await, None);
    written(&store, vec![open("b", 1, 1)]).await;
    assert_eq!(found(&store, "b").await, Some(session("b", 1)));
}

pub async fn a_sign_up_opens_its_session_in_the_same_commit(store: Arc<dyn Store>) {
    written(&store, vec![Write::User(user(1, "ann@example.com", 0)), open("a", 1, 0)]).await;
    assert_eq!(found(&store, "a").await, Some(session("a", 1)));
}

pub async fn a_session_ends_once_or_twice(store: Arc<dyn Store>) {
    written(&store, vec![Write::User(user(1, "ann@example.com", 0)), open("a", 1, 0), open("b", 1, 0)]).await;
    written(&store, vec![Write::CloseSession(digest("a"))]).await;
    written(&store, vec![Write::CloseSession(digest("a"))]).await;
    assert_eq!((found(&store, "a").await, found(&store, "b").await), (None, Some(session("b", 1))));
}

/// Two users with three sessions each, after all of the first's ended but `except`.
async fn after_ending(store: &Arc<dyn Store>, except: Option<SessionDigest>) -> Vec<&'static str> {
    written(store, vec![Write::User(user(1, "ann@example.com", 0)), Write::User(user(2, "bob@example.com", 0))]).await;
    written(store, vec![open("a1", 1, 0), open("a2", 1, 0), open("a3", 1, 0)]).await;
    written(store, vec![open("b1", 2, 0), open("b2", 2, 0), open("b3", 2, 0)]).await;
    written(store, vec![Write::CloseSessions { user: user_id(1), except }]).await;
    let mut left = Vec::new();
    for name in ["a1", "a2", "a3", "b1", "b2", "b3"] {
        if found(store, name).await.is_some() {
            left.push(name);
        }
    }
    left
}

pub async fn all_sessions_of_a_user_end_but_one(store: Arc<dyn Store>) {
    assert_eq!(after_ending(&store, Some(digest("a2"))).await, ["a2", "b1", "b2", "b3"]);
}

pub async fn all_sessions_of_a_user_end(store: Arc<dyn Store>) {
    assert_eq!(after_ending(&store, None).await, ["b1", "b2", "b3"]);
}
