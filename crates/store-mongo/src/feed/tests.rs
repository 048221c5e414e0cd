//! Tests of `feed.rs`.

use bson::{deserialize_from_document, doc};

use super::*;

fn token(data: &str) -> ResumeToken {
    deserialize_from_document(doc! { "token": { "_data": data } })
        .map(|TokenDocument { token }| token)
        .expect("a token is any document")
}

#[derive(Deserialize)]
struct TokenDocument {
    token: ResumeToken,
}

#[test]
fn resume_token_begins_with_its_cluster_time() {
    let time = ClusterTime { time: 0x6561_A1B2, increment: 3 };
    assert_eq!(token_time(&token("826561A1B2000000032B0229296E04")), Some(pack(time)));
}

#[test]
fn resume_token_of_another_form_has_no_cluster_time() {
    for data in
        ["", "82", "8265", "816561A1B2000000032B0229296E04", "82zz61A1B2000000032B0229296E04"]
    {
        assert_eq!(token_time(&token(data)), None, "{data}");
    }
}

#[test]
fn history_begins_five_minutes_ago_but_not_before_the_first_event() {
    let at = |time| ClusterTime { time, increment: 1 };
    let five_minutes_ago = ClusterTime { time: 700, increment: 0 };
    for (since, expected) in [
        (None, five_minutes_ago),
        (Some(at(1)), five_minutes_ago),
        (Some(at(900)), at(900)),
        (Some(at(2_000)), at(1_000)), // restored from a cluster whose clock was ahead
    ] {
        assert_eq!(history_start(at(1_000), since), expected, "{since:?}");
    }
}

#[test]
fn cursors_ascend_with_the_cluster_time() {
    let (one, other) =
        (ClusterTime { time: 7, increment: u32::MAX }, ClusterTime { time: 8, increment: 0 });
    assert!(pack(one) < pack(other));
    assert!(before(1, pack(other)) < Cursor { epoch: 1, time: pack(other), ordinal: 0 });
}
