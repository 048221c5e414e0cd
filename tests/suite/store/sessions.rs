//! Sessions: opened for a verified user version, closed one by one or all together.

use std::sync::Arc;

use gittix::{
    domain::{Session, SessionDigest},
    store::{CommitError, Inspect, Write},
};

use super::samples::*;

async fn found(store: &Arc<dyn Inspect>, name: &str) -> Option<Session> {
    store.session(&digest(name)).await.expect("read")
}

pub async fn session_opens_only_over_the_verified_user_version(store: Arc<dyn Inspect>) {
    assert_eq!(
        store.commit(quiet(vec![open("early", 1, 0)])).await,
        Err(CommitError::Stale),
        "the user does not exist"
    );
    written(&store, vec![Write::User(user(1, "ann@example.com", 0))]).await;
    written(&store, vec![open("a", 1, 0)]).await;
    assert_eq!(found(&store, "a").await, Some(session("a", 1)));
    written(&store, vec![Write::User(user(1, "ann@example.com", 1))]).await;
    assert_eq!(
        store.commit(quiet(vec![open("b", 1, 0)])).await,
        Err(CommitError::Stale),
        "the password changed"
    );
    assert_eq!(found(&store, "b").await, None);
    written(&store, vec![open("b", 1, 1)]).await;
    assert_eq!(found(&store, "b").await, Some(session("b", 1)));
}

pub async fn sign_up_opens_its_session_in_the_same_commit(store: Arc<dyn Inspect>) {
    written(&store, vec![Write::User(user(1, "ann@example.com", 0)), open("a", 1, 0)]).await;
    assert_eq!(found(&store, "a").await, Some(session("a", 1)));
}

pub async fn session_can_be_closed_twice(store: Arc<dyn Inspect>) {
    written(
        &store,
        vec![Write::User(user(1, "ann@example.com", 0)), open("a", 1, 0), open("b", 1, 0)],
    )
    .await;
    written(&store, vec![Write::CloseSession(digest("a"))]).await;
    written(&store, vec![Write::CloseSession(digest("a"))]).await;
    assert_eq!((found(&store, "a").await, found(&store, "b").await), (None, Some(session("b", 1))));
}

/// Opens three sessions for each of two users, closes those of the first user without `except`, and
/// returns the remaining ones.
async fn remaining_after_closing(
    store: &Arc<dyn Inspect>,
    except: Option<SessionDigest>,
) -> Vec<&'static str> {
    written(
        store,
        vec![
            Write::User(user(1, "ann@example.com", 0)),
            Write::User(user(2, "bob@example.com", 0)),
        ],
    )
    .await;
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

pub async fn closing_the_sessions_of_a_user_keeps_the_excepted_one(store: Arc<dyn Inspect>) {
    assert_eq!(remaining_after_closing(&store, Some(digest("a2"))).await, ["a2", "b1", "b2", "b3"]);
}

pub async fn closing_the_sessions_of_a_user_closes_all(store: Arc<dyn Inspect>) {
    assert_eq!(remaining_after_closing(&store, None).await, ["b1", "b2", "b3"]);
}
