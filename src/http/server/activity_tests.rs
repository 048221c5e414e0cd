//! Tests of the deadlines and bounds of one connection, in ticks of half a second.

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";

fn ticks() -> Ticks {
    Ticks::of(&Deadlines::default(), false)
}

/// Returns the number of ticks from `from` to the first passed deadline, and that deadline.
fn first_overdue(activity: &Activity, from: u32) -> (u32, Overdue) {
    (from..from + 1_000)
        .find_map(|now| activity.overdue(now, &ticks()).map(|overdue| (now - from, overdue)))
        .expect("a deadline passes")
}

/// Reads one request and completes its response at `now`.
fn answer(activity: &Activity, bytes: &[u8], body: Body, now: u32) {
    activity.on_read(bytes, now);
    activity.on_read_pending();
    activity.on_request(body, now);
    activity.on_answer(now);
    activity.on_write(now);
}

#[test]
fn connection_without_a_request_ends_after_75_seconds() {
    assert_eq!(first_overdue(&Activity::new(7), 7), (151, Overdue::Idle));
}

#[test]
fn incomplete_head_ends_after_15_seconds_also_on_a_later_request() {
    let activity = Activity::new(0);
    activity.on_read(b"G", 3);
    assert_eq!(first_overdue(&activity, 3), (31, Overdue::Head));
    activity.on_read(&REQUEST[1..], 20);
    activity.on_request(Body::None, 20);
    activity.on_answer(20);
    assert_eq!(first_overdue(&activity, 20), (151, Overdue::Idle));
    activity.on_read(b"G", 100);
    assert_eq!(first_overdue(&activity, 100), (31, Overdue::Head));
}

#[test]
fn slowly_sent_head_does_not_renew_its_deadline() {
    let activity = Activity::new(0);
    for now in 0..31 {
        activity.on_read(b"X", now);
        activity.on_read_pending();
        assert_eq!(activity.overdue(now, &ticks()), None, "{now}");
    }
    assert_eq!(activity.overdue(31, &ticks()), Some(Overdue::Head));
}

#[test]
fn head_that_begins_in_the_same_read_as_a_request_has_15_seconds() {
    for rest in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\nX: \r\n"] {
        let activity = Activity::new(0);
        answer(&activity, &[REQUEST, rest.as_bytes()].concat(), Body::None, 5);
        assert_eq!(first_overdue(&activity, 5), (31, Overdue::Head), "{rest}");
    }
}

#[test]
fn head_that_begins_in_the_same_read_as_a_body_has_15_seconds() {
    for (rest, expected) in [
        ("", (151, Overdue::Idle)),
        ("G", (31, Overdue::Head)),
        ("POST / HTTP/1.1\r\n", (31, Overdue::Head)),
    ] {
        let activity = Activity::new(0);
        answer(&activity, &[POST, rest.as_bytes()].concat(), Body::Sized(2), 5);
        assert_eq!(first_overdue(&activity, 5), expected, "{rest}");
    }
}

#[test]
fn connection_is_idle_after_the_rest_of_a_refused_body() {
    let activity = Activity::new(0);
    answer(&activity, &POST[..POST.len() - 2], Body::Sized(2), 5);
    assert_eq!(first_overdue(&activity, 5), (151, Overdue::Idle));
    activity.on_read(b"{", 6);
    assert_eq!(first_overdue(&activity, 6), (31, Overdue::Head));
    activity.on_read(b"}", 8);
    assert_eq!(first_overdue(&activity, 8), (151, Overdue::Idle));
    activity.on_read(b"}", 10);
    assert_eq!(first_overdue(&activity, 10), (31, Overdue::Head));
}

#[test]
fn request_in_progress_has_no_deadline() {
    let activity = Activity::new(0);
    activity.on_read(REQUEST, 1);
    activity.on_request(Body::None, 1);
    assert_eq!(activity.overdue(100_000, &ticks()), None);
}

#[test]
fn write_without_progress_ends_after_30_seconds_in_every_phase() {
    for is_answered in [false, true] {
        let activity = Activity::new(0);
        activity.on_read(REQUEST, 0);
        activity.on_request(Body::None, 0);
        if is_answered {
            activity.on_answer(0);
        }
        activity.on_write_pending(10);
        activity.on_write_pending(40);
        assert_eq!(first_overdue(&activity, 10), (61, Overdue::Write));
        activity.on_write(50);
        activity.on_write_pending(50);
        assert_eq!(
            first_overdue(&activity, 50),
            (61, Overdue::Write),
            "progress renews the deadline"
        );
    }
}

#[test]
fn idle_time_is_counted_from_the_end_of_the_write() {
    let activity = Activity::new(0);
    activity.on_read(REQUEST, 0);
    activity.on_request(Body::None, 0);
    activity.on_write_pending(0);
    activity.on_answer(0);
    activity.on_write(55);
    assert_eq!(first_overdue(&activity, 55), (151, Overdue::Idle));
}

#[test]
fn limited_connection_ends_after_5_seconds() {
    let limited = Ticks::of(&Deadlines::default(), true);
    let activity = Activity::new(0);
    assert_eq!(
        (activity.overdue(10, &limited), activity.overdue(11, &limited)),
        (None, Some(Overdue::Idle))
    );
}

#[test]
fn deadlines_are_correct_after_the_tick_counter_wraps() {
    let activity = Activity::new(u32::MAX - 10);
    assert_eq!(activity.overdue(50, &ticks()), None);
    assert_eq!(activity.overdue(141, &ticks()), Some(Overdue::Idle));
}

#[test]
fn head_over_32_kib_is_refused_after_the_parser_has_seen_it() {
    let activity = Activity::new(0);
    let mut read = 0;
    loop {
        match activity.may_read() {
            MayRead::Yes => {
                activity.on_read(&[b'x'; 1024], 0);
                read += 1024;
            }
            MayRead::AfterParsing => {}
            end => break assert_eq!((end, read), (MayRead::HeadTooLarge, HEAD_BYTES_MAX)),
        }
    }
    activity.on_request(Body::None, 0);
    activity.on_answer(0);
    assert_eq!(activity.may_read(), MayRead::Yes, "the next head has a bound of its own");
}

#[test]
fn reading_stops_while_the_peer_receives_no_bytes() {
    let activity = Activity::new(0);
    activity.on_write_pending(0);
    assert_eq!(activity.may_read(), MayRead::AfterAnswer);
    assert!(activity.on_write(1), "reading was deferred");
    assert_eq!(activity.may_read(), MayRead::Yes);
    assert!(!activity.on_write(1));
}

#[test]
fn pipelined_bytes_after_a_running_request_are_bounded() {
    for (body, allowed) in [(Body::None, 4), (Body::Sized(10 * 1024), 14)] {
        let activity = Activity::new(0);
        activity.on_read(REQUEST, 0);
        activity.on_request(body, 0);
        let mut kib = 0;
        while activity.may_read() != MayRead::AfterAnswer {
            activity.on_read(&[b'x'; 1024], 0);
            activity.on_read_pending();
            kib += 1;
        }
        assert_eq!(kib, allowed, "{body:?}");
        assert!(activity.on_answer(0), "reading was deferred");
    }
}

#[test]
fn chunked_body_is_read_without_a_bound_until_its_end() {
    let activity = Activity::new(0);
    activity.on_request(Body::Chunked, 0);
    for _ in 0..1_000 {
        activity.on_read(&[b'x'; 1024], 0);
        activity.on_read_pending();
    }
    assert_eq!(activity.may_read(), MayRead::Yes);
    activity.on_body_end(true);
    activity.on_read(&[b'x'; ROUND_BYTES_MAX], 0);
    activity.on_read_pending();
    assert_eq!(activity.may_read(), MayRead::AfterAnswer);
}
