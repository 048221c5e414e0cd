//! Accounts: sign-up, sign-in, sign-out and changes.

use serde_json::json;

use crate::app::{Backend, Client, TestApp, mailbox, on_both_stores};

on_both_stores!(
    signing_up_answers_with_the_canonical_email_and_a_session,
    one_address_cannot_sign_up_twice_in_any_spelling,
    invalid_email_address_is_refused,
    unknown_email_and_wrong_password_have_the_same_response,
    guest_has_no_user_and_private_requests_are_401,
    signing_out_ends_that_session_only,
    signing_out_twice_succeeds,
    session_ends_after_the_configured_time,
    new_email_replaces_the_old_one_once_it_is_confirmed,
    of_two_pending_claims_of_one_address_the_first_confirmation_wins,
    new_password_ends_the_other_sessions,
    account_change_requires_the_current_password,
    change_to_an_address_in_use_is_refused,
    cookie_is_inaccessible_to_scripts_and_other_sites,
    cookie_of_an_https_origin_is_bound_to_its_host,
    forged_session_token_is_not_signed_in,
    invisible_characters_in_an_email_address_are_refused,
    sign_in_with_an_old_cookie_ends_the_old_session,
    sign_up_with_an_old_cookie_ends_the_old_session,
    change_of_password_renews_the_token_and_ends_the_old_one,
    replayed_change_of_password_sets_no_cookie,
    change_of_email_keeps_the_token,
);

async fn signing_up_answers_with_the_canonical_email_and_a_session(store: Backend) {
    let app = TestApp::start(store).await;
    let guest = app.guest();
    let ann = guest.sign_up("  ANN@Example.COM ", "correct horse").await.expect(201);
    assert_eq!(ann["email"], "ann@example.com");
    assert_eq!(ann.body.as_object().map(|user| user.len()), Some(4), "{ann:?}");
    assert_eq!(uuid::Uuid::try_parse(&ann.id()).map(|id| id.get_version_num()), Ok(7));
    let me = guest.current_user().await.expect(200);
    assert_eq!(me.body, json!({ "currentUser": ann.body }));
}

async fn one_address_cannot_sign_up_twice_in_any_spelling(store: Backend) {
    let app = TestApp::start(store).await;
    app.guest().sign_up("jose\u{301}@bücher.example", "correct horse").await.expect(201);
    for spelling in ["JOSÉ@xn--bcher-kva.example", " josé@BÜCHER.example "] {
        app.guest().sign_up(spelling, "another one").await.refused(409, "email_in_use");
    }
}

async fn invalid_email_address_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let too_long = format!("{}@example.com", "a".repeat(254));
    for email in [
        "",
        "ann",
        "ann@",
        "@example.com",
        "ann@nowhere",
        "a b@example.com",
        "ann\u{202e}@example.com",
        "ann\u{7}@example.com",
        &too_long,
    ] {
        app.guest().sign_up(email, "correct horse").await.invalid("email");
    }
}

async fn unknown_email_and_wrong_password_have_the_same_response(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let unknown = app
        .guest()
        .sign_in("unknown@example.com", "wrong password")
        .await
        .refused(401, "invalid_credentials");
    let wrong = app
        .guest()
        .sign_in(&user.email, "wrong password")
        .await
        .refused(401, "invalid_credentials");
    assert_eq!(unknown.text, wrong.text);
    let names = |answer: &crate::app::Answer| {
        answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(&unknown), names(&wrong));
}

async fn guest_has_no_user_and_private_requests_are_401(store: Backend) {
    let app = TestApp::start(store).await;
    assert_eq!(app.guest().current_user().await.expect(200).body, json!({ "currentUser": null }));
    let ticket = app.user().await.sells("Front row").await;
    let guest = app.guest();
    guest.list_ticket("Front row", 20).await.refused(401, "not_signed_in");
    guest.edit_ticket(&ticket, "Front row", 20).await.refused(401, "not_signed_in");
    guest.delist_ticket(&ticket).await.refused(401, "not_signed_in");
    guest.place_order(&ticket).await.refused(401, "not_signed_in");
    guest.orders("").await.refused(401, "not_signed_in");
    guest.order(&ticket).await.refused(401, "not_signed_in");
    guest.cancel_order(&ticket).await.refused(401, "not_signed_in");
    guest.pay(&ticket, "pm_card_visa").await.refused(401, "not_signed_in");
    guest.confirm(&ticket).await.refused(401, "not_signed_in");
    guest.charge(&ticket).await.refused(401, "not_signed_in");
    guest.charges_of(&ticket).await.refused(401, "not_signed_in");
    guest.update_me(&json!({ "currentPassword": "x" })).await.refused(401, "not_signed_in");
    guest.tickets("?seller=me").await.refused(401, "not_signed_in");
}

async fn signing_out_ends_that_session_only(store: Backend) {
    let app = TestApp::start(store).await;
    let here = app.user().await;
    let there = here.elsewhere().await;
    let stolen = here.cookie();
    let answer = here.sign_out().await.expect(200);
    assert_eq!(answer.body, json!({}));
    assert_eq!(here.cookie(), None, "the response deletes the cookie");
    here.set_cookie(stolen);
    here.list_ticket("Front row", 20).await.refused(401, "not_signed_in");
    there.list_ticket("Front row", 20).await.expect(201);
}

async fn signing_out_twice_succeeds(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let stolen = user.cookie();
    user.call(reqwest::Method::POST, "/api/users/signout").await.expect(200);
    user.set_cookie(stolen);
    user.sign_out().await.expect(200);
    app.guest().sign_out().await.expect(200);
}

async fn session_ends_after_the_configured_time(store: Backend) {
    // The lock expires a second after the session. Its frame is awaited, so the test needs no clock
    // of its own.
    let settings = [
        ("GITTIX_SESSION_TTL", "6s"),
        ("GITTIX_PAYMENT_WINDOW", "7s"),
        ("GITTIX_LOCK_DURATION", "7s"),
    ];
    let app = TestApp::start_with(store, &settings).await;
    let mut socket = app.socket().await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    buyer.locks(&ticket).await;
    buyer.current_user().await.expect(200);
    socket.ticket(&ticket, "Locked").await;
    socket.ticket(&ticket, "Available").await;
    assert_eq!(buyer.current_user().await.expect(200)["currentUser"], json!(null));
    buyer.orders("").await.refused(401, "not_signed_in");
}

async fn new_email_replaces_the_old_one_once_it_is_confirmed(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let mut socket = user.socket().await;
    let change = json!({ "email": "New@Example.com", "currentPassword": Client::PASSWORD });
    let changed = user.update_me(&change).await.expect(200);
    assert_eq!(changed["email"], json!(user.email));
    assert_eq!(changed["pendingEmail"], json!("new@example.com"));
    assert_eq!(socket.event("UserUpdated").await["user"], changed.body);
    assert_eq!(user.current_user().await["currentUser"], changed.body);
    app.guest()
        .sign_in("new@example.com", Client::PASSWORD)
        .await
        .refused(401, "invalid_credentials");
    app.guest().sign_in(&user.email, Client::PASSWORD).await.expect(200);

    let subject = "Confirm your email address";
    let token = mailbox::mail(&app.home, "new@example.com", subject, 1).await.token();
    let confirmed = app.guest().post("/api/users/verify", &json!({ "token": token })).await;
    let expected = json!({
        "id": user.id, "email": "new@example.com", "emailVerified": true, "pendingEmail": null,
    });
    assert_eq!(confirmed.expect(200).body, expected);
    assert_eq!(socket.event("UserUpdated").await["user"], expected);
    app.guest().sign_in(&user.email, Client::PASSWORD).await.refused(401, "invalid_credentials");
    app.guest().sign_in("new@example.com", Client::PASSWORD).await.expect(200);
    app.guest().sign_up(&user.email, "another password").await.expect(201);
}

async fn of_two_pending_claims_of_one_address_the_first_confirmation_wins(store: Backend) {
    let app = TestApp::start(store).await;
    let (ann, bob) = (app.user().await, app.user().await);
    let change = json!({ "email": "new@example.com", "currentPassword": Client::PASSWORD });
    let mut tokens = Vec::new();
    for (count, user) in [(1, &ann), (2, &bob)] {
        user.update_me(&change).await.expect(200);
        let subject = "Confirm your email address";
        let mail = mailbox::mail(&app.home, "new@example.com", subject, count).await;
        tokens.push(json!({ "token": mail.token() }));
    }
    app.guest().post("/api/users/verify", &tokens[1]).await.expect(200);
    app.guest().post("/api/users/verify", &tokens[0]).await.refused(409, "email_in_use");
    assert_eq!(ann.current_user().await["currentUser"]["email"], json!(ann.email));
}

async fn new_password_ends_the_other_sessions(store: Backend) {
    let app = TestApp::start(store).await;
    let here = app.user().await;
    let there = here.elsewhere().await;
    let mut socket = there.socket().await;
    here.update_me(&json!({ "password": "battery staple", "currentPassword": Client::PASSWORD }))
        .await
        .expect(200);
    assert_eq!(socket.closed().await, 1008);
    there.orders("").await.refused(401, "not_signed_in");
    here.orders("").await.expect(200);
    app.guest().sign_in(&here.email, Client::PASSWORD).await.refused(401, "invalid_credentials");
    app.guest().sign_in(&here.email, "battery staple").await.expect(200);
}

async fn account_change_requires_the_current_password(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    user.update_me(&json!({ "email": "new@example.com", "currentPassword": "wrong password" }))
        .await
        .refused(403, "invalid_credentials");
    user.update_me(&json!({ "email": "new@example.com" })).await.invalid("currentPassword");
    user.update_me(&json!({ "password": "short", "currentPassword": Client::PASSWORD }))
        .await
        .invalid("password");
    user.update_me(&json!({ "email": "nowhere", "currentPassword": Client::PASSWORD }))
        .await
        .invalid("email");
    assert_eq!(user.current_user().await["currentUser"]["email"], user.email.as_str());
}

async fn change_to_an_address_in_use_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let (ann, bob) = (app.user().await, app.user().await);
    ann.update_me(&json!({ "email": bob.email, "currentPassword": Client::PASSWORD }))
        .await
        .refused(409, "email_in_use");
}

async fn cookie_is_inaccessible_to_scripts_and_other_sites(store: Backend) {
    let app = TestApp::start(store).await;
    let answer = app.guest().sign_up("ann@example.com", "correct horse").await.expect(201);
    let cookie = answer.header("set-cookie").to_owned();
    for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.starts_with("__Host-"), "{cookie}");
    assert!(!cookie.to_lowercase().contains("domain="), "{cookie}");
}

async fn cookie_of_an_https_origin_is_bound_to_its_host(store: Backend) {
    let origins = ("GITTIX_PUBLIC_ORIGIN", "https://tickets.example,http://other.example");
    let app = TestApp::start_with(store, &[origins, ("GITTIX_ALLOW_SANDBOX", "true")]).await;
    let guest = app.guest();
    let answer = guest.sign_up("ann@example.com", "correct horse").await.expect(201);
    let cookie = answer.header("set-cookie").to_owned();
    assert!(
        cookie.starts_with("__Host-") && cookie.contains("Secure") && cookie.contains("Path=/"),
        "{cookie}"
    );
    assert_eq!(guest.current_user().await["currentUser"]["email"], "ann@example.com");
}

async fn forged_session_token_is_not_signed_in(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let cookie = user.cookie().expect("signed in");
    let (name, token) = cookie.split_once('=').expect("name=value");
    for forged in
        ["", "x", &"A".repeat(43), &"A".repeat(6_000), "%00", "{\"$gt\":\"\"}", &token[1..]]
    {
        user.set_cookie(Some(format!("{name}={forged}")));
        assert_eq!(user.current_user().await.expect(200)["currentUser"], json!(null), "{forged:?}");
        user.orders("").await.refused(401, "not_signed_in");
    }
}

async fn invisible_characters_in_an_email_address_are_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    for hidden in ['\u{AD}', '\u{FE0F}', '\u{34F}', '\u{3164}', '\u{E0041}'] {
        let email = format!("a{hidden}nn@example.com");
        app.guest().sign_up(&email, "correct horse").await.invalid("email");
        user.update_me(&json!({ "email": email, "currentPassword": Client::PASSWORD }))
            .await
            .invalid("email");
        app.guest().sign_in(&email, "correct horse").await.refused(401, "invalid_credentials");
    }
}

/// Returns another client with the present cookie of `person`.
fn with_cookie_of(person: &Client) -> Client {
    let other = person.stranger();
    other.set_cookie(person.cookie());
    other
}

async fn sign_in_with_an_old_cookie_ends_the_old_session(store: Backend) {
    let app = TestApp::start(store).await;
    let (ann, bob) = (app.user().await, app.user().await);
    for next in [&ann, &bob] {
        let old = with_cookie_of(&ann);
        let mut socket = old.socket().await;
        ann.sign_in(&next.email, Client::PASSWORD).await.expect(200);
        assert_ne!(ann.cookie(), old.cookie());
        old.orders("").await.refused(401, "not_signed_in");
        assert_eq!(socket.closed().await, 1008);
        assert_eq!(ann.current_user().await["currentUser"]["id"], json!(next.id));
    }
    bob.orders("").await.expect(200);
    let kept = with_cookie_of(&ann);
    ann.sign_in(&bob.email, "a wrong password").await.refused(401, "invalid_credentials");
    kept.orders("").await.expect(200);
}

async fn sign_up_with_an_old_cookie_ends_the_old_session(store: Backend) {
    let app = TestApp::start(store).await;
    let ann = app.user().await;
    let old = with_cookie_of(&ann);
    ann.sign_up("second@example.com", "correct horse").await.expect(201);
    old.orders("").await.refused(401, "not_signed_in");
    assert_eq!(ann.current_user().await["currentUser"]["email"], "second@example.com");
}

async fn change_of_password_renews_the_token_and_ends_the_old_one(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let stolen = with_cookie_of(&user);
    let mut socket = stolen.socket().await;
    let changed = user
        .update_me(&json!({ "password": "battery staple", "currentPassword": Client::PASSWORD }))
        .await
        .expect(200);
    assert!(changed.header("set-cookie").contains("HttpOnly"), "{changed:?}");
    assert_ne!(user.cookie(), stolen.cookie());
    stolen.orders("").await.refused(401, "not_signed_in");
    assert_eq!(socket.closed().await, 1008);
    user.orders("").await.expect(200);
}

async fn replayed_change_of_password_sets_no_cookie(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let change = json!({ "password": "battery staple", "currentPassword": Client::PASSWORD });
    let stolen = with_cookie_of(&user);
    user.update_me(&change).key("once").await.expect(200);
    let replayed = user.update_me(&change).key("once").await.expect(200);
    assert_eq!(
        (replayed.header("idempotency-replayed"), replayed.header("set-cookie")),
        ("true", ""),
        "{replayed:?}"
    );
    user.orders("").await.expect(200);
    stolen.update_me(&change).key("once").await.refused(401, "not_signed_in");
}

async fn change_of_email_keeps_the_token(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let change = json!({ "email": "new@example.com", "currentPassword": Client::PASSWORD });
    assert_eq!(user.update_me(&change).await.expect(200).header("set-cookie"), "");
    user.orders("").await.expect(200);
}
