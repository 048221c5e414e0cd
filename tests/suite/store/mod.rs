//! What every store promises, as functions over `dyn Store`; `contract!` makes a test of each for each store.
//!
//! A test gets a store of its own, empty, and may not look behind the trait.

mod declines;
mod embedded;
mod feed;
mod golden;
mod guards;
mod lists;
mod mongo;
mod purge;
mod sales;
mod samples;
mod services;
mod sessions;
mod uniqueness;
mod walk;

/// One module of tests for each store that is named: `<store>::<theme>::<test>`.
macro_rules! contract {
    ($($theme:ident: $($test:ident)*;)*) => {
        macro_rules! on {
            ($run:path as $store:ident) => {
                mod $store {$(
                    mod $theme {$(
                        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                        async fn $test() {
                            $run(concat!(stringify!($theme), "_", stringify!($test)), crate::store::$theme::$test).await;
                        }
                    )*}
                )*}
            };
        }
    };
}

contract! {
    guards:
        a_ticket_is_written_only_over_the_version_before
        an_order_is_written_only_over_the_version_before
        a_charge_is_written_only_over_the_version_before
        a_user_is_written_only_over_the_version_before
        a_refused_write_takes_all_the_others_with_it
        of_a_thousand_commits_over_one_version_one_succeeds
        a_thousand_commits_over_a_thousand_tickets_all_succeed;
    uniqueness:
        an_email_is_one_users
        a_changed_email_is_free_again
        of_many_who_want_one_email_one_gets_it
        a_user_holds_as_many_slots_as_the_limit
        a_freed_slot_may_be_taken_again
        of_many_who_want_the_last_slots_only_so_many_get_one
        a_key_is_used_once_by_each_user
        of_many_requests_with_one_key_one_is_done
        an_event_is_dealt_with_once
        of_many_deliveries_of_one_event_one_is_recorded;
    sessions:
        a_session_opens_over_the_version_that_was_verified
        a_sign_up_opens_its_session_in_the_same_commit
        a_session_ends_once_or_twice
        all_sessions_of_a_user_end_but_one
        all_sessions_of_a_user_end;
    sales:
        an_unlocked_ticket_has_neither_order_nor_charge
        a_locked_ticket_comes_with_the_order_that_holds_it
        only_a_running_charge_is_part_of_the_sale
        a_sale_is_one_snapshot
        a_ticket_is_overdue_when_its_lock_or_its_payment_window_is
        the_longest_overdue_come_first_and_not_too_many
        many_sales_are_shown_as_each_is_shown_alone;
    declines:
        decline_is_counted_in_the_commit_that_records_it
        newest_declines_of_a_user_are_kept
        declines_at_once_are_all_counted
        declines_are_kept_for_a_day;
    lists:
        tickets_are_listed_by_id_without_the_deleted
        orders_are_listed_by_buyer_and_scope
        charges_are_listed_by_order
        open_charges_are_listed_by_age;
    feed:
        the_feed_is_the_commit_order_of_64_committers
        a_reader_resumes_after_any_cursor
        a_cursor_of_another_life_or_of_the_future_is_not_known
        a_subscriber_sees_what_comes_after;
    purge:
        sessions_go_when_they_have_expired
        idempotency_records_go_after_a_day
        deliveries_go_after_a_week
        events_go_after_thirty_days_and_documents_stay
        more_than_fits_one_piece_is_purged_all_the_same;
    services:
        a_secret_stays_and_differs_by_name
        mark_is_set_once_and_for_all
        hits_are_counted_within_their_window
        many_hits_at_once_are_all_counted
        count_is_read_without_adding_to_it
        cleared_count_starts_at_zero
        a_closed_store_refuses_commits
        what_was_queued_before_the_close_is_answered
        the_time_is_about_now;
    walk:
        a_random_walk_breaks_no_invariant;
}

on!(crate::store::embedded::in_memory as memory);
on!(crate::store::embedded::on_disk as disk);
on!(crate::store::mongo::on_replica_set as replica_set);
