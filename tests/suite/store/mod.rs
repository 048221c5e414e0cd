//! The contract of all stores, as functions over `dyn Inspect`. `contract!` makes a test of each
//! function for each store.
//!
//! Each test gets an empty store of its own and uses only the trait.

mod declines;
mod embedded;
mod feed;
mod golden;
mod guards;
mod lists;
mod mails;
mod mongo;
mod purge;
mod sales;
mod samples;
mod services;
mod sessions;
mod uniqueness;
mod walk;

/// Defines one module of tests for each store: `<store>::<theme>::<test>`.
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
        ticket_replaces_only_its_previous_version
        order_replaces_only_its_previous_version
        charge_replaces_only_its_previous_version
        user_replaces_only_its_previous_version
        commit_with_one_refused_write_writes_nothing
        one_of_a_thousand_commits_over_one_version_succeeds
        thousand_commits_over_a_thousand_tickets_all_succeed;
    uniqueness:
        email_belongs_to_one_user
        email_is_free_after_its_user_changed_it
        one_of_many_sign_ups_with_one_email_succeeds
        user_holds_at_most_as_many_slots_as_the_limit
        freed_slot_can_be_taken_again
        concurrent_commits_take_only_the_free_slots
        idempotency_key_is_used_once_by_each_user
        one_of_many_commits_with_one_key_succeeds
        delivery_of_an_event_is_recorded_once
        one_of_many_deliveries_of_one_event_is_recorded;
    sessions:
        session_opens_only_over_the_verified_user_version
        sign_up_opens_its_session_in_the_same_commit
        session_can_be_closed_twice
        closing_the_sessions_of_a_user_keeps_the_excepted_one
        closing_the_sessions_of_a_user_closes_all;
    sales:
        sale_of_an_unlocked_ticket_has_no_order_and_no_charge
        sale_of_a_locked_ticket_has_the_order_that_holds_it
        sale_has_only_a_running_charge
        sale_is_read_from_one_snapshot
        ticket_is_overdue_after_its_lock_or_its_payment_window
        overdue_tickets_are_limited_and_sorted_by_deadline
        sales_of_many_tickets_equal_the_single_sales;
    declines:
        decline_is_counted_in_the_commit_that_records_it
        newest_declines_of_a_user_are_kept
        concurrent_declines_are_all_counted
        declines_are_kept_for_a_day;
    lists:
        tickets_are_listed_by_id_without_deleted_ones
        orders_are_listed_by_buyer_and_scope
        charges_are_listed_by_order
        open_charges_are_listed_by_age;
    mails:
        mail_replaces_only_its_previous_version
        one_of_many_claims_of_a_mail_succeeds
        mails_are_due_in_the_order_of_their_time
        dead_mail_that_is_queued_again_is_due
        sent_mail_is_purged_after_a_week;
    feed:
        feed_has_the_commit_order_of_64_committers
        reader_resumes_after_any_cursor
        cursor_of_another_epoch_or_of_the_future_is_not_resumed
        subscriber_gets_only_later_events;
    purge:
        session_is_purged_after_its_expiry
        idempotency_record_is_purged_after_a_day
        delivery_is_purged_after_a_week
        event_is_purged_after_thirty_days_and_its_document_stays
        purge_removes_more_records_than_one_step;
    services:
        secret_is_stable_and_differs_by_name
        mark_stays_set
        hits_are_counted_within_their_window
        concurrent_hits_are_all_counted
        reading_a_counter_does_not_add_a_hit
        cleared_counter_starts_at_zero
        closed_store_refuses_commits
        queued_commits_are_answered_before_the_store_closes
        time_of_the_store_is_close_to_the_wall_clock;
    walk:
        random_walk_breaks_no_invariant;
}

on!(crate::store::embedded::in_memory as memory);
on!(crate::store::embedded::on_disk as disk);
on!(crate::store::mongo::on_replica_set as replica_set);
