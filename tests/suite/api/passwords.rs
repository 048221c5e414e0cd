//! Passwords: which ones are accepted, and their comparison in normalized form.

use std::sync::Arc;

use argon2::{Argon2, PasswordHasher};
use gittix::{
    clock::wall_clock,
    domain::{Email, User, UserId},
    store::{Commit, Inspect, Write},
};
use serde_json::json;

use crate::app::{Backend, Client, Home, TestApp, on_both_stores, world};

on_both_stores!(
    passwords_have_8_to_128_characters_and_are_never_trimmed,
    sign_in_does_not_check_the_length_of_the_password,
    common_and_repeated_passwords_are_refused,
    password_close_to_the_email_address_is_refused,
    password_close_to_the_new_email_address_is_refused_when_both_change,
    composed_and_decomposed_password_both_sign_in,
    password_length_is_counted_after_nfc,
    hash_of_a_password_outside_nfc_is_accepted_and_renewed,
);

async fn passwords_have_8_to_128_characters_and_are_never_trimmed(store: Backend) {
    let app = TestApp::start(store).await;
    for (password, name) in [("1234567".to_owned(), "short"), ("x".repeat(129), "long")] {
        app.guest().sign_up(&format!("{name}@example.com"), &password).await.invalid("password");
    }
    // Characters are counted, not bytes, and blanks count.
    for (password, name) in [("éa".repeat(64), "most"), (" 123456 ".to_owned(), "blanks")] {
        let email = format!("{name}@example.com");
        app.guest().sign_up(&email, &password).await.expect(201);
        app.guest().sign_in(&email, &password).await.expect(200);
    }
    app.guest().sign_in("blanks@example.com", "123456").await.refused(401, "invalid_credentials");
    app.guest()
        .sign_in("most@example.com", &"éa".repeat(63))
        .await
        .refused(401, "invalid_credentials");
}

async fn sign_in_does_not_check_the_length_of_the_password(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    for password in ["", "short", &"x".repeat(4_000)] {
        app.guest().sign_in(&user.email, password).await.refused(401, "invalid_credentials");
    }
    app.guest()
        .sign_in("no address at all", Client::PASSWORD)
        .await
        .refused(401, "invalid_credentials");
}

async fn common_and_repeated_passwords_are_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    for password in
        ["password", "12345678", "PassWord1", "qwertyuiop", "        ", "aaaaaaaaaaaa", "éééééééé"]
    {
        app.guest().sign_up("ann@example.com", password).await.invalid("password");
        user.update_me(&json!({ "password": password, "currentPassword": Client::PASSWORD }))
            .await
            .invalid("password");
    }
    app.guest().sign_in(&user.email, "password").await.refused(401, "invalid_credentials");
}

async fn password_close_to_the_email_address_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    for password in [
        "ann@example.com",
        "ANN@Example.com",
        "annexample",
        "ann-1234",
        "gittix123",
        "Example.Com1",
    ] {
        app.guest().sign_up("ann@example.com", password).await.invalid("password");
    }
    app.guest().sign_up("ann@example.com", "ann has a horse").await.expect(201);
    let user = app.user().await;
    let change = |password: &str| {
        user.update_me(&json!({ "password": password, "currentPassword": Client::PASSWORD }))
    };
    change(&user.email).await.invalid("password");
    change(&format!("{}!", user.email.split('@').next().unwrap_or_default()))
        .await
        .invalid("password");
}

async fn password_close_to_the_new_email_address_is_refused_when_both_change(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let change = |email: &str| {
        user.update_me(&json!({ "email": email, "password": "borisbecker", "currentPassword": Client::PASSWORD }))
    };
    change("borisbecker@example.com").await.invalid("password");
    change("steffi@example.com").await.expect(200);
}

const COMPOSED: &str = "caf\u{e9} cr\u{e8}me";
const DECOMPOSED: &str = "cafe\u{301} cre\u{300}me";

async fn composed_and_decomposed_password_both_sign_in(store: Backend) {
    let app = TestApp::start(store).await;
    for (email, chosen, typed) in
        [("ann@example.com", COMPOSED, DECOMPOSED), ("bob@example.com", DECOMPOSED, COMPOSED)]
    {
        let user = app.guest();
        user.sign_up(email, chosen).await.expect(201);
        app.guest().sign_in(email, typed).await.expect(200);
        app.guest().sign_in(email, chosen).await.expect(200);
        user.update_me(&json!({ "password": "battery staple", "currentPassword": typed }))
            .await
            .expect(200);
    }
}

async fn password_length_is_counted_after_nfc(store: Backend) {
    let app = TestApp::start(store).await;
    app.guest().sign_up("ann@example.com", &"ae\u{301}".repeat(3)).await.invalid("password");
    app.guest().sign_up("ann@example.com", &"ae\u{301}".repeat(64)).await.expect(201);
}

/// Stores a user whose password was hashed as typed, as all were before the conversion to NFC.
async fn user_before_nfc(home: &Home, email: &str, typed: &str) {
    std::fs::create_dir_all(home.data()).expect("the folder of a test can be written");
    let store: Arc<dyn Inspect> = world::open(home).await;
    let (now, email) = (wall_clock(), Email::parse(email).expect("an address"));
    let password_hash =
        Argon2::default().hash_password(typed.as_bytes()).expect("hashed").to_string();
    let user = User {
        id: UserId::new(uuid::Uuid::now_v7()),
        email,
        email_verified: false,
        pending_email: None,
        password_hash,
        tokens: Vec::new(),
        version: 0,
        created_at: now,
        updated_at: now,
    };
    store
        .commit(Commit { writes: vec![Write::User(user)], events: Vec::new(), at: now })
        .await
        .expect("written");
    store.close().await;
}

async fn hash_of_a_password_outside_nfc_is_accepted_and_renewed(store: Backend) {
    let home = Home::new(store);
    user_before_nfc(&home, "ann@example.com", DECOMPOSED).await;
    let app = TestApp::start_at(home, &[]).await;
    let signs_in =
        async |password: &str| app.guest().sign_in("ann@example.com", password).await.status;
    assert_eq!(signs_in(COMPOSED).await, 401, "the hash is of the decomposed form");
    assert_eq!(signs_in(DECOMPOSED).await, 200);
    assert_eq!(signs_in(COMPOSED).await, 200, "the hash was renewed");
}
